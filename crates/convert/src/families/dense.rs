//! Dense decoders whose tensors only have other names than llama's: StarCoder 2, OLMo 2, and the two that llama's own conversion serves,
//! SmolLM 3 and Granite. Answers to `conversion/starcoder.py`, `olmo.py`, `llama.py` and `granite.py`.

use serde_json::{Value as Json, json};

use super::{ATTENTION, HEAD_NORMS, MLP, Names, PRE_NORMS};

pub(crate) const STARCODER2: Names =
    Names::decoder(&[PRE_NORMS, ATTENTION, &[("mlp.c_fc", "ffn_up"), ("mlp.c_proj", "ffn_down")]]);

pub(crate) const OLMO2: Names = Names::decoder(&[
    ATTENTION,
    HEAD_NORMS,
    &[("post_attention_layernorm", "post_attention_norm"), ("post_feedforward_layernorm", "post_ffw_norm")],
    MLP,
]);

/// Granite's factors: the configuration's key and GGUF's.
pub(crate) const GRANITE_SCALES: [(&str, &str); 4] = [
    ("attention_multiplier", "attention.scale"),
    ("embedding_multiplier", "embedding_scale"),
    ("residual_multiplier", "residual_scale"),
    ("logits_scaling", "logit_scale"),
];

pub(super) fn defaults(model_type: &str) -> Option<Json> {
    Some(match model_type {
        "starcoder2" => json!({
            "vocab_size": 49152, "hidden_size": 3072, "intermediate_size": 12288, "num_hidden_layers": 30,
            "num_attention_heads": 24, "num_key_value_heads": 2, "max_position_embeddings": 4096,
            "norm_epsilon": 1e-5, "rope_theta": 10000.0, "rope_scaling": null, "sliding_window": null,
        }),
        "olmo2" => json!({
            "vocab_size": 50304, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": null,
        }),
        "smollm3" => json!({
            "vocab_size": 128_256, "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
            "num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6, "rope_theta": 2_000_000.0, "rope_scaling": null, "sliding_window": null,
        }),
        "granite" => json!({
            "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": null, "attention_multiplier": 1.0,
            "embedding_multiplier": 1.0, "residual_multiplier": 1.0, "logits_scaling": 1.0,
        }),
        _ => return None,
    })
}
