//! `quipu perplexity`: how well a model predicts a text, and how far its predictions are from another's.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use quipu::{BaseReader, Estimate, KlDivergence, Model, PerplexityOptions, SessionOptions};

use crate::context::{CacheArgs, ThreadArgs};
use crate::fail::{Failure, writing};
use crate::input::read_prompt;
use crate::options::ModelArgs;
use crate::output::Output;

/// Fewer places make no statistics (the reference's bound).
const MIN_PLACES: usize = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The text; with --kl-divergence the base's file has it.
    #[arg(short = 'f', long, required_unless_present = "kl_divergence")]
    file: Option<PathBuf>,
    /// Tokens per chunk; with --kl-divergence as the base has it.
    #[arg(short = 'c', long = "ctx-size", default_value_t = 512)]
    n_ctx: usize,
    /// Chunks evaluated at most; -1 or 0 = all.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    chunks: i64,
    #[command(flatten)]
    threads: ThreadArgs,
    #[command(flatten)]
    cache: CacheArgs,
    /// Most tokens of one decode call (-b).
    #[arg(short = 'b', long = "batch-size", default_value_t = 2048)]
    n_batch: usize,
    /// Most tokens computed at once.
    #[arg(long = "ubatch", visible_alias = "ubatch-size", default_value_t = 512)]
    n_ubatch: usize,
    /// Write what the model predicts to this file; with --kl-divergence, compare with what the file says. The format is
    /// llama-perplexity's.
    #[arg(long, visible_alias = "save-all-logits", value_name = "FILE")]
    kl_divergence_base: Option<PathBuf>,
    /// Measure how far the predictions are from those of --kl-divergence-base.
    #[arg(long, requires = "kl_divergence_base")]
    kl_divergence: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match (&args.kl_divergence_base, &args.file) {
        (Some(base), _) if args.kl_divergence => compare(args, base),
        (base, Some(file)) => measure(args, file, base.as_deref()),
        // The parser asks for one of them.
        (_, None) => Err(Failure::Input("no text, expected -f".to_owned())),
    }
}

fn measure(args: &Args, file: &Path, base: Option<&Path>) -> Result<(), Failure> {
    let text = read_prompt(file)?;
    let mut inputs = args.model.inputs();
    inputs.add(file);
    let mut written = base.map(|path| Output::create(path, &inputs)).transpose()?;
    let model = args.model.open()?;
    let mut session = model.session(&args.session(args.n_ctx))?;
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} chunk {pos}, perplexity {msg}, {elapsed}") {
        bar.set_style(style);
    }
    let options = PerplexityOptions { n_ctx: args.n_ctx, n_chunks: args.n_chunks() };
    let out = written.as_mut().map(|out| out as &mut dyn Write);
    let result = session.perplexity_with(&text, options, out, |chunk, value| {
        bar.set_position(chunk as u64);
        bar.set_message(format!("{value:.4}"));
    });
    let result = result.map_err(|error| match (error, base) {
        (quipu::Error::Base { found, .. }, Some(path)) => {
            Failure::Input(format!("cannot write {}: {found}", path.display()))
        }
        (error, _) => error.into(),
    })?;
    bar.finish_and_clear();
    if !result.value.is_finite() {
        let what = format!("the perplexity is {}, expected a finite number", result.value);
        return Err(Failure::Input(what));
    }
    written.map_or(Ok(()), Output::finish)?;
    writeln!(
        io::stdout(),
        "Final estimate: PPL = {:.4} +/- {:.5} ({} chunks of {} tokens)",
        result.value,
        result.error,
        result.n_chunks,
        args.n_ctx
    )
    .map_err(writing)
}

fn compare(args: &Args, base: &Path) -> Result<(), Failure> {
    let named = |error: io::Error| Failure::Io { what: base.display().to_string(), error };
    let file = File::open(base).map_err(named)?;
    let len = file.metadata().map_err(named)?.len();
    let mut reader = BaseReader::new(BufReader::with_capacity(1 << 20, file), len)?;
    let model: Model = args.model.open()?;
    let mut session = model.session(&args.session(reader.n_ctx()))?;
    let mut out = io::stdout().lock();
    let mut written = writeln!(out, "{TABLE}");
    let found = session.kl_divergence(&mut reader, |chunk, so_far| {
        if written.is_ok() {
            written = row(&mut out, chunk, so_far).and_then(|()| out.flush());
        }
    })?;
    written.and_then(|()| statistics(&mut out, &found)).and_then(|()| out.flush()).map_err(writing)
}

impl Args {
    fn n_chunks(&self) -> Option<NonZeroUsize> {
        usize::try_from(self.chunks).ok().and_then(NonZeroUsize::new)
    }

    fn session(&self, n_ctx: usize) -> SessionOptions {
        let mut options = SessionOptions {
            n_ctx,
            n_batch: self.n_batch,
            n_ubatch: self.n_ubatch,
            ..SessionOptions::default()
        };
        self.threads.apply(&mut options);
        self.cache.apply(&mut options);
        options
    }
}

/// The head of the table of chunks.
const TABLE: &str = "chunk             PPL               ln(PPL(Q)/PPL(base))          KL Divergence              Δp RMS            Same top p";

/// One chunk's line of that table: everything so far.
fn row(out: &mut impl Write, chunk: usize, found: &KlDivergence) -> io::Result<()> {
    writeln!(
        out,
        "{chunk:4}    {}    {}    {}    {} %    {} %",
        pair(found.ppl(), 1.0, [9, 9], 4),
        pair(found.log_ratio(), 1.0, [10, 10], 5),
        pair(found.kld(), 1.0, [10, 10], 5),
        pair(found.p_diff_rms(), 100.0, [6, 6], 3),
        pair(found.same_top(), 100.0, [6, 6], 3),
    )
}

/// The reference's figures, in its words and widths.
fn statistics(out: &mut impl Write, found: &KlDivergence) -> io::Result<()> {
    writeln!(out)?;
    if found.count() < MIN_PLACES {
        return Ok(());
    }
    let wide = |estimate| pair(estimate, 1.0, [10, 10], 6);
    let percent = |estimate| pair(estimate, 100.0, [6, 5], 3);
    writeln!(out, "====== Perplexity statistics ======")?;
    writeln!(out, "Mean PPL(Q)                   : {}", wide(found.ppl()))?;
    writeln!(out, "Mean PPL(base)                : {}", wide(found.ppl_base()))?;
    writeln!(out, "Cor(ln(PPL(Q)), ln(PPL(base))): {}%", number(100.0 * found.correlation(), 6, 2))?;
    writeln!(out, "Mean ln(PPL(Q)/PPL(base))     : {}", wide(found.log_ratio()))?;
    writeln!(out, "Mean PPL(Q)/PPL(base)         : {}", wide(found.ratio()))?;
    writeln!(out, "Mean PPL(Q)-PPL(base)         : {}", wide(found.difference()))?;
    writeln!(out, "\n====== KL divergence statistics ======")?;
    writeln!(out, "Mean    KLD: {}", wide(found.kld()))?;
    let kld = |name: &str, value: f32| format!("{name} KLD: {}", number(f64::from(value), 10, 6));
    writeln!(out, "{}", kld("Maximum", found.kld_percentile(1.0)))?;
    for (name, fraction) in [("99.9%  ", 0.999), ("99.0%  ", 0.99), ("95.0%  ", 0.95), ("90.0%  ", 0.9)] {
        writeln!(out, "{}", kld(name, found.kld_percentile(fraction)))?;
    }
    writeln!(out, "{}", kld("Median ", found.kld_median()))?;
    for (name, fraction) in [("10.0%  ", 0.1), (" 5.0%  ", 0.05), (" 1.0%  ", 0.01), (" 0.1%  ", 0.001)] {
        writeln!(out, "{}", kld(name, found.kld_percentile(fraction)))?;
    }
    writeln!(out, "{}", kld("Minimum", found.kld_percentile(0.0)))?;
    writeln!(out, "\n====== Token probability statistics ======")?;
    writeln!(out, "Mean    Δp: {} %", percent(found.p_diff()))?;
    let change = |name: &str, value: f32| format!("{name} Δp: {}%", number(100.0 * f64::from(value), 6, 3));
    writeln!(out, "{}", change("Maximum", found.p_diff_percentile(1.0)))?;
    let upper =
        [("99.9%  ", 0.999), ("99.0%  ", 0.99), ("95.0%  ", 0.95), ("90.0%  ", 0.9), ("75.0%  ", 0.75)];
    for (name, fraction) in upper {
        writeln!(out, "{}", change(name, found.p_diff_percentile(fraction)))?;
    }
    writeln!(out, "{}", change("Median ", found.p_diff_median()))?;
    let lower =
        [("25.0%  ", 0.25), ("10.0%  ", 0.1), (" 5.0%  ", 0.05), (" 1.0%  ", 0.01), (" 0.1%  ", 0.001)];
    for (name, fraction) in lower {
        writeln!(out, "{}", change(name, found.p_diff_percentile(fraction)))?;
    }
    writeln!(out, "{}", change("Minimum", found.p_diff_percentile(0.0)))?;
    writeln!(out, "RMS Δp    : {} %", percent(found.p_diff_rms()))?;
    writeln!(out, "Same top p: {} %", percent(found.same_top()))
}

/// A figure and its uncertainty, times `factor`.
fn pair(estimate: Estimate, factor: f64, widths: [usize; 2], precision: usize) -> String {
    let Estimate { value, error } = estimate;
    format!(
        "{} ± {}",
        number(factor * value, widths[0], precision),
        number(factor * error, widths[1], precision)
    )
}

/// As C prints it, except that what is no number has no sign.
fn number(value: f64, width: usize, precision: usize) -> String {
    if value.is_nan() { format!("{:>width$}", "nan") } else { format!("{value:width$.precision$}") }
}
