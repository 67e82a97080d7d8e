//! The situations ggml's test-alloc covers, with exact addresses and sizes where it only bounds totals.

mod common;

use common::{Counted, TestGraph};
use quipu_alloc::{AllocError, BufferAssignment, BufferSpec, GraphAllocator, ReallocReason};

fn spec(id: u64, max_size: u64, alignment: u64) -> BufferSpec {
    BufferSpec { id, alignment, max_size }
}

/// Places a graph in one buffer; returns `(chunk, offset)` per tensor and the chunk sizes.
fn place(g: &TestGraph, max_size: u64, alignment: u64) -> (Vec<Option<(u32, u64)>>, Vec<u64>) {
    let mut allocator = GraphAllocator::new(&[spec(0, max_size, alignment)]).unwrap();
    let mut memory = Counted::new(u64::MAX);
    let placements = allocator.alloc(g, &mut memory).unwrap();
    let addresses = placements.iter().map(|p| p.map(|p| (p.chunk, p.offset))).collect();
    let sizes = allocator.plan().unwrap().chunk_sizes(0).to_vec();
    assert_eq!(memory.live.get(), sizes.iter().sum::<u64>());
    assert_eq!(allocator.buffer_size(0), memory.live.get());
    (addresses, sizes)
}

fn all(addresses: &[(u32, u64)]) -> Vec<Option<(u32, u64)>> {
    addresses.iter().copied().map(Some).collect()
}

#[test]
fn a_full_buffer_is_followed_by_a_second() {
    let mut g = TestGraph::default();
    let (a, b, c) = (g.input(8), g.input(8), g.input(8));
    let x3 = g.inplace(8, &[a, b]);
    let x4 = g.inplace(8, &[b, c]);
    let x5 = g.inplace(8, &[x3, a]);
    let x6 = g.inplace(8, &[x4, x5]);
    g.output(x6);
    let (at, sizes) = place(&g, 16, 8);
    // x3 gets new memory (both sources are read again), the rest overwrite a source.
    assert_eq!(at, all(&[(0, 0), (0, 8), (1, 0), (1, 8), (0, 8), (1, 8), (0, 8)]));
    assert_eq!(sizes, [16, 16]);
}

#[test]
fn a_tensor_larger_than_the_rest_of_a_buffer_opens_a_second() {
    let mut g = TestGraph::default();
    let (a, b) = (g.input(16), g.input(8));
    let out = g.op(24, &[a, b]);
    g.output(out);
    assert_eq!(place(&g, 32, 8), (all(&[(0, 0), (0, 16), (1, 0)]), vec![24, 24]));
}

#[test]
fn a_tensor_larger_than_any_buffer_gets_one_of_its_size() {
    let mut g = TestGraph::default();
    let a = g.input(24);
    let out = g.inplace(24, &[a]);
    g.output(out);
    assert_eq!(place(&g, 16, 8), (all(&[(0, 0), (0, 0)]), vec![24]));
}

#[test]
fn the_last_chunk_takes_what_does_not_fit_elsewhere() {
    let mut g = TestGraph::default();
    let inputs: Vec<u32> = (0..17).map(|_| g.input(8)).collect();
    let mut sum = inputs[0];
    for &x in &inputs[1..] {
        sum = g.inplace(8, &[sum, x]);
    }
    g.output(sum);
    let (at, sizes) = place(&g, 8, 8);
    assert_eq!(at[15..17], all(&[(15, 0), (15, 8)]));
    assert!(at[17..].iter().all(|&a| a == Some((0, 0))));
    assert_eq!(sizes, [vec![8; 15], vec![16]].concat());
}

#[test]
fn space_left_over_in_a_chunk_is_used() {
    let mut g = TestGraph::default();
    let a = g.input(8);
    let padded = g.op(16, &[a]);
    let mean = g.op(4, &[padded]);
    g.output(mean);
    assert_eq!(place(&g, 16, 8), (all(&[(0, 0), (1, 0), (0, 0)]), vec![8, 16]));
}

#[test]
fn views_take_no_memory() {
    let mut g = TestGraph::default();
    let a = g.input(16);
    let reshaped = g.view(16, a, 0);
    let permuted = g.view(16, reshaped, 0);
    let part = g.view(8, permuted, 4);
    let b = g.input(8);
    let sum = g.inplace(8, &[part, b]);
    g.output(sum);
    let (at, sizes) = place(&g, 32, 8);
    assert_eq!(at, all(&[(0, 0), (0, 0), (0, 0), (0, 4), (0, 16), (0, 16)]));
    assert_eq!(sizes, [24]);
}

#[test]
fn memory_is_overwritten_and_freed_in_turn() {
    let mut g = TestGraph::default();
    let (x0, x1, x2) = (g.input(24), g.input(8), g.input(8));
    let x3 = g.inplace(8, &[x1, x2]);
    let x4 = g.op(32, &[x0]);
    let x5 = g.inplace(32, &[x4]);
    let x6 = g.inplace(32, &[x4, x5]);
    let x7 = g.view(8, x6, 8);
    let x8 = g.inplace(8, &[x3, x7]);
    g.output(x8);
    let (at, sizes) = place(&g, 40, 8);
    assert_eq!(at, all(&[(0, 0), (0, 24), (0, 32), (0, 24), (1, 0), (2, 0), (1, 0), (1, 8), (0, 24)]));
    assert_eq!(sizes, [40, 32, 32]);
}

fn merging_graph() -> TestGraph {
    let mut g = TestGraph::default();
    let (x0, x1, x2) = (g.input(16), g.input(16), g.input(16));
    let x3 = g.op(4, &[x0]);
    let x4 = g.op(4, &[x1]);
    let x5 = g.op(24, &[x2]);
    let x6 = g.inplace(4, &[x3, x4]);
    let x7 = g.op(24, &[x6]);
    let x8 = g.inplace(24, &[x5, x7]);
    g.output(x8);
    g
}

#[test]
fn free_neighbours_merge_in_small_buffers() {
    let (at, sizes) = place(&merging_graph(), 32, 8);
    assert_eq!(at, all(&[(0, 0), (0, 16), (1, 0), (1, 16), (0, 0), (0, 8), (1, 16), (2, 0), (0, 8)]));
    assert_eq!(sizes, [32, 24, 24]);
}

#[test]
fn free_neighbours_merge_in_one_large_buffer() {
    let (at, sizes) = place(&merging_graph(), u64::MAX, 8);
    assert_eq!(at, all(&[(0, 0), (0, 16), (0, 32), (0, 48), (0, 0), (0, 8), (0, 48), (0, 56), (0, 8)]));
    assert_eq!(sizes, [80]);
}

#[test]
fn memory_already_counted_is_preferred_to_growth() {
    let mut g = TestGraph::default();
    let a = g.input(24);
    let b = g.op(4, &[a]);
    let c = g.op(4, &[b]);
    g.output(c);
    assert_eq!(place(&g, 32, 4), (all(&[(0, 0), (0, 24), (0, 0)]), vec![28]));
}

#[test]
fn nodes_go_to_the_buffers_they_are_assigned() {
    let mut g = TestGraph::default();
    let weight = |g: &mut TestGraph, size, buffer| {
        let id = g.input(size);
        g.tensors[id as usize].external = true;
        *g.leaf_buffers.last_mut().unwrap() = buffer;
        id
    };
    let (a0, a1) = (weight(&mut g, 16, 0), weight(&mut g, 16, 0));
    let (b0, b1) = (weight(&mut g, 24, 1), weight(&mut g, 4, 1));
    let x0 = g.input(16);
    let x1 = g.inplace(16, &[x0, a0]);
    let x2 = g.op(24, &[x1]);
    let x3 = g.inplace(24, &[x2, b0]);
    let x4 = g.op(4, &[x3]);
    let x5 = g.inplace(4, &[x4, b1]);
    let x6 = g.op(16, &[x5]);
    let x7 = g.inplace(16, &[x6, a1]);
    let x8 = g.inplace(16, &[x7]);
    g.output(x8);
    g.node_buffers = vec![0, 0, 1, 1, 1, 1, 0, 0];
    let specs = [spec(0, 32, 8), spec(1, u64::MAX, 8)];
    let mut allocator = GraphAllocator::new(&specs).unwrap();
    let mut memory = Counted::new(u64::MAX);
    let refused = allocator.alloc(&g, &mut memory).unwrap_err();
    assert_eq!(refused, AllocError::NeedsReserve { reason: ReallocReason::NoPlan, n_buffers: 2 });
    assert_eq!(allocator.measure(&g, g.assignment()).unwrap(), [40, 24]);
    assert_eq!(memory.live.get(), 0);
    allocator.reserve(&g, g.assignment(), &mut memory).unwrap();
    let placements = allocator.alloc(&g, &mut memory).unwrap();
    let at: Vec<_> = placements.iter().map(|p| p.map(|p| (p.buffer, p.chunk, p.offset))).collect();
    assert_eq!(at[..4], [None; 4]);
    // x3 overwrites x2 where that lies; x7 overwrites x6.
    let expected =
        [(0, 0, 0), (0, 0, 0), (0, 1, 0), (0, 1, 0), (1, 0, 0), (1, 0, 0), (1, 0, 8), (1, 0, 8), (1, 0, 8)];
    assert_eq!(at[4..], expected.map(Some));
    assert_eq!((allocator.buffer_size(0), allocator.buffer_size(1)), (40, 24));
}

#[test]
fn an_unused_buffer_takes_nothing() {
    let mut g = TestGraph::default();
    let a = g.input(16);
    let out = g.inplace(16, &[a]);
    g.output(out);
    let mut allocator = GraphAllocator::new(&[spec(0, u64::MAX, 8), spec(1, u64::MAX, 8)]).unwrap();
    let mut memory = Counted::new(u64::MAX);
    allocator.reserve(&g, g.assignment(), &mut memory).unwrap();
    allocator.alloc(&g, &mut memory).unwrap();
    assert_eq!((allocator.buffer_size(0), allocator.buffer_size(1)), (16, 0));
    assert_eq!(memory.n_allocs, 1);
}

#[test]
fn a_chunk_that_grows_reallocates_its_buffer() {
    let mut first = TestGraph::default();
    let (x0, x1) = (first.input(24), first.input(16));
    let view = first.view(16, x0, 0);
    let sum = first.inplace(16, &[view, x1]);
    first.output(sum);
    let mut second = TestGraph::default();
    let (y0, y1) = (second.input(20), second.input(20));
    let sum = second.inplace(20, &[y0, y1]);
    second.output(sum);

    let mut allocator = GraphAllocator::new(&[spec(0, 32, 4)]).unwrap();
    let mut memory = Counted::new(u64::MAX);
    allocator.alloc(&first, &mut memory).unwrap();
    assert_eq!(allocator.plan().unwrap().chunk_sizes(0), [24, 16]);
    assert_eq!(memory.live.get(), 40);
    assert_eq!(allocator.realloc_reason(&second), Some(ReallocReason::NodeCount));
    allocator.alloc(&second, &mut memory).unwrap();
    assert_eq!(allocator.plan().unwrap().chunk_sizes(0), [20, 20]);
    assert_eq!((memory.live.get(), memory.n_allocs), (40, 4));
    // Served by the plan: nothing happens any more, nor for a smaller graph of the same structure.
    allocator.alloc(&second, &mut memory).unwrap();
    for t in &mut second.tensors {
        t.size = 12;
    }
    assert_eq!(allocator.realloc_reason(&second), None);
    allocator.alloc(&second, &mut memory).unwrap();
    assert_eq!((memory.live.get(), memory.n_allocs), (40, 4));
}

#[test]
fn what_the_reference_overlooks_replans() {
    let mut g = TestGraph::default();
    let (a, b) = (g.input(16), g.input(16));
    let x = g.inplace(16, &[a, b]);
    let y = g.inplace(16, &[x]);
    g.output(y);
    let mut allocator = GraphAllocator::new(&[spec(0, u64::MAX, 8)]).unwrap();
    let mut memory = Counted::new(u64::MAX);
    allocator.alloc(&g, &mut memory).unwrap();
    let reason = |change: &dyn Fn(&mut TestGraph)| {
        let mut other = g.clone();
        change(&mut other);
        allocator.realloc_reason(&other)
    };
    assert_eq!(reason(&|_| ()), None);
    assert_eq!(reason(&|g| g.tensors[3].sources[0] = Some(1)), Some(ReallocReason::Structure(1)));
    assert_eq!(reason(&|g| g.tensors[2].output = true), Some(ReallocReason::Structure(0)));
    assert_eq!(reason(&|g| g.tensors[2].op = 'n'), Some(ReallocReason::Structure(0)));
    assert_eq!(reason(&|g| g.tensors[3].size = 24), Some(ReallocReason::Node(1)));
    assert_eq!(reason(&|g| g.tensors[1].size = 24), Some(ReallocReason::Source(0)));
}

#[test]
fn a_failing_backend_leaves_nothing_behind() {
    let mut g = TestGraph::default();
    let (a, b) = (g.input(16), g.input(8));
    let out = g.op(24, &[a, b]);
    g.output(out);
    let mut allocator = GraphAllocator::new(&[spec(0, 32, 8)]).unwrap();
    let mut memory = Counted::new(40);
    let error = allocator.alloc(&g, &mut memory).unwrap_err();
    assert!(matches!(error, AllocError::Backing { buffer: 0, chunk: 1, size: 24, .. }), "{error}");
    assert_eq!(memory.live.get(), 0);
    assert!(allocator.plan().is_none());
    memory.budget = 48;
    allocator.alloc(&g, &mut memory).unwrap();
    assert_eq!(memory.live.get(), 48);
}

#[test]
fn a_failed_growth_leaves_plan_and_memory_in_force() {
    let graph = |size: u64| {
        let mut g = TestGraph::default();
        let (a, b) = (g.input(size), g.input(8));
        let out = g.op(24, &[a, b]);
        g.output(out);
        g.node_buffers = vec![1];
        g
    };
    let small = graph(16);
    let specs = [spec(0, u64::MAX, 8), spec(1, u64::MAX, 8)];
    let mut allocator = GraphAllocator::new(&specs).unwrap();
    // Room for the first buffer to grow while the old one is held, but not for the second.
    let mut memory = Counted::new(48 + 48);
    allocator.reserve(&small, small.assignment(), &mut memory).unwrap();
    let before = allocator.alloc(&small, &mut memory).unwrap().to_vec();
    assert_eq!(memory.live.get(), 48);
    let mut large = graph(40);
    large.tensors[2].size = 80;
    let error = allocator.reserve(&large, large.assignment(), &mut memory).map(drop).unwrap_err();
    assert!(matches!(error, AllocError::Backing { buffer: 1, chunk: 0, size: 80, .. }), "{error}");
    assert_eq!(memory.live.get(), 48);
    assert_eq!((allocator.buffer_size(0), allocator.buffer_size(1)), (24, 24));
    assert_eq!(allocator.realloc_reason(&small), None);
    assert_eq!(allocator.alloc(&small, &mut memory).unwrap(), before);
    // Released first, the same growth fits.
    memory.budget = 128;
    allocator.release();
    assert_eq!(memory.live.get(), 0);
    allocator.reserve(&large, large.assignment(), &mut memory).unwrap();
    assert_eq!(memory.live.get(), 128);
}

#[test]
fn bad_graphs_are_errors_and_keep_the_plan() {
    let mut g = TestGraph::default();
    let a = g.input(16);
    let v = g.view(8, a, 0);
    let out = g.inplace(16, &[a, v]);
    g.output(out);
    let mut allocator = GraphAllocator::new(&[spec(0, u64::MAX, 8)]).unwrap();
    let mut memory = Counted::new(u64::MAX);
    allocator.alloc(&g, &mut memory).unwrap();
    let mut reserve =
        |g: &TestGraph, b: BufferAssignment<'_>| allocator.reserve(g, b, &mut memory).map(drop).unwrap_err();
    let mut bad = g.clone();
    bad.tensors[2].sources[0] = Some(9);
    assert!(matches!(reserve(&bad, bad.assignment()), AllocError::BadTensor { tensor: 9, .. }));
    let mut bad = g.clone();
    bad.tensors[0].root = Some(1);
    assert!(matches!(reserve(&bad, bad.assignment()), AllocError::ViewOfView { .. }));
    let mut bad = g.clone();
    bad.tensors[0].size = u64::MAX - 1;
    assert!(matches!(reserve(&bad, bad.assignment()), AllocError::SizeTooLarge { .. }));
    let short = BufferAssignment { nodes: Some(&[0]), leafs: None };
    assert!(matches!(reserve(&g, short), AllocError::BadAssignment { found: 1, expected: 2, .. }));
    let far = BufferAssignment { nodes: Some(&[0, 3]), leafs: None };
    assert!(matches!(reserve(&g, far), AllocError::BadBuffer { index: 1, buffer: 3, .. }));
    assert_eq!(allocator.realloc_reason(&g), None);
}
