//! LoRA adapters of generated models.

use std::io;

use serde_json::json;

use super::models::{Case, Model, Weight};

/// All of them.
pub(super) const CASES: [Case; 4] = [
    Case {
        folder: "lora-llama-0.1M-r8-lora",
        pre: None,
        base: Some("acme-Tiny-0.1M-chat-v0.1"),
        write: llama,
    },
    Case { folder: "lora-qwen2-alora", pre: None, base: Some("qwen2-biased"), write: qwen2 },
    Case { folder: "lora-gpt2", pre: None, base: Some("family-gpt2"), write: gpt2 },
    Case { folder: "lora-mixtral", pre: None, base: Some("mixtral-3x"), write: mixtral },
];

/// The two matrices of a place.
fn pair(model: &mut Model<'_>, name: &str, weight: Weight, rank: usize, outputs: usize, inputs: usize) {
    let name = format!("base_model.model.{name}");
    model.tensor(&format!("{name}.lora_A.weight"), weight, &[rank, inputs]);
    model.tensor(&format!("{name}.lora_B.weight"), weight, &[outputs, rank]);
}

/// All projections, the embedding, and norms that were trained along.
fn llama(model: &mut Model<'_>) -> io::Result<()> {
    model.json("adapter_config.json", &json!({ "peft_type": "LORA", "r": 8, "lora_alpha": 16 }))?;
    let embedding = "base_model.model.model.embed_tokens.lora_embedding";
    model.tensor(&format!("{embedding}_A"), Weight::F32, &[8, 320]);
    model.tensor(&format!("{embedding}_B"), Weight::F32, &[64, 8]);
    for i in 0..2 {
        for (name, outputs, inputs) in [
            ("self_attn.q_proj", 64, 64),
            ("self_attn.k_proj", 32, 64),
            ("self_attn.v_proj", 32, 64),
            ("self_attn.o_proj", 64, 64),
            ("mlp.gate_proj", 96, 64),
            ("mlp.down_proj", 64, 96),
        ] {
            pair(model, &format!("model.layers.{i}.{name}"), Weight::F32, 8, outputs, inputs);
        }
        model.tensor(
            &format!("base_model.model.model.layers.{i}.input_layernorm.weight"),
            Weight::Bf16,
            &[64],
        );
    }
    model.save_as("adapter_model.safetensors")
}

/// An adapter that acts from some tokens on, in half precision, of a rank that makes whole blocks.
fn qwen2(model: &mut Model<'_>) -> io::Result<()> {
    let config =
        json!({ "peft_type": "LORA", "r": 32, "lora_alpha": 64.5, "alora_invocation_tokens": [12, 7, 300] });
    model.json("adapter_config.json", &config)?;
    for i in 0..2 {
        for name in ["self_attn.q_proj", "self_attn.o_proj"] {
            pair(model, &format!("model.layers.{i}.{name}"), Weight::Bf16, 32, 64, 64);
        }
    }
    model.save_as("adapter_model.safetensors")
}

/// Matrices that are stored the other way round.
fn gpt2(model: &mut Model<'_>) -> io::Result<()> {
    model.json("adapter_config.json", &json!({ "peft_type": "LORA", "r": 4, "lora_alpha": 8 }))?;
    for i in 0..2 {
        pair(model, &format!("transformer.h.{i}.attn.c_attn"), Weight::F16, 4, 192, 64);
        pair(model, &format!("transformer.h.{i}.mlp.c_proj"), Weight::F16, 4, 64, 256);
    }
    model.save_as("adapter_model.safetensors")
}

/// An adapter for each expert.
fn mixtral(model: &mut Model<'_>) -> io::Result<()> {
    model.json("adapter_config.json", &json!({ "peft_type": "LORA", "r": 4, "lora_alpha": 8 }))?;
    for i in 0..2 {
        pair(model, &format!("model.layers.{i}.self_attn.k_proj"), Weight::F32, 4, 16, 32);
        for expert in 0..3 {
            for (name, outputs, inputs) in [("w1", 64, 32), ("w2", 32, 64), ("w3", 64, 32)] {
                let name = format!("model.layers.{i}.block_sparse_moe.experts.{expert}.{name}");
                pair(model, &name, Weight::F32, 4, outputs, inputs);
            }
        }
    }
    model.save_as("adapter_model.safetensors")
}
