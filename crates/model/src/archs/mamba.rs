//! `mamba`: layers of one block, which keeps a state for each channel. Answers to `src/models/mamba.cpp`.

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Mamba, Network, Singles};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts, Ssm};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "mamba", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Rms, None)?;
    hparams.ssm = Ssm::read(keys)?.doubles(keys, hparams.n_embd)?;
    hparams.norms_ssm = keys.bool("ssm.dt_b_c_rms")?.unwrap_or(false);
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    Singles::load(loader, hparams, |loader, il| Ok(Box::new(Mamba::load(loader, hparams, il, false)?)))
}

/// By layers and width, also of the second kind.
pub(super) fn size_class(size: &SizeFacts) -> &'static str {
    match (size.n_layer, size.n_embd) {
        (24, 768) => "0.1B",
        (48, 1024) => "0.4B",
        (48, 1536) => "0.8B",
        (48, 2048) => "1.5B",
        (64, 2560) => "3B",
        _ => UNKNOWN_SIZE,
    }
}
