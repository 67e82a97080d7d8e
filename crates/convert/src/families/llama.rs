//! Llama with Mistral and Mixtral, Qwen 2 and Qwen 3, and those that llama's own conversion serves, SmolLM 3 and Granite. Answers to
//! `conversion/llama.py`, `granite.py` and `QwenModel` of `qwen.py`.

use serde_json::{Value as Json, json};

use super::{ATTENTION, HEAD_NORMS, MLP, Names, PRE_NORMS, Stacked};

/// Of models without experts.
pub(crate) const DENSE: Names = Names { lacks: "model.", ..Names::decoder(&[PRE_NORMS, ATTENTION, MLP]) };

pub(crate) const LLAMA: Names = Names {
    lacks: "model.",
    ..Names::decoder(&[PRE_NORMS, ATTENTION, MLP, &[("block_sparse_moe.gate", "ffn_gate_inp")]])
};

pub(crate) const QWEN3: Names =
    Names { lacks: "model.", ..Names::decoder(&[PRE_NORMS, ATTENTION, HEAD_NORMS, MLP]) };

/// Mixtral's experts.
pub(crate) const STACKED: &[Stacked] = &[Stacked {
    marker: "block_sparse_moe.experts",
    counts: &["num_local_experts", "num_experts"],
    stacks: &[
        ("block_sparse_moe.experts", "w1.weight", "ffn_gate_exps.weight"),
        ("block_sparse_moe.experts", "w2.weight", "ffn_down_exps.weight"),
        ("block_sparse_moe.experts", "w3.weight", "ffn_up_exps.weight"),
    ],
}];

pub(super) fn defaults(model_type: &str) -> Option<Json> {
    let common = json!({
        "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "tie_word_embeddings": false,
    });
    let own = match model_type {
        "llama" => json!({
            "vocab_size": 32000, "intermediate_size": 11008, "max_position_embeddings": 2048,
            "num_key_value_heads": null, "rope_scaling": null, "head_dim": null,
        }),
        "mistral" => json!({
            "vocab_size": 32000, "intermediate_size": 14336, "max_position_embeddings": 131_072,
            "num_key_value_heads": 8, "head_dim": null,
        }),
        "mixtral" => json!({
            "vocab_size": 32000, "intermediate_size": 14336, "max_position_embeddings": 131_072,
            "num_key_value_heads": 8, "head_dim": null, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
            "num_experts_per_tok": 2, "num_local_experts": 8,
        }),
        "qwen2" => json!({
            "vocab_size": 151_936, "intermediate_size": 22016, "max_position_embeddings": 32768,
            "num_key_value_heads": 32, "rope_scaling": null,
        }),
        "qwen3" => json!({
            "vocab_size": 151_936, "intermediate_size": 22016, "max_position_embeddings": 32768,
            "num_key_value_heads": 32, "rope_scaling": null, "head_dim": 128,
        }),
        _ => return None,
    };
    let (Json::Object(mut map), Json::Object(own)) = (common, own) else { return None };
    map.extend(own);
    Some(Json::Object(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_mapped() {
        let name = |text| QWEN3.gguf_name(text, 2);
        assert_eq!(
            name("model.layers.1.self_attn.q_norm.weight").as_deref(),
            Some("blk.1.attn_q_norm.weight")
        );
        assert_eq!(name("model.layers.0.self_attn.q_proj.bias").as_deref(), Some("blk.0.attn_q.bias"));
        assert_eq!(name("layers.0.self_attn.q_proj.bias").as_deref(), Some("blk.0.attn_q.bias"));
        assert_eq!(name("norm.weight").as_deref(), Some("output_norm.weight"));
        assert_eq!(name("lm_head.weight").as_deref(), Some("output.weight"));
        assert_eq!(name("model.layers.2.self_attn.q_proj.weight"), None);
        assert_eq!(name("model.layers.01.self_attn.q_proj.weight"), None);
        assert_eq!(LLAMA.gguf_name("model.layers.1.self_attn.q_norm.weight", 2), None);
    }
}
