//! `starcoder`: learned positions, one projection, biases everywhere, GELU. Answers to `src/models/starcoder.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, AttentionSpec, Bias, Decoder, Embeddings, FfnSpec, Gate, Network, OutputSpec, Projections,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, LayerRope, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "starcoder", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    // As in the reference's table there is a kind of rotation, and the graph has none.
    let mut hparams = Hparams::read(keys, NormKind::Layer, Some(RopeMode::Norm))?.heads_fill_rows()?;
    for layer in &mut hparams.layers {
        layer.rope = LayerRope::Off;
    }
    Ok(hparams)
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::load(loader, hparams)?.with_positions(loader, hparams)?;
    let attention = AttentionSpec {
        projections: Projections::Fused,
        qkv_bias: Bias::Required,
        out_bias: Bias::Required,
        ..AttentionSpec::default()
    };
    let ffn = FfnSpec {
        activation: Activation::Gelu,
        gate: Gate::None,
        bias: Bias::Required,
        ..FfnSpec::default()
    };
    let output = OutputSpec { norm_bias: Bias::Required, ..OutputSpec::default() };
    let norm_bias = Bias::Required;
    Decoder { norm_bias, attention, ffn, output, ..Decoder::default() }
        .load_behind(loader, hparams, embeddings)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        24 => "1B",
        36 => "3B",
        42 => "7B",
        40 => "15B",
        _ => UNKNOWN_SIZE,
    }
}
