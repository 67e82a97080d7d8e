//! `qwen2`: as llama with rotary halves and biases on queries, keys and values. Answers to
//! `src/models/qwen2.cpp`.

use quipu_backend::WeightUse::{Elementwise, GetRows};
use quipu_gguf::Metadata;
use quipu_graph::RopeMode;

use super::Architecture;
use super::llama::pre_norm_rope;
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::{Bias, Loader, block};
use crate::model::BuiltGraph;
use crate::weights::{Layer, Weights};

pub(super) const ARCH: Architecture = Architecture { name: "qwen2", hparams, weights, graph };

fn hparams(metadata: &Metadata) -> Result<Hparams, Error> {
    Hparams::read(metadata, "qwen2", "attention.layer_norm_rms_epsilon", Some(RopeMode::Neox))
}

fn weights(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Weights, Error> {
    let n_embd = hparams.n_embd;
    let tok_embd = loader.require("token_embd.weight", &[n_embd, hparams.n_vocab], GetRows)?;
    let output_norm = loader.require("output_norm.weight", &[n_embd], Elementwise)?;
    let output = loader.output_or_tied(hparams, Bias::Optional)?;
    let mut layers = Vec::with_capacity(hparams.n_layer);
    for il in 0..hparams.n_layer {
        let n_ff = hparams.n_ff[il];
        let n_v = hparams.n_embd_head_v * hparams.n_head[il];
        layers.push(Layer {
            attn_norm: loader.require(&block(il, "attn_norm.weight"), &[n_embd], Elementwise)?,
            attn_norm_b: None,
            qkv: loader.qkv(il, hparams)?,
            attn_q_norm: None,
            attn_k_norm: None,
            wo: loader.linear(&block(il, "attn_output"), [n_v, n_embd], Bias::Never)?,
            rope_freqs: None,
            ffn_norm: loader.require(&block(il, "ffn_norm.weight"), &[n_embd], Elementwise)?,
            ffn_norm_b: None,
            ffn_gate: Some(loader.linear(&block(il, "ffn_gate"), [n_embd, n_ff], Bias::Never)?.unscaled()),
            ffn_up: loader.linear(&block(il, "ffn_up"), [n_embd, n_ff], Bias::Never)?.unscaled(),
            ffn_down: loader.linear(&block(il, "ffn_down"), [n_ff, n_embd], Bias::Never)?.unscaled(),
        });
    }
    Ok(Weights { tok_embd, pos_embd: None, output_norm, output_norm_b: None, output, layers })
}

fn graph(builder: Builder<'_>) -> Result<BuiltGraph, Error> {
    pre_norm_rope(builder, RopeMode::Neox)
}
