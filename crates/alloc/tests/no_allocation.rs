//! The realloc check and a served `alloc` take nothing from the heap.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{Counted, parse_graph};
use quipu_alloc::GraphAllocator;

thread_local! {
    static N_ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on unchanged to the system's allocator, whose contract is the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        N_ALLOCATIONS.set(N_ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        N_ALLOCATIONS.set(N_ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations_in(f: impl FnOnce()) -> u64 {
    let before = N_ALLOCATIONS.get();
    f();
    N_ALLOCATIONS.get() - before
}

#[test]
fn a_graph_the_plan_serves_costs_no_allocation() {
    assert_eq!(allocations_in(|| drop(std::hint::black_box(Box::new(1)))), 1, "the counter counts");
    let text = include_str!("../../../parity/goldens/alloc/models.txt");
    for case in text.lines().filter(|line| line.starts_with('G')) {
        let words: Vec<&str> = case.split_whitespace().collect();
        let (specs, mut graph, _) = parse_graph(&words[1..]);
        let mut allocator = GraphAllocator::new(&specs).unwrap();
        let mut memory = Counted::new(u64::MAX);
        allocator.alloc(&graph, &mut memory).unwrap();
        let n_allocs = memory.n_allocs;
        let plan = allocator.plan().unwrap();
        assert_eq!(allocations_in(|| assert_eq!(plan.realloc_reason(&graph), None)), 0);
        assert_eq!(allocations_in(|| assert!(!plan.needs_realloc(&graph))), 0);
        assert_eq!(
            allocations_in(|| {
                allocator.alloc(&graph, &mut memory).unwrap();
            }),
            0
        );
        // A smaller graph is served too; a larger one is found out without allocating.
        let n = graph.nodes.len();
        let last = graph.nodes[n - 1] as usize;
        graph.tensors[last].size -= 4;
        assert_eq!(
            allocations_in(|| {
                allocator.alloc(&graph, &mut memory).unwrap();
            }),
            0
        );
        graph.tensors[last].size += 8;
        assert_eq!(allocations_in(|| assert!(allocator.plan().unwrap().needs_realloc(&graph))), 0);
        assert_eq!(memory.n_allocs, n_allocs);
    }
}
