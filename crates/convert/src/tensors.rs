//! From checkpoint tensors to GGUF tensors: names, rows in another order, stacked experts, types. Answers to
//! `prepare_tensors`, `modify_tensors` and the tensor name map.

use std::collections::BTreeMap;
use std::io::{self, Write};

use quipu_quant::DType;
use safetensors::Dtype;

use super::config::{Config, Family};
use super::error::{ConvertError, Result};
use super::families::{bert, qwen_moe};
use super::outtype::{OutType, encode};
use super::rope_freqs;
use super::safetensors::{Checkpoint, Tensor};

/// Elements converted at once.
const CHUNK: usize = 1 << 16;

/// Where a GGUF tensor's values come from.
#[derive(Debug)]
enum Source {
    /// A tensor as it is.
    Plain(Tensor),
    /// A tensor with one added to each value.
    PlusOne(Tensor),
    /// Rows of each head regrouped from halves to pairs, with the number of heads.
    Heads(Tensor, usize),
    /// Several tensors, one behind the other.
    Stack(Vec<Tensor>),
    /// Values computed here.
    Values(Vec<f32>),
}

/// A tensor of the file to be.
#[derive(Debug)]
pub(super) struct Planned {
    /// GGUF name.
    pub name: String,
    /// Type.
    pub dtype: DType,
    /// Shape, outermost first.
    pub shape: Vec<usize>,
    source: Source,
}

impl Planned {
    /// Dimensions as GGUF has them, innermost first.
    pub(super) fn dims(&self) -> Vec<u64> {
        self.shape.iter().rev().map(|&n| n as u64).collect()
    }

    /// Writes the converted values.
    ///
    /// # Errors
    /// Those of `out`.
    pub(super) fn write(&self, checkpoint: &Checkpoint, out: &mut dyn Write) -> io::Result<()> {
        let mut writer = Encoder { dtype: self.dtype, row: Vec::new(), bytes: Vec::new(), out };
        match &self.source {
            Source::Plain(tensor) => writer.plain(checkpoint, tensor),
            Source::Stack(tensors) => tensors.iter().try_for_each(|tensor| writer.plain(checkpoint, tensor)),
            Source::Values(values) => writer.put(values),
            Source::PlusOne(tensor) => {
                let mut values = Vec::new();
                checkpoint.read(tensor, 0, tensor.n_elements(), &mut values);
                // Half precision stays that in the sum.
                let is_half = tensor.dtype == Dtype::F16;
                let sum = |x: f32| if is_half { half::f16::from_f32(x + 1.0).to_f32() } else { x + 1.0 };
                for x in &mut values {
                    *x = sum(*x);
                }
                writer.put(&values)
            }
            Source::Heads(tensor, n_head) => {
                let row_len = tensor.row_len();
                let half = tensor.shape[0] / n_head / 2;
                let mut pending = Vec::new();
                for head in 0..*n_head {
                    for pair in (0..half).flat_map(|i| [i, half + i]) {
                        checkpoint.read(tensor, (head * 2 * half + pair) * row_len, row_len, &mut writer.row);
                        pending.extend_from_slice(&writer.row);
                        if pending.len() >= CHUNK {
                            writer.put(&pending)?;
                            pending.clear();
                        }
                    }
                }
                writer.put(&pending)
            }
        }
    }
}

/// Converts values and passes them on.
struct Encoder<'a> {
    dtype: DType,
    row: Vec<f32>,
    bytes: Vec<u8>,
    out: &'a mut dyn Write,
}

impl Encoder<'_> {
    fn plain(&mut self, checkpoint: &Checkpoint, tensor: &Tensor) -> io::Result<()> {
        let n = tensor.n_elements();
        let mut row = std::mem::take(&mut self.row);
        for from in (0..n).step_by(CHUNK) {
            checkpoint.read(tensor, from, CHUNK.min(n - from), &mut row);
            self.put(&row)?;
        }
        self.row = row;
        Ok(())
    }

    fn put(&mut self, values: &[f32]) -> io::Result<()> {
        self.bytes.clear();
        encode(self.dtype, values, &mut self.bytes).map_err(io::Error::other)?;
        self.out.write_all(&self.bytes)
    }
}

/// The type that `auto` stands for: that of the first matrix in half precision.
pub(super) fn guess(checkpoint: &Checkpoint) -> OutType {
    let half = |tensor: &&Tensor| tensor.shape.len() >= 2 && matches!(tensor.dtype, Dtype::BF16 | Dtype::F16);
    match checkpoint.tensors.iter().find(half) {
        Some(tensor) if tensor.dtype == Dtype::BF16 => OutType::Bf16,
        _ => OutType::F16,
    }
}

/// The file's tensors, in order.
///
/// # Errors
/// A tensor without a place in the architecture, or of a shape that its place cannot have.
pub(super) fn plan(checkpoint: &Checkpoint, config: &Config, out_type: OutType) -> Result<Vec<Planned>> {
    let mut planned = Vec::new();
    let mut experts: BTreeMap<usize, BTreeMap<String, Tensor>> = BTreeMap::new();
    let mut add = |name: String, shape: Vec<usize>, source: Source| {
        let dtype = type_of(&name, &shape, out_type);
        planned.push(Planned { name, dtype, shape, source });
    };
    if config.family.is_llama()
        && let Some(factors) = rope_freqs::factors(config)?
    {
        add("rope_freqs.weight".to_owned(), vec![factors.len()], Source::Values(factors));
    }
    for tensor in &checkpoint.tensors {
        let skipped = [".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq"];
        if skipped.iter().any(|end| tensor.name.ends_with(end)) {
            continue;
        }
        let mut full_name = tensor.name.clone();
        if config.family.is_llama() {
            full_name = full_name.replace("text_model.", "");
        }
        full_name.insert_str(0, config.prefix);
        if config.family == Family::Bert {
            let Some(kept) = bert::kept(&full_name, &config.raw) else { continue };
            full_name = kept;
        }
        if config.family == Family::Llama && full_name.contains("block_sparse_moe.experts") {
            let layer = first_number(&full_name)
                .filter(|layer| *layer < config.n_layer)
                .ok_or_else(|| unknown(&full_name, config.family))?;
            let of_layer = experts.entry(layer).or_default();
            of_layer.insert(full_name, tensor.clone());
            let n_expert = n_expert(config)?;
            if of_layer.len() >= n_expert * 3 {
                for (name, shape, tensors) in stack(layer, of_layer, n_expert, config.family)? {
                    add(name, shape, Source::Stack(tensors));
                }
            }
            continue;
        }
        if matches!(config.family, Family::Gemma | Family::Gemma2) && full_name == "lm_head.weight" {
            continue;
        }
        let of_experts = matches!(config.family, Family::Qwen3Moe | Family::Olmoe);
        if of_experts && full_name.contains("mlp.experts.") {
            let layer = first_number(&full_name)
                .filter(|layer| *layer < config.n_layer)
                .ok_or_else(|| unknown(&full_name, config.family))?;
            let of_layer = experts.entry(layer).or_default();
            of_layer.insert(full_name, tensor.clone());
            let n_expert = n_expert(config)?;
            if of_layer.len() >= n_expert * 3 {
                for (name, shape, tensors) in stack(layer, of_layer, n_expert, config.family)? {
                    add(name, shape, Source::Stack(tensors));
                }
            }
            continue;
        }
        let name = gguf_name(&full_name, config.family, config.n_layer)
            .ok_or_else(|| unknown(&full_name, config.family))?;
        let heads = match config.family {
            family if family.is_llama() && is_of(&full_name, "q_proj") => Some(config.n_head()?),
            family if family.is_llama() && is_of(&full_name, "k_proj") => {
                Some(config.n_head_kv()?.map_or_else(|| config.n_head(), Ok)?)
            }
            _ => None,
        };
        let mut tensor = tensor.clone();
        if config.family == Family::Gemma3
            && full_name.contains("embed_tokens.weight")
            && let (Some(n_vocab), Some(rows)) = (config.n_vocab()?, tensor.shape.first_mut())
        {
            // Rows behind the vocabulary.
            *rows = (*rows).min(n_vocab);
        }
        let source = match heads {
            None if config.family.is_gemma() && full_name.ends_with("norm.weight") => {
                Source::PlusOne(tensor.clone())
            }
            None => Source::Plain(tensor.clone()),
            Some(n_head) => {
                let found = tensor.shape.first().copied().unwrap_or(0);
                let expected = n_head.saturating_mul(2);
                if found == 0 || !found.is_multiple_of(expected) {
                    return Err(ConvertError::HeadRows { name: full_name, found, expected });
                }
                Source::Heads(tensor.clone(), n_head)
            }
        };
        add(name, tensor.shape.clone(), source);
    }
    if let Some((&layer, left)) = experts.iter().find(|(_, left)| !left.is_empty()) {
        return Err(ConvertError::ExpertCount { layer, found: left.len(), expected: n_expert(config)? * 3 });
    }
    Ok(planned)
}

fn unknown(name: &str, family: Family) -> ConvertError {
    ConvertError::UnknownTensor { name: name.to_owned(), arch: family.name() }
}

/// Weight or bias of a projection.
fn is_of(name: &str, projection: &str) -> bool {
    [".weight", ".bias"]
        .iter()
        .any(|suffix| name.strip_suffix(suffix).is_some_and(|stem| stem.ends_with(projection)))
}

/// Vectors, norms and whatever is not a weight stay F32, as do the router of experts, positions and kinds of tokens.
fn type_of(name: &str, shape: &[usize], out_type: OutType) -> DType {
    let always_f32 = shape.len() <= 1
        || name.ends_with("_norm.weight")
        || !name.ends_with(".weight")
        || name.ends_with(".ffn_gate_inp.weight")
        || ["position_embd.weight", "token_types.weight"].contains(&name);
    if always_f32 { DType::F32 } else { out_type.of_matrix(shape.last().copied().unwrap_or(1)) }
}

/// The first part of the name that is a number: the layer.
fn first_number(name: &str) -> Option<usize> {
    name.split('.').find_map(|part| {
        (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok()).flatten()
    })
}

fn n_expert(config: &Config) -> Result<usize> {
    let (name, value) = config
        .find(&["num_local_experts", "num_experts"])
        .unwrap_or(("num_local_experts", &serde_json::Value::Null));
    super::kv::size_of(&config.hparams, name, value)
}

/// Name, shape and parts of a stack of experts.
type ExpertStack = (String, Vec<usize>, Vec<Tensor>);

/// The three stacks of a layer's experts, taking them out of `of_layer`.
fn stack(
    layer: usize,
    of_layer: &mut BTreeMap<String, Tensor>,
    n_expert: usize,
    family: Family,
) -> Result<Vec<ExpertStack>> {
    let mut stacks = Vec::with_capacity(3);
    let (block, names) = if family == Family::Llama {
        ("block_sparse_moe", [("w1", "ffn_gate_exps"), ("w2", "ffn_down_exps"), ("w3", "ffn_up_exps")])
    } else {
        ("mlp", qwen_moe::EXPERTS)
    };
    for (from, to) in names {
        let mut tensors: Vec<Tensor> = Vec::new();
        for expert in 0..n_expert {
            let name = format!("model.layers.{layer}.{block}.experts.{expert}.{from}.weight");
            let tensor = of_layer.remove(&name).ok_or_else(|| {
                let stray = of_layer.keys().next().cloned();
                unknown(stray.as_deref().unwrap_or(&name), family)
            })?;
            if let Some(first) = tensors.first().filter(|first| first.shape != tensor.shape) {
                let (first, second) = (first.shape.clone(), tensor.shape);
                return Err(ConvertError::ExpertShape { layer, first, second });
            }
            tensors.push(tensor);
        }
        let mut shape = vec![n_expert];
        shape.extend(tensors.first().map(|tensor| tensor.shape.clone()).unwrap_or_default());
        stacks.push((format!("blk.{layer}.{to}.weight"), shape, tensors));
    }
    Ok(stacks)
}

/// GGUF's name of a Hugging Face tensor: the rows of the reference's map that these families use.
fn gguf_name(name: &str, family: Family, n_layer: usize) -> Option<String> {
    if let Some(names) = family.names() {
        return names.gguf_name(name, n_layer);
    }
    let (stem, suffix) = [".weight", ".bias"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix).map(|stem| (stem, *suffix)))?;
    let whole = match stem {
        "model.embed_tokens" | "embed_tokens" => Some("token_embd"),
        "model.norm" | "norm" => Some("output_norm"),
        "lm_head" => Some("output"),
        _ => None,
    };
    if let Some(whole) = whole {
        return Some(format!("{whole}{suffix}"));
    }
    let rest = stem.strip_prefix("model.").unwrap_or(stem).strip_prefix("layers.")?;
    let (layer, part) = rest.split_once('.')?;
    // A number in another spelling is another name.
    let layer = layer.parse::<usize>().ok().filter(|n| *n < n_layer && n.to_string() == layer)?;
    let part = match part {
        "input_layernorm" => "attn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "post_attention_layernorm" => "ffn_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        "self_attn.q_norm" if family == Family::Qwen3 => "attn_q_norm",
        "self_attn.k_norm" if family == Family::Qwen3 => "attn_k_norm",
        "block_sparse_moe.gate" if family == Family::Llama => "ffn_gate_inp",
        _ => return None,
    };
    Some(format!("blk.{layer}.{part}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_mapped_by_family() {
        let name = |text| gguf_name(text, Family::Qwen3, 2);
        assert_eq!(
            name("model.layers.1.self_attn.q_norm.weight").as_deref(),
            Some("blk.1.attn_q_norm.weight")
        );
        assert_eq!(name("model.layers.0.self_attn.q_proj.bias").as_deref(), Some("blk.0.attn_q.bias"));
        assert_eq!(name("lm_head.weight").as_deref(), Some("output.weight"));
        assert_eq!(name("model.layers.2.self_attn.q_proj.weight"), None);
        assert_eq!(name("model.layers.01.self_attn.q_proj.weight"), None);
        assert_eq!(gguf_name("model.layers.1.self_attn.q_norm.weight", Family::Llama, 2), None);
    }

    #[test]
    fn vectors_norms_and_routers_stay_f32() {
        assert_eq!(type_of("blk.0.attn_q.bias", &[64], OutType::F16), DType::F32);
        assert_eq!(type_of("blk.0.attn_norm.weight", &[64], OutType::F16), DType::F32);
        assert_eq!(type_of("blk.0.ffn_gate_inp.weight", &[8, 64], OutType::Q8_0), DType::F32);
        assert_eq!(type_of("blk.0.attn_q.weight", &[64, 64], OutType::Q8_0), DType::Q8_0);
        assert_eq!(type_of("blk.0.attn_q.weight", &[64, 40], OutType::Q8_0), DType::F16);
        assert_eq!(type_of("output.weight", &[64, 64], OutType::Bf16), DType::BF16);
    }
}
