//! `quipu imatrix`: what a model's weights see over a text, for `quipu quantize --imatrix`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use quipu::gguf::Inputs;
use quipu::{Flow, Imatrix, ImatrixOptions, SessionOptions};

use crate::context::{CacheArgs, ThreadArgs};
use crate::csv;
use crate::fail::{Failure, named};
use crate::input::read_prompt;
use crate::options::ModelArgs;
use crate::output::Output;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Gguf,
    Dat,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The text; without it, the files of --in-file are only combined.
    #[arg(short = 'f', long)]
    file: Option<PathBuf>,
    /// Where to write.
    #[arg(short = 'o', long, default_value = "imatrix.gguf")]
    output: PathBuf,
    /// The newer format or the older one.
    #[arg(long, value_enum, default_value = "gguf")]
    output_format: Format,
    /// Earlier collections to add to, separated by commas; a name with commas stands in quotation marks.
    #[arg(long, value_name = "FILE,...")]
    in_file: Vec<OsString>,
    /// Collect for output.weight too.
    #[arg(long)]
    process_output: bool,
    /// Understand special tokens in the text.
    #[arg(long)]
    parse_special: bool,
    /// Chunks left out at the start.
    #[arg(long, visible_alias = "from-chunk", default_value_t = 0)]
    chunk: usize,
    /// Chunks evaluated at most.
    #[arg(long)]
    chunks: Option<usize>,
    /// Write after every so many chunks.
    #[arg(long, default_value_t = 10)]
    output_frequency: usize,
    /// Keep a copy, named .at_N, after every so many chunks; 0 = none.
    #[arg(long, default_value_t = 0)]
    save_frequency: usize,
    /// Tokens per chunk.
    #[arg(short = 'c', long = "ctx-size", default_value_t = 512)]
    n_ctx: usize,
    /// Most tokens computed at once (-ub).
    #[arg(long = "ubatch", visible_alias = "ubatch-size", default_value_t = 512)]
    n_ubatch: usize,
    #[command(flatten)]
    threads: ThreadArgs,
    #[command(flatten)]
    cache: CacheArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    // Not after hours of work.
    let inputs = args.inputs()?;
    inputs.refuse(&args.output)?;
    let mut imatrix = Imatrix { chunk_size: args.n_ctx as u32, ..Imatrix::default() };
    for path in args.in_files()? {
        imatrix.add(&Imatrix::open(&path)?, &path.display().to_string(), args.n_ctx as u32)?;
    }
    let Some(text_file) = &args.file else {
        if args.in_file.is_empty() {
            return Err(Failure::Input(
                "no text and nothing to combine, expected -f or --in-file".to_owned(),
            ));
        }
        return write(args, &inputs, &imatrix, &args.output);
    };
    let text = read_prompt(text_file)?;
    imatrix.datasets.push(text_file.display().to_string());
    let model = args.model.open()?;
    let mut options = SessionOptions {
        n_ctx: args.n_ctx.saturating_add(1),
        n_ubatch: args.n_ubatch,
        ..SessionOptions::default()
    };
    args.threads.apply(&mut options);
    args.cache.apply(&mut options);
    let mut session = model.session(&options)?;
    let options = ImatrixOptions {
        n_ctx: args.n_ctx,
        first_chunk: args.chunk,
        n_chunks: args.chunks,
        process_output: args.process_output,
        parse_special: args.parse_special,
    };
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} chunks, perplexity {msg}, {eta}")
    {
        bar.set_style(style);
    }
    let mut failed = None;
    session.collect_imatrix(&text, &options, &mut imatrix, |state| {
        bar.set_length(state.n_chunks as u64);
        bar.set_position(state.chunk as u64);
        bar.set_message(format!("{:.4}", state.perplexity));
        let done = save_now_and_then(args, &inputs, state.imatrix);
        failed = done.err();
        if failed.is_some() { Flow::Stop } else { Flow::Continue }
    })?;
    bar.finish_and_clear();
    match failed {
        Some(failure) => Err(failure),
        None => write(args, &inputs, &imatrix, &args.output),
    }
}

fn save_now_and_then(args: &Args, inputs: &Inputs, imatrix: &Imatrix) -> Result<(), Failure> {
    let chunk = imatrix.chunk_count as usize;
    let due = |every: usize| every > 0 && chunk > 0 && chunk.is_multiple_of(every);
    if due(args.output_frequency) {
        write(args, inputs, imatrix, &args.output)?;
    }
    if due(args.save_frequency) {
        let mut name = args.output.as_os_str().to_owned();
        name.push(format!(".at_{chunk}"));
        write(args, inputs, imatrix, Path::new(&name))?;
    }
    Ok(())
}

impl Args {
    /// The files that are read.
    fn inputs(&self) -> Result<Inputs, Failure> {
        let mut inputs = self.model.inputs();
        self.file.iter().cloned().chain(self.in_files()?).for_each(|path| inputs.add(&path));
        Ok(inputs)
    }

    fn in_files(&self) -> Result<Vec<PathBuf>, Failure> {
        let rows: Result<Vec<_>, String> = self.in_file.iter().map(|row| csv::paths(row)).collect();
        Ok(rows.map_err(|why| Failure::Input(format!("--in-file: {why}")))?.concat())
    }
}

fn write(args: &Args, inputs: &Inputs, imatrix: &Imatrix, path: &Path) -> Result<(), Failure> {
    let mut out = Output::create(path, inputs)?;
    match args.output_format {
        Format::Gguf => imatrix.write_gguf(&mut out).map_err(named(path))?,
        Format::Dat => imatrix.write_legacy(&mut out).map_err(|error| out.failed(error))?,
    }
    out.finish()
}
