//! `quipu perplexity`: how well a model predicts a text.

use std::io::Write;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use quipu::SessionOptions;

use crate::fail::{Failure, writing};
use crate::input::read_prompt;
use crate::options::ModelArgs;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The text.
    #[arg(short = 'f', long)]
    file: PathBuf,
    /// Tokens per chunk.
    #[arg(short = 'c', long = "ctx-size", default_value_t = 512)]
    n_ctx: usize,
    /// Threads; 0 = one for each core.
    #[arg(short = 't', long = "threads", default_value_t = 0)]
    n_threads: usize,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let text = read_prompt(&args.file)?;
    let model = args.model.open()?;
    let options =
        SessionOptions { n_ctx: args.n_ctx, n_threads: args.n_threads, ..SessionOptions::default() };
    let mut session = model.session(&options)?;
    let style = ProgressStyle::with_template("{spinner} chunk {pos}, perplexity {msg}, {elapsed}");
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = style {
        bar.set_style(style);
    }
    let result = session.perplexity(&text, args.n_ctx, |chunk, value| {
        bar.set_position(chunk as u64);
        bar.set_message(format!("{value:.4}"));
    })?;
    bar.finish_and_clear();
    writeln!(
        std::io::stdout(),
        "Final estimate: PPL = {:.4} +/- {:.5} ({} chunks of {} tokens)",
        result.value,
        result.error,
        result.n_chunks,
        args.n_ctx
    )
    .map_err(writing)
}
