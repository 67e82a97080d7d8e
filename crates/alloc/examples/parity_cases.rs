//! Makes and runs the cases that compare this crate with ggml-alloc (`parity/probes/alloc.cpp`).
//!
//!     parity_cases gen SEED N_TRACES N_GRAPHS N_CONTEXTS > cases
//!     parity_cases run < cases > ours        (probe-alloc < cases > reference; diff ours reference)
//!     parity_cases audit PROBE SEED N_TRACES N_GRAPHS N_CONTEXTS
//!     parity_cases memory < cases            (graphs only: bytes planned by each strategy, and the lower bound)
//!
//! `audit` streams the cases of `gen` through one probe process and compares as they come; it prints how many
//! traces, graphs and contexts were equal, and the first case that was not.

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::{BufRead, BufReader, BufWriter, Result, Write, stdin, stdout};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use quipu_alloc::{Offline, Planner, peak_live_bytes};

/// The cases of a seed in order: traces, graphs, contexts.
fn cases(seed: u64, [n_traces, n_graphs, n_contexts]: [u64; 3]) -> impl Iterator<Item = String> {
    let mut rng = quipu_testing::SplitMix::new(seed);
    (0..n_traces + n_graphs + n_contexts).map(move |i| {
        if i < n_traces {
            common::random_trace(&mut rng)
        } else if i < n_traces + n_graphs {
            common::random_graph_case(&mut rng)
        } else {
            common::random_context_case(&mut rng)
        }
    })
}

fn audit(probe: &str, seed: u64, counts: [u64; 3]) -> Result<bool> {
    let mut child = Command::new(probe).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(std::io::Error::other("the probe has no pipes"));
    };
    // Made twice, once to ask and once to compare, so that nothing has to be kept.
    let writer = std::thread::spawn(move || -> Result<()> {
        let mut input = BufWriter::new(input);
        for case in cases(seed, counts) {
            writeln!(input, "{case}")?;
        }
        input.flush()
    });
    let mut answers = BufReader::with_capacity(1 << 16, output);
    let mut equal = [0u64; 3];
    let mut theirs = String::new();
    let mut complete = true;
    for case in cases(seed, counts) {
        theirs.clear();
        answers.read_line(&mut theirs)?;
        let ours = common::run_case(&case);
        let kind = case.bytes().next().map_or(0, |kind| "TGC".bytes().position(|k| k == kind).unwrap_or(0));
        if theirs.trim_end() == ours.trim_end() {
            equal[kind] += 1;
        } else if complete {
            complete = false;
            eprintln!("case      {case}\nours      {ours}\nreference {theirs}");
        }
    }
    let written = writer.join().map_err(|_| std::io::Error::other("the writer panicked"))?;
    let ended = child.wait()?;
    println!(
        "{} of {} traces, {} of {} graphs, {} of {} contexts equal",
        equal[0], counts[0], equal[1], counts[1], equal[2], counts[2]
    );
    Ok(complete && written.is_ok() && ended.success() && equal == counts)
}

fn memory(case: &str) -> String {
    let words: Vec<&str> = case.split_whitespace().collect();
    let (specs, graph, _) = common::parse_graph(&words[1..]);
    let greedy = Planner::new(&specs).and_then(|mut p| p.plan(&graph, graph.assignment()));
    let start = Instant::now();
    let offline = Planner::with_strategy(&specs, Offline::default())
        .and_then(|mut p| p.plan(&graph, graph.assignment()));
    let time = start.elapsed();
    let bound = peak_live_bytes(&graph, 0, specs[0].alignment);
    match (greedy, offline, bound) {
        (Ok(greedy), Ok(offline), Ok(bound)) => {
            let ratio = |total: u64| total as f64 / bound.max(1) as f64;
            let (greedy, offline) = (greedy.total_size(0), offline.total_size(0));
            format!(
                "{} nodes: bound {bound}, ggml {greedy} ({:.4}), offline {offline} ({:.4}) in {time:?}",
                graph.nodes.len(),
                ratio(greedy),
                ratio(offline)
            )
        }
        (greedy, offline, bound) => format!("{:?} {:?} {:?}", greedy.err(), offline.err(), bound.err()),
    }
}

fn main() -> Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut out = BufWriter::new(stdout().lock());
    let (probe, numbers) = match args.split_first() {
        Some((mode, rest)) if mode == "audit" && !rest.is_empty() => (rest[0].as_str(), &rest[1..]),
        Some((_, rest)) => ("", rest),
        None => ("", args.as_slice()),
    };
    let numbers: Vec<u64> = numbers.iter().filter_map(|a| a.parse().ok()).collect();
    match (args.first().map(String::as_str), numbers.as_slice()) {
        (Some("gen"), &[seed, n_traces, n_graphs, n_contexts]) => {
            for case in cases(seed, [n_traces, n_graphs, n_contexts]) {
                writeln!(out, "{case}")?;
            }
        }
        (Some("run"), _) => {
            for line in stdin().lines() {
                writeln!(out, "{}", common::run_case(&line?))?;
            }
        }
        (Some("audit"), &[seed, n_traces, n_graphs, n_contexts]) => {
            drop(out);
            let ok = audit(probe, seed, [n_traces, n_graphs, n_contexts])?;
            return Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        (Some("memory"), _) => {
            for line in stdin().lines() {
                writeln!(out, "{}", memory(&line?))?;
            }
        }
        _ => {
            eprintln!(
                "usage: parity_cases gen SEED N_TRACES N_GRAPHS N_CONTEXTS | run | audit PROBE .. | memory"
            );
            return Ok(ExitCode::FAILURE);
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
