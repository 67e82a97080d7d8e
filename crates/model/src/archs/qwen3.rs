//! `qwen3`: as llama with rotary halves and norms on the heads of queries and keys. Answers to
//! `src/models/qwen3.cpp`.

use quipu_gguf::Metadata;
use quipu_graph::RopeMode;

use super::{Architecture, dense};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::{Bias, Loader};
use crate::model::BuiltGraph;
use crate::weights::Weights;

pub(super) const ARCH: Architecture = Architecture { name: "qwen3", hparams, weights, graph };

fn hparams(metadata: &Metadata) -> Result<Hparams, Error> {
    Hparams::read(metadata, "qwen3", "attention.layer_norm_rms_epsilon", Some(RopeMode::Neox))
}

fn weights(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Weights, Error> {
    let tensors = dense::Tensors {
        output_bias: Bias::Never,
        layer_bias: Bias::Never,
        ffn_scales: true,
        qk_norms: true,
    };
    // A reranker's head: part of the file, not of generation.
    loader.classifier(hparams)?;
    dense::weights(loader, hparams, &tensors)
}

fn graph(builder: Builder<'_>) -> Result<BuiltGraph, Error> {
    dense::graph(builder, RopeMode::Neox)
}
