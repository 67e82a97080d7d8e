//! The file that a conversion writes: its name, its bytes, and that none of the inputs is written over.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use quipu_gguf::{Array, GgufWriter, Inputs, NewFile, Value};

use super::error::{ConvertError, Result};
use super::metadata::ModelInfo;
use super::naming;
use super::outtype::OutType;
use super::safetensors::Checkpoint;
use super::tensors::Planned;

/// What was written.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The file.
    pub path: PathBuf,
    /// Number of tensors.
    pub n_tensors: usize,
    /// Number of parameters.
    pub n_params: u64,
    /// Bytes of the file.
    pub n_bytes: u64,
    /// The weights' type, with `Auto` resolved.
    pub out_type: OutType,
}

/// Files that are no whole models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The vocabulary alone.
    Vocab,
    /// An adapter.
    Lora,
}

/// The file's name: the caller's with the type filled in, or one after the model.
pub(super) fn out_path(out: &Path, info: &ModelInfo, out_type: OutType, kind: Option<Kind>) -> PathBuf {
    if out.is_dir() {
        let field = |name: &str| info.text(name);
        let is_vocab = kind == Some(Kind::Vocab);
        let size = field("size_label").filter(|_| !is_vocab);
        let parts = [field("basename"), size, field("finetune"), field("version")];
        let encoding = (!is_vocab).then(|| out_type.name());
        let kind = kind.map(|kind| if kind == Kind::Vocab { "vocab" } else { "LoRA" });
        let name = naming::file_name(field("name").unwrap_or_default(), parts, encoding, kind);
        return out.join(format!("{name}.gguf"));
    }
    let Some(name) = out.file_name().and_then(|name| name.to_str()) else { return out.to_owned() };
    let upper = out_type.name();
    let lower = upper.to_lowercase();
    let mut name = name.to_owned();
    for (key, value) in [("{ftype}", &lower), ("{outtype}", &lower), ("{}", &lower)] {
        name = name.replace(key, value);
    }
    out.with_file_name(name.replace("{FTYPE}", upper).replace("{OUTTYPE}", upper))
}

/// Writes metadata and tensors, and returns how many bytes that are.
///
/// # Errors
/// Those of the file system; an input that changed meanwhile; what no reader would take.
pub(super) fn write(
    path: &Path,
    inputs: &Inputs,
    writer: &GgufWriter,
    planned: &[Planned],
    checkpoint: &Checkpoint,
    vocab_only: bool,
) -> Result<u64> {
    let failed = |source| ConvertError::Write { path: path.to_owned(), source };
    let mut out = BufWriter::with_capacity(1 << 20, NewFile::create(path, inputs)?);
    if vocab_only {
        // No tensors follow, and the reference does not pad for them.
        out.write_all(&unpadded(writer)?).map_err(failed)?;
    } else {
        let written = writer.write_to(&mut out, |i, sink| planned[i].write(checkpoint, sink));
        written.map_err(|error| error.of_output(path))?;
    }
    checkpoint.check_unchanged()?;
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    let n_bytes = file.n_bytes().map_err(failed)?;
    file.finish()?;
    Ok(n_bytes)
}

/// The files of the model's folder; a GGUF file in it is an earlier result, and may be written over.
pub(super) fn inputs_of(dir: &Path) -> Inputs {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.extension().is_none_or(|extension| extension != "gguf")).collect()
}

/// The header without the padding behind it.
fn unpadded(writer: &GgufWriter) -> Result<Vec<u8>> {
    let mut header = writer.header()?;
    // Magic, version and two counts, then the keys.
    let keys: usize = writer.metadata.iter().map(|(key, value)| 8 + key.len() + 4 + n_bytes(value)).sum();
    header.truncate(24 + keys);
    Ok(header)
}

/// Bytes of a value behind its type.
fn n_bytes(value: &Value) -> usize {
    match value {
        Value::U8(_) | Value::I8(_) | Value::Bool(_) => 1,
        Value::U16(_) | Value::I16(_) => 2,
        Value::U32(_) | Value::I32(_) | Value::F32(_) => 4,
        Value::U64(_) | Value::I64(_) | Value::F64(_) => 8,
        Value::String(text) => 8 + text.len(),
        Value::Array(Array::String(items)) => 12 + items.iter().map(|item| 8 + item.len()).sum::<usize>(),
        Value::Array(array) => {
            let size = match array {
                Array::U8(_) | Array::I8(_) | Array::Bool(_) => 1,
                Array::U16(_) | Array::I16(_) => 2,
                Array::U64(_) | Array::I64(_) | Array::F64(_) => 8,
                _ => 4,
            };
            12 + array.len() * size
        }
    }
}
