//! `quipu inspect`: what is in a GGUF file.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use quipu::gguf::{Array, Gguf, GgufFile, Value};
use serde_json::{Map, json};

use crate::fail::{Failure, writing};

/// Longest string and array shown in full.
const SHOWN: usize = 64;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file.
    file: PathBuf,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let file = GgufFile::open(&args.file)
        .map_err(|error| Failure::Input(format!("{}: {error}", args.file.display())))?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if args.json {
        let text = serde_json::to_string_pretty(&as_json(file.gguf()))
            .map_err(|error| Failure::Input(format!("{}: {error}", args.file.display())))?;
        writeln!(out, "{text}").map_err(writing)?;
    } else {
        text(&mut out, file.gguf()).map_err(writing)?;
    }
    out.flush().map_err(writing)
}

/// Tensors and bytes by type.
fn histogram(gguf: &Gguf) -> BTreeMap<&'static str, (usize, u64)> {
    let mut types = BTreeMap::new();
    for tensor in &gguf.tensors {
        let entry: &mut (usize, u64) = types.entry(tensor.dtype.name()).or_default();
        entry.0 += 1;
        entry.1 += tensor.n_bytes;
    }
    types
}

fn n_params(gguf: &Gguf) -> u64 {
    gguf.tensors.iter().map(quipu::gguf::TensorInfo::n_elements).sum()
}

fn n_bytes(gguf: &Gguf) -> u64 {
    gguf.tensors.iter().map(|tensor| tensor.n_bytes).sum()
}

fn bits_per_weight(gguf: &Gguf) -> f64 {
    8.0 * n_bytes(gguf) as f64 / n_params(gguf).max(1) as f64
}

fn text(out: &mut impl Write, gguf: &Gguf) -> std::io::Result<()> {
    writeln!(out, "GGUF v{}, alignment {}, data at byte {}", gguf.version, gguf.alignment, gguf.data_offset)?;
    writeln!(out, "\nmetadata: {} keys", gguf.metadata.len())?;
    for (key, value) in gguf.metadata.iter() {
        writeln!(out, "  {key}: {} = {}", value.type_name(), shown(value))?;
    }
    writeln!(out, "\ntensors: {}", gguf.tensors.len())?;
    for tensor in &gguf.tensors {
        let ne = &tensor.ne[..(tensor.n_dims as usize).clamp(1, 4)];
        writeln!(
            out,
            "  {:<40} {:<7} {:<24} {:>12} bytes at {}",
            tensor.name,
            tensor.dtype.name(),
            format!("{ne:?}"),
            tensor.n_bytes,
            tensor.offset
        )?;
    }
    writeln!(out, "\ntypes:")?;
    for (name, (count, bytes)) in histogram(gguf) {
        writeln!(out, "  {name:<7} {count:>5} tensors {bytes:>14} bytes")?;
    }
    writeln!(
        out,
        "\nparameters: {}, bytes: {}, bits per weight: {:.2}",
        n_params(gguf),
        n_bytes(gguf),
        bits_per_weight(gguf)
    )
}

fn as_json(gguf: &Gguf) -> serde_json::Value {
    let metadata: Map<String, serde_json::Value> =
        gguf.metadata.iter().map(|(key, value)| (key.to_owned(), json_value(value))).collect();
    let tensors: Vec<serde_json::Value> = gguf
        .tensors
        .iter()
        .map(|tensor| {
            json!({
                "name": tensor.name,
                "type": tensor.dtype.name(),
                "shape": tensor.ne[..(tensor.n_dims as usize).clamp(1, 4)],
                "n_bytes": tensor.n_bytes,
                "offset": tensor.offset,
            })
        })
        .collect();
    let types: Map<String, serde_json::Value> = histogram(gguf)
        .into_iter()
        .map(|(name, (count, bytes))| (name.to_owned(), json!({"n_tensors": count, "n_bytes": bytes})))
        .collect();
    json!({
        "version": gguf.version,
        "alignment": gguf.alignment,
        "data_offset": gguf.data_offset,
        "metadata": metadata,
        "tensors": tensors,
        "types": types,
        "n_params": n_params(gguf),
        "n_bytes": n_bytes(gguf),
        "bits_per_weight": bits_per_weight(gguf),
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
