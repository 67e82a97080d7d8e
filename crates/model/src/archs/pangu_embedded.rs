//! `pangu-embedded`: as llama with rotary halves and a bias on attention; rotary factors that its files carry are not used. Answers
//! to `src/models/pangu-embed.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Bias, Decoder, Factors, Network};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "pangu-embedded", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?.rotates_whole_heads()?.has_one_head_size()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec { out_bias: Bias::Required, ..AttentionSpec::default() };
    Decoder { factors: Factors::Unused, attention, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        26 => "1B",
        34 => "7B",
        _ => UNKNOWN_SIZE,
    }
}
