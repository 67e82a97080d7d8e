//! `rwkv7`: as rwkv6, with states that learn. Answers to `src/models/rwkv7.cpp`.

use super::{Architecture, UNKNOWN_SIZE, rwkv6};
use crate::blocks::{ChannelMix, Feed, Network, TimeMix, TimeMix7};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "rwkv7", hparams, load, size_class };

/// Keys of the four ranks; transformed models may do without the last.
pub(super) const RANKS: [&str; 4] = [
    "attention.decay_lora_rank",
    "attention.iclr_lora_rank",
    "attention.value_residual_mix_lora_rank",
    "attention.gate_lora_rank",
];

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let mut hparams = Hparams::read(keys, NormKind::Layer, None)?.read_rwkv(keys, 2, &RANKS)?;
    // Version 7 does not know the key.
    hparams.rwkv.rescale_every = 0;
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    rwkv6::load_own(loader, hparams, |loader, il| {
        let time = TimeMix::Seven(TimeMix7::load(loader, hparams, il, true)?);
        Ok((time, Feed::Channels(ChannelMix::load(loader, hparams, il, false)?)))
    })
}

/// Also of what was made of other models by this version.
pub(super) fn size_class(size: &SizeFacts) -> &'static str {
    match (size.n_layer, size.n_embd) {
        (12, 768) => "190M",
        (24, 1024) => "450M",
        (24, 2048) | (28, 1536) => "1.5B",
        (28, 3584) | (32, 4096) => "7B",
        (32, 2560) => "2.9B",
        (61, 4096) => "14B",
        _ => UNKNOWN_SIZE,
    }
}
