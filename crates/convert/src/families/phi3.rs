//! Phi 3 and Phi 4: fused projections, factors for long texts. Answers to `Phi3MiniModel` of `conversion/phi.py`.

use serde_json::{Value as Json, json};

use super::{Names, PRE_NORMS};

pub(crate) const NAMES: Names = Names::decoder(&[
    PRE_NORMS,
    &[
        ("self_attn.qkv_proj", "attn_qkv"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ],
]);

pub(super) fn defaults(model_type: &str) -> Option<Json> {
    let defaults = json!({
        "vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": null, "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "rope_scaling": null, "partial_rotary_factor": 1.0, "bos_token_id": 1, "eos_token_id": 32000,
        "pad_token_id": 32000, "sliding_window": null,
    });
    (model_type == "phi3").then_some(defaults)
}
