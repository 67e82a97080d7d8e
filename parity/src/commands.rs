//! The commands that audits share.

use std::path::Path;
use std::process::Command;

use crate::error::Error;

pub(crate) fn open(path: &Path) -> Result<std::fs::File, Error> {
    std::fs::File::open(path).map_err(Error::io(path))
}

pub(crate) fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

pub(crate) fn cargo_example(package: &str, example: &str, args: &[&str]) -> Command {
    let mut command = Command::new(cargo());
    command.args(["run", "--release", "--quiet", "-p", package, "--example", example, "--"]).args(args);
    command
}
