//! `arwkv7`: Qwen 2 with version 7's first block in place of attention. Answers to `src/models/arwkv7.cpp`.

use super::{Architecture, rwkv6qwen2, rwkv7};
use crate::blocks::{Bias, Network, TimeMix, TimeMix7};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind};
use crate::loader::Loader;

pub(super) const ARCH: Architecture =
    Architecture { name: "arwkv7", hparams, load, size_class: rwkv7::size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let [decay, rate, values, gate] = rwkv7::RANKS;
    let hparams = Hparams::read(keys, NormKind::Rms, None)?;
    let mut hparams = hparams.read_rwkv(keys, 1, &[decay, rate, values])?;
    hparams.rwkv.ranks[3] = keys.optional_dim(gate)?.unwrap_or(0);
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    rwkv6qwen2::load_transformed(loader, hparams, Bias::Never, |loader, il| {
        Ok(TimeMix::Seven(TimeMix7::load(loader, hparams, il, false)?))
    })
}
