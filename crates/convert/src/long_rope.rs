//! Phi 3's rotary factors for short and long texts, and what attention is scaled with. Answers to
//! `Phi3MiniModel.generate_extra_tensors`.

use serde_json::Value as Json;

use super::config::Config;
use super::error::Result;
use super::json::{JsonFile, float};
use super::kv::{size_of, u32_of};

/// What the file says of it.
#[derive(Debug)]
pub(super) struct Scaling {
    /// `rope.scaling.attn_factor`.
    pub attn_factor: f32,
    /// Factors beyond the original length, one for each pair of rotated dimensions.
    pub long: Vec<f32>,
    /// Factors within it.
    pub short: Vec<f32>,
}

/// Keys of the longest text.
pub(super) const CONTEXT: [&str; 2] = ["n_positions", "max_position_embeddings"];

/// The scaling, or `None` for a model without long factors.
///
/// # Errors
/// Another kind of scaling, lists of other lengths, missing numbers.
pub(super) fn scaling(config: &Config) -> Result<Option<Scaling>> {
    let n_ctx = config.size(&CONTEXT)? as f64;
    let original = f64::from(original_length(config)?);
    let n_pairs = n_rotated(config)? as f64 / 2.0;
    let value = |key: &str| config.rope.map.get(key).unwrap_or(&Json::Null);
    if !super::json::truthy(value("long_factor")) {
        return Ok(None);
    }
    let kind = value("rope_type").as_str().unwrap_or_default().to_lowercase();
    let scale = n_ctx / original;
    let attn_factor = match kind.as_str() {
        "su" | "longrope" if scale > 1.0 => (1.0 + scale.ln() / original.ln()).sqrt(),
        "yarn" if scale > 1.0 => 0.1 * scale.ln() + 1.0,
        "su" | "longrope" | "yarn" => 1.0,
        _ => return Err(config.rope.wrong("rope_type", value("rope_type"), "longrope, su or yarn")),
    };
    let list = |key: &str| numbers(&config.rope, key, value(key));
    let (long, short) = (list("long_factor")?, list("short_factor")?);
    if long.len() != short.len() || long.len() as f64 != n_pairs {
        return Err(config.rope.wrong(
            "long_factor",
            &Json::from(long.len()),
            "as many as short_factor and as pairs of rotated dimensions",
        ));
    }
    Ok(Some(Scaling { attn_factor: attn_factor as f32, long, short }))
}

/// `original_max_position_embeddings`.
///
/// # Errors
/// It is missing.
pub(super) fn original_length(config: &Config) -> Result<u32> {
    let key = "original_max_position_embeddings";
    let value = config.rope.map.get(key).unwrap_or(&Json::Null);
    size_of(&config.rope, key, value)?;
    u32_of(&config.rope, key, value)
}

/// Rotated dimensions of a head: the share of the embedding's, over the heads.
///
/// # Errors
/// A size is missing.
pub(super) fn n_rotated(config: &Config) -> Result<usize> {
    let n_embd = config.size(&["hidden_size", "n_embd"])?;
    let n_head = config.size(&["num_attention_heads", "n_head"])?;
    let share = config.rotary_share(Some(1.0))?;
    Ok((share * n_embd as f64) as usize / n_head)
}

fn numbers(rope: &JsonFile, key: &str, value: &Json) -> Result<Vec<f32>> {
    let items = value.as_array().and_then(|items| {
        items.iter().map(|item| float(item).map(|x| x as f32)).collect::<Option<Vec<f32>>>()
    });
    items.ok_or_else(|| rope.wrong(key, value, "a list of numbers"))
}
