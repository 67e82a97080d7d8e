//! What must hold for every graph and every trace, checked by carrying the plan out.

mod common;

use common::{Counted, TestGraph, random_graph, random_specs};
use proptest::prelude::*;
use quipu_alloc::{
    Address, BufferAssignment, BufferSpec, ChunkAllocator, GraphAllocator, Lifetime, Offline, Placement,
    PlanGraph, Planner, Strategy, lifetimes, peak_live_bytes,
};
use quipu_testing::SplitMix;

fn overlap(a: &Placement, b: &Placement, canonical: &dyn Fn(u32) -> usize) -> bool {
    canonical(a.buffer) == canonical(b.buffer)
        && a.chunk == b.chunk
        && a.size > 0
        && b.size > 0
        && a.offset < b.offset + b.size
        && b.offset < a.offset + a.size
}

/// Runs the graph on its placements, keeping book of which tensors' bytes are intact.
fn execute(g: &TestGraph, placements: &[Option<Placement>], canonical: &dyn Fn(u32) -> usize) {
    let mut intact: Vec<u32> = Vec::new();
    for &leaf in &g.leafs {
        let Some(p) = placements[leaf as usize] else { continue };
        for &other in &intact {
            assert!(
                !overlap(&p, &placements[other as usize].unwrap(), canonical),
                "leafs {leaf} and {other}"
            );
        }
        intact.push(leaf);
    }
    for &node in &g.nodes {
        let owner = |t: u32| g.tensors[t as usize].root.unwrap_or(t);
        let sources: Vec<u32> =
            g.tensors[node as usize].sources.iter().flatten().map(|&s| owner(s)).collect();
        for &s in &sources {
            assert!(placements[s as usize].is_none() || intact.contains(&s), "node {node} reads lost {s}");
        }
        let (None, Some(p)) = (g.tensors[node as usize].root, placements[node as usize]) else { continue };
        intact.retain(|&other| {
            let q = placements[other as usize].unwrap();
            let hit = overlap(&p, &q, canonical);
            if hit && sources.contains(&other) {
                let same = (p.buffer, p.address()) == (q.buffer, q.address()) && g.same_layout(node, other);
                assert!(g.can_inplace(node) && same, "node {node} overwrites {other} while reading it");
            }
            !hit
        });
        intact.push(node);
    }
    for (id, t) in g.tensors.iter().enumerate() {
        if t.output && t.root.is_none() && placements[id].is_some() {
            assert!(intact.contains(&(id as u32)), "output {id} lost");
        }
    }
}

/// Plans a random graph with a strategy and carries the plan out.
fn check_strategy<S: Strategy + Clone>(seed: u64, strategy: S) {
    let mut rng = SplitMix::new(seed);
    let (specs, pads) = random_specs(&mut rng);
    let g = random_graph(&mut rng, pads, false);
    let mut allocator = GraphAllocator::with_strategy(&specs, strategy).unwrap();
    let mut memory = Counted::new(u64::MAX);
    allocator.reserve(&g, g.assignment(), &mut memory).unwrap();
    let placements = allocator.alloc(&g, &mut memory).unwrap().to_vec();
    let planner = Planner::new(&specs).unwrap();
    execute(&g, &placements, &|b| planner.canonical(b as usize));
    let plan = allocator.plan().unwrap();
    for (id, p) in placements.iter().enumerate() {
        let Some(p) = p else { continue };
        assert!(p.offset + p.size <= plan.chunk_sizes(p.buffer as usize)[p.chunk as usize], "tensor {id}");
        assert!(allocator.chunk(p.buffer, p.chunk).is_some());
        assert_eq!(p.offset % specs[p.buffer as usize].alignment, 0);
    }
    for (i, spec) in specs.iter().enumerate() {
        // Past the limit only for one large tensor, or in the last chunk.
        for (c, &size) in plan.chunk_sizes(i).iter().enumerate() {
            let of = |p: &&Placement| p.buffer as usize == i && p.chunk as usize == c;
            let largest = placements.iter().flatten().filter(of).map(|p| p.size).max().unwrap_or(0);
            let limit = spec.max_size.max(largest.next_multiple_of(spec.alignment));
            let shared = specs.iter().filter(|s| s.id == spec.id).count() > 1;
            assert!(c == 15 || shared || size <= limit, "chunk {c} of {size} bytes, limit {limit}");
        }
    }
}

/// The last position at which anything reads a tensor or a view of it, looking at everything for each tensor.
fn brute_force_lifetime(g: &TestGraph, id: u32) -> Option<Lifetime> {
    let t = &g.tensors[id as usize];
    let owner = |t: u32| g.tensors[t as usize].root.unwrap_or(t);
    let touches = |i: &usize| {
        let node = g.nodes[*i];
        owner(node) == id || g.tensors[node as usize].sources.iter().flatten().any(|&s| owner(s) == id)
    };
    let positions: Vec<usize> = (0..g.nodes.len()).filter(touches).collect();
    let is_leaf = g.leafs.iter().any(|&leaf| owner(leaf) == id);
    if t.external || t.root.is_some() || (positions.is_empty() && !is_leaf) {
        return None;
    }
    let first = if is_leaf || t.input { 0 } else { positions[0] };
    let last = positions.last().copied().unwrap_or(0);
    Some(Lifetime { first, last: if t.output { g.nodes.len() - 1 } else { last } })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_value_survives_until_its_last_reader(seed in any::<u64>()) {
        check_strategy(seed, quipu_alloc::Greedy::default());
    }

    #[test]
    fn offline_plans_are_as_safe(seed in any::<u64>()) {
        check_strategy(seed, Offline::with_budget(20_000));
    }

    #[test]
    fn offline_plans_are_never_larger(seed in any::<u64>()) {
        let mut rng = SplitMix::new(seed);
        let (specs, pads) = random_specs(&mut rng);
        let wild = rng.one_in(2);
        let g = random_graph(&mut rng, pads, wild);
        let greedy = Planner::new(&specs).unwrap().plan(&g, g.assignment()).unwrap();
        let mut planner = Planner::with_strategy(&specs, Offline::with_budget(20_000)).unwrap();
        let offline = planner.plan(&g, g.assignment()).unwrap();
        for i in 0..specs.len() {
            prop_assert!(offline.total_size(i) <= greedy.total_size(i));
        }
        // And the same again.
        let again = planner.plan(&g, g.assignment()).unwrap();
        for i in 0..g.nodes.len() {
            prop_assert_eq!(again.node(i), offline.node(i));
        }
    }

    #[test]
    fn lifetimes_equal_brute_force(seed in any::<u64>()) {
        let mut rng = SplitMix::new(seed);
        let g = random_graph(&mut rng, vec![0], false);
        for (id, life) in lifetimes(&g).into_iter().enumerate() {
            prop_assert_eq!(life, brute_force_lifetime(&g, id as u32), "tensor {}", id);
        }
    }

    #[test]
    fn no_plan_is_smaller_than_what_is_live(seed in any::<u64>()) {
        let mut rng = SplitMix::new(seed);
        let g = random_graph(&mut rng, vec![0], false);
        let spec = BufferSpec { id: 0, alignment: 32, max_size: u64::MAX };
        let plan = Planner::new(&[spec]).unwrap().plan(&g, BufferAssignment::default()).unwrap();
        let bound = peak_live_bytes(&g, 0, 32).unwrap();
        prop_assert!(plan.total_size(0) >= bound);
        let mut offline = Planner::with_strategy(&[spec], Offline::with_budget(20_000)).unwrap();
        prop_assert!(offline.plan(&g, BufferAssignment::default()).unwrap().total_size(0) >= bound);
        for (id, life) in lifetimes(&g).iter().enumerate() {
            let Some(life) = life else { continue };
            let readers = (0..g.n_nodes()).filter(|&i| {
                g.tensors[g.nodes[i] as usize].sources.iter().flatten().any(|&s| {
                    g.tensors[s as usize].root.unwrap_or(s) == id as u32
                })
            });
            if let Some(last_reader) = readers.max() {
                prop_assert!(life.last >= last_reader && life.first <= last_reader);
            }
        }
    }

    #[test]
    fn any_size_gives_a_plan_or_an_error(seed in any::<u64>(), big in 0u32..6) {
        let mut rng = SplitMix::new(seed);
        let (specs, pads) = random_specs(&mut rng);
        let mut g = random_graph(&mut rng, pads, true);
        for _ in 0..big {
            let i = rng.below(g.tensors.len() as u64) as usize;
            g.tensors[i].size = u64::MAX >> rng.below(4);
            g.tensors[i].size -= rng.below(300);
        }
        let mut planner = Planner::new(&specs).unwrap();
        if let Ok(plan) = planner.plan(&g, g.assignment()) {
            prop_assert_eq!(plan.realloc_reason(&g), None);
        }
        let mut planner = Planner::with_strategy(&specs, Offline::with_budget(20_000)).unwrap();
        if let Ok(plan) = planner.plan(&g, g.assignment()) {
            prop_assert_eq!(plan.realloc_reason(&g), None);
            let _ = quipu_alloc::Timeline::new(&g, &plan, &specs, |t| t.to_string()).map(|t| t.to_svg());
        }
        let _ = peak_live_bytes(&g, 0, 64);
    }

    /// The free list is exactly what is not live, in maximal runs.
    #[test]
    fn free_blocks_are_the_complement_of_live_ranges(
        ops in proptest::collection::vec((any::<bool>(), 1u64..200), 1..120),
        max_size in 16u64..600,
        shift in 0u32..6,
    ) {
        let alignment = 1u64 << shift;
        let mut a = ChunkAllocator::new(alignment, max_size).unwrap();
        let mut live: Vec<(Address, u64)> = Vec::new();
        for (free, n) in ops {
            if free && !live.is_empty() {
                let (address, size) = live.swap_remove(n as usize % live.len());
                a.free(address, size).unwrap();
                prop_assert!(a.free(address, size).is_err());
            } else {
                live.push((a.alloc(n).unwrap(), n.next_multiple_of(alignment)));
            }
            for c in 0..a.n_chunks() {
                let mut here: Vec<_> =
                    live.iter().filter(|l| l.0.chunk == c as u32).map(|l| (l.0.offset, l.1)).collect();
                here.sort_unstable();
                let mut gaps = Vec::new();
                let mut at = 0;
                for (offset, size) in here {
                    prop_assert!(offset >= at, "overlap in chunk {}", c);
                    if offset > at {
                        gaps.push((at, offset - at));
                    }
                    at = offset + size;
                }
                let blocks: Vec<_> = a.free_blocks(c).iter().map(|b| (b.offset, b.size)).collect();
                // Behind the last live range only the untouched tail may follow, if anything.
                prop_assert_eq!(&blocks[..gaps.len()], &gaps[..]);
                prop_assert!(blocks.len() <= gaps.len() + 1);
                prop_assert!(blocks.get(gaps.len()).is_none_or(|b| b.0 == at));
                prop_assert!(a.max_size(c) >= at);
            }
        }
    }
}
