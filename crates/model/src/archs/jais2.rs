//! `jais2`: layer norms, rotary halves, squares of what is positive, biases everywhere. Answers to `src/models/jais2.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, AttentionSpec, Bias, Decoder, FfnSpec, Gate, Network, OutputSpec, Projections,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "jais2", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Layer, Some(RopeMode::Neox))?.rotates_whole_heads()?.has_one_head_size()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention = AttentionSpec {
        projections: Projections::Separate,
        qkv_bias: Bias::Required,
        out_bias: Bias::Required,
        ..AttentionSpec::default()
    };
    let ffn = FfnSpec {
        activation: Activation::ReluSquared,
        gate: Gate::None,
        bias: Bias::Required,
        ..FfnSpec::default()
    };
    let output = OutputSpec { norm_bias: Bias::Required, ..OutputSpec::default() };
    let norm_bias = Bias::Required;
    Decoder { norm_bias, attention, ffn, output, ..Decoder::default() }.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        32 => "8B",
        68 => "70B",
        _ => UNKNOWN_SIZE,
    }
}
