//! DeepSeek V2 and V3: latent attention, experts beside some that are always used. Answers to `DeepseekV2Model` of
//! `conversion/deepseek.py`.

use serde_json::{Value as Json, json};

use super::{MLP, MLP_EXPERTS, Names, PRE_NORMS, Stacked};

pub(crate) const NAMES: Names = Names::decoder(&[
    PRE_NORMS,
    MLP,
    &[
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_a_proj", "attn_q_a"),
        ("self_attn.q_a_layernorm", "attn_q_a_norm"),
        ("self_attn.q_b_proj", "attn_q_b"),
        ("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
        ("self_attn.kv_a_layernorm", "attn_kv_a_norm"),
        ("self_attn.k_b_proj", "attn_k_b"),
        ("self_attn.v_b_proj", "attn_v_b"),
        ("mlp.gate", "ffn_gate_inp"),
        ("mlp.gate.e_score_correction", "exp_probs_b"),
        ("mlp.shared_experts.gate_proj", "ffn_gate_shexp"),
        ("mlp.shared_experts.up_proj", "ffn_up_shexp"),
        ("mlp.shared_experts.down_proj", "ffn_down_shexp"),
    ],
]);

pub(crate) const STACKED: &[Stacked] =
    &[Stacked { marker: "mlp.experts", counts: &["n_routed_experts"], stacks: MLP_EXPERTS }];

pub(super) fn defaults(model_type: &str) -> Option<Json> {
    Some(match model_type {
        "deepseek_v2" => json!({
            "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": null, "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6, "tie_word_embeddings": false, "rope_theta": 10000.0, "rope_scaling": null,
            "first_k_dense_replace": 0, "kv_lora_rank": 512, "q_lora_rank": 1536, "n_group": null,
            "n_routed_experts": 64, "n_shared_experts": 2, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
            "routed_scaling_factor": 1.0, "topk_group": null, "v_head_dim": 128, "num_experts_per_tok": null,
            "norm_topk_prob": false, "moe_intermediate_size": 1407,
        }),
        "deepseek_v3" => json!({
            "vocab_size": 129_280, "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
            "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128, "n_shared_experts": 1,
            "n_routed_experts": 256, "routed_scaling_factor": 2.5, "kv_lora_rank": 512, "q_lora_rank": 1536,
            "qk_rope_head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128, "n_group": 8, "topk_group": 4,
            "num_experts_per_tok": 8, "first_k_dense_replace": 3, "norm_topk_prob": true,
            "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "tie_word_embeddings": false,
            "rope_theta": 10000.0, "rope_scaling": null,
        }),
        _ => return None,
    })
}
