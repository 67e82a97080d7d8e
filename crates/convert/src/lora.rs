//! PEFT LoRA adapters to GGUF, byte for byte as `convert_lora_to_gguf.py` writes them. The model they belong to is known by its
//! `config.json` alone; its weights are not needed.

use std::path::{Path, PathBuf};

use quipu_gguf::{Array, GgufWriter, Inputs, Value};
use serde_json::{Map as JsonMap, Value as Json};

use super::config::{Config, Family};
use super::error::{ConvertError, Result};
use super::hf_tokenizer::HfTokenizer;
use super::json::JsonFile;
use super::kv::{KeyValues, f32_of, str_of, u32_of};
use super::metadata::ModelInfo;
use super::output::{Converted, Kind, inputs_of, out_path, write};
use super::outtype::OutType;
use super::parts;
use super::safetensors::{Checkpoint, Tensor, kept_name};
use super::source::{Source, View, head_view};
use super::tensors::{Member, Planned, Stacks, gguf_name, stacked};

/// How to convert an adapter.
#[derive(Clone, Debug)]
pub struct LoraOptions {
    /// The directory of the model it belongs to: its `config.json`, and its tokenizer for adapters that are invoked by a text.
    pub base: PathBuf,
    /// The type of the matrices; never [`OutType::Auto`].
    pub out_type: OutType,
}

/// The two matrices of one place.
#[derive(Clone, Debug)]
struct Pair {
    /// Rank by inputs.
    a: Tensor,
    /// Outputs by rank.
    b: Tensor,
}

impl Member for Pair {
    fn shape(&self) -> Vec<usize> {
        [self.a.shape.clone(), self.b.shape.clone()].concat()
    }
}

/// Converts the adapter in `dir` and writes it to `out`, a file or a folder as for [`super::convert`].
///
/// # Errors
/// [`ConvertError`]: what is missing, malformed or not convertible, and where.
pub fn convert_lora(
    dir: &Path,
    out: &Path,
    options: &LoraOptions,
) -> std::result::Result<Converted, ConvertError> {
    for dir in [dir, &options.base] {
        if !dir.is_dir() {
            return Err(ConvertError::NotADirectory { path: dir.to_owned() });
        }
    }
    if options.out_type == OutType::Auto {
        return Err(ConvertError::Unsupported { what: "an adapter to the type auto".to_owned() });
    }
    let adapter = JsonFile::read(&dir.join("adapter_config.json"))?;
    let config = Config::read(&options.base)?;
    let path = dir.join("adapter_model.safetensors");
    if !path.exists() {
        return Err(ConvertError::NoAdapter { path: dir.to_owned() });
    }
    let checkpoint = Checkpoint::open_file(&path)?;
    let planned = plan(&checkpoint, &config, options.out_type)?;

    let mut kv = KeyValues::default();
    kv.string("general.architecture", config.family.name());
    kv.string("general.type", "adapter");
    kv.string("adapter.type", "lora");
    let total = n_params(&planned);
    let named = JsonFile::read_optional(&dir.join("config.json"))?
        .unwrap_or_else(|| JsonFile { path: dir.join("config.json"), map: JsonMap::new() });
    let info = ModelInfo::load(dir, &named, None, total, None)?;
    info.add(&mut kv)?;
    let alpha = adapter.map.get("lora_alpha").unwrap_or(&Json::Null);
    kv.set("adapter.lora.alpha", Value::F32(f32_of(&adapter, "lora_alpha", alpha)?));
    let invocation = invocation_tokens(&adapter, &options.base, &config)?;
    kv.array("adapter.alora.invocation_tokens", Array::U32(invocation));
    kv.set("general.quantization_version", Value::U32(2));

    let mut writer = GgufWriter::new();
    writer.metadata = kv.into_metadata();
    for tensor in &planned {
        writer.add_tensor_with_ones(&tensor.name, tensor.dtype, &tensor.dims())?;
    }
    let path = out_path(out, &info, options.out_type, Some(Kind::Lora));
    let mut inputs: Inputs = inputs_of(dir);
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        inputs.add(options.base.join(name));
    }
    let n_bytes = write(&path, &inputs, &writer, &planned, &checkpoint, false)?;
    let n_params = planned.iter().map(Planned::n_params).sum();
    Ok(Converted { path, n_tensors: planned.len(), n_params, n_bytes, out_type: options.out_type })
}

/// Parameters of what the adapter changes, less than zero: that tells that they are no whole model's.
fn n_params(planned: &[Planned]) -> i128 {
    let mut total = 0i128;
    let mut n_inputs = None;
    for tensor in planned {
        let size = |shape: &[usize]| shape.iter().map(|&n| n as i128).product::<i128>();
        if tensor.name.ends_with(".lora_a") {
            n_inputs = tensor.shape.last().copied();
        } else if let (true, Some((_, outer)), Some(n)) =
            (tensor.name.ends_with(".lora_b"), tensor.shape.split_last(), n_inputs)
        {
            total += size(outer) * n as i128;
        } else {
            total += size(&tensor.shape);
        }
    }
    if n_inputs.is_some() { -total } else { total }
}

/// The tokens with which an aLoRA begins to act: given as such, or as a text whose first token is left out.
fn invocation_tokens(adapter: &JsonFile, base: &Path, config: &Config) -> Result<Vec<u32>> {
    let key = "alora_invocation_tokens";
    let given = adapter.map.get(key).filter(|value| super::json::truthy(value));
    if let Some(value) = given {
        let items = value.as_array().ok_or_else(|| adapter.wrong(key, value, "a list of tokens"))?;
        return items.iter().map(|item| u32_of(adapter, key, item)).collect();
    }
    let key = "invocation_string";
    let Some(text) = adapter.map.get(key).filter(|value| super::json::truthy(value)) else {
        return Ok(Vec::new());
    };
    let text = str_of(adapter, key, text)?;
    let model_type = config.raw.get("model_type").and_then(Json::as_str);
    let tokens = HfTokenizer::load(base, model_type)?.encode(text, true)?;
    Ok(tokens.into_iter().skip(1).collect())
}

/// The name of the model's tensor that one of the adapter belongs to.
fn base_name(name: &str) -> String {
    let mut base = name.replace("base_model.model.", "");
    for end in [".lora_A.weight", ".lora_B.weight", ".lora_embedding_A", ".lora_embedding_B"] {
        base = base.replace(end, ".weight");
    }
    base
}

/// The file's tensors: norms as they come, then the pairs.
fn plan(checkpoint: &Checkpoint, config: &Config, out_type: OutType) -> Result<Vec<Planned>> {
    let mut planned = Vec::new();
    let mut add = |name: String, shape: Vec<usize>, source: Source| {
        planned.push(Planned::new(name, shape, source, out_type));
    };
    let mut places: Vec<(String, Option<Tensor>, Option<Tensor>)> = Vec::new();
    let mut index = std::collections::HashMap::new();
    for tensor in &checkpoint.tensors {
        let name = &tensor.name;
        let Some(base) = kept_name(&base_name(name)) else { continue };
        let is = |kind: &str| {
            name.contains(&format!(".lora_{kind}.weight"))
                || name.contains(&format!(".lora_embedding_{kind}"))
        };
        let (is_a, is_b) = (is("A"), is("B"));
        if !is_a && !is_b {
            if name.contains(".base_layer.weight") {
                continue;
            }
            if !name.contains("_layernorm") && !name.contains(".norm") {
                return Err(ConvertError::NotLora { name: name.clone() });
            }
            let Some(full) = parts::full_name(&base, config) else { continue };
            for part in parts::of(full, tensor, config, checkpoint)? {
                if part.shape.len() != 1 {
                    return Err(lora_tensor(name, config));
                }
                add(gguf_name(&part.name, config)?, part.shape, part.source);
            }
            continue;
        }
        let place = *index.entry(base.clone()).or_insert_with(|| {
            places.push((base, None, None));
            places.len() - 1
        });
        let (_, a, b) = &mut places[place];
        *(if is_a { a } else { b }) = Some(tensor.clone());
    }
    let mut stacks = Stacks::default();
    for (base, a, b) in places {
        let (a, b) = match (a, b) {
            (Some(a), Some(b)) => (a, b),
            (Some(found), None) => return Err(missing(&found, "lora_A", "lora_B")),
            (None, Some(found)) => return Err(missing(&found, "lora_B", "lora_A")),
            (None, None) => continue,
        };
        let pair = Pair { a, b };
        let (&[rank, _], &[_, rank_b]) = (&pair.a.shape[..], &pair.b.shape[..]) else {
            return Err(lora_tensor(&base, config));
        };
        if rank != rank_b {
            return Err(ConvertError::TensorShape {
                name: pair.b.name,
                found: pair.b.shape,
                expected: format!("{rank} columns, the rank of its lora_A"),
            });
        }
        let Some(full) = parts::full_name(&base, config) else {
            if base == "lm_head.weight" {
                return Err(lora_tensor(&base, config));
            }
            continue;
        };
        if let Some(kind) = stacked(&full, config.family) {
            for (name, pairs) in stacks.take(kind, full, pair, config)? {
                let (a, b): (Vec<Tensor>, Vec<Tensor>) =
                    pairs.into_iter().map(|pair| (pair.a, pair.b)).unzip();
                for (tensors, end) in [(a, "lora_a"), (b, "lora_b")] {
                    let mut shape = vec![tensors.len()];
                    shape.extend(tensors.first().map(|tensor| tensor.shape.clone()).unwrap_or_default());
                    add(format!("{name}.{end}"), shape, Source::Stack(tensors));
                }
            }
            continue;
        }
        if is_rebuilt(&full, config) {
            return Err(lora_tensor(&base, config));
        }
        let is_turned = parts::is_transposed(&full, config.family);
        let n_head = parts::regrouped_heads(&full, config)?;
        let name = gguf_name(&full, config)?;
        let Pair { a, b } = pair;
        let (mut a, mut b) = if is_turned { (turned(b), turned(a)) } else { (plain(a), plain(b)) };
        if name.contains("token_embd.weight") {
            // Read by column there.
            a = match a.1 {
                Source::Plain(tensor) => turned(tensor),
                source => (a.0, source),
            };
        }
        if let (Some(n_head), Source::Plain(tensor)) = (n_head, &b.1) {
            parts::check_heads(&full, tensor, n_head)?;
            b.1 = Source::Views(tensor.clone(), vec![head_view(tensor, n_head)]);
        }
        add(format!("{name}.lora_a"), a.0, a.1);
        add(format!("{name}.lora_b"), b.0, b.1);
    }
    stacks.check(config)?;
    Ok(planned)
}

fn plain(tensor: Tensor) -> (Vec<usize>, Source) {
    (tensor.shape.clone(), Source::Plain(tensor))
}

/// A matrix the other way round.
fn turned(tensor: Tensor) -> (Vec<usize>, Source) {
    let (rows, columns) = (tensor.shape[0], tensor.shape[1]);
    (vec![columns, rows], Source::Views(tensor, vec![View::transposed(rows, columns)]))
}

/// Whether a tensor is taken apart or put together in a way that its two factors do not follow.
fn is_rebuilt(name: &str, config: &Config) -> bool {
    match config.family {
        Family::Falcon => name.contains("query_key_value"),
        Family::Deepseek2 => name.ends_with("kv_b_proj.weight"),
        Family::GptOss | Family::Qwen2Moe | Family::Qwen3Moe | Family::Olmoe => name.contains("mlp.experts"),
        Family::Mamba | Family::Mamba2 => name.contains("conv1d"),
        _ => false,
    }
}

fn lora_tensor(name: &str, config: &Config) -> ConvertError {
    ConvertError::LoraTensor { name: name.to_owned(), arch: config.family.name() }
}

fn missing(found: &Tensor, kind: &str, other: &str) -> ConvertError {
    let embedding = |kind: &str| kind.replace("lora_", "lora_embedding_");
    let part = found.name.replace(kind, other).replace(&embedding(kind), &embedding(other));
    ConvertError::MissingPart { name: found.name.clone(), part }
}
