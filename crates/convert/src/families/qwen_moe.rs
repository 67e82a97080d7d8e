//! Qwen 2 and 3 with experts, and OLMoE, whose experts are stored one by one in the same way. Answers to `Qwen2MoeModel` of
//! `conversion/qwen.py` and `OlmoeModel` of `conversion/olmo.py`.

use serde_json::{Value as Json, json};

use super::{ATTENTION, HEAD_NORMS, MLP_EXPERTS, Names, PRE_NORMS, Rows, Stacked};

/// The router, and the experts where they are stored as stacks.
const ROUTED: Rows = &[
    ("mlp.gate", "ffn_gate_inp"),
    ("mlp.experts.down_proj", "ffn_down_exps"),
    ("mlp.experts.gate_proj", "ffn_gate_exps"),
    ("mlp.experts.up_proj", "ffn_up_exps"),
];

pub(crate) const NAMES: Names = Names::decoder(&[PRE_NORMS, ATTENTION, HEAD_NORMS, ROUTED]);

/// Of Qwen 2, which has an expert that is always used, and its gate.
pub(crate) const NAMES_2: Names = Names::decoder(&[
    PRE_NORMS,
    ATTENTION,
    ROUTED,
    &[
        ("mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
        ("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
        ("mlp.shared_expert.up_proj", "ffn_up_shexp"),
        ("mlp.shared_expert.down_proj", "ffn_down_shexp"),
    ],
]);

pub(crate) const STACKED: &[Stacked] =
    &[Stacked { marker: "mlp.experts.", counts: &["num_local_experts", "num_experts"], stacks: MLP_EXPERTS }];

pub(super) fn defaults(model_type: &str) -> Option<Json> {
    Some(match model_type {
        "qwen3_moe" => json!({
            "vocab_size": 151_936, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 24,
            "num_attention_heads": 32, "num_key_value_heads": 4, "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": null, "sliding_window": null,
            "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8,
        }),
        "qwen2_moe" => json!({
            "vocab_size": 151_936, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 24,
            "num_attention_heads": 16, "num_key_value_heads": 16, "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": null, "sliding_window": null,
            "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632, "num_experts": 60,
            "num_experts_per_tok": 4,
        }),
        "olmoe" => json!({
            "vocab_size": 50304, "hidden_size": 2048, "intermediate_size": 2048, "num_hidden_layers": 16,
            "num_attention_heads": 16, "num_key_value_heads": 16, "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": null, "num_experts": 64,
            "num_experts_per_tok": 8,
        }),
        _ => return None,
    })
}
