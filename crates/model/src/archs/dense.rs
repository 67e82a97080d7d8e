//! What llama, qwen2 and qwen3 share: pre-norm, rotary positions, grouped queries, SwiGLU.
//!
//! They differ in the pairing of rotated elements, in biases and in norms on queries and keys; an architecture's
//! file says which, and nothing else.

use quipu_backend::WeightUse::{Elementwise, GetRows};
use quipu_graph::RopeMode;

use crate::build::Builder;
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::{Bias, Loader, block};
use crate::model::BuiltGraph;
use crate::weights::{Layer, Linear, Weights};

/// What an architecture's files may hold beyond the common tensors.
pub(super) struct Tensors {
    /// A bias on the logits.
    pub(super) output_bias: Bias,
    /// Biases on the attention's output and in the feed-forward part.
    pub(super) layer_bias: Bias,
    /// Scales beside the feed-forward matrices are honoured.
    pub(super) ffn_scales: bool,
    /// Norms on the heads of queries and keys.
    pub(super) qk_norms: bool,
}

/// Takes the weights from the file.
pub(super) fn weights(
    loader: &mut Loader<'_>,
    hparams: &Hparams,
    tensors: &Tensors,
) -> Result<Weights, Error> {
    let n_embd = hparams.n_embd;
    let tok_embd = loader.require("token_embd.weight", &[n_embd, hparams.n_vocab], GetRows)?;
    let output_norm = loader.require("output_norm.weight", &[n_embd], Elementwise)?;
    let output = loader.output_or_tied(hparams, tensors.output_bias)?;
    let mut layers = Vec::with_capacity(hparams.n_layer);
    for il in 0..hparams.n_layer {
        let n_ff = hparams.n_ff[il];
        let n_v = hparams.n_embd_head_v * hparams.n_head[il];
        let attn_norm = loader.require(&block(il, "attn_norm.weight"), &[n_embd], Elementwise)?;
        let qkv = loader.qkv(il, hparams)?;
        let mut head_norm = |name| -> Result<_, Error> {
            if !tensors.qk_norms {
                return Ok(None);
            }
            loader.require(&block(il, name), &[hparams.n_embd_head_k], Elementwise).map(Some)
        };
        let attn_q_norm = head_norm("attn_q_norm.weight")?;
        let attn_k_norm = head_norm("attn_k_norm.weight")?;
        let wo = loader.linear(&block(il, "attn_output"), [n_v, n_embd], tensors.layer_bias)?;
        let ffn_norm = loader.require(&block(il, "ffn_norm.weight"), &[n_embd], Elementwise)?;
        let mut ffn = |name, shape| -> Result<Linear, Error> {
            let linear = loader.linear(&block(il, name), shape, tensors.layer_bias)?;
            Ok(if tensors.ffn_scales { linear } else { linear.unscaled() })
        };
        layers.push(Layer {
            attn_norm,
            attn_norm_b: None,
            qkv,
            attn_q_norm,
            attn_k_norm,
            wo,
            rope_freqs: None,
            ffn_norm,
            ffn_norm_b: None,
            ffn_gate: Some(ffn("ffn_gate", [n_embd, n_ff])?),
            ffn_up: ffn("ffn_up", [n_embd, n_ff])?,
            ffn_down: ffn("ffn_down", [n_ff, n_embd])?,
        });
    }
    Ok(Weights { tok_embd, pos_embd: None, output_norm, output_norm_b: None, output, layers })
}

/// The graph: what a layer has beyond the common part, its weights say.
pub(super) fn graph(mut b: Builder<'_>, mode: RopeMode) -> Result<BuiltGraph, Error> {
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
