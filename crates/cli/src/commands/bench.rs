//! `quipu bench`: tokens per second, in llama-bench's tests, columns and units.

use std::io::{self, Write};
use std::num::NonZeroUsize;

use quipu::{BenchTest, Model, run_bench};
use serde_json::json;

use crate::context::{CacheArgs, ThreadArgs};
use crate::fail::{Failure, writing};
use crate::options::ModelArgs;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Md,
    Json,
    Csv,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Prompt lengths, separated by commas; 0 leaves the test out.
    #[arg(short = 'p', long = "n-prompt", default_value = "512", value_delimiter = ',')]
    n_prompt: Vec<usize>,
    /// Numbers of tokens to generate, separated by commas; 0 leaves the test out.
    #[arg(short = 'n', long = "n-gen", default_value = "128", value_delimiter = ',')]
    n_gen: Vec<usize>,
    #[command(flatten)]
    threads: ThreadArgs,
    #[command(flatten)]
    cache: CacheArgs,
    /// Repetitions of each test.
    #[arg(short = 'r', long, default_value = "5")]
    repetitions: NonZeroUsize,
    /// Most tokens of one decode call (-b).
    #[arg(short = 'b', long = "batch-size", default_value_t = 2048)]
    n_batch: usize,
    /// Most tokens computed at once.
    #[arg(long = "ubatch", visible_alias = "ubatch-size", default_value_t = 512)]
    n_ubatch: usize,
    /// Output format.
    #[arg(short = 'o', long, value_enum, default_value = "md")]
    output: Format,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let model = args.model.open()?;
    let prompts = args.n_prompt.iter().map(|n| (*n, 0));
    let generations = args.n_gen.iter().map(|n| (0, *n));
    let mut tests = Vec::new();
    let mut n_threads = 0;
    for (n_prompt, n_gen) in prompts.chain(generations).filter(|(p, g)| p + g > 0) {
        let options = quipu::SessionOptions {
            n_ctx: n_prompt.max(n_gen),
            n_batch: args.n_batch,
            n_ubatch: args.n_ubatch,
            ..quipu::SessionOptions::default()
        };
        let mut session = model.session(&args.cache.apply(&args.threads.apply(&options)))?;
        n_threads = session.context().params().n_threads;
        tests.push(run_bench(&mut session, n_prompt, n_gen, args.repetitions.get())?);
        args.model.report(&mut session);
    }
    let mut out = io::stdout().lock();
    match args.output {
        Format::Md => markdown(&mut out, &model, &tests, n_threads),
        Format::Json => json_rows(&mut out, &model, &tests, n_threads, args.n_ubatch),
        Format::Csv => csv(&mut out, &model, &tests, n_threads),
    }
    .and_then(|()| out.flush())
    .map_err(writing)
}

/// The devices that compute most of the model.
fn backend_name(model: &Model) -> String {
    let names: Vec<&str> = model.other_devices().iter().map(|device| device.name()).collect();
    if names.is_empty() { "CPU".to_owned() } else { names.join(",") }
}

fn markdown(out: &mut impl Write, model: &Model, tests: &[BenchTest], n_threads: usize) -> io::Result<()> {
    writeln!(out, "| model | size | params | backend | threads | test | t/s |")?;
    writeln!(out, "| --- | ---: | ---: | --- | ---: | ---: | ---: |")?;
    let weights = model.weights();
    for test in tests {
        writeln!(
            out,
            "| {} | {} | {} | {} | {n_threads} | {} | {:.2} ± {:.2} |",
            model.description(),
            size(weights.n_bytes()),
            count(weights.n_params()),
            backend_name(model),
            test.name(),
            test.avg_ts(),
            test.stddev_ts(),
        )?;
    }
    Ok(())
}

/// Bytes as llama-bench shows them.
fn size(n_bytes: u64) -> String {
    let mib = n_bytes as f64 / 1_048_576.0;
    if n_bytes < 1 << 30 { format!("{mib:.2} MiB") } else { format!("{:.2} GiB", mib / 1024.0) }
}

/// Parameters as llama-bench shows them.
fn count(n_params: u64) -> String {
    let n = n_params as f64;
    if n_params < 1_000_000_000 { format!("{:.2} M", n / 1e6) } else { format!("{:.2} B", n / 1e9) }
}

fn json_rows(
    out: &mut impl Write,
    model: &Model,
    tests: &[BenchTest],
    n_threads: usize,
    n_ubatch: usize,
) -> io::Result<()> {
    let weights = model.weights();
    let rows: Vec<serde_json::Value> = tests
        .iter()
        .map(|test| {
            let ns = &test.samples_ns;
            json!({
                "engine": "quipu",
                "backends": backend_name(model),
                "model_filename": model.name(),
                "model_type": model.description(),
                "model_size": weights.n_bytes(),
                "model_n_params": weights.n_params(),
                "n_ubatch": n_ubatch,
                "n_threads": n_threads,
                "n_prompt": test.n_prompt,
                "n_gen": test.n_gen,
                "avg_ns": ns.iter().sum::<u64>() / (ns.len().max(1) as u64),
                "avg_ts": test.avg_ts(),
                "stddev_ts": test.stddev_ts(),
                "samples_ns": ns,
                "samples_ts": test.samples_ts(),
            })
        })
        .collect();
    writeln!(out, "{:#}", serde_json::Value::Array(rows))
}

fn csv(out: &mut impl Write, model: &Model, tests: &[BenchTest], n_threads: usize) -> io::Result<()> {
    writeln!(
        out,
        "model_filename,model_type,model_size,model_n_params,n_threads,n_prompt,n_gen,avg_ts,stddev_ts"
    )?;
    let weights = model.weights();
    for test in tests {
        writeln!(
            out,
            "\"{}\",\"{}\",{},{},{n_threads},{},{},{:.6},{:.6}",
            quoted(model.name()),
            quoted(model.description()),
            weights.n_bytes(),
            weights.n_params(),
            test.n_prompt,
            test.n_gen,
            test.avg_ts(),
            test.stddev_ts(),
        )?;
    }
    Ok(())
}

/// Text within quotation marks of a CSV row.
fn quoted(text: &str) -> String {
    text.replace('"', "\"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_change_their_unit_where_llama_bench_changes_it() {
        assert_eq!((size((1 << 30) - 1), size(1 << 30)), ("1024.00 MiB".to_owned(), "1.00 GiB".to_owned()));
        assert_eq!((count(999_999_999), count(1_000_000_000)), ("1000.00 M".to_owned(), "1.00 B".to_owned()));
    }
}
