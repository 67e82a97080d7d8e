//! The realloc check and a served `alloc` take nothing from the heap.

mod common;

use common::{Counted, parse_graph};
use quipu_alloc::GraphAllocator;
use quipu_testing::alloc::{Counting, cost};

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations_in(f: impl FnOnce()) -> usize {
    cost(f).n_allocations
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
