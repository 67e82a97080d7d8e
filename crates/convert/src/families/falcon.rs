//! Falcon: queries, keys and values in groups in one matrix. Answers to `conversion/falcon.py`.

use serde_json::{Value as Json, json};

use super::Names;

pub(crate) const NAMES: Names = Names {
    lacks: "",
    whole: &[
        ("transformer.word_embeddings", "token_embd"),
        ("transformer.ln_f", "output_norm"),
        ("lm_head", "output"),
    ],
    layers: "transformer.h.",
    layer: &[&[
        ("input_layernorm", "attn_norm"),
        ("ln_mlp", "attn_norm"),
        ("ln_attn", "attn_norm_2"),
        ("self_attention.query_key_value", "attn_qkv"),
        ("self_attention.dense", "attn_output"),
        ("mlp.dense_h_to_4h", "ffn_up"),
        ("mlp.dense_4h_to_h", "ffn_down"),
    ]],
};

pub(super) fn defaults(model_type: &str) -> Option<Json> {
    let defaults = json!({
        "vocab_size": 65024, "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71,
        "num_kv_heads": null, "layer_norm_epsilon": 1e-5, "rope_theta": 10000.0, "rope_scaling": null,
    });
    (model_type == "falcon").then_some(defaults)
}
