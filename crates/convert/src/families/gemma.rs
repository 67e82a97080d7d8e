//! Gemma, Gemma 2 and the text models of Gemma 3: norms whose weights are what is added to one. Answers to `conversion/gemma.py`.

use serde_json::{Value as Json, json};

use super::{ATTENTION, HEAD_NORMS, MLP, Names, PRE_NORMS, Rows, SANDWICH_NORMS};

/// Their heads are their embeddings.
const WHOLE: Rows = &[("model.embed_tokens", "token_embd"), ("model.norm", "output_norm")];

pub(crate) const NAMES: Names = Names { whole: WHOLE, ..Names::decoder(&[PRE_NORMS, ATTENTION, MLP]) };

/// Of Gemma 2, whose blocks have norms on both sides.
pub(crate) const NAMES_2: Names = Names { whole: WHOLE, ..Names::decoder(&[SANDWICH_NORMS, ATTENTION, MLP]) };

/// Of Gemma 3, whose heads have norms too.
pub(crate) const NAMES_3: Names = Names::decoder(&[SANDWICH_NORMS, ATTENTION, HEAD_NORMS, MLP]);

pub(super) fn defaults(model_type: &str) -> Option<Json> {
    Some(match model_type {
        "gemma" => json!({
            "vocab_size": 256_000, "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28,
            "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256,
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        }),
        "gemma2" => json!({
            "vocab_size": 256_000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
            "sliding_window": 4096, "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0,
        }),
        "gemma3_text" => json!({
            "vocab_size": 262_208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
            "max_position_embeddings": 131_072, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0,
            "rope_local_base_freq": 10000.0, "rope_scaling": null, "sliding_window": 4096,
            "final_logit_softcapping": null, "attn_logit_softcapping": null,
        }),
        _ => return None,
    })
}
