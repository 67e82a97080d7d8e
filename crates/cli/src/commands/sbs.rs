//! `quipu sbs`: gemma.cpp's files shown, compared and brought into their newest form.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use quipu::gguf::{Inputs, SourceKind, open_source};
use quipu_gemma::{
    Analysis, BlobStore, DistortionStats, Layout, Mat, OpenOptions, SbsFile, Type, codec, compare,
};

use crate::fail::{Failure, named, writing};
use crate::output::{Output, note};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show a file's model, tensors and blobs.
    Inspect(Inspect),
    /// Compare the blobs of two files, as gemma.cpp's blob_compare: exit code 1 if some differ, 2 if they cannot be compared.
    Compare(Compare),
    /// Write a model as a single file, as gemma.cpp's migrate_weights.
    Migrate(Migrate),
}

#[derive(Debug, clap::Args)]
struct Inspect {
    /// The .sbs file.
    file: PathBuf,
    /// Also tell what each tensor would lose in this type: sfp, nuq, i8 or bf16.
    #[arg(long, value_name = "TYPE")]
    distortion: Option<String>,
    /// Also tell what each tensor's values are like: ranges, tails, outliers, exponents.
    #[arg(long)]
    analyze: bool,
}

#[derive(Debug, clap::Args)]
struct Compare {
    /// A .sbs file.
    a: PathBuf,
    /// Another one with the same blobs.
    b: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Migrate {
    /// The .sbs file.
    input: PathBuf,
    /// The file to write.
    output: PathBuf,
    /// The SentencePiece model, for files of before 2025, which have none.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Files of before 2025: the model has not been instructed.
    #[arg(long)]
    pretrained: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Inspect(args) => inspect(args),
        Command::Compare(args) => compare_files(args),
        Command::Migrate(args) => migrate(args),
    }
}

/// A file's bytes, of one that need not be large.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::Io { what: path.display().to_string(), error })
}

fn inspect(args: &Inspect) -> Result<(), Failure> {
    let sbs = SbsFile::open(&args.file).map_err(named(&args.file))?;
    let target = match &args.distortion {
        None => None,
        Some(name) => match Type::from_name(name) {
            Some(dtype @ (Type::Sfp | Type::Nuq | Type::I8 | Type::Bf16)) => Some(dtype),
            _ => {
                return Err(Failure::Input(format!(
                    "'{name}' is no such type, expected sfp, nuq, i8 or bf16"
                )));
            }
        },
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    describe(&mut out, &sbs).map_err(writing)?;
    for mat in sbs.mats() {
        let at = sbs.blob_of(&mat.name).map_err(named(&args.file))?.offset;
        line(&mut out, mat, at).map_err(writing)?;
        if let Some(dtype) = target {
            distortion(&mut out, &sbs, mat, dtype, &args.file)?;
        }
        if args.analyze {
            analysis(&mut out, &sbs, mat, &args.file)?;
        }
    }
    out.flush().map_err(writing)?;
    sbs.notes().iter().for_each(note);
    Ok(())
}

fn describe(out: &mut impl Write, sbs: &SbsFile) -> std::io::Result<()> {
    let (config, blobs) = (sbs.config(), sbs.blobs());
    let layout = if blobs.layout() == Layout::V1 { "V1" } else { "V2" };
    let form = if sbs.is_single_file() { "single file" } else { "of before 2025" };
    writeln!(out, "SBS {layout}, {form}, {} blobs, {} bytes", blobs.blobs().len(), blobs.source().len())?;
    writeln!(out, "\nmodel: {} ({})", config.specifier(), config.display_name)?;
    let (layers, width, vocabulary) = (config.num_layers, config.model_dim, config.vocab_size);
    writeln!(
        out,
        "  {layers} layers of {width}, vocabulary of {vocabulary}, context of {}",
        config.max_seq_len
    )?;
    if let Some(layer) = config.layer_configs.first() {
        let (heads, kv_heads, head) = (layer.heads, layer.kv_heads, layer.qkv_dim);
        writeln!(
            out,
            "  {heads} heads ({kv_heads} for keys) of {head}, feed-forward of {}",
            layer.ff_hidden_dim
        )?;
    }
    let windowed = (0..config.layer_configs.len()).filter(|&il| !config.is_global_layer(il)).count();
    writeln!(out, "  windows in {windowed} layers, caps {} and {}", config.att_cap, config.final_cap)?;
    if config.has_vit() {
        let (n, size) = (config.vit_config.layer_configs.len(), config.vit_config.image_size);
        writeln!(out, "  image encoder of {n} layers for {size} pixels")?;
    }
    writeln!(out, "\ntensors: {}", sbs.mats().len())
}

fn line(out: &mut impl Write, mat: &Mat, at: u64) -> std::io::Result<()> {
    let (shape, bytes) = (format!("{} x {}", mat.rows, mat.cols), mat.n_bytes().unwrap_or(0));
    write!(out, "  {:<16} {:<5} {shape:<16} {bytes:>12} bytes at {at}", mat.name, mat.dtype)?;
    if mat.scale != 1.0 {
        write!(out, ", scale {}", mat.scale)?;
    }
    writeln!(out)
}

/// Values are looked at so many at a time; whole groups of every codec.
const CHUNK: u64 = 1 << 16;

/// What a tensor would lose.
fn distortion(
    out: &mut impl Write,
    sbs: &SbsFile,
    mat: &Mat,
    dtype: Type,
    path: &Path,
) -> Result<(), Failure> {
    let mut stats = DistortionStats::default();
    for from in (0..mat.n_values()).step_by(CHUNK as usize) {
        let n = CHUNK.min(mat.n_values() - from) as usize;
        let original = sbs.values(&mat.name, from, n).map_err(named(path))?;
        let mut scaled = original.clone();
        let scale = match dtype {
            Type::Sfp | Type::Nuq => codec::scale_weights(&mut scaled),
            _ => 1.0,
        };
        let bytes = codec::encode(dtype, &scaled).map_err(named(path))?;
        let mut back = vec![0.0; n];
        codec::decode(dtype, &bytes, &mut back).map_err(named(path))?;
        original.iter().zip(&back).for_each(|(x, y)| stats.notify(*x, y * scale));
    }
    let (exact, zeros, flips) = (stats.n_exact(), stats.n_rounded_to_zero(), stats.n_sign_flip());
    let (snr, weighted) = (stats.geomean_value_div_l1(), stats.weighted_average_l1());
    writeln!(
        out,
        "    as {dtype}: {exact} exact, {zeros} to zero, {flips} signs, value/error {snr:.3}, weighted error {weighted:.3e}"
    )
    .map_err(writing)
}

/// What a tensor's values are like, as gemma.cpp's analysis.
fn analysis(out: &mut impl Write, sbs: &SbsFile, mat: &Mat, path: &Path) -> Result<(), Failure> {
    let mut found = Analysis::default();
    for pass in [Analysis::add, Analysis::add_outliers] {
        for from in (0..mat.n_values()).step_by(CHUNK as usize) {
            let n = CHUNK.min(mat.n_values() - from) as usize;
            pass(&mut found, &sbs.values(&mat.name, from, n).map_err(named(path))?);
        }
    }
    figures(out, &found, mat.n_values()).map_err(writing)
}

fn figures(out: &mut impl Write, found: &Analysis, n: u64) -> std::io::Result<()> {
    let all = &found.nonzero;
    if all.n() == 0 {
        return writeln!(out, "    no whole group, or zeros alone");
    }
    writeln!(
        out,
        "    values: {} but zero, {:.4} to {:.4}, mean {:.3e}, deviation {:.3e}, skewness {:.3}, kurtosis {:.3}",
        all.n(),
        all.min(),
        all.max(),
        all.mean(),
        all.standard_deviation(),
        all.skewness(),
        all.kurtosis()
    )?;
    let (tiny, outliers) = (found.n_tiny, found.n_outliers);
    let share = 100.0 * outliers as f64 / n.max(1) as f64;
    writeln!(out, "    tiny {tiny}, outliers {outliers} ({share:.3} %)")?;
    let (ranges, ratios, cuts) = (&found.group_ranges, &found.group_ratios, &found.cuts);
    writeln!(
        out,
        "    groups of 256: range {:.4} to {:.4}, mean {:.4}; largest to smallest {:.3e}; 16th step {:.3e}",
        ranges.min(),
        ranges.max(),
        ranges.mean(),
        ratios.mean(),
        cuts.mean()
    )?;
    write!(out, "    exponents:")?;
    for (bits, count) in (-127i32..).zip(found.exponents).filter(|(_, count)| *count > 0) {
        write!(out, " {bits}:{count}")?;
    }
    write!(out, "\n    mantissas:")?;
    for count in found.mantissas {
        write!(out, " {count}")?;
    }
    writeln!(out)
}

fn compare_files(args: &Compare) -> Result<(), Failure> {
    let refused =
        |path: &Path, error: &dyn std::fmt::Display| Failure::Refused(format!("{}: {error}", path.display()));
    let open = |path: &Path| {
        let source = open_source(path, SourceKind::Mapped).map_err(|error| refused(path, &error))?;
        BlobStore::open(source).map_err(|error| refused(path, &error))
    };
    let (a, b) = (open(&args.a)?, open(&args.b)?);
    let found = compare(&a, &b).map_err(|error| refused(&args.b, &error))?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for blob in &found.different {
        let (key, n, bytes, first) = (blob.key, blob.n_mismatches, blob.bytes, blob.first);
        writeln!(out, "{key}: {n} mismatches in {bytes} bytes, the first at {first}").map_err(writing)?;
    }
    let (equal, different) = (found.n_equal, found.different.len());
    writeln!(out, "{equal} blobs match, {different} do not").map_err(writing)?;
    out.flush().map_err(writing)?;
    if different == 0 {
        return Ok(());
    }
    Err(Failure::Input(format!("{} and {} differ", args.a.display(), args.b.display())))
}

fn migrate(args: &Migrate) -> Result<(), Failure> {
    let source = open_source(&args.input, SourceKind::Mapped)?;
    let options = OpenOptions { instructed: args.pretrained.then_some(false) };
    let sbs = SbsFile::from_source(source, options).map_err(named(&args.input))?;
    let tokenizer = args.tokenizer.as_deref().map(read_file).transpose()?;
    if tokenizer.is_none() && sbs.tokenizer().map_err(named(&args.input))?.is_none() {
        note("the file has no tokenizer and none was given (--tokenizer): it will not run");
    }
    let mut inputs = Inputs::new();
    inputs.add(&args.input);
    args.tokenizer.iter().for_each(|path| inputs.add(path));
    let mut output = Output::create(&args.output, &inputs)?;
    sbs.migrate(&mut output, tokenizer.as_deref()).map_err(named(&args.output))?;
    output.finish()?;
    note(format_args!(
        "{}: {} with {} tensors",
        args.output.display(),
        sbs.config().specifier(),
        sbs.mats().len()
    ));
    Ok(())
}
