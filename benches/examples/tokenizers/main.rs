//! Tokenizers measured: Quipu, llama.cpp and two crates on the same text, one thread, taking turns.
//!
//! `cargo xtask bench-tokenizers --llama-cpp DIR` runs it. Medians and ratios are printed as tables; every engine
//! must give the same number of tokens, and the crates the same tokens, before anything is measured.
#![forbid(unsafe_code)]

mod prose;
mod rivals;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use quipu_parity::checkout::{Checkout, run};
use quipu_parity::tokenizer::{compose, vocabulary_folder};
use quipu_tokenizer::Tokenizer;

/// What went wrong, in words.
type Failure = Box<dyn std::error::Error>;

#[derive(Debug, Parser)]
struct Args {
    /// A llama.cpp checkout that was built.
    #[arg(long, env = "LLAMA_CPP_DIR")]
    llama_cpp: PathBuf,
    /// Its build folder, if it is not inside.
    #[arg(long)]
    build: Option<PathBuf>,
    /// Turns of each engine.
    #[arg(short = 'r', long, default_value_t = 5)]
    repetitions: usize,
    /// Megabytes of text.
    #[arg(long, default_value_t = 20)]
    megabytes: usize,
    /// Only these vocabularies.
    #[arg(long)]
    only: Vec<String>,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let folder = tempfile::tempdir()?;
    let probes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/parity-probes");
    let checkout = Checkout::locate(&args.llama_cpp, args.build.as_deref(), &probes)?;
    let documents = prose::documents(args.megabytes << 20);
    let input = folder.path().join("texts");
    std::fs::write(&input, documents.join("\0"))?;
    let n_bytes: usize = documents.iter().map(String::len).sum();
    println!(
        "{} documents, {:.1} MB, one thread, medians of {}\n",
        documents.len(),
        n_bytes as f64 / 1e6,
        args.repetitions
    );

    println!("| family | vocabulary | MB/s | words not remembered, MB/s | llama.cpp, MB/s | times as fast |");
    println!("|---|---|---:|---:|---:|---:|");
    let vocabularies = vocabularies(folder.path(), &documents)?;
    for (family, name, path) in &vocabularies {
        if !args.only.is_empty() && !args.only.iter().any(|only| only == family || only == name) {
            continue;
        }
        let (mut ours, mut cold, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..args.repetitions {
            let answer = run(std::process::Command::new(checkout.probe("tokenize")?)
                .arg(&path)
                .arg("time")
                .arg(&input))?;
            let [_, seconds, n_tokens] = numbers(&answer)?;
            theirs.push(seconds);
            let tokenizer = open(path)?;
            let start = Instant::now();
            let mut n = 0;
            for document in &documents {
                n += tokenizer.encode(document, false, false)?.len();
            }
            ours.push(start.elapsed().as_secs_f64());
            if n as f64 != n_tokens {
                return Err(format!("{name}: {n} tokens, llama.cpp {n_tokens}").into());
            }
            cold.push(seconds_without_memory(path, &documents)?);
        }
        let speed = |seconds: &mut Vec<f64>| n_bytes as f64 / 1e6 / median(seconds);
        let (ours, cold, theirs) = (speed(&mut ours), speed(&mut cold), speed(&mut theirs));
        println!("| {family} | {name} | {ours:.1} | {cold:.1} | {theirs:.2} | {:.1} |", ours / theirs);
    }
    if args.only.is_empty() {
        rivals::compare(&documents, args.repetitions)?;
        loading(&checkout, folder.path(), args.repetitions)?;
        long_words(&vocabularies)?;
    }
    Ok(())
}

/// Family, name and file of what is measured: real vocabularies where they lie beside the checkout of the project, composed
/// ones otherwise.
fn vocabularies(
    folder: &Path,
    documents: &[String],
) -> Result<Vec<(&'static str, String, PathBuf)>, Failure> {
    let mut all = Vec::new();
    if let Some(real) = vocabulary_folder() {
        for (family, name) in [
            ("SPM", "llama-spm"),
            ("SPM", "phi-3"),
            ("BPE", "gpt-2"),
            ("BPE", "falcon"),
            ("BPE", "starcoder"),
            ("BPE", "deepseek-llm"),
            ("WPM", "bert-bge"),
        ] {
            all.push((family, name.to_owned(), real.join(format!("ggml-vocab-{name}.gguf"))));
        }
    }
    // Of the sizes that T5, RWKV-World and PLaMo-2 have, of runs of letters, digits or signs from a tenth of the text.
    let mut words = compose::Words::new();
    for document in documents.iter().step_by(10) {
        compose::count_runs(document, &mut words);
    }
    for (family, name, data) in [
        ("UGM", "composed, 32,000 tokens and a character map", compose::unigram(&words, 32_000, true, true)),
        ("RWKV", "composed, 65,000 tokens", compose::rwkv(&words, 65_000)),
        ("PLaMo-2", "composed, 100,000 tokens", compose::plamo2(&words, 100_000)),
    ] {
        let path = folder.join(format!("{family}.gguf"));
        std::fs::write(&path, compose::gguf(&data)?)?;
        all.push((family, name.to_owned(), path));
    }
    Ok(all)
}

/// A new tokenizer for each document: no words are remembered from one to the next. Only encoding is timed.
fn seconds_without_memory(path: &Path, documents: &[String]) -> Result<f64, Failure> {
    let file = quipu_gguf::GgufFile::open(path)?;
    let data = quipu_tokenizer::VocabData::from_gguf(file.metadata())?;
    // Tokenizers are costly to make: as many as do for a tenth of the documents, and then the whole is inferred.
    let sample: Vec<&String> = documents.iter().step_by(documents.len().div_ceil(40)).collect();
    let mut seconds = 0.0;
    let mut n_bytes = 0;
    for document in sample {
        let tokenizer = Tokenizer::new(&data)?;
        let start = Instant::now();
        std::hint::black_box(tokenizer.encode(document, false, false)?);
        seconds += start.elapsed().as_secs_f64();
        n_bytes += document.len();
    }
    let all: usize = documents.iter().map(String::len).sum();
    Ok(seconds * all as f64 / n_bytes as f64)
}

/// A vocabulary of 150,000 tokens, opened by both.
fn loading(checkout: &Checkout, folder: &Path, repetitions: usize) -> Result<(), Failure> {
    let path = folder.join("large.gguf");
    std::fs::write(&path, compose::gguf(&compose::large_bpe(1, 150_000))?)?;
    let nothing = folder.join("nothing");
    std::fs::write(&nothing, "")?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..repetitions {
        let answer = run(std::process::Command::new(checkout.probe("tokenize")?)
            .arg(&path)
            .arg("time")
            .arg(&nothing))?;
        let [seconds, ..] = numbers(&answer)?;
        theirs.push(seconds);
        let start = Instant::now();
        std::hint::black_box(open(&path)?);
        ours.push(start.elapsed().as_secs_f64());
    }
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    println!(
        "\nOpening a BPE vocabulary of 150,000 tokens: {:.0} ms, llama.cpp {:.0} ms, {:.2} of its time",
        ours * 1e3,
        theirs * 1e3,
        ours / theirs
    );
    Ok(())
}

/// Texts that are one word: seconds for 1, 2, 4 and 10 MB.
fn long_words(vocabularies: &[(&str, String, PathBuf)]) -> Result<(), Failure> {
    let shapes: [(&str, fn(usize) -> String); 4] = [
        ("a a a", |n| "a".repeat(n)),
        ("spaces", |n| " ".repeat(n)),
        ("abab", |n| "ab".repeat(n / 2)),
        ("the merges of `the`", |n| "theHello".repeat(n / 8)),
    ];
    println!("\nOne word of 1, 2, 4 and 10 MB, seconds:\n");
    println!("| family | vocabulary | text | 1 | 2 | 4 | 10 | 10 MB over 1 MB |");
    println!("|---|---|---|---:|---:|---:|---:|---:|");
    for (family, name, path) in vocabularies {
        let tokenizer = open(path)?;
        for (shape, text) in shapes {
            let mut seconds = Vec::new();
            for n in [1, 2, 4, 10] {
                let text = text(n << 20);
                let start = Instant::now();
                std::hint::black_box(tokenizer.encode(&text, false, false)?);
                seconds.push(start.elapsed().as_secs_f64());
            }
            let [a, b, c, d] = seconds[..] else { continue };
            println!("| {family} | {name} | {shape} | {a:.3} | {b:.3} | {c:.3} | {d:.3} | {:.1} |", d / a);
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<Tokenizer, Failure> {
    let file = quipu_gguf::GgufFile::open(path)?;
    Ok(Tokenizer::from_gguf(file.metadata())?)
}

/// The probe's answer: seconds to load, seconds for the texts, tokens.
fn numbers(answer: &str) -> Result<[f64; 3], Failure> {
    let numbers: Vec<f64> = answer.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().map_err(|_| format!("the probe answered '{answer}'").into())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
