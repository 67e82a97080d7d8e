//! The keys of families that do not write those all models have: Gemma and Gemma 2, Phi 3, GPT-2, StableLM, Falcon, Mamba. Each in
//! the order of its `set_gguf_parameters`.

use quipu_gguf::Value;
use serde_json::Value as Json;

use crate::config::{Config, Family};
use crate::error::Result;
use crate::json::truthy;
use crate::kv::{KeyValues, f32_of, u32_of};
use crate::long_rope;
use crate::outtype::OutType;
use crate::parts;

/// What Mamba's files say their longest text is.
const MAMBA_CONTEXT: u32 = 1 << 20;

/// The keys being written, with the configuration that they come from.
pub(super) struct Keys<'a> {
    /// The file's keys.
    pub kv: &'a mut KeyValues,
    /// The model's configuration.
    pub config: &'a Config,
}

impl Keys<'_> {
    /// Sets a key of the architecture.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        self.kv.set(&format!("{}.{name}", self.config.family.name()), value);
    }

    /// Sets a key to the first of `keys`, which must be there, as a u32.
    pub(super) fn u32(&mut self, name: &str, keys: &[&'static str]) -> Result<()> {
        let (key, value) = self.config.required(keys)?;
        let value = u32_of(&self.config.hparams, key, value)?;
        self.set(name, Value::U32(value));
        Ok(())
    }

    /// Sets a key to the first of `keys`, which must be there, as an f32.
    pub(super) fn f32(&mut self, name: &str, keys: &[&'static str]) -> Result<()> {
        let (key, value) = self.config.required(keys)?;
        let value = f32_of(&self.config.hparams, key, value)?;
        self.set(name, Value::F32(value));
        Ok(())
    }

    /// Sets a key to a size computed here.
    pub(super) fn size(&mut self, name: &str, keys: &[&'static str], size: usize) -> Result<()> {
        let value = u32::try_from(size).map_err(|_| {
            let key = keys.first().copied().unwrap_or_default();
            self.config.hparams.wrong(key, &Json::from(size), "a size whose product fits 32 bits")
        })?;
        self.set(name, Value::U32(value));
        Ok(())
    }

    fn layers(&mut self) {
        self.set("block_count", Value::U32(self.config.n_layer as u32));
    }

    fn file_type(&mut self, out_type: OutType) {
        self.kv.set("general.file_type", Value::U32(out_type.file_type()));
    }
}

/// Writes the keys of a family that has its own; `false` if it writes those all models have.
pub(super) fn add(keys: &mut Keys<'_>, out_type: OutType) -> Result<bool> {
    match keys.config.family {
        Family::Gemma | Family::Gemma2 => gemma(keys, out_type)?,
        Family::Phi3 => phi3(keys, out_type)?,
        Family::Gpt2 => gpt2(keys, out_type)?,
        Family::StableLm => stablelm(keys, out_type)?,
        Family::Falcon => falcon(keys, out_type)?,
        Family::Mamba => mamba(keys, out_type)?,
        Family::Mamba2 => mamba2(keys, out_type)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn gemma(keys: &mut Keys<'_>, out_type: OutType) -> Result<()> {
    keys.u32("context_length", &["max_position_embeddings"])?;
    keys.u32("embedding_length", &["hidden_size"])?;
    keys.layers();
    keys.u32("feed_forward_length", &["intermediate_size"])?;
    keys.u32("attention.head_count", &["num_attention_heads"])?;
    keys.u32("attention.head_count_kv", &["num_key_value_heads"])?;
    keys.f32("attention.layer_norm_rms_epsilon", &["rms_norm_eps"])?;
    keys.u32("attention.key_length", &["head_dim"])?;
    keys.u32("attention.value_length", &["head_dim"])?;
    keys.file_type(out_type);
    if keys.config.family == Family::Gemma2 {
        keys.f32("attn_logit_softcapping", &["attn_logit_softcapping"])?;
        keys.f32("final_logit_softcapping", &["final_logit_softcapping"])?;
        keys.u32("attention.sliding_window", &["sliding_window"])?;
    }
    Ok(())
}

fn phi3(keys: &mut Keys<'_>, out_type: OutType) -> Result<()> {
    let n_rotated = long_rope::n_rotated(keys.config)?;
    let original = long_rope::original_length(keys.config)?;
    let rope = keys.config.rope_full()?;
    let theta = f32_of(&rope, "rope_theta", rope.map.get("rope_theta").unwrap_or(&Json::Null))?;
    keys.u32("context_length", &long_rope::CONTEXT)?;
    keys.set("rope.scaling.original_context_length", Value::U32(original));
    keys.u32("embedding_length", &["hidden_size", "n_embd"])?;
    keys.u32("feed_forward_length", &["intermediate_size"])?;
    keys.layers();
    keys.u32("attention.head_count", &["num_attention_heads", "n_head"])?;
    keys.u32("attention.head_count_kv", &["num_key_value_heads", "n_head_kv"])?;
    keys.f32("attention.layer_norm_rms_epsilon", &["rms_norm_eps"])?;
    keys.size("rope.dimension_count", &["hidden_size"], n_rotated)?;
    keys.set("rope.freq_base", Value::F32(theta));
    keys.file_type(out_type);
    if keys.config.find(&["sliding_window"]).is_some() {
        return keys.u32("attention.sliding_window", &["sliding_window"]);
    }
    // Tells Phi 4 from the others.
    keys.set("attention.sliding_window", Value::U32(0));
    Ok(())
}

fn gpt2(keys: &mut Keys<'_>, out_type: OutType) -> Result<()> {
    let n_embd = keys.config.size(&["n_embd"])?;
    keys.layers();
    keys.u32("context_length", &["n_ctx"])?;
    keys.u32("embedding_length", &["n_embd"])?;
    keys.size("feed_forward_length", &["n_embd"], n_embd.saturating_mul(4))?;
    keys.u32("attention.head_count", &["n_head"])?;
    keys.f32("attention.layer_norm_epsilon", &["layer_norm_epsilon"])?;
    keys.file_type(out_type);
    Ok(())
}

fn stablelm(keys: &mut Keys<'_>, out_type: OutType) -> Result<()> {
    let head_dim = keys.config.size(&["hidden_size"])? / keys.config.size(&["num_attention_heads"])?;
    let share = keys.config.rotary_share(None)?;
    keys.u32("context_length", &["max_position_embeddings"])?;
    keys.u32("embedding_length", &["hidden_size"])?;
    keys.layers();
    keys.u32("feed_forward_length", &["intermediate_size"])?;
    keys.size("rope.dimension_count", &["hidden_size"], (share * head_dim as f64) as usize)?;
    keys.u32("attention.head_count", &["num_attention_heads"])?;
    keys.u32("attention.head_count_kv", &["num_key_value_heads"])?;
    let parallel = keys.config.hparams.map.get("use_parallel_residual").is_none_or(truthy);
    keys.set("use_parallel_residual", Value::Bool(parallel));
    keys.f32("attention.layer_norm_epsilon", &["layer_norm_eps", "norm_eps"])?;
    keys.file_type(out_type);
    Ok(())
}

fn falcon(keys: &mut Keys<'_>, out_type: OutType) -> Result<()> {
    let n_embd = keys.config.size(&["hidden_size"])?;
    keys.set("context_length", Value::U32(2048));
    keys.set("tensor_data_layout", Value::from("jploski"));
    keys.u32("embedding_length", &["hidden_size"])?;
    keys.size("feed_forward_length", &["hidden_size"], n_embd.saturating_mul(4))?;
    keys.layers();
    keys.u32("attention.head_count", &["num_attention_heads", "n_head"])?;
    match keys.config.find(&["num_kv_heads", "n_head_kv"]) {
        Some(_) => keys.u32("attention.head_count_kv", &["num_kv_heads", "n_head_kv"])?,
        None => keys.set("attention.head_count_kv", Value::U32(1)),
    }
    keys.f32("attention.layer_norm_epsilon", &["layer_norm_epsilon"])?;
    keys.file_type(out_type);
    Ok(())
}

/// A size that the configuration may leave out or set to 0.
fn size_or(config: &Config, names: &[&'static str], otherwise: usize) -> Result<usize> {
    match config.find(names).filter(|(_, value)| truthy(value)) {
        Some(_) => config.size(names),
        None => Ok(otherwise),
    }
}

/// The keys that both Mambas begin with.
fn begin_mamba(keys: &mut Keys<'_>, inner: usize, n_state: usize) -> Result<()> {
    let n_conv = size_or(keys.config, &["conv_kernel", "d_conv"], 4)?;
    keys.set("context_length", Value::U32(MAMBA_CONTEXT));
    keys.u32("embedding_length", &["hidden_size", "d_model", "dim"])?;
    // Loaders want these two.
    keys.set("feed_forward_length", Value::U32(0));
    keys.set("attention.head_count", Value::U32(0));
    keys.layers();
    keys.size("ssm.conv_kernel", &["conv_kernel"], n_conv)?;
    keys.size("ssm.inner_size", &["intermediate_size"], inner)?;
    keys.size("ssm.state_size", &["state_size"], n_state)
}

fn mamba_epsilon(keys: &mut Keys<'_>) -> Result<()> {
    let names = ["layer_norm_epsilon", "rms_norm_eps"];
    if keys.config.find(&names).is_some_and(|(_, value)| truthy(value)) {
        return keys.f32("attention.layer_norm_rms_epsilon", &names);
    }
    keys.set("attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    Ok(())
}

fn mamba(keys: &mut Keys<'_>, out_type: OutType) -> Result<()> {
    let config = keys.config;
    let n_embd = config.size(&["hidden_size", "d_model"])?;
    let inner = size_or(config, &["intermediate_size", "d_inner"], n_embd.saturating_mul(2))?;
    if inner != n_embd.saturating_mul(2) {
        let expected = "twice the size of the embedding";
        return Err(config.hparams.wrong("intermediate_size", &Json::from(inner), expected));
    }
    begin_mamba(keys, inner, size_or(config, &["state_size", "d_state"], 16)?)?;
    let rank = size_or(config, &["time_step_rank", "dt_rank"], n_embd.div_ceil(16))?;
    keys.size("ssm.time_step_rank", &["time_step_rank"], rank)?;
    mamba_epsilon(keys)?;
    let is_falcon = config.hparams.map.get("model_type").is_some_and(|kind| kind == "falcon_mamba");
    keys.set("ssm.dt_b_c_rms", Value::Bool(is_falcon));
    keys.file_type(out_type);
    Ok(())
}

fn mamba2(keys: &mut Keys<'_>, out_type: OutType) -> Result<()> {
    let config = keys.config;
    let n_embd = config.size(&["hidden_size", "d_model", "dim"])?;
    let inner = parts::mamba2_inner(config)?;
    let head_dim = size_or(config, &["mamba_d_head", "head_dim"], 64)?;
    let expand = size_or(config, &["mamba_expand", "expand"], 2)?;
    if inner != n_embd.saturating_mul(expand) || !inner.is_multiple_of(head_dim) {
        let expected = "the embedding's size times expand, in whole heads";
        return Err(config.hparams.wrong("intermediate_size", &Json::from(inner), expected));
    }
    begin_mamba(keys, inner, size_or(config, &["state_size", "d_state"], 128)?)?;
    keys.size("ssm.time_step_rank", &["head_dim"], inner / head_dim)?;
    keys.size("ssm.group_count", &["n_groups"], size_or(config, &["n_groups"], 1)?)?;
    mamba_epsilon(keys)?;
    keys.file_type(out_type);
    Ok(())
}
