//! `olmo`: layer norms without weights; queries, keys and values may be clamped. Answers to `src/models/olmo.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Decoder, Network, Norms, OutputSpec};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "olmo", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    let hparams = Hparams::read(keys, NormKind::Layer, Some(RopeMode::Norm))?;
    let mut hparams = hparams.rotates_whole_heads()?.heads_fill_rows()?;
    hparams.clamp_kqv = keys.f32("attention.clamp_kqv")?.filter(|clamp| *clamp > 0.0);
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec { clamp: hparams.clamp_kqv, ..AttentionSpec::default() };
    let output = OutputSpec { norm_weight: false, ..OutputSpec::default() };
    Decoder { norms: Norms::Weightless, attention, output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        22 => "1B",
        32 => "7B",
        80 => "70B",
        _ => UNKNOWN_SIZE,
    }
}
