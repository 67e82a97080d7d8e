//! `qwen2`: as llama with rotary halves and biases on queries, keys and values. Answers to
//! `src/models/qwen2.cpp`.

use quipu_gguf::Metadata;
use quipu_graph::RopeMode;

use super::{Architecture, dense};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::{Bias, Loader};
use crate::model::BuiltGraph;
use crate::weights::Weights;

pub(super) const ARCH: Architecture = Architecture { name: "qwen2", hparams, weights, graph };

fn hparams(metadata: &Metadata) -> Result<Hparams, Error> {
    Hparams::read(metadata, "qwen2", "attention.layer_norm_rms_epsilon", Some(RopeMode::Neox))
}

fn weights(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Weights, Error> {
    let tensors = dense::Tensors {
        output_bias: Bias::Optional,
        layer_bias: Bias::Never,
        ffn_scales: false,
        qk_norms: false,
    };
    dense::weights(loader, hparams, &tensors)
}

fn graph(builder: Builder<'_>) -> Result<BuiltGraph, Error> {
    dense::graph(builder, RopeMode::Neox)
}
