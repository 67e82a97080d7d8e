//! StableLM. Answers to `conversion/stablelm.py`, which loses the norms of single heads that some have, and refuses them.

use serde_json::{Value as Json, json};

use super::{ATTENTION, MLP, Names, PRE_NORMS};

pub(crate) const NAMES: Names = Names::decoder(&[PRE_NORMS, ATTENTION, MLP]);

pub(super) fn defaults(model_type: &str) -> Option<Json> {
    let defaults = json!({
        "vocab_size": 50304, "intermediate_size": 6912, "hidden_size": 2560, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096,
        "layer_norm_eps": 1e-5, "rope_theta": 10000, "rope_scaling": null, "use_parallel_residual": false,
        "partial_rotary_factor": 0.25, "bos_token_id": 0, "eos_token_id": 0,
    });
    (model_type == "stablelm").then_some(defaults)
}
