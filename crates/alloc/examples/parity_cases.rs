//! Makes and runs the cases that compare this crate with ggml-alloc (`parity/probes/alloc.cpp`).
//!
//!     parity_cases gen SEED N_TRACES N_GRAPHS N_CONTEXTS > cases
//!     parity_cases run < cases > ours        (probe-alloc < cases > reference; diff ours reference)

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::{BufWriter, Write, stdin, stdout};

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut out = BufWriter::new(stdout().lock());
    let numbers: Vec<u64> = args.iter().skip(1).filter_map(|a| a.parse().ok()).collect();
    match (args.first().map(String::as_str), numbers.as_slice()) {
        (Some("gen"), &[seed, n_traces, n_graphs, n_contexts]) => {
            let mut rng = common::Rng(seed);
            for _ in 0..n_traces {
                writeln!(out, "{}", common::random_trace(&mut rng))?;
            }
            for _ in 0..n_graphs {
                writeln!(out, "{}", common::random_graph_case(&mut rng))?;
            }
            for _ in 0..n_contexts {
                writeln!(out, "{}", common::random_context_case(&mut rng))?;
            }
        }
        (Some("run"), _) => {
            for line in stdin().lines() {
                writeln!(out, "{}", common::run_case(&line?))?;
            }
        }
        _ => {
            eprintln!("usage: parity_cases gen SEED N_TRACES N_GRAPHS N_CONTEXTS | run");
            std::process::exit(1);
        }
    }
    out.flush()
}
