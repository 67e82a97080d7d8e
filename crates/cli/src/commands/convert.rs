//! `quipu convert`: a Hugging Face model directory becomes a GGUF file.

use std::path::PathBuf;

use quipu::convert::{ConvertOptions, OutType, convert};

use crate::fail::Failure;
use crate::output::note;

/// `--outtype`, with the reference's names.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Type {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
    Auto,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory with config.json, model*.safetensors and the tokenizer's files.
    dir: PathBuf,
    /// The GGUF file; {ftype} in its name becomes the type. A folder: the file is named after the model.
    #[arg(short, long, value_name = "OUT.gguf", alias = "outfile")]
    output: PathBuf,
    /// Type of the weights; auto is bf16 or f16, as the checkpoint.
    #[arg(long, value_enum, default_value = "auto")]
    outtype: Type,
    /// Write the vocabulary and the metadata without weights.
    #[arg(long)]
    vocab_only: bool,
    /// Name of the model, instead of what its files say.
    #[arg(long, value_name = "NAME")]
    model_name: Option<String>,
    /// Name of the pre-tokenizer (llama-bpe, qwen2, ...), for vocabularies that are not recognised.
    #[arg(long, value_name = "NAME")]
    pre: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let options = ConvertOptions {
        out_type: match args.outtype {
            Type::F32 => OutType::F32,
            Type::F16 => OutType::F16,
            Type::Bf16 => OutType::Bf16,
            Type::Q8_0 => OutType::Q8_0,
            Type::Auto => OutType::Auto,
        },
        vocab_only: args.vocab_only,
        model_name: args.model_name.clone(),
        pre: args.pre.clone(),
    };
    let done =
        convert(&args.dir, &args.output, &options).map_err(|error| Failure::Input(error.to_string()))?;
    note(format_args!(
        "{}: {} tensors, {} parameters, {} bytes, {}",
        done.path.display(),
        done.n_tensors,
        done.n_params,
        done.n_bytes,
        done.out_type.name()
    ));
    Ok(())
}
