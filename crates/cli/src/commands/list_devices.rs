//! `quipu --list-devices`: what models can be computed on.

use std::io::Write;

use crate::fail::{Failure, writing};
use crate::output::note;

pub(crate) fn run() -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "CPU").map_err(writing)?;
    match quipu::gpu_devices() {
        Ok(devices) => {
            devices.iter().try_for_each(|device| writeln!(out, "{}", device.name())).map_err(writing)
        }
        Err(error) => {
            note(error);
            Ok(())
        }
    }
}
