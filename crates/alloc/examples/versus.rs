//! Planning and the realloc check, Quipu against ggml-alloc on the same graphs, interleaved in one run.
//!
//!     cargo run --release -p quipu-alloc --example versus -- PROBE
//!
//! PROBE is `parity/probes/alloc.cpp` compiled against a llama.cpp checkout, as a live audit leaves it in
//! `target/parity-probes/alloc`. The graphs are those llama.cpp builds for four model
//! shapes (`parity/goldens/alloc/models.txt`). Each round times both engines; the table has medians of the rounds.

#[path = "../tests/common/mod.rs"]
mod common;

use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use quipu_alloc::Planner;

// Short rounds, many of them: a round in which the machine did something else is then one of many.
const ROUNDS: usize = 61;
const REPEATS: u32 = 20;

fn nanoseconds(mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..REPEATS {
        f();
    }
    start.elapsed().as_nanos() as f64 / f64::from(REPEATS)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Nanoseconds for planning and for the check.
fn ours(case: &str) -> [f64; 2] {
    let words: Vec<&str> = case.split_whitespace().collect();
    let (specs, graph, _) = common::parse_graph(&words[1..]);
    let mut planner = Planner::new(&specs).expect("valid buffer types");
    let plan = planner.plan(&graph, graph.assignment()).expect("a valid graph");
    let planning = nanoseconds(|| {
        black_box(planner.plan(black_box(&graph), graph.assignment()).expect("a valid graph"));
    });
    let check = nanoseconds(|| {
        black_box(plan.realloc_reason(black_box(&graph)));
    });
    [planning, check]
}

fn main() -> Result<(), Box<dyn Error>> {
    let probe = std::env::args_os().nth(1).ok_or("usage: versus PROBE")?;
    let mut probe = Command::new(probe).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = probe.stdin.take().ok_or("no pipe to the probe")?;
    let mut output = BufReader::new(probe.stdout.take().ok_or("no pipe from the probe")?);

    let text = include_str!("../../../parity/goldens/alloc/models.txt");
    let mut name = "";
    println!("| graph | nodes | plan, us: ggml | ours | ratio | check, us: ggml | ours | ratio |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            name = comment;
        }
        if !line.starts_with('G') {
            continue;
        }
        let mut times: [[Vec<f64>; 2]; 2] = Default::default();
        for _ in 0..ROUNDS {
            for (all, time) in times[1].iter_mut().zip(ours(line)) {
                all.push(time);
            }
            writeln!(input, "B {REPEATS} {line}")?;
            let mut answer = String::new();
            output.read_line(&mut answer)?;
            for (all, time) in times[0].iter_mut().zip(answer.split_whitespace()) {
                all.push(time.parse()?);
            }
        }
        let n_nodes = line.split_whitespace().filter(|word| word.starts_with("N:")).count();
        let [[mut plan_ggml, mut check_ggml], [mut plan_ours, mut check_ours]] = times;
        let (a, b) = (median(&mut plan_ggml) / 1e3, median(&mut plan_ours) / 1e3);
        let (c, d) = (median(&mut check_ggml) / 1e3, median(&mut check_ours) / 1e3);
        println!("| {name} | {n_nodes} | {a:.1} | {b:.1} | {:.2} | {c:.2} | {d:.2} | {:.2} |", b / a, d / c);
    }
    drop(input);
    probe.wait()?;
    Ok(())
}
