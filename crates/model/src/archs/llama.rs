//! `llama`: pre-norm, rotary neighbours, grouped queries, SwiGLU. Answers to `src/models/llama.cpp` (dense).

use quipu_backend::WeightUse::{Elementwise, GetRows};
use quipu_gguf::Metadata;
use quipu_graph::RopeMode;

use super::Architecture;
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::{Bias, Loader, block};
use crate::model::BuiltGraph;
use crate::weights::{Layer, Weights};

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
    let n_embd = hparams.n_embd;
    let tok_embd = loader.require("token_embd.weight", &[n_embd, hparams.n_vocab], GetRows)?;
    let output_norm = loader.require("output_norm.weight", &[n_embd], Elementwise)?;
    let output = loader.output_or_tied(hparams, Bias::Never)?;
    let mut layers = Vec::with_capacity(hparams.n_layer);
    let rope_freqs = loader.optional("rope_freqs.weight", &[hparams.n_rot / 2], Elementwise)?;
    for il in 0..hparams.n_layer {
        let n_ff = hparams.n_ff[il];
        let n_v = hparams.n_embd_head_v * hparams.n_head[il];
        layers.push(Layer {
            attn_norm: loader.require(&block(il, "attn_norm.weight"), &[n_embd], Elementwise)?,
            attn_norm_b: None,
            qkv: loader.qkv(il, hparams)?,
            attn_q_norm: None,
            attn_k_norm: None,
            wo: loader.linear(&block(il, "attn_output"), [n_v, n_embd], Bias::Optional)?,
            rope_freqs: rope_freqs.clone(),
            ffn_norm: loader.require(&block(il, "ffn_norm.weight"), &[n_embd], Elementwise)?,
            ffn_norm_b: None,
            ffn_gate: Some(loader.linear(&block(il, "ffn_gate"), [n_embd, n_ff], Bias::Optional)?),
            ffn_up: loader.linear(&block(il, "ffn_up"), [n_embd, n_ff], Bias::Optional)?,
            ffn_down: loader.linear(&block(il, "ffn_down"), [n_ff, n_embd], Bias::Optional)?,
        });
    }
    Ok(Weights { tok_embd, pos_embd: None, output_norm, output_norm_b: None, output, layers })
}

fn graph(builder: Builder<'_>) -> Result<BuiltGraph, Error> {
    pre_norm_rope(builder, RopeMode::Norm)
}

/// The graph that llama, qwen2 and qwen3 share: they differ in pairing, biases and the norms of queries and
/// keys, all of which the layer's weights say.
pub(super) fn pre_norm_rope(mut b: Builder<'_>, mode: RopeMode) -> Result<BuiltGraph, Error> {
    let weights = b.weights;
    let mut x = b.input_embeddings()?;
    for (il, layer) in weights.layers.iter().enumerate() {
        let cur = b.rms_norm(x, &layer.attn_norm)?;
        b.name(cur, "attn_norm", il);
        let mut heads = b.qkv(layer, cur, il)?;
        if let Some(norm) = &layer.attn_q_norm {
            heads.q = b.rms_norm(heads.q, norm)?;
            b.name(heads.q, "Qcur_normed", il);
        }
        if let Some(norm) = &layer.attn_k_norm {
            heads.k = b.rms_norm(heads.k, norm)?;
            b.name(heads.k, "Kcur_normed", il);
        }
        b.rope(&mut heads, layer, mode)?;
        let attn = b.attention(layer, &heads, il)?;
        let [attn, residual] = b.keep_outputs(il, [attn, x])?;
        let ffn_inp = b.graph.add(attn, residual)?;
        b.name(ffn_inp, "ffn_inp", il);
        let cur = b.rms_norm(ffn_inp, &layer.ffn_norm)?;
        b.name(cur, "ffn_norm", il);
        let cur = b.ffn_swiglu(layer, cur)?;
        b.name(cur, "ffn_out", il);
        x = b.graph.add(cur, ffn_inp)?;
        b.name(x, "l_out", il);
    }
    let embd = b.rms_norm(x, &weights.output_norm)?;
    let logits = b.logits(embd)?;
    Ok(b.finish(embd, logits))
}
