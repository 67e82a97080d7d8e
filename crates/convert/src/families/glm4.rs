//! GLM 4: norms on both sides of the blocks, gate and up in one matrix. Answers to `Glm4Model` of `conversion/glm.py`.

use serde_json::{Value as Json, json};

use super::{ATTENTION, Names, PRE_NORMS};

pub(crate) const NAMES: Names = Names::decoder(&[
    PRE_NORMS,
    ATTENTION,
    &[
        ("post_self_attn_layernorm", "post_attention_norm"),
        ("post_mlp_layernorm", "post_ffw_norm"),
        ("mlp.gate_up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ],
]);

/// Kinds of special tokens that its vocabulary is given, and their texts.
pub(crate) const SPECIAL_TOKENS: [(&str, &str); 4] =
    [("eos", "<|endoftext|>"), ("eot", "<|user|>"), ("unk", "<|endoftext|>"), ("bos", "<|endoftext|>")];

pub(super) fn defaults(model_type: &str) -> Option<Json> {
    let defaults = json!({
        "vocab_size": 151_552, "hidden_size": 4096, "intermediate_size": 13696, "num_hidden_layers": 40,
        "num_attention_heads": 32, "num_key_value_heads": 2, "partial_rotary_factor": 0.5, "head_dim": 128,
        "max_position_embeddings": 131_072, "rms_norm_eps": 1.5625e-7, "rope_theta": 10000.0,
    });
    (model_type == "glm4").then_some(defaults)
}
