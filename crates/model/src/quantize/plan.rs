//! What becomes of each tensor and of the metadata, decided before anything is read or written.

use std::collections::BTreeMap;

use quipu_gguf::{GgufSet, Metadata, MetadataOverride, OverrideValue, TensorInfo, Value};
use quipu_quant::DType;
use regex::Regex;

use super::QuantizeParams;
use super::error::Error;
use super::facts::Facts;
use super::file_type::{GUESSED, id_of_majority};
use super::layers::{Pruning, by_layer_and_name};
use super::policy::{Category, Policy, allows_quantization, fallback, requires_imatrix};

/// The layout version of quantised data (`GGML_QNT_VERSION`).
const QUANTIZATION_VERSION: u32 = 2;

/// One tensor of the new file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPlan {
    /// Its name there.
    pub name: String,
    /// Its name in the file read; another one if layers are left out.
    pub source_name: String,
    /// Its number in the set read.
    pub index: usize,
    /// Its shape, innermost first.
    pub ne: [u64; 4],
    /// Its type.
    pub from: DType,
    /// Its type in the new file.
    pub to: DType,
    /// Its bytes.
    pub n_bytes: u64,
    /// Its bytes in the new file.
    pub n_bytes_new: u64,
    /// The mixture wanted a type its rows do not fit.
    pub fell_back: bool,
    /// Without an importance matrix it would be garbage.
    pub requires_imatrix: bool,
    /// Which of the new files it goes to.
    pub output: usize,
}

/// A run, ready to be carried out or shown (`--dry-run`).
#[derive(Clone, Debug)]
pub struct QuantizePlan {
    /// The tensors in the order they are written.
    pub tensors: Vec<TensorPlan>,
    /// The metadata of each new file.
    pub metadata: Vec<Metadata>,
}

impl QuantizePlan {
    /// Bytes of all tensors before and after.
    pub fn n_bytes(&self) -> (u64, u64) {
        self.tensors.iter().fold((0, 0), |(old, new), t| (old + t.n_bytes, new + t.n_bytes_new))
    }

    /// Elements of all tensors.
    pub fn n_elements(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.ne.iter().product::<u64>()).sum()
    }

    /// Tensors that took another type than the mixture wanted.
    pub fn n_fallback(&self) -> usize {
        self.tensors.iter().filter(|tensor| tensor.fell_back).count()
    }

    /// The first tensor that needs an importance matrix to become what it should.
    pub fn first_needing_imatrix(&self) -> Option<&TensorPlan> {
        self.tensors.iter().find(|tensor| tensor.requires_imatrix && tensor.from != tensor.to)
    }
}

/// A tensor of the set, and which of its pieces it is in.
struct Source<'a> {
    shard: usize,
    index: usize,
    info: &'a TensorInfo,
}

/// Decides what the tensors of `set` become. Answers to the first half of `llama_model_quantize_impl`.
///
/// # Errors
/// Metadata that is missing or of a wrong type, tensors that fit no type, patterns that are none.
pub fn plan(set: &GgufSet, params: &QuantizeParams) -> Result<QuantizePlan, Error> {
    let facts = Facts::read(&overridden(set.metadata(), &params.overrides))?;
    let patterns = compile(&params.tensor_types)?;

    let sources = sources(set)?;
    let mut pruning = Pruning::new(params.prune_layers.clone());
    let mut named: Vec<(String, Source<'_>)> = Vec::with_capacity(sources.len());
    for source in sources {
        if let Some(name) = pruning.rename(&source.info.name) {
            named.push((name, source));
        }
    }
    if let Some(layer) = pruning.missing() {
        return Err(Error::NoSuchLayer { layer });
    }
    if params.keep_split {
        named.sort_by_key(|(_, source)| (source.shard, source.info.offset));
    }

    let mut policy = Policy::new(&facts, params, named.iter().map(|(name, _)| name.as_str()));
    let mut tensors = Vec::with_capacity(named.len());
    for (name, source) in named {
        let info = source.info;
        let allowed = !params.only_copy && allows_quantization(&name, info, params.leave_output_tensor);
        let (to, fell_back) =
            if allowed { target(&name, info, params, &patterns, &mut policy)? } else { (info.dtype, false) };
        let n_bytes_new = n_bytes(info, to).ok_or_else(|| Error::NoFallback {
            name: name.clone(),
            ne0: info.ne[0],
            dtype: to,
        })?;
        tensors.push(TensorPlan {
            requires_imatrix: requires_imatrix(&name, to, params.file_type),
            name,
            source_name: info.name.clone(),
            index: source.index,
            ne: info.ne,
            from: info.dtype,
            to,
            n_bytes: info.n_bytes,
            n_bytes_new,
            fell_back,
            output: if params.keep_split { source.shard } else { 0 },
        });
    }
    let n_outputs = tensors.iter().map(|tensor| tensor.output + 1).max().unwrap_or(1);
    let metadata = output_metadata(set, params, pruning.n_layer(), n_outputs, tensors.len())?;
    Ok(QuantizePlan { tensors, metadata })
}

/// All tensors in the order they are visited.
fn sources(set: &GgufSet) -> Result<Vec<Source<'_>>, Error> {
    let source = |(index, info)| Ok(Source { shard: set.shard_of(index)?, index, info });
    let mut sources = set.tensors().enumerate().map(source).collect::<Result<Vec<_>, Error>>()?;
    sources.sort_by(|a, b| by_layer_and_name(&a.info.name, &b.info.name));
    Ok(sources)
}

fn compile(patterns: &[(String, DType)]) -> Result<Vec<(Regex, DType)>, Error> {
    patterns
        .iter()
        .map(|(pattern, dtype)| {
            let regex = Regex::new(pattern).map_err(|error| Error::TensorPattern {
                pattern: pattern.clone(),
                problem: first_problem(&error),
            })?;
            Ok((regex, *dtype))
        })
        .collect()
}

/// What is wrong, without the drawing that the parser makes of it.
fn first_problem(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// The type of a tensor that may be quantised, and whether it is a stand-in. Answers to
/// `llama_tensor_get_type`.
fn target(
    name: &str,
    info: &TensorInfo,
    params: &QuantizeParams,
    patterns: &[(Regex, DType)],
    policy: &mut Policy<'_>,
) -> Result<(DType, bool), Error> {
    let asked_for = match Category::of(name) {
        Category::TokenEmbd => params.token_embedding_type,
        Category::Output => params.output_tensor_type,
        _ => None,
    };
    if let Some(dtype) = asked_for {
        return Ok((dtype, false));
    }
    let default = params.file_type.default_type();
    if !default.is_quantized() {
        return Ok((default, false));
    }
    let by_pattern = patterns.iter().find(|(pattern, _)| pattern.is_match(name));
    let dtype = match by_pattern {
        Some((_, dtype)) => *dtype,
        None if params.pure => default,
        None => policy.choose(name, info)?,
    };
    let ne0 = info.ne[0];
    if ne0.is_multiple_of(dtype.block_len() as u64) {
        return Ok((dtype, false));
    }
    let narrower =
        fallback(dtype, ne0).ok_or_else(|| Error::NoFallback { name: name.to_owned(), ne0, dtype })?;
    Ok((narrower, true))
}

fn n_bytes(info: &TensorInfo, dtype: DType) -> Option<u64> {
    let row = dtype.row_bytes(usize::try_from(info.ne[0]).ok()?)? as u64;
    info.ne[1..].iter().try_fold(row, |n, &ne| n.checked_mul(ne))
}

/// Metadata as hyper-parameters are read from it. An override of a wrong type is written, but not read.
fn overridden(metadata: &Metadata, overrides: &[MetadataOverride]) -> Metadata {
    let mut metadata = metadata.clone();
    metadata.apply_overrides(overrides);
    metadata
}

/// An override as quantised files store it: integers as their magnitude in u32, numbers as f32.
fn stored(value: &OverrideValue) -> Value {
    match value {
        OverrideValue::Int(v) => Value::U32(v.unsigned_abs() as u32),
        OverrideValue::Float(v) => Value::F32(*v as f32),
        OverrideValue::Bool(v) => Value::Bool(*v),
        OverrideValue::Str(v) => v.as_str().into(),
    }
}

fn output_metadata(
    set: &GgufSet,
    params: &QuantizeParams,
    n_layer: Option<u32>,
    n_outputs: usize,
    n_tensors: usize,
) -> Result<Vec<Metadata>, Error> {
    const SPLIT_KEYS: [&str; 3] = ["split.no", "split.count", "split.tensors.count"];
    let mut first = set.metadata().clone();
    let file_type =
        if params.only_copy { file_type_of(set, &params.overrides)? } else { params.file_type.id() };
    first.set("general.quantization_version", Value::U32(QUANTIZATION_VERSION));
    first.set("general.file_type", Value::U32(file_type));
    for key in SPLIT_KEYS {
        first.remove(key);
    }
    for change in &params.overrides {
        first.set(&change.key, stored(&change.value));
    }
    if let Some(n_layer) = n_layer {
        let architecture = first.str("general.architecture")?.to_owned();
        first.set(&format!("{architecture}.block_count"), Value::U32(n_layer));
    }
    let mut outputs = vec![Metadata::default(); n_outputs];
    outputs[0] = first;
    if n_outputs > 1 {
        for (no, metadata) in outputs.iter_mut().enumerate() {
            metadata.set(SPLIT_KEYS[0], Value::U16(no as u16));
            metadata.set(SPLIT_KEYS[1], Value::U16(n_outputs as u16));
            metadata.set(SPLIT_KEYS[2], Value::I32(n_tensors as i32));
        }
    }
    Ok(outputs)
}

/// The number of the set's type: what it records, else what most tensors are, marked as guessed.
fn file_type_of(set: &GgufSet, overrides: &[MetadataOverride]) -> Result<u32, Error> {
    if let Some(id) = overridden(set.metadata(), overrides).optional::<u32>("general.file_type")? {
        return Ok(id);
    }
    // The type that is first to reach the largest count, as the reference goes through them.
    let mut counts: BTreeMap<DType, usize> = BTreeMap::new();
    let (mut most, mut dtype) = (0, DType::F32);
    for source in sources(set)? {
        let count = counts.entry(source.info.dtype).or_default();
        *count += 1;
        if *count > most {
            (most, dtype) = (*count, source.info.dtype);
        }
    }
    Ok(id_of_majority(dtype) | GUESSED)
}
