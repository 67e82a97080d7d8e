//! Hugging Face model directories to GGUF files, byte for byte as `convert_hf_to_gguf.py` writes them.
//!
//! Read are `config.json`, `model*.safetensors` (with an index or without), `tokenizer.model` or
//! `tokenizer.json` with their companions, `generation_config.json` and the model card. The models are those of `families`: llama
//! (with Mistral and Mixtral), Qwen 2 and 3 with and without experts, BERT, Gemma 1 to 3, OLMo 2, OLMoE, StarCoder 2, SmolLM 3,
//! Granite, Phi 3, gpt-oss, Mamba 1 and 2, GPT-2, StableLM, Falcon, DeepSeek V2 and V3, GLM 4. Everything else is refused by name.
//! Of quantised checkpoints fp8 with scales is unpacked and gpt-oss' MXFP4 is kept; others are refused, as are multimodal ones.
//!
//! The way: `config` says what the model is, `safetensors` opens its weights, `dequant` pairs them with their scales, `tensors` and
//! `parts` plan the file's tensors, `metadata`, `params` and `vocab` fill the metadata in the reference's order, and `source` converts
//! the tensors while they are written. `lora` does the same with an adapter, whose model is known by its configuration alone.
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
mod dequant;
mod error;
mod families;
mod hf_tokenizer;
mod json;
mod kv;
mod long_rope;
mod lora;
mod metadata;
mod naming;
mod output;
mod outtype;
mod params;
mod parts;
mod pre;
mod rope_freqs;
mod safetensors;
mod source;
mod special_vocab;
pub mod spm;
mod tensors;
mod vocab;
mod yaml;

use std::path::Path;

use quipu_gguf::{GgufWriter, Value};

pub use error::ConvertError;
pub use lora::{LoraOptions, convert_lora};
pub use output::Converted;
pub use outtype::OutType;

use self::safetensors::Checkpoint;
use config::{Config, Family};
use kv::KeyValues;
use metadata::ModelInfo;
use output::{Kind, inputs_of, out_path, write};
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
    let mut checkpoint = Checkpoint::open(dir)?;
    let out_type = match options.out_type {
        OutType::Auto => tensors::guess(&checkpoint),
        given => given,
    };
    let keeps_mxfp4 = config.family == Family::GptOss;
    dequant::attach(&mut checkpoint, &config.raw, keeps_mxfp4)?;
    // What the file is said to be; its other tensors are of the type that was asked for.
    let is_mxfp4 = keeps_mxfp4 && !options.vocab_only && dequant::is_mxfp4(&config.raw);
    let file_type = if is_mxfp4 && out_type != OutType::Q8_0 { OutType::Mxfp4Moe } else { out_type };
    let planned =
        if options.vocab_only { Vec::new() } else { tensors::plan(&checkpoint, &config, out_type)? };
    let count = Count::of(&planned);

    let mut kv = KeyValues::default();
    kv.string("general.architecture", config.family.name());
    if !options.vocab_only {
        params::add_first(&mut kv, &config)?;
    }
    kv.string("general.type", "model");
    let name = options.model_name.as_deref();
    let info = ModelInfo::load(dir, &config.raw, name, count.total.into(), count.size_label())?;
    info.add(&mut kv)?;
    params::add(&mut kv, &config, file_type, dir)?;
    kv.set("general.quantization_version", Value::U32(2));
    let path = out_path(out, &info, file_type, options.vocab_only.then_some(Kind::Vocab));
    vocab::add(&mut kv, dir, &config, options.pre.as_deref())?;

    let mut writer = GgufWriter::new();
    writer.metadata = kv.into_metadata();
    for tensor in &planned {
        writer.add_tensor_with_ones(&tensor.name, tensor.dtype, &tensor.dims())?;
    }
    let n_bytes = write(&path, &inputs_of(dir), &writer, &planned, &checkpoint, options.vocab_only)?;
    Ok(Converted { path, n_tensors: planned.len(), n_params: count.total, n_bytes, out_type: file_type })
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
            let size = tensor.n_params();
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
