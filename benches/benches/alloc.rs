//! alloc: planning the decode graph of a 32-layer model (about 1,000 nodes), the check whether a plan still serves, placing
//! tensors by it, and the chunk allocator alone.
//!
//! The graphs are the reference's own (`parity/goldens/alloc/models.txt`); `cargo run --release -p quipu-alloc --example
//! versus` times both engines on them.

#[path = "../../crates/alloc/tests/common/mod.rs"]
mod common;

use criterion::{Criterion, criterion_group, criterion_main};
use quipu_alloc::{ChunkAllocator, Offline, Planner};

const GRAPHS: &str = include_str!("../../parity/goldens/alloc/models.txt");

fn plan(c: &mut Criterion) {
    for name in ["phi-3-mini, 1 token", "phi-3-mini, 512 tokens"] {
        let mut lines = GRAPHS.lines().skip_while(|line| line.strip_prefix("# ") != Some(name));
        let case = lines.nth(1).expect("a graph follows its name");
        let words: Vec<&str> = case.split_whitespace().collect();
        let (specs, graph, _) = common::parse_graph(&words[1..]);
        let mut planner = Planner::new(&specs).expect("a valid buffer type");
        let plan = planner.plan(&graph, graph.assignment()).expect("a valid graph");
        let mut offline = Planner::with_strategy(&specs, Offline::default()).expect("a valid buffer type");
        c.bench_function(&format!("alloc/plan {name}"), |b| {
            b.iter(|| planner.plan(&graph, graph.assignment()).expect("a valid graph"));
        });
        c.bench_function(&format!("alloc/offline plan {name}"), |b| {
            b.iter(|| offline.plan(&graph, graph.assignment()).expect("a valid graph"));
        });
        c.bench_function(&format!("alloc/realloc check {name}"), |b| {
            b.iter(|| plan.realloc_reason(&graph));
        });
        let mut placements = Vec::new();
        c.bench_function(&format!("alloc/place {name}"), |b| {
            b.iter(|| plan.place(&graph, &mut placements));
        });
    }
}

fn chunks(c: &mut Criterion) {
    let mut allocator = ChunkAllocator::new(64, 1 << 20).expect("a valid alignment");
    c.bench_function("alloc/1000 allocations and frees", |b| {
        b.iter(|| {
            allocator.reset();
            let mut live = std::collections::VecDeque::new();
            for i in 0..1000u64 {
                let size = 64 << (i * 7 % 10);
                live.push_back((allocator.alloc(size).expect("room"), size));
                if live.len() > 8 {
                    let (address, size) = live.pop_front().expect("nine are live");
                    allocator.free(address, size).expect("allocated above");
                }
            }
        });
    });
}

criterion_group!(benches, plan, chunks);
criterion_main!(benches);
