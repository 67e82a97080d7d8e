//! `quipu quantize`: a model file in another mixture of types, byte for byte as llama-quantize writes it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use quipu::gguf::MetadataOverride;
use quipu::{DType, FileType, Flow, Imatrix, QuantizeParams, QuantizePlan, Quantizer};

use crate::fail::{Failure, writing};
use crate::input::read_text;
use crate::options::metadata_override;
use crate::output::note;

/// More threads than any machine has are a mistake; the devices have the same bound.
const MAX_THREADS: usize = 512;

#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)] // switches of a command line
pub(crate) struct Args {
    /// The model; of a split set, its first file.
    input: PathBuf,
    /// Output, type and threads, as llama-quantize takes them. Without an output it is ggml-model-TYPE.gguf beside the
    /// input; TYPE is a name (Q4_K_M), a number, or COPY.
    #[arg(num_args = 1..=3, required = true, value_name = "[OUTPUT] TYPE [THREADS]")]
    rest: Vec<String>,
    /// Allow tensors that are quantised already, at a loss.
    #[arg(long)]
    allow_requantize: bool,
    /// Leave output.weight as it is.
    #[arg(long)]
    leave_output_tensor: bool,
    /// One type for all tensors instead of a mixture.
    #[arg(long)]
    pure: bool,
    /// Importance matrix, as llama-imatrix or `quipu imatrix` writes it.
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,
    /// Use the importance matrix only for tensors whose names contain this.
    #[arg(long, value_name = "PART", conflicts_with = "exclude_weights")]
    include_weights: Vec<String>,
    /// Do not use the importance matrix for tensors whose names contain this.
    #[arg(long, value_name = "PART")]
    exclude_weights: Vec<String>,
    /// Type of output.weight.
    #[arg(long, value_name = "TYPE", value_parser = parse_dtype)]
    output_tensor_type: Option<DType>,
    /// Type of the token embeddings.
    #[arg(long, value_name = "TYPE", value_parser = parse_dtype)]
    token_embedding_type: Option<DType>,
    /// Type of the tensors whose names match a regular expression; the first match counts.
    #[arg(long, value_name = "PATTERN=TYPE")]
    tensor_type: Vec<String>,
    /// File of such pairs, separated by white space.
    #[arg(long, value_name = "FILE")]
    tensor_type_file: Vec<PathBuf>,
    /// Layers to leave out.
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    prune_layers: Vec<u32>,
    /// Write as many files as the split set has.
    #[arg(long)]
    keep_split: bool,
    /// Metadata to set in the new file; TYPE is int, float, bool or str.
    #[arg(long, value_name = "KEY=TYPE:VALUE", value_parser = metadata_override)]
    override_kv: Vec<MetadataOverride>,
    /// Only show what each tensor would become.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let (target, output, n_threads) = target(args)?;
    let mut params = QuantizeParams {
        file_type: target.unwrap_or(FileType::F32),
        only_copy: target.is_none(),
        n_threads,
        output_tensor_type: args.output_tensor_type,
        token_embedding_type: args.token_embedding_type,
        tensor_types: tensor_types(args)?,
        allow_requantize: args.allow_requantize,
        leave_output_tensor: args.leave_output_tensor,
        pure: args.pure,
        keep_split: args.keep_split,
        prune_layers: args.prune_layers.iter().copied().collect::<BTreeSet<u32>>(),
        overrides: args.override_kv.clone(),
        imatrix: None,
    };
    if let Some(path) = &args.imatrix {
        let name = path.display().to_string();
        params.set_imatrix(&Imatrix::open(path)?, &name, &args.include_weights, &args.exclude_weights);
    }
    let mut quantizer = Quantizer::open(&args.input, params)?;
    quantizer.keep(args.imatrix.iter().chain(&args.tensor_type_file));
    if args.dry_run {
        return show(quantizer.plan());
    }
    let bar = ProgressBar::new(quantizer.plan().n_bytes().0);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {eta} {msg}") {
        bar.set_style(style);
    }
    quantizer.run(&output, |i, tensor| {
        if i > 0 {
            bar.inc(quantizer.plan().tensors[i - 1].n_bytes);
        }
        bar.set_message(format!("{} {} -> {}", tensor.name, tensor.from, tensor.to));
        Flow::Continue
    })?;
    bar.finish_and_clear();
    summarize(quantizer.plan());
    Ok(())
}

/// The file type (none for COPY), where to write, and the number of threads.
fn target(args: &Args) -> Result<(Option<FileType>, PathBuf, usize), Failure> {
    let parse = |text: &str| {
        let copy = text.eq_ignore_ascii_case("COPY");
        if copy { Some(None) } else { FileType::from_name(text).map(Some) }
    };
    let (output, name, threads) = match args.rest.as_slice() {
        [name] => (None, name, None),
        [name, threads] if parse(name).is_some() => (None, name, Some(threads)),
        [output, name] => (Some(output), name, None),
        [output, name, threads] => (Some(output), name, Some(threads)),
        _ => return Err(Failure::Input("expected [OUTPUT] TYPE [THREADS]".to_owned())),
    };
    let target = parse(name).ok_or_else(|| {
        let known: Vec<&str> = FileType::ALL.iter().map(|t| t.name()).collect();
        Failure::Input(format!("file type '{name}' is unknown, expected COPY or one of {}", known.join(", ")))
    })?;
    let n_threads = match threads {
        Some(text) => text.parse().ok().filter(|n| *n <= MAX_THREADS).ok_or_else(|| {
            Failure::Input(format!("'{text}' is not a number of threads, expected 0 to {MAX_THREADS}"))
        })?,
        None => 0,
    };
    let output = output.map_or_else(
        || {
            let suffix = if args.keep_split { "" } else { ".gguf" };
            let name = target.map_or("COPY", FileType::name);
            args.input.with_file_name(format!("ggml-model-{name}{suffix}"))
        },
        PathBuf::from,
    );
    Ok((target, output, n_threads))
}

fn parse_dtype(name: &str) -> Result<DType, String> {
    let found = DType::ALL.into_iter().find(|dtype| dtype.name().eq_ignore_ascii_case(name));
    found.ok_or_else(|| {
        let known: Vec<&str> = DType::ALL.iter().map(|dtype| dtype.name()).collect();
        format!("type '{name}' is unknown, expected one of {}", known.join(", "))
    })
}

fn tensor_types(args: &Args) -> Result<Vec<(String, DType)>, Failure> {
    let mut pairs = args.tensor_type.clone();
    for path in &args.tensor_type_file {
        pairs.extend(read_text(path)?.split_whitespace().map(str::to_owned));
    }
    pairs
        .iter()
        .map(|pair| {
            let wrong = |why: &str| Failure::Input(format!("tensor type '{pair}': {why}"));
            let (pattern, dtype) = pair.split_once('=').ok_or_else(|| wrong("expected PATTERN=TYPE"))?;
            if pattern.is_empty() {
                return Err(wrong("the pattern is empty, expected PATTERN=TYPE"));
            }
            // Names are lower case, and so the reference takes patterns.
            Ok((pattern.to_ascii_lowercase(), parse_dtype(dtype).map_err(|why| wrong(&why))?))
        })
        .collect()
}

/// What each tensor would become.
fn show(plan: &QuantizePlan) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for tensor in &plan.tensors {
        let line = format!(
            "{:<40} {:>24} {:>8} -> {:<8} {:>14} -> {:>14}{}",
            tensor.name,
            format!("{:?}", tensor.ne),
            tensor.from.name(),
            tensor.to.name(),
            tensor.n_bytes,
            tensor.n_bytes_new,
            if tensor.fell_back { "  (stand-in)" } else { "" },
        );
        writeln!(out, "{line}").map_err(writing)?;
    }
    summarize(plan);
    if let Some(tensor) = plan.first_needing_imatrix() {
        note(format_args!("{} becomes {}: an importance matrix is needed", tensor.name, tensor.to));
    }
    Ok(())
}

fn summarize(plan: &QuantizePlan) {
    let (before, after) = plan.n_bytes();
    let n_elements = plan.n_elements().max(1) as f64;
    let line = |what: &str, bytes: u64| {
        let (mib, bits) = (bytes as f64 / (1024.0 * 1024.0), bytes as f64 * 8.0 / n_elements);
        note(format_args!("{what}: {mib:.2} MiB ({bits:.2} bits per weight)"));
    };
    line("before", before);
    line("after", after);
    if plan.n_fallback() > 0 {
        let (n, all) = (plan.n_fallback(), plan.tensors.len());
        note(format_args!(
            "{n} of {all} tensors have rows that the wanted type cannot hold, and took another"
        ));
    }
}
