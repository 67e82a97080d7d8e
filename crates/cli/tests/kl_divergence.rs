//! `quipu perplexity --kl-divergence`: files and figures of llama-perplexity.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn quipu(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quipu")).args(args).output().expect("it runs")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

const CHUNK: [&str; 6] = ["-c", "204", "--chunks", "1", "-t", "1"];

/// A file of the reference, and one of ours in its place: the same tokens, and predictions within a step of the scale.
#[test]
fn a_base_is_written_as_llama_perplexity_writes_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let base = dir.path().join("base");
    let heldout = here("../../models/heldout.txt");
    let mut args = vec!["perplexity", "-f", text(&heldout), "--kl-divergence-base", text(&base)];
    args.extend(CHUNK);
    let printed = stdout(&quipu(&args));
    assert!(printed.starts_with("Final estimate: PPL = 1.177"), "{printed}");
    let ours = std::fs::read(&base).expect("written");
    let theirs = std::fs::read(here("tests/goldens/kl-divergence/base.bin")).expect("the golden");
    let n_before = 20 + 4 * 204;
    assert_eq!((ours.len(), &ours[..n_before]), (theirs.len(), &theirs[..n_before]));
    let float = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let mut largest = 0.0f32;
    for (ours, theirs) in ours[n_before..].chunks(8 + 2 * 1024).zip(theirs[n_before..].chunks(8 + 2 * 1024)) {
        let value = |row: &[u8], i: usize| {
            let q = u16::from_le_bytes([row[8 + 2 * i], row[9 + 2 * i]]);
            float(row) * f32::from(q) + float(&row[4..])
        };
        for i in 0..1024 {
            largest = largest.max((value(ours, i) - value(theirs, i)).abs());
        }
    }
    assert!(largest < 0.05, "logarithms of probabilities are {largest} apart");
}

/// Every line that the reference prints of its own file, number by number.
#[test]
fn the_figures_are_those_of_llama_perplexity() {
    let dir = tempfile::tempdir().expect("a folder");
    let q4 = dir.path().join("q4.gguf");
    let demo = here("../../models/stories-1m.gguf");
    stdout(&quipu(&["quantize", text(&demo), text(&q4), "Q4_0"]));
    let base = here("tests/goldens/kl-divergence/base.bin");
    let args =
        ["perplexity", "-m", text(&q4), "-t", "1", "--kl-divergence", "--kl-divergence-base", text(&base)];
    let printed = stdout(&quipu(&args));
    let expected = include_str!("goldens/kl-divergence/statistics.txt");
    assert_eq!(printed.lines().count(), expected.trim_end().lines().count(), "{printed}");
    for (found, expected) in printed.lines().zip(expected.lines()) {
        let (found_words, expected_words) = (words(found), words(expected));
        assert_eq!(found_words.0, expected_words.0, "{found}\n{expected}");
        for (a, b) in found_words.1.iter().zip(&expected_words.1) {
            // What hangs on the file alone is equal; the model's own rounding is a few thousandths of a logit.
            let allowed = if found.starts_with("Mean PPL(base)") { 1e-6 } else { 0.01 + 0.05 * b.abs() };
            let allowed =
                if found.contains("Δp") || found.contains('%') { allowed.max(1.0) } else { allowed };
            assert!((a - b).abs() <= allowed, "{found}\n{expected}");
        }
    }
}

/// A line's words and its numbers.
fn words(line: &str) -> (String, Vec<f64>) {
    let (label, figures) = line.rsplit_once(": ").unwrap_or(("", line));
    let figures: Vec<&str> = figures.split_whitespace().map(|word| word.trim_end_matches('%')).collect();
    let numbers: Vec<f64> = figures.iter().filter_map(|word| word.parse().ok()).collect();
    let rest = figures.into_iter().filter(|word| word.parse::<f64>().is_err()).collect::<Vec<_>>().join(" ");
    (format!("{label}:{rest}"), numbers)
}

#[test]
fn what_is_no_base_is_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let golden = std::fs::read(here("tests/goldens/kl-divergence/base.bin")).expect("the golden");
    let bad = dir.path().join("bad");
    let mut other = golden.clone();
    other[12..16].copy_from_slice(&1000u32.to_le_bytes());
    for (bytes, message) in [
        (&b"_logits_"[..], "8 bytes, expected at least 20"),
        (&golden[..golden.len() - 1], "bytes, expected 208492 for 1 chunks"),
        (&b"GGUF0000000000000000"[..], "expected \"_logits_\""),
        (&other, "a vocabulary of 1000 tokens, expected the model's, 1024"),
    ] {
        std::fs::write(&bad, bytes).expect("writable");
        let out = quipu(&["perplexity", "--kl-divergence", "--kl-divergence-base", text(&bad)]);
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!((out.status.code(), error.lines().count()), (Some(1), 1), "{error}");
        // A vocabulary's size also says how long the file must be: either is the first thing that is wrong.
        assert!(error.contains(message) || error.contains("token["), "{error}");
    }
    let out = quipu(&["perplexity", "--kl-divergence"]);
    assert_eq!(out.status.code(), Some(1));
}
