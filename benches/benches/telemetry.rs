//! Telemetry: what a generated token of the demo model costs without a subscriber, with one that adds up, and with
//! one that also writes JSON lines. Rounds of the three alternate, so that a busy machine is busy for all; median
//! times are printed, and median ratios of neighbouring rounds. The last row is the spans and events of one token alone, without a subscriber.

use std::hint::black_box;
use std::time::{Duration, Instant};

use quipu::telemetry::{Recorder, prometheus};
use quipu::{Flow, GenerateOptions, Model, SamplerParams, Session, SessionOptions};
use tracing::field::Empty;

const ROUNDS: usize = 301;
const N_TOKENS: usize = 100;
const N_SPANS: u32 = 1_000_000;

/// Decodes and samples, the default chain; the prompt's time is in it too.
fn round(session: &mut Session) -> Duration {
    let sampling = SamplerParams { seed: 1, ..SamplerParams::default() };
    let options = GenerateOptions {
        max_tokens: Some(N_TOKENS),
        ignore_eog: true,
        sampling,
        ..GenerateOptions::default()
    };
    session.reset();
    let start = Instant::now();
    let outcome = session.generate("Once upon a time", &options, |_| Flow::Continue).expect("a generation");
    let spent = start.elapsed();
    assert_eq!(outcome.n_generated, N_TOKENS);
    spent
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Median time in us of a token.
fn per_token(times: &[Duration]) -> f64 {
    median(times.iter().map(|time| time.as_secs_f64() * 1e6 / N_TOKENS as f64).collect())
}

/// Median ratio of rounds that ran one after the other.
fn ratio(times: &[Duration], off: &[Duration]) -> f64 {
    median(times.iter().zip(off).map(|(time, off)| time.as_secs_f64() / off.as_secs_f64()).collect())
}

/// The spans of one token: decode and its ubatch, sample, detokenize, and the generation entered twice.
fn spans(i: u32) {
    let generation = tracing::info_span!("generate", n_prompt = i);
    for _ in 0..2 {
        let _in_generation = generation.enter();
        let decode = tracing::debug_span!("decode", n_tokens = i, kv_used = Empty, n_cells = i);
        let _in_decode = decode.enter();
        let ubatch = tracing::trace_span!("ubatch", n_tokens = i, n_kv = i, reused = Empty);
        let _in_ubatch = ubatch.enter();
        ubatch.record("reused", true);
    }
    tracing::trace_span!("sample").in_scope(|| black_box(i));
    tracing::trace_span!("detokenize").in_scope(|| black_box(i));
}

fn main() {
    // `cargo test --benches` only wants to see it run.
    let rounds = if std::env::args().any(|arg| arg == "--bench") { ROUNDS } else { 1 };
    let model = Model::embedded().expect("the demo model");
    let options = SessionOptions { n_threads: 1, ..SessionOptions::default() };
    let mut session = model.session(&options).expect("a context");
    let adding = Recorder::new();
    let writing = Recorder::with_json_lines(std::io::sink());
    round(&mut session);
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for i in 0..3 * rounds {
        // Each of the three comes first, second and third equally often.
        let kind = (i + i / 3) % 3;
        times[kind].push(match kind {
            0 => round(&mut session),
            1 => tracing::subscriber::with_default(adding.clone(), || round(&mut session)),
            _ => tracing::subscriber::with_default(writing.clone(), || round(&mut session)),
        });
    }
    let [off, add, write] = times;
    let start = Instant::now();
    for i in 0..N_SPANS {
        spans(black_box(i));
    }
    let alone = start.elapsed().as_secs_f64() * 1e6 / f64::from(N_SPANS);
    println!("decode + sample, 1 thread, median of {rounds} rounds of {N_TOKENS} tokens, alternating");
    println!("off          {:8.2} us/token", per_token(&off));
    println!("recorder     {:8.2} us/token  {:.4}x", per_token(&add), ratio(&add, &off));
    println!("JSON lines   {:8.2} us/token  {:.4}x", per_token(&write), ratio(&write, &off));
    let metrics = adding.metrics();
    let start = Instant::now();
    for _ in 0..1000 {
        black_box(prometheus(black_box(&metrics)));
    }
    let text = start.elapsed().as_secs_f64() * 1e3;
    println!("spans alone, off {:8.2} ns/token  {:.5}x of a token", alone * 1e3, alone / per_token(&off));
    println!("Prometheus   {text:8.2} us a scrape");
}
