//! `nemotron`: layer norms, heads rotated in part, squares of what is positive. Answers to `src/models/nemotron.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{Activation, AttentionSpec, Bias, Decoder, FfnSpec, Gate, Network, OutputSpec, Tied};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "nemotron", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Layer, Some(RopeMode::Neox))?.heads_fill_rows()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec { out_bias: Bias::Optional, ..AttentionSpec::default() };
    let ffn = FfnSpec {
        activation: Activation::ReluSquared,
        gate: Gate::None,
        bias: Bias::Optional,
        ..FfnSpec::default()
    };
    let output = OutputSpec { norm_bias: Bias::Required, tied: Tied::Never, ..OutputSpec::default() };
    let norm_bias = Bias::Required;
    Decoder { norm_bias, attention, ffn, output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "4B",
        _ => UNKNOWN_SIZE,
    }
}
