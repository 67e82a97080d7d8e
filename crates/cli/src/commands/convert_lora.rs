//! `quipu convert-lora`: a Hugging Face LoRA adapter becomes a GGUF file.

use std::path::PathBuf;

use quipu_convert::{LoraOptions, OutType, convert_lora};

use crate::fail::Failure;

/// `--outtype`, with the reference's names.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Type {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory with adapter_config.json and adapter_model.safetensors.
    dir: PathBuf,
    /// The directory of the model it belongs to: config.json, and the tokenizer of adapters that are invoked by a text.
    #[arg(long, value_name = "DIR")]
    base: PathBuf,
    /// The GGUF file; {ftype} in its name becomes the type. A folder: the file is named after the adapter.
    #[arg(short, long, value_name = "OUT.gguf", alias = "outfile")]
    output: PathBuf,
    /// Type of the matrices.
    #[arg(long, value_enum, default_value = "f32")]
    outtype: Type,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let out_type = match args.outtype {
        Type::F32 => OutType::F32,
        Type::F16 => OutType::F16,
        Type::Bf16 => OutType::Bf16,
        Type::Q8_0 => OutType::Q8_0,
    };
    let options = LoraOptions { base: args.base.clone(), out_type };
    let done =
        convert_lora(&args.dir, &args.output, &options).map_err(|error| Failure::Input(error.to_string()))?;
    super::convert::told(&done);
    Ok(())
}
