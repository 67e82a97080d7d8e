//! `gpt2`: learned positions, fused projections, biases everywhere, GELU. Answers to `src/models/gpt2.cpp`.

use quipu_backend::WeightUse::{Elementwise, GetRows};
use quipu_gguf::Metadata;

use super::Architecture;
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::{Bias, Loader, block};
use crate::model::BuiltGraph;
use crate::weights::{Layer, Qkv, Weights};

pub(super) const ARCH: Architecture = Architecture { name: "gpt2", hparams, weights, graph };

fn hparams(metadata: &Metadata) -> Result<Hparams, Error> {
    Hparams::read(metadata, "gpt2", "attention.layer_norm_epsilon", None)
}

fn weights(loader: &mut Loader<'_>, hparams: &Hparams) -> Result<Weights, Error> {
    let n_embd = hparams.n_embd;
    let tok_embd = loader.require("token_embd.weight", &[n_embd, hparams.n_vocab], GetRows)?;
    let pos_embd = loader.require("position_embd.weight", &[n_embd, hparams.n_ctx_train], GetRows)?;
    let output_norm = loader.require("output_norm.weight", &[n_embd], Elementwise)?;
    let output_norm_b = loader.require("output_norm.bias", &[n_embd], Elementwise)?;
    let output = loader.output_or_tied(hparams, Bias::Never)?;
    let mut layers = Vec::with_capacity(hparams.n_layer);
    for il in 0..hparams.n_layer {
        let n_ff = hparams.n_ff[il];
        let n_qkv = n_embd + hparams.n_embd_k_gqa(il) + hparams.n_embd_v_gqa(il);
        layers.push(Layer {
            attn_norm: loader.require(&block(il, "attn_norm.weight"), &[n_embd], Elementwise)?,
            attn_norm_b: Some(loader.require(&block(il, "attn_norm.bias"), &[n_embd], Elementwise)?),
            qkv: Qkv::Fused(loader.linear(&block(il, "attn_qkv"), [n_embd, n_qkv], Bias::Required)?),
            attn_q_norm: None,
            attn_k_norm: None,
            wo: loader.linear(&block(il, "attn_output"), [n_embd, n_embd], Bias::Required)?,
            rope_freqs: None,
            ffn_norm: loader.require(&block(il, "ffn_norm.weight"), &[n_embd], Elementwise)?,
            ffn_norm_b: Some(loader.require(&block(il, "ffn_norm.bias"), &[n_embd], Elementwise)?),
            ffn_gate: None,
            ffn_up: loader.linear(&block(il, "ffn_up"), [n_embd, n_ff], Bias::Required)?.unscaled(),
            ffn_down: loader.linear(&block(il, "ffn_down"), [n_ff, n_embd], Bias::Required)?.unscaled(),
        });
    }
    Ok(Weights {
        tok_embd,
        pos_embd: Some(pos_embd),
        output_norm,
        output_norm_b: Some(output_norm_b),
        output,
        layers,
    })
}

fn graph(mut b: Builder<'_>) -> Result<BuiltGraph, Error> {
    let weights = b.weights;
    let mut x = b.input_embeddings()?;
    if let Some(pos_embd) = &weights.pos_embd {
        let table = b.weight(pos_embd)?;
        let pos = b.graph.get_rows(table, b.positions())?;
        b.graph.set_name(pos, "pos_embd");
        x = b.graph.add(x, pos)?;
        b.graph.set_name(x, "inpL");
    }
    for (il, layer) in weights.layers.iter().enumerate() {
        let cur = b.norm(x, &layer.attn_norm, layer.attn_norm_b.as_ref())?;
        b.name(cur, "attn_norm", il);
        let heads = b.qkv(layer, cur, il)?;
        let attn = b.attention(layer, &heads, il)?;
        let [attn, residual] = b.keep_outputs(il, [attn, x])?;
        let ffn_inp = b.graph.add(attn, residual)?;
        b.name(ffn_inp, "ffn_inp", il);
        let cur = b.norm(ffn_inp, &layer.ffn_norm, layer.ffn_norm_b.as_ref())?;
        b.name(cur, "ffn_norm", il);
        let cur = b.ffn_gelu(layer, cur)?;
        b.name(cur, "ffn_out", il);
        x = b.graph.add(cur, ffn_inp)?;
        b.name(x, "l_out", il);
    }
    let embd = b.norm(x, &weights.output_norm, weights.output_norm_b.as_ref())?;
    let logits = b.logits(embd)?;
    Ok(b.finish(embd, logits))
}
