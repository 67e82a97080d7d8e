//! `qwen`: one projection with a bias for queries, keys and values, and a feed-forward network of half the width that its metadata
//! says. Answers to `src/models/qwen.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{AttentionSpec, Bias, Decoder, FfnSpec, Network, OutputSpec, Projections, Tied};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "qwen", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Rms, Some(RopeMode::Neox))?.heads_fill_rows()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec {
        projections: Projections::Fused,
        qkv_bias: Bias::Required,
        ..AttentionSpec::default()
    };
    let n_ff = hparams.layers.first().map(|layer| layer.n_ff / 2);
    let ffn = FfnSpec { n_ff, ..FfnSpec::default() };
    let output = OutputSpec { tied: Tied::Never, ..OutputSpec::default() };
    Decoder { attention, ffn, output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "7B",
        40 => "13B",
        _ => UNKNOWN_SIZE,
    }
}
