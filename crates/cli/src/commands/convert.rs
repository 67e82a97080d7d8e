//! `quipu convert`: a Hugging Face model directory becomes a GGUF file; a GGUF file a .sbs file of gemma.cpp, and back.

use std::path::{Path, PathBuf};

use quipu::gguf::{GgufSet, Inputs, SourceKind};
use quipu_convert::{ConvertOptions, Converted, OutType, convert};
use quipu_gemma::gguf::{WriteOptions, write_gguf, write_sbs};
use quipu_gemma::{SbsFile, Type as SbsType};

use super::sbs::read_file;
use crate::fail::{Failure, named};
use crate::output::{Output, note};

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
    /// The directory with config.json, model*.safetensors and the tokenizer's files; or a .gguf or .sbs file.
    dir: PathBuf,
    /// The GGUF file; {ftype} in its name becomes the type. A folder: the file is named after the model. With a name in
    /// .sbs: gemma.cpp's file, of a GGUF file or of a directory.
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
    /// To .sbs: type of the matrices (sfp, bf16, i8, nuq, f32).
    #[arg(long, value_name = "TYPE", default_value = "sfp")]
    weight: String,
    /// To and from .sbs: the SentencePiece model, instead of the one in the file or one made of its vocabulary.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// To .sbs: whether the model was instructed; without it, whether it has a chat template.
    #[arg(long, value_name = "BOOL")]
    instructed: Option<bool>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let is = |path: &Path, extension: &str| path.extension().is_some_and(|e| e == extension);
    if is(&args.dir, "sbs") {
        return from_sbs(args);
    }
    if is(&args.output, "sbs") {
        return to_sbs(args);
    }
    let options = options(
        args,
        match args.outtype {
            Type::F32 => OutType::F32,
            Type::F16 => OutType::F16,
            Type::Bf16 => OutType::Bf16,
            Type::Q8_0 => OutType::Q8_0,
            Type::Auto => OutType::Auto,
        },
    );
    let done =
        convert(&args.dir, &args.output, &options).map_err(|error| Failure::Input(error.to_string()))?;
    told(&done);
    Ok(())
}

/// Says what was written.
pub(super) fn told(done: &Converted) {
    note(format_args!(
        "{}: {} tensors, {} parameters, {} bytes, {}",
        done.path.display(),
        done.n_tensors,
        done.n_params,
        done.n_bytes,
        done.out_type.name()
    ));
}

fn options(args: &Args, out_type: OutType) -> ConvertOptions {
    ConvertOptions {
        out_type,
        vocab_only: args.vocab_only,
        model_name: args.model_name.clone(),
        pre: args.pre.clone(),
    }
}

/// The files that are read.
fn inputs(args: &Args) -> Inputs {
    let mut inputs = Inputs::new();
    inputs.add_model(&args.dir);
    args.tokenizer.iter().for_each(|path| inputs.add(path));
    inputs
}

fn from_sbs(args: &Args) -> Result<(), Failure> {
    let sbs = SbsFile::open(&args.dir).map_err(named(&args.dir))?;
    let tokenizer = args.tokenizer.as_deref().map(read_file).transpose()?;
    let mut output = Output::create(&args.output, &inputs(args))?;
    write_gguf(&sbs, tokenizer.as_deref(), &mut output).map_err(|error| of_either(args, error))?;
    output.finish()?;
    note(format_args!("{}: {}", args.output.display(), sbs.config().specifier()));
    if sbs.config().has_vit() {
        note("the image encoder was left out");
    }
    Ok(())
}

fn to_sbs(args: &Args) -> Result<(), Failure> {
    let known = [SbsType::Sfp, SbsType::Bf16, SbsType::I8, SbsType::Nuq, SbsType::F32];
    let weight = known.into_iter().find(|dtype| dtype.name() == args.weight).ok_or_else(|| {
        Failure::Input(format!("--weight {}: no such type, expected sfp, bf16, i8, nuq or f32", args.weight))
    })?;
    let own = args.dir.join("tokenizer.model");
    let tokenizer = args.tokenizer.as_deref().or(own.is_file().then_some(&own));
    let tokenizer = tokenizer.map(read_file).transpose()?;
    let between = if args.dir.is_dir() { Some(Between::convert(args)?) } else { None };
    let from = between.as_ref().map_or(args.dir.as_path(), |between| &between.0);
    let set = GgufSet::open(from, SourceKind::Mapped).map_err(named(&args.dir))?;
    let options = WriteOptions { weight, instructed: args.instructed, tokenizer: tokenizer.as_deref() };
    let output = Output::create(&args.output, &inputs(args))?;
    let (output, config) = write_sbs(&set, &options, output).map_err(|error| of_either(args, error))?;
    output.finish()?;
    note(format_args!("{}: {}", args.output.display(), config.specifier()));
    Ok(())
}

/// Names the file that a failure is of: the output, or else the input.
fn of_either(args: &Args, error: quipu_gemma::Error) -> Failure {
    let source = match error {
        quipu_gemma::Error::Write { source, .. }
        | quipu_gemma::Error::Gguf(quipu::gguf::Error::Write(source)) => source,
        other => return named(&args.dir)(other),
    };
    Failure::Io { what: args.output.display().to_string(), error: source }
}

/// The GGUF file between a directory and a `.sbs` file, as long as it is needed. All values of any checkpoint are in it.
struct Between(PathBuf);

impl Between {
    fn convert(args: &Args) -> Result<Between, Failure> {
        let name = format!(".quipu-{}.gguf", std::process::id());
        let between = Between(args.output.with_file_name(name));
        convert(&args.dir, &between.0, &options(args, OutType::F32))
            .map_err(|error| Failure::Input(error.to_string()))?;
        Ok(between)
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        // It may not have been written.
        let _ = std::fs::remove_file(&self.0);
    }
}
