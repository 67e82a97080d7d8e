//! `codeshell`: layer norms, rotary halves, GELU, biases everywhere; the output matrix may serve as embeddings. Answers to
//! `src/models/codeshell.cpp`.

use quipu_graph::RopeMode;

use super::{Architecture, UNKNOWN_SIZE};
use crate::blocks::{
    Activation, AttentionSpec, Bias, Decoder, Embeddings, FfnSpec, Gate, Network, OutputSpec, Tied,
};
use crate::error::Error;
use crate::hparams::{Hparams, Keys, NormKind, SizeFacts};
use crate::loader::Loader;

pub(super) const ARCH: Architecture = Architecture { name: "codeshell", hparams, load, size_class };

fn hparams(keys: &Keys<'_>) -> Result<Hparams, Error> {
    Hparams::read(keys, NormKind::Layer, Some(RopeMode::Neox))?.rotates_whole_heads()?.heads_fill_rows()
}

fn load(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Box<dyn Network>, Error> {
    let embeddings = Embeddings::or_output(loader, hparams)?;
    let attention = AttentionSpec { out_bias: Bias::Required, ..AttentionSpec::default() };
    let ffn = FfnSpec {
        activation: Activation::Gelu,
        gate: Gate::None,
        bias: Bias::Required,
        ..FfnSpec::default()
    };
    let output = OutputSpec { norm_bias: Bias::Required, tied: Tied::Never, ..OutputSpec::default() };
    let norm_bias = Bias::Required;
    Decoder { norm_bias, attention, ffn, output, ..Decoder::default() }
        .load_behind(loader, hparams, embeddings)
}

fn size_class(size: &SizeFacts) -> &'static str {
    match size.n_layer {
        42 => "7B",
        _ => UNKNOWN_SIZE,
    }
}
