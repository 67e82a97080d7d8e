//! `mamba2`: as mamba, with heads of channels. Answers to `src/models/mamba2.cpp`.

use super::{Architecture, mamba};
use crate::blocks::{Mamba2, Network, Singles};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts, Ssm};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "mamba2", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Rms, None)?;
    hparams.ssm = Ssm::read_heads(keys)?;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    Singles::load(loader, hparams, |loader, il| Ok(Box::new(Mamba2::load(loader, hparams, il, false)?)))
}

fn size_class(size: &SizeFacts) -> &'static str {
    match (size.n_layer, size.n_embd) {
        (64, 4096) => "7B",
        _ => mamba::size_class(size),
    }
}
