//! gpt-oss: attention sinks, experts in stacks, in MXFP4 as it is published. Answers to `conversion/gpt_oss.py`.

use serde_json::{Value as Json, json};

use super::{ATTENTION, Names};

pub(crate) const NAMES: Names = Names::decoder(&[
    ATTENTION,
    &[
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "post_attention_norm"),
        ("self_attn.sinks", "attn_sinks"),
        ("mlp.router", "ffn_gate_inp"),
        ("mlp.experts.gate_proj", "ffn_gate_exps"),
        ("mlp.experts.up_proj", "ffn_up_exps"),
        ("mlp.experts.down_proj", "ffn_down_exps"),
    ],
]);

pub(super) fn defaults(model_type: &str) -> Option<Json> {
    let defaults = json!({
        "num_hidden_layers": 36, "num_local_experts": 128, "vocab_size": 201_088, "hidden_size": 2880,
        "intermediate_size": 2880, "head_dim": 64, "num_attention_heads": 64, "num_key_value_heads": 8,
        "sliding_window": 128, "rope_theta": 150_000.0, "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5,
        "rope_scaling": { "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
                          "truncate": false, "original_max_position_embeddings": 4096 },
        "num_experts_per_tok": 4,
    });
    (model_type == "gpt_oss").then_some(defaults)
}
