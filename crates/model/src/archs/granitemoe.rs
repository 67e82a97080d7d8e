//! `granitemoe`: as granite. Answers to `src/models/granite-moe.cpp`.

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::Network;
use crate::error::Error;
use crate::hparams::{Hparams, Keys, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "granitemoe", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    super::granite::read(keys)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    super::granite::load_scaled(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 | 40 => "3B",
        _ => UNKNOWN_SIZE,
    }
}
