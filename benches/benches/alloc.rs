//! alloc: planning a graph of about 1,000 nodes, and the check whether a plan still serves.

use criterion::{Criterion, criterion_group, criterion_main};
use quipu_alloc::{BufferAssignment, BufferSpec, PlanGraph, Planner, View};

/// A chain of layers: each node reads the two before it, as residual streams do.
struct Layers {
    n_nodes: u32,
}

impl PlanGraph for Layers {
    fn n_tensors(&self) -> usize {
        self.n_nodes as usize + 1
    }

    fn n_nodes(&self) -> usize {
        self.n_nodes as usize
    }

    fn node(&self, i: usize) -> u32 {
        i as u32 + 1
    }

    fn n_leafs(&self) -> usize {
        1
    }

    fn leaf(&self, _: usize) -> u32 {
        0
    }

    fn n_sources(&self, tensor: u32) -> usize {
        tensor.min(2) as usize
    }

    fn source(&self, tensor: u32, slot: usize) -> Option<u32> {
        Some(tensor - 1 - slot as u32)
    }

    fn view_of(&self, _: u32) -> Option<View> {
        None
    }

    fn alloc_size(&self, tensor: u32, _: u32) -> u64 {
        4096 * (1 + u64::from(tensor % 7))
    }

    fn is_input(&self, tensor: u32) -> bool {
        tensor == 0
    }

    fn is_output(&self, tensor: u32) -> bool {
        tensor == self.n_nodes
    }

    fn is_external(&self, _: u32) -> bool {
        false
    }

    fn can_inplace(&self, tensor: u32) -> bool {
        tensor.is_multiple_of(3)
    }

    fn same_layout(&self, a: u32, b: u32) -> bool {
        a % 7 == b % 7
    }
}

fn plan(c: &mut Criterion) {
    let graph = Layers { n_nodes: 1000 };
    let spec = BufferSpec { id: 0, alignment: 64, max_size: u64::MAX };
    let mut planner = Planner::new(&[spec]).expect("a valid buffer type");
    let assignment = BufferAssignment::default();
    let plan = planner.plan(&graph, assignment).expect("a valid graph");
    c.bench_function("alloc/plan 1000 nodes", |b| {
        b.iter(|| planner.plan(&graph, assignment).expect("a valid graph"));
    });
    c.bench_function("alloc/realloc check 1000 nodes", |b| b.iter(|| plan.realloc_reason(&graph)));
}

criterion_group!(benches, plan);
criterion_main!(benches);
