//! Hugging Face model directories to GGUF files, byte for byte as `convert_hf_to_gguf.py` writes them.
//!
//! Read are `config.json`, `model*.safetensors` (with an index or without), `tokenizer.model` or
//! `tokenizer.json` with their companions, `generation_config.json` and the model card. The models are those
//! of the families llama (with Mistral and Mixtral), qwen2, qwen3 and BERT; everything else is refused by name.
//! Quantised checkpoints and multimodal ones are refused, too.
//!
//! The way: `config` says what the model is, `safetensors` opens its weights, `tensors` plans the
//! file's tensors, `metadata`, `params` and `vocab` fill the metadata in the reference's order, and the
//! tensors are converted while they are written.
//!
//! The smallest folder that is a model, and its file:
//!
//! ```
//! use std::fs;
//!
//! use quipu_convert::{ConvertOptions, OutType, convert};
//!
//! let root = tempfile::tempdir()?;
//! let dir = root.path().join("tiny");
//! fs::create_dir(&dir)?;
//! let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4,
//!     "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 2}"#;
//! fs::write(dir.join("config.json"), config)?;
//! let header = br#"{"model.embed_tokens.weight":{"dtype":"F32","shape":[2,4],"data_offsets":[0,32]}}"#;
//! let weights = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 32]].concat();
//! fs::write(dir.join("model.safetensors"), weights)?;
//! fs::write(dir.join("tokenizer.model"), b"\x0a\x07\x0a\x05<unk>\x0a\x03\x0a\x01a")?; // SentencePiece
//!
//! let options = ConvertOptions { out_type: OutType::F16, ..ConvertOptions::default() };
//! let done = convert(&dir, &root.path().join("tiny-{ftype}.gguf"), &options)?;
//! assert!(done.path.ends_with("tiny-f16.gguf"));
//! assert_eq!((done.n_tensors, done.n_params), (1, 8));
//! let file = quipu_gguf::GgufFile::open(&done.path)?;
//! assert_eq!(file.tensors()[0].name, "token_embd.weight");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod bounds;
mod config;
mod error;
mod families;
mod hf_tokenizer;
mod json;
mod kv;
mod metadata;
mod naming;
mod outtype;
mod params;
mod pre;
mod rope_freqs;
mod safetensors;
mod special_vocab;
pub mod spm;
mod tensors;
mod vocab;
mod yaml;

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use quipu_gguf::{Array, GgufWriter, Inputs, NewFile, Value};

pub use error::ConvertError;
pub use outtype::OutType;

use self::safetensors::Checkpoint;
use config::Config;
use error::Result;
use kv::KeyValues;
use metadata::ModelInfo;
use tensors::Planned;

/// How to convert.
#[derive(Clone, Debug, Default)]
pub struct ConvertOptions {
    /// The weights' type.
    pub out_type: OutType,
    /// Write the vocabulary and metadata without weights.
    pub vocab_only: bool,
    /// The model's name, instead of what its files say.
    pub model_name: Option<String>,
    /// Name of the pre-tokenizer of a BPE vocabulary, instead of the one detected. Quipu's own: the reference
    /// gives up on a vocabulary it does not know.
    pub pre: Option<String>,
}

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

/// Converts the model in `dir` and writes it to `out`: a file, whose name may hold `{ftype}` for the type, or
/// a folder, in which the file is named after the model.
///
/// The output is written under a temporary name and renamed at the end, so a failure leaves no half a file.
///
/// # Errors
/// [`ConvertError`]: what is missing, malformed or not convertible, and where.
pub fn convert(
    dir: &Path,
    out: &Path,
    options: &ConvertOptions,
) -> std::result::Result<Converted, ConvertError> {
    if !dir.is_dir() {
        return Err(ConvertError::NotADirectory { path: dir.to_owned() });
    }
    let config = Config::read(dir)?;
    let checkpoint = Checkpoint::open(dir)?;
    let out_type = match options.out_type {
        OutType::Auto => tensors::guess(&checkpoint),
        given => given,
    };
    let planned =
        if options.vocab_only { Vec::new() } else { tensors::plan(&checkpoint, &config, out_type)? };
    let count = Count::of(&planned);

    let mut kv = KeyValues::default();
    kv.string("general.architecture", config.family.name());
    kv.string("general.type", "model");
    let name = options.model_name.as_deref();
    let info = ModelInfo::load(dir, &config.raw, name, count.total, count.size_label())?;
    info.add(&mut kv)?;
    params::add(&mut kv, &config, out_type, dir)?;
    kv.set("general.quantization_version", Value::U32(2));
    let path = out_path(out, &info, out_type, options.vocab_only);
    vocab::add(&mut kv, dir, &config, options.pre.as_deref())?;

    let mut writer = GgufWriter::new();
    writer.metadata = kv.into_metadata();
    for tensor in &planned {
        writer.add_tensor(&tensor.name, tensor.dtype, &tensor.dims())?;
    }
    let n_bytes = write(&path, &inputs_of(dir), &writer, &planned, &checkpoint, options.vocab_only)?;
    Ok(Converted { path, n_tensors: planned.len(), n_params: count.total, n_bytes, out_type })
}

/// Parameters by kind (`get_total_parameter_count`).
#[derive(Default)]
struct Count {
    total: u64,
    shared: u64,
    of_one_expert: u64,
    n_expert: u64,
}

impl Count {
    fn of(planned: &[Planned]) -> Count {
        let mut count = Count::default();
        let (mut n_stacks, mut sum) = (0u64, 0u64);
        for tensor in planned {
            let size: u64 = tensor.shape.iter().map(|&n| n as u64).product();
            count.total += size;
            match tensor.shape[..] {
                [n_expert, _, _] if tensor.name.contains("_exps.") && n_expert > 0 => {
                    count.of_one_expert += size / n_expert as u64;
                    sum += n_expert as u64;
                    n_stacks += 1;
                }
                _ => count.shared += size,
            }
        }
        count.n_expert = sum.checked_div(n_stacks).unwrap_or(0);
        count
    }

    fn size_label(&self) -> Option<String> {
        let label = match self.n_expert {
            0 => naming::rounded(self.total),
            n => format!("{n}x{}", naming::rounded(self.shared + self.of_one_expert)),
        };
        (self.total > 0).then_some(label)
    }
}

/// The file's name: the caller's with the type filled in, or one after the model.
fn out_path(out: &Path, info: &ModelInfo, out_type: OutType, vocab_only: bool) -> PathBuf {
    if out.is_dir() {
        let field = |name: &str| info.text(name);
        let size = field("size_label").filter(|_| !vocab_only);
        let parts = [field("basename"), size, field("finetune"), field("version")];
        let (encoding, kind) = if vocab_only { (None, Some("vocab")) } else { (Some(out_type.name()), None) };
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

fn write(
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
fn inputs_of(dir: &Path) -> Inputs {
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
