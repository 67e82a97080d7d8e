//! `phi2`: both blocks side by side behind one norm, queries scaled before the scores, biases everywhere. Answers to
//! `src/models/phi2.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, AttentionSpec, Bias, Decoder, FfnSpec, Gate, Network, Norms, OutputSpec, Residual, Scale,
    Tied,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "phi2", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Layer, Some(RopeMode::Neox))?.heads_fill_rows()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let attention =
        AttentionSpec { scale: Scale::Queries, out_bias: Bias::Required, ..AttentionSpec::default() };
    let ffn = FfnSpec {
        activation: Activation::Gelu,
        gate: Gate::None,
        bias: Bias::Required,
        ..FfnSpec::default()
    };
    let output = OutputSpec {
        norm_bias: Bias::Required,
        tied: Tied::Never,
        bias: Bias::Required,
        ..OutputSpec::default()
    };
    let decoder = Decoder {
        norms: Norms::Before("attn_norm", None),
        norm_bias: Bias::Required,
        attention,
        residual: Residual::ParallelMixedFirst,
        ffn,
        output,
        ..Decoder::default()
    };
    decoder.load(loader, hparams)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        24 => "1B",
        32 => "3B",
        _ => UNKNOWN_SIZE,
    }
}
