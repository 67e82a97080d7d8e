//! `llama`: pre-norm, rotary neighbours, grouped queries, SwiGLU. Answers to `src/models/llama.cpp` (dense).

use quipu_backend::WeightUse::Elementwise;
use quipu_gguf::Metadata;
use quipu_graph::RopeMode;

use super::{Architecture, dense};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::{Bias, Loader};
use crate::model::BuiltGraph;
use crate::weights::Weights;

pub(super) const ARCH: Architecture = Architecture { name: "llama", hparams, weights, graph };

fn hparams(metadata: &Metadata) -> Result<Hparams, Error> {
    let hparams = Hparams::read(metadata, "llama", "attention.layer_norm_rms_epsilon", Some(RopeMode::Norm))?;
    if hparams.n_rot != hparams.n_embd_head_k {
        return Err(Error::Hparam {
            key: "llama.rope.dimension_count".to_owned(),
            found: hparams.n_rot.to_string(),
            expected: format!("the head size {}", hparams.n_embd_head_k),
        });
    }
    Ok(hparams)
}

fn weights(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Weights, Error> {
    let tensors = dense::Tensors {
        output_bias: Bias::Never,
        layer_bias: Bias::Optional,
        ffn_scales: true,
        qk_norms: false,
    };
    let mut weights = dense::weights(loader, hparams, &tensors)?;
    let rope_freqs = loader.optional("rope_freqs.weight", &[hparams.n_rot / 2], Elementwise)?;
    for layer in &mut weights.layers {
        layer.rope_freqs.clone_from(&rope_freqs);
    }
    Ok(weights)
}

fn graph(builder: Builder<'_>) -> Result<BuiltGraph, Error> {
    dense::graph(builder, RopeMode::Norm)
}
