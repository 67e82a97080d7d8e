//! Qwen 2 and 3 with experts, and OLMoE, whose experts are stored one by one in the same way. Answers to `Qwen2MoeModel` of
//! `conversion/qwen.py` and `OlmoeModel` of `conversion/olmo.py`.

use serde_json::{Value as Json, json};

use super::Names;

const WHOLE: &[(&str, &str)] =
    &[("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")];

/// What stands in the name of an expert's matrix and the name of their stack, in the order of the stacks in the file.
pub(crate) const EXPERTS: [(&str, &str); 3] =
    [("down_proj", "ffn_down_exps"), ("gate_proj", "ffn_gate_exps"), ("up_proj", "ffn_up_exps")];

pub(crate) const NAMES_2: Names = Names {
    whole: WHOLE,
    layers: "model.layers.",
    layer: &[
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate", "ffn_gate_inp"),
        ("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
        ("mlp.shared_expert.up_proj", "ffn_up_shexp"),
        ("mlp.shared_expert.down_proj", "ffn_down_shexp"),
        ("mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
    ],
};

/// Of Qwen 3 and OLMoE.
pub(crate) const NAMES_3: Names = Names {
    whole: WHOLE,
    layers: "model.layers.",
    layer: &[
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate", "ffn_gate_inp"),
    ],
};

pub(super) fn defaults(model_type: &str) -> Option<Json> {
    Some(match model_type {
        "qwen2_moe" => json!({
            "vocab_size": 151_936, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 24,
            "num_attention_heads": 16, "num_key_value_heads": 16, "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": null, "sliding_window": null,
            "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632, "num_experts": 60,
            "num_experts_per_tok": 4,
        }),
        "qwen3_moe" => json!({
            "vocab_size": 151_936, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 24,
            "num_attention_heads": 32, "num_key_value_heads": 4, "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": null, "sliding_window": null,
            "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8,
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
