//! `quipu inspect`: what is in a GGUF file.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use quipu::gguf::{Array, Error, GgufFile, GgufSet, SourceKind, TensorInfo, Value};
use quipu::{MemoryEstimate, memory_estimate, n_active_params};
use serde_json::{Map, json};

use crate::fail::{Failure, named, writing};

/// Longest string and array shown in full.
const SHOWN: usize = 64;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file; with --plan the embedded model if absent.
    #[arg(required_unless_present = "plan")]
    file: Option<PathBuf>,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plan: super::plan::PlanArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let path = match (&args.file, args.plan.is_wanted()) {
        (Some(path), false) => path,
        (file, _) => return super::plan::run(file.as_deref(), &args.plan),
    };
    let set = match GgufSet::open(path, SourceKind::Mapped) {
        // A later piece of a split model is shown by itself.
        Err(Error::NotFirstSplit { .. }) => GgufSet::from(&GgufFile::open(path).map_err(named(path))?),
        set => set.map_err(named(path))?,
    };
    let memory = memory_estimate(&set);
    let mut out = BufWriter::new(std::io::stdout().lock());
    if args.json {
        let text = serde_json::to_string_pretty(&as_json(&set, &memory))
            .map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
        writeln!(out, "{text}").map_err(writing)?;
    } else {
        text(&mut out, &set, &memory).map_err(writing)?;
    }
    out.flush().map_err(writing)
}

/// Tensors and bytes by type.
fn histogram(set: &GgufSet) -> BTreeMap<&'static str, (usize, u64)> {
    let mut types = BTreeMap::new();
    for tensor in set.tensors() {
        let entry: &mut (usize, u64) = types.entry(tensor.dtype.name()).or_default();
        entry.0 += 1;
        entry.1 += tensor.n_bytes;
    }
    types
}

fn bits_per_weight(set: &GgufSet) -> f64 {
    8.0 * set.n_bytes() as f64 / set.n_params().max(1) as f64
}

/// The name of the file type the metadata gives, if it does.
fn file_type(set: &GgufSet) -> Option<String> {
    set.metadata().optional::<u32>("general.file_type").ok()?.map(quipu::file_type_name)
}

fn dims(tensor: &TensorInfo) -> &[u64] {
    &tensor.ne[..(tensor.n_dims as usize).clamp(1, 4)]
}

/// Name of piece `i` as it stands in its folder.
fn file_name(set: &GgufSet, i: usize) -> String {
    let name = set.paths().get(i).and_then(|path| path.file_name());
    name.map_or_else(|| format!("piece {i}"), |name| name.to_string_lossy().into_owned())
}

fn text(out: &mut impl Write, set: &GgufSet, memory: &MemoryEstimate) -> std::io::Result<()> {
    let gguf = set.first().gguf();
    writeln!(out, "GGUF v{}, alignment {}, data at byte {}", gguf.version, gguf.alignment, gguf.data_offset)?;
    if set.shards().len() > 1 {
        writeln!(out, "\nfiles: {}", set.shards().len())?;
        for (i, shard) in set.shards().iter().enumerate() {
            let bytes = shard.source().len();
            let (name, tensors) = (file_name(set, i), shard.tensors().len());
            writeln!(
                out,
                "  {i}: {name}, {tensors} tensors, {bytes} bytes, data at {}",
                shard.gguf().data_offset
            )?;
        }
    }
    writeln!(out, "\nmetadata: {} keys", set.metadata().len())?;
    for (key, value) in set.metadata().iter() {
        writeln!(out, "  {key}: {} = {}", value.type_name(), shown(value))?;
    }
    writeln!(out, "\ntensors: {}", set.n_tensors())?;
    for (i, tensor) in set.tensors().enumerate() {
        let (name, dtype, shape) = (&tensor.name, tensor.dtype.name(), format!("{:?}", dims(tensor)));
        write!(out, "  {name:<40} {dtype:<7} {shape:<24} {:>12} bytes at {}", tensor.n_bytes, tensor.offset)?;
        match set.shard_of(i) {
            Ok(shard) if set.shards().len() > 1 => writeln!(out, " in file {shard}")?,
            _ => writeln!(out)?,
        }
    }
    writeln!(out, "\ntypes:")?;
    for (name, (count, bytes)) in histogram(set) {
        writeln!(out, "  {name:<7} {count:>5} tensors {bytes:>14} bytes")?;
    }
    if let Some(file_type) = file_type(set) {
        writeln!(out, "\nfile type: {file_type}")?;
    }
    writeln!(
        out,
        "\nparameters: {}, bytes: {}, bits per weight: {:.2}",
        set.n_params(),
        set.n_bytes(),
        bits_per_weight(set)
    )?;
    if let Some(n) = n_active_params(set) {
        writeln!(out, "active parameters: {n}, those of the experts that a token uses and all others")?;
    }
    if let Some(unused) = memory.unused_tensors.as_ref().filter(|unused| !unused.is_empty()) {
        writeln!(out, "\nunused tensors: {}", unused.len())?;
        for name in unused {
            writeln!(out, "  {name}")?;
        }
    }
    writeln!(out, "\nmemory:\n  weights {} bytes", memory.weights)?;
    let states = if memory.states > 0 { " and states" } else { "" };
    if memory.states > 0 {
        writeln!(out, "  states of a sequence {} bytes", memory.states)?;
    }
    let most = if memory.is_upper_bound { " at most" } else { "" };
    for (n_ctx, bytes) in &memory.kv_cache {
        writeln!(
            out,
            "  context {n_ctx:>7}: KV cache (f16) {bytes} bytes{most}, with weights{states} {}",
            bytes + memory.weights + memory.states
        )?;
    }
    Ok(())
}

fn as_json(set: &GgufSet, memory: &MemoryEstimate) -> serde_json::Value {
    let gguf = set.first().gguf();
    let metadata: Map<String, serde_json::Value> =
        set.metadata().iter().map(|(key, value)| (key.to_owned(), json_value(value))).collect();
    let tensors: Vec<serde_json::Value> = set
        .tensors()
        .enumerate()
        .map(|(i, tensor)| {
            json!({
                "name": tensor.name,
                "type": tensor.dtype.name(),
                "shape": dims(tensor),
                "n_bytes": tensor.n_bytes,
                "offset": tensor.offset,
                "file": set.shard_of(i).unwrap_or(0),
            })
        })
        .collect();
    let files: Vec<serde_json::Value> = set
        .shards()
        .iter()
        .enumerate()
        .map(|(i, shard)| {
            json!({
                "name": file_name(set, i),
                "n_bytes": shard.source().len(),
                "n_tensors": shard.tensors().len(),
                "data_offset": shard.gguf().data_offset,
            })
        })
        .collect();
    let types: Map<String, serde_json::Value> = histogram(set)
        .into_iter()
        .map(|(name, (count, bytes))| (name.to_owned(), json!({"n_tensors": count, "n_bytes": bytes})))
        .collect();
    let kv_cache: Vec<serde_json::Value> = memory
        .kv_cache
        .iter()
        .map(|(n_ctx, bytes)| json!({"n_ctx": n_ctx, "type": "f16", "n_bytes": bytes}))
        .collect();
    json!({
        "version": gguf.version,
        "alignment": gguf.alignment,
        "data_offset": gguf.data_offset,
        "files": files,
        "metadata": metadata,
        "tensors": tensors,
        "types": types,
        "file_type": file_type(set),
        "n_params": set.n_params(),
        "n_active_params": n_active_params(set),
        "n_bytes": set.n_bytes(),
        "bits_per_weight": bits_per_weight(set),
        "memory": {
            "weights": memory.weights,
            "states": memory.states,
            "kv_cache": kv_cache,
            "kv_cache_is_upper_bound": memory.is_upper_bound,
        },
        "unused_tensors": memory.unused_tensors,
    })
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            let cut: String = text.chars().take(SHOWN).collect();
            let dots = if cut.len() < text.len() { "..." } else { "" };
            format!("{cut:?}{dots}")
        }
        Value::Array(array) if array.len() > SHOWN => format!("[{} elements]", array.len()),
        other => json_value(other).to_string(),
    }
}

fn json_value(value: &Value) -> serde_json::Value {
    match value {
        Value::U8(v) => json!(v),
        Value::I8(v) => json!(v),
        Value::U16(v) => json!(v),
        Value::I16(v) => json!(v),
        Value::U32(v) => json!(v),
        Value::I32(v) => json!(v),
        Value::F32(v) => json!(v),
        Value::Bool(v) => json!(v),
        Value::String(v) => json!(String::from_utf8_lossy(v)),
        Value::Array(v) => json_array(v),
        Value::U64(v) => json!(v),
        Value::I64(v) => json!(v),
        Value::F64(v) => json!(v),
    }
}

fn json_array(array: &Array) -> serde_json::Value {
    match array {
        Array::U8(v) => json!(v),
        Array::I8(v) => json!(v),
        Array::U16(v) => json!(v),
        Array::I16(v) => json!(v),
        Array::U32(v) => json!(v),
        Array::I32(v) => json!(v),
        Array::F32(v) => json!(v),
        Array::Bool(v) => json!(v),
        Array::String(v) => v.iter().map(|s| json!(String::from_utf8_lossy(s))).collect(),
        Array::U64(v) => json!(v),
        Array::I64(v) => json!(v),
        Array::F64(v) => json!(v),
    }
}
