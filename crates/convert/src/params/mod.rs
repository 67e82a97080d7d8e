//! Hyper-parameters as GGUF keys, in the reference's order. Answers to the `set_gguf_parameters` of
//! `TextModel` and of the families' own classes. Families that write none of the keys all models have are in `own`.

mod own;

use std::path::Path;

use quipu_gguf::Value;
use serde_json::Value as Json;

use crate::config::{Config, Family};
use crate::error::{ConvertError, Result};
use crate::families::{bert, dense};
use crate::json::{JsonFile, float, truthy};
use crate::kv::{KeyValues, f32_of, i32_of, str_of, u32_of, u32_or_array};
use crate::long_rope;
use crate::outtype::OutType;

use own::Keys;

/// Writes the keys of the architecture.
pub(super) fn add(kv: &mut KeyValues, config: &Config, out_type: OutType, dir: &Path) -> Result<()> {
    if own::add(&mut Keys { kv, config }, out_type)? {
        return Ok(());
    }
    let arch = config.family.name();
    let key = |name: &str| format!("{arch}.{name}");
    let hparams = &config.hparams;
    kv.set(&key("block_count"), Value::U32(config.n_layer as u32));
    let context = [
        "max_position_embeddings",
        "n_ctx",
        "n_positions",
        "max_length",
        "max_sequence_length",
        "model_max_length",
    ];
    let feed_forward = [
        "prefix_dense_intermediate_size",
        "dense_intermediate_size",
        "intermediate_size",
        "n_inner",
        "hidden_dim",
    ];
    if let Some((name, value)) = config.find(&context) {
        kv.set(&key("context_length"), Value::U32(u32_of(hparams, name, value)?));
    }
    if let Some((name, value)) = config.find(&["hidden_size", "n_embd", "dim"]) {
        kv.set(&key("embedding_length"), Value::U32(u32_of(hparams, name, value)?));
    }
    if let Some((name, value)) = config.find(&feed_forward) {
        kv.set(&key("feed_forward_length"), u32_or_array(hparams, name, value)?);
    }
    if let Some((name, value)) = config.find(&["num_attention_heads", "n_head", "n_heads"]) {
        kv.set(&key("attention.head_count"), u32_or_array(hparams, name, value)?);
    }
    if config.family == Family::Deepseek2 {
        // Latent attention is one of queries in groups, with one group.
        kv.set(&key("attention.head_count_kv"), Value::U32(1));
    } else if let Some((name, value)) = config.find(&["num_key_value_heads", "n_kv_heads"]) {
        kv.set(&key("attention.head_count_kv"), u32_or_array(hparams, name, value)?);
    }
    if hparams.map.get("is_causal") == Some(&Json::Bool(false)) {
        kv.set(&key("attention.causal"), Value::Bool(false));
    }
    add_rope(kv, config)?;
    for (names, gguf) in [
        (&["rms_norm_eps", "norm_eps"] as &[&'static str], "attention.layer_norm_rms_epsilon"),
        (&["layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"], "attention.layer_norm_epsilon"),
    ] {
        if let Some((name, value)) = config.find(names) {
            kv.set(&key(gguf), Value::F32(f32_of(hparams, name, value)?));
        } else if config.family == Family::Deepseek2 && gguf == "attention.layer_norm_rms_epsilon" {
            kv.set(&key(gguf), Value::F32(1e-6));
        }
    }
    for (names, gguf) in [
        (&["num_local_experts", "num_experts", "n_routed_experts"] as &[&'static str], "expert_count"),
        (&["num_experts_per_tok", "num_experts_per_token", "top_k_experts"], "expert_used_count"),
        (&["n_group"], "expert_group_count"),
        (&["topk_group"], "expert_group_used_count"),
    ] {
        if let Some((name, value)) = config.find(names) {
            kv.set(&key(gguf), Value::U32(u32_of(hparams, name, value)?));
        }
    }
    add_gating(kv, config)?;
    if let Some((name, value)) = config.find(&["head_dim"]) {
        let head_dim = u32_of(hparams, name, value)?;
        kv.set(&key("attention.key_length"), Value::U32(head_dim));
        kv.set(&key("attention.value_length"), Value::U32(head_dim));
    }
    kv.set("general.file_type", Value::U32(out_type.file_type()));
    match config.family {
        Family::Llama | Family::SmolLm3 | Family::Granite => {
            let n_vocab = hparams.map.get("vocab_size").unwrap_or(&Json::Null);
            kv.set(&key("vocab_size"), Value::U32(u32_of(hparams, "vocab_size", n_vocab)?));
            kv.set(&key("rope.dimension_count"), Value::U32(config.rope_dim()? as u32));
            if config.family == Family::Granite {
                for (name, gguf) in dense::GRANITE_SCALES {
                    if let Some(value) = hparams.get(name).filter(|value| truthy(value)) {
                        kv.set(&key(gguf), Value::F32(f32_of(hparams, name, value)?));
                    }
                }
            }
        }
        Family::Qwen2Moe | Family::Qwen3Moe => {
            if let Some(value) = hparams.get("moe_intermediate_size") {
                let n_ff = u32_of(hparams, "moe_intermediate_size", value)?;
                kv.set(&key("expert_feed_forward_length"), Value::U32(n_ff));
            }
            if let Some(value) = hparams.get("shared_expert_intermediate_size") {
                let n_ff = u32_of(hparams, "shared_expert_intermediate_size", value)?;
                kv.set(&key("expert_shared_feed_forward_length"), Value::U32(n_ff));
            }
        }
        Family::Olmoe => kv.set(&key("attention.layer_norm_rms_epsilon"), Value::F32(1e-5)),
        Family::Olmo2 => {
            if hparams.map.contains_key("sliding_window") {
                return Err(ConvertError::Unsupported { what: "an OLMo 2 with windows".to_owned() });
            }
        }
        Family::Gemma3 => add_gemma3(kv, config)?,
        Family::GptOss => {
            let mut keys = Keys { kv, config };
            keys.u32("attention.sliding_window", &["sliding_window"])?;
            keys.u32("expert_feed_forward_length", &["intermediate_size"])?;
        }
        Family::Deepseek2 => add_deepseek2(&mut Keys { kv, config })?,
        Family::Glm4 => {
            let head_dim = match config.find(&["head_dim"]) {
                Some(_) => config.size(&["head_dim"])?,
                None => config.size(&["hidden_size"])? / config.size(&["num_attention_heads"])?,
            };
            let n_rotated = (head_dim as f64 * config.rotary_share(Some(0.5))?) as usize;
            Keys { kv, config }.size("rope.dimension_count", &["head_dim"], n_rotated)?;
        }
        // Those with keys of their own are not here.
        Family::Gemma
        | Family::Gemma2
        | Family::Starcoder2
        | Family::Phi3
        | Family::Gpt2
        | Family::StableLm
        | Family::Falcon
        | Family::Mamba
        | Family::Mamba2 => {}
        Family::Qwen2 | Family::Qwen3 => {
            if let Some(pooling) = pooling_type(dir)? {
                kv.set(&key("pooling_type"), Value::U32(pooling));
            }
        }
        Family::Bert => {
            kv.set(&key("attention.causal"), Value::Bool(false));
            if let Some(pooling) = pooling_type(dir)? {
                kv.set(&key("pooling_type"), Value::U32(pooling));
            }
            if let Some(labels) = bert::labels(&config.raw) {
                let key = key("classifier.output_labels");
                kv.strings(&key, labels.iter().map(String::as_bytes));
            }
        }
    }
    Ok(())
}

/// Keys that stand before all others of the architecture: what the reference writes while it plans tensors.
pub(super) fn add_first(kv: &mut KeyValues, config: &Config) -> Result<()> {
    if config.family == Family::Phi3
        && let Some(scaling) = long_rope::scaling(config)?
    {
        kv.set("phi3.rope.scaling.attn_factor", Value::F32(scaling.attn_factor));
    }
    Ok(())
}

/// Keys of DeepSeek V2 and V3 behind those that all models have.
fn add_deepseek2(keys: &mut Keys<'_>) -> Result<()> {
    let config = keys.config;
    let hparams = &config.hparams;
    let has_experts = config.find(&["n_routed_experts"]).is_some();
    if config.find(&["first_k_dense_replace"]).is_some() {
        keys.u32("leading_dense_block_count", &["first_k_dense_replace"])?;
    } else {
        let n_dense = if has_experts { 0 } else { config.n_layer as u32 };
        keys.set("leading_dense_block_count", Value::U32(n_dense));
    }
    let rank = match config.find(&["kv_lora_rank"]) {
        Some(_) => config.size(&["kv_lora_rank"])?,
        None => 512,
    };
    let (n_rotated, n_key) = (config.size(&["qk_rope_head_dim"])?, config.size(&["qk_nope_head_dim"])?);
    keys.u32("vocab_size", &["vocab_size"])?;
    if config.find(&["q_lora_rank"]).is_some() {
        keys.u32("attention.q_lora_rank", &["q_lora_rank"])?;
    }
    keys.size("attention.kv_lora_rank", &["kv_lora_rank"], rank)?;
    keys.size("attention.key_length", &["kv_lora_rank"], rank.saturating_add(n_rotated))?;
    keys.size("attention.value_length", &["kv_lora_rank"], rank)?;
    keys.size("attention.key_length_mla", &["qk_nope_head_dim"], n_key.saturating_add(n_rotated))?;
    keys.u32("attention.value_length_mla", &["v_head_dim"])?;
    keys.u32("expert_feed_forward_length", &["moe_intermediate_size", "intermediate_size"])?;
    if has_experts {
        keys.u32("expert_count", &["n_routed_experts"])?;
    }
    match config.find(&["n_shared_experts"]) {
        Some(_) => keys.u32("expert_shared_count", &["n_shared_experts"])?,
        None => keys.set("expert_shared_count", Value::U32(0)),
    }
    if config.find(&["routed_scaling_factor"]).is_some() {
        keys.f32("expert_weights_scale", &["routed_scaling_factor"])?;
    }
    if let Some(norm) = hparams.get("norm_topk_prob").filter(|norm| truthy(norm)) {
        let norm = norm.as_bool().ok_or_else(|| hparams.wrong("norm_topk_prob", norm, "true or false"))?;
        keys.set("expert_weights_norm", Value::Bool(norm));
    }
    keys.u32("rope.dimension_count", &["qk_rope_head_dim"])?;
    if let Some(value) = config.rope.get("mscale_all_dim") {
        let wide = float(value).ok_or_else(|| config.rope.wrong("mscale_all_dim", value, "a number"))?;
        let scaled = (0.1 * wide) as f32;
        if !scaled.is_finite() {
            return Err(config.rope.wrong("mscale_all_dim", value, "a number that fits 32 bits"));
        }
        keys.set("rope.scaling.yarn_log_multiplier", Value::F32(scaled));
    }
    Ok(())
}

/// Keys of Gemma 3 behind those that all models have.
fn add_gemma3(kv: &mut KeyValues, config: &Config) -> Result<()> {
    let key = |name: &str| format!("gemma3.{name}");
    let hparams = &config.hparams;
    let number = |name: &'static str, otherwise: u32| match hparams.map.get(name) {
        Some(value) => u32_of(hparams, name, value).map(Value::U32),
        None => Ok(Value::U32(otherwise)),
    };
    kv.set(&key("context_length"), number("max_position_embeddings", 131_072)?);
    kv.set(&key("attention.head_count"), number("num_attention_heads", 8)?);
    if hparams.get("rms_norm_eps").is_none() {
        kv.set(&key("attention.layer_norm_rms_epsilon"), Value::F32(1e-6));
    }
    kv.set(&key("attention.key_length"), number("head_dim", 256)?);
    kv.set(&key("attention.value_length"), number("head_dim", 256)?);
    let rope = config.rope_full()?;
    let theta = match rope.get("rope_theta") {
        Some(theta) => f32_of(&rope, "rope_theta", theta)?,
        None => 1e6,
    };
    kv.set(&key("rope.freq_base"), Value::F32(theta));
    if let Some(value) = hparams.get("attn_logit_softcapping") {
        return Err(hparams.wrong("attn_logit_softcapping", value, "null"));
    }
    if let Some(value) = hparams.get("final_logit_softcapping").filter(|value| truthy(value)) {
        let value = f32_of(hparams, "final_logit_softcapping", value)?;
        kv.set(&key("final_logit_softcapping"), Value::F32(value));
    }
    if hparams.get("sliding_window_pattern").and_then(Json::as_u64) != Some(1) {
        let value = hparams.map.get("sliding_window").unwrap_or(&Json::Null);
        kv.set(&key("attention.sliding_window"), Value::U32(u32_of(hparams, "sliding_window", value)?));
    }
    kv.set(&key("attention.head_count_kv"), number("num_key_value_heads", 4)?);
    Ok(())
}

fn add_rope(kv: &mut KeyValues, config: &Config) -> Result<()> {
    let arch = config.family.name();
    let key = |name: &str| format!("{arch}.rope.{name}");
    let rope = config.rope_full()?;
    let factor = rope.get("factor");
    if let Some(kind) = rope.get("rope_type") {
        match (str_of(&rope, "rope_type", kind)?, factor) {
            ("linear", Some(factor)) => {
                kv.string(&key("scaling.type"), "linear");
                kv.set(&key("scaling.factor"), Value::F32(f32_of(&rope, "factor", factor)?));
            }
            ("yarn", Some(factor)) => {
                kv.string(&key("scaling.type"), "yarn");
                kv.set(&key("scaling.factor"), Value::F32(f32_of(&rope, "factor", factor)?));
                let name = "original_max_position_embeddings";
                let n_ctx = u32_of(&rope, name, rope.map.get(name).unwrap_or(&Json::Null))?;
                kv.set(&key("scaling.original_context_length"), Value::U32(n_ctx));
                // A null under the first name hides the second.
                let attention = rope.map.get("attention_factor").or_else(|| rope.map.get("attn_factor"));
                for (name, value) in [
                    ("yarn_ext_factor", rope.map.get("extrapolation_factor")),
                    ("yarn_attn_factor", attention),
                    ("yarn_beta_fast", rope.map.get("beta_fast")),
                    ("yarn_beta_slow", rope.map.get("beta_slow")),
                ] {
                    if let Some(value) = value.filter(|value| !value.is_null()) {
                        kv.set(&key(&format!("scaling.{name}")), Value::F32(f32_of(&rope, name, value)?));
                    }
                }
            }
            ("su" | "longrope", _) => kv.string(&key("scaling.type"), "longrope"),
            // Factors of `llama3` become a tensor; anything else is not written.
            _ => {}
        }
    }
    if let Some(sections) = config.rope.map.get("mrope_section") {
        let Json::Array(items) = sections else {
            return Err(config.rope.wrong("mrope_section", sections, "a list of integers"));
        };
        let items: Result<Vec<i32>> =
            items.iter().map(|item| i32_of(&config.rope, "mrope_section", item)).collect();
        let mut items = items?;
        items.resize(4, 0);
        kv.array(&key("dimension_sections"), quipu_gguf::Array::I32(items));
    }
    if let Some(theta) = rope.get("rope_theta") {
        kv.set(&key("freq_base"), Value::F32(f32_of(&rope, "rope_theta", theta)?));
    }
    if let Some(theta) = config.rope.get("sliding_attention").and_then(|local| local.get("rope_theta"))
        && !theta.is_null()
    {
        kv.set(&key("freq_base_swa"), Value::F32(f32_of(&rope, "rope_theta", theta)?));
    }
    Ok(())
}

fn add_gating(kv: &mut KeyValues, config: &Config) -> Result<()> {
    let names = [
        "score_function",
        "scoring_func",
        "score_func",
        "moe_router_activation",
        "moe_router_activation_func",
        "expert_selection_fn",
    ];
    let Some((name, value)) = config.find(&names) else { return Ok(()) };
    let function = match value.as_str() {
        Some("softmax") => 1,
        Some("sigmoid") => 2,
        Some("sqrtsoftplus") => 4,
        _ => return Err(config.hparams.wrong(name, value, "softmax, sigmoid or sqrtsoftplus")),
    };
    kv.set(&format!("{}.expert_gating_func", config.family.name()), Value::U32(function));
    Ok(())
}

/// The pooling that `modules.json` of an embedding model asks for (`_try_set_pooling_type`).
fn pooling_type(dir: &Path) -> Result<Option<u32>> {
    let modules_path = dir.join("modules.json");
    if !modules_path.is_file() {
        return Ok(None);
    }
    let modules: Vec<Json> = serde_json::from_slice(&crate::json::read(&modules_path)?)
        .map_err(|error| ConvertError::Json { path: modules_path.clone(), message: error.to_string() })?;
    let is_pooling = |module: &&Json| {
        module.get("type").and_then(Json::as_str).is_some_and(|kind| kind.ends_with("Pooling"))
    };
    let Some(module) = modules.iter().find(is_pooling) else { return Ok(None) };
    let wrong = |found: &Json| ConvertError::Field {
        path: modules_path.clone(),
        key: "path".to_owned(),
        found: crate::json::shown(found),
        expected: "the name of a folder beside it",
    };
    let found = module.get("path").unwrap_or(&Json::Null);
    let folder =
        found.as_str().filter(|name| crate::safetensors::is_plain_name(name)).ok_or_else(|| wrong(found))?;
    let pooling = JsonFile::read(&dir.join(folder).join("config.json"))?;
    let says = |key: &str| pooling.map.get(key).is_some_and(truthy);
    let kind = match pooling.get("pooling_mode").and_then(Json::as_str) {
        _ if says("pooling_mode_mean_tokens") => 1,
        _ if says("pooling_mode_cls_token") => 2,
        _ if says("pooling_mode_lasttoken") => 3,
        Some("mean") => 1,
        Some("cls") => 2,
        Some("lasttoken") => 3,
        _ => {
            let found = pooling.map.get("pooling_mode").unwrap_or(&Json::Null);
            return Err(pooling.wrong("pooling_mode", found, "mean, cls or lasttoken"));
        }
    };
    Ok(Some(kind))
}
