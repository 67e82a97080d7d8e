//! GPT-2: matrices stored the other way round. Answers to `GPT2Model` of `conversion/gpt2.py`.

use serde_json::{Value as Json, json};

use super::Names;

pub(crate) const NAMES: Names = Names {
    lacks: "transformer.",
    whole: &[
        ("transformer.wte", "token_embd"),
        ("transformer.wpe", "position_embd"),
        ("transformer.ln_f", "output_norm"),
        ("lm_head", "output"),
    ],
    layers: "transformer.h.",
    layer: &[&[
        ("ln_1", "attn_norm"),
        ("attn.c_attn", "attn_qkv"),
        ("attn.c_proj", "attn_output"),
        ("ln_2", "ffn_norm"),
        ("mlp.c_fc", "ffn_up"),
        ("mlp.c_proj", "ffn_down"),
    ]],
};

/// Matrices that have a row for each input.
pub(crate) const TRANSPOSED: [&str; 3] = [".c_attn.weight", ".c_proj.weight", ".c_fc.weight"];

pub(super) fn defaults(model_type: &str) -> Option<Json> {
    let defaults = json!({
        "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": null,
        "layer_norm_epsilon": 1e-5, "bos_token_id": 50256, "eos_token_id": 50256,
    });
    (model_type == "gpt2").then_some(defaults)
}
