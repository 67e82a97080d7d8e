//! Any graph: both strategies give a plan that keeps every value until its last reader, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quipu_alloc::{
    BufferAssignment, BufferSpec, Greedy, Offline, Placement, PlanGraph, Planner, Strategy, Timeline, View, lifetimes,
    peak_live_bytes,
};

#[derive(Clone, Default)]
struct Tensor {
    size: u64,
    layout: u8,
    flags: u8,
    root: Option<u32>,
    sources: Vec<Option<u32>>,
}

#[derive(Clone, Default)]
struct Fuzzed {
    tensors: Vec<Tensor>,
    n_leafs: usize,
}

impl PlanGraph for Fuzzed {
    fn n_tensors(&self) -> usize {
        self.tensors.len()
    }
    fn n_nodes(&self) -> usize {
        self.tensors.len() - self.n_leafs
    }
    fn node(&self, i: usize) -> u32 {
        (self.n_leafs + i) as u32
    }
    fn n_leafs(&self) -> usize {
        self.n_leafs
    }
    fn leaf(&self, i: usize) -> u32 {
        i as u32
    }
    fn n_sources(&self, tensor: u32) -> usize {
        self.tensors[tensor as usize].sources.len()
    }
    fn source(&self, tensor: u32, slot: usize) -> Option<u32> {
        self.tensors[tensor as usize].sources[slot]
    }
    fn view_of(&self, tensor: u32) -> Option<View> {
        self.tensors[tensor as usize].root.map(|root| View { root, offset: 0 })
    }
    fn alloc_size(&self, tensor: u32, _: u32) -> u64 {
        self.tensors[tensor as usize].size
    }
    fn is_input(&self, tensor: u32) -> bool {
        // Computed inputs are placed early, over sources still read: the reference's own trap.
        self.tensors[tensor as usize].flags & 1 != 0 && (tensor as usize) < self.n_leafs
    }
    fn is_output(&self, tensor: u32) -> bool {
        self.tensors[tensor as usize].flags & 2 != 0
    }
    fn is_external(&self, tensor: u32) -> bool {
        self.tensors[tensor as usize].flags & 12 == 12
    }
    fn can_inplace(&self, tensor: u32) -> bool {
        self.tensors[tensor as usize].flags & 16 != 0
    }
    fn same_layout(&self, a: u32, b: u32) -> bool {
        let (a, b) = (&self.tensors[a as usize], &self.tensors[b as usize]);
        a.layout == b.layout && a.size == b.size
    }
}

/// Whether ids go beyond the graph or forwards is up to the data: those graphs must be refused, or at least not panic.
fn build(data: &[u8], wild: bool) -> Fuzzed {
    let mut graph = Fuzzed::default();
    for word in data.chunks_exact(6).take(200) {
        let id = graph.tensors.len() as u32;
        let earlier = |byte: u8| match byte {
            255 => None,
            254 if wild => Some(id.wrapping_add(u32::from(word[2])).wrapping_sub(7)),
            _ => id.checked_sub(1 + u32::from(byte) % id.clamp(1, 24)),
        };
        let size = match word[1] {
            250.. if wild => u64::MAX >> (word[1] - 250),
            n => u64::from(n) * 8,
        };
        let leaf = id < 3;
        let mut tensor = Tensor { size, layout: word[2] % 4, flags: word[0] & 31, ..Tensor::default() };
        if !leaf {
            tensor.sources = word[3..].iter().take(usize::from(word[0] >> 5) % 4).map(|&b| earlier(b)).collect();
            if word[2] > 200
                && let Some(Some(from)) = tensor.sources.first().copied()
                && (wild || from < id)
            {
                let of = graph.tensors.get(from as usize).and_then(|t| t.root);
                tensor.root = Some(if wild && word[2] > 250 { from } else { of.unwrap_or(from) });
                tensor.flags = 0;
            }
        }
        graph.n_leafs += usize::from(leaf);
        graph.tensors.push(tensor);
    }
    graph
}

fn overlap(a: &Placement, b: &Placement) -> bool {
    a.chunk == b.chunk && a.offset < b.offset + b.size && b.offset < a.offset + a.size && a.size > 0 && b.size > 0
}

/// No two tensors that live at the same time share bytes, but for a node in place over a source it is the last to read.
fn check(graph: &Fuzzed, spec: BufferSpec, strategy: impl Strategy, [wild, draw]: [bool; 2]) -> Option<u64> {
    let mut planner = Planner::with_strategy(&[spec], strategy).unwrap();
    let plan = planner.plan(graph, BufferAssignment::default()).ok()?;
    assert!(plan.realloc_reason(graph).is_none() && !plan.needs_realloc(graph));
    if draw {
        let _ = Timeline::new(graph, &plan, &[spec], |t| t.to_string()).map(|t| (t.to_string(), t.to_svg()));
    }
    if wild {
        return None;
    }
    let lives = lifetimes(graph);
    for (a, life) in lives.iter().enumerate() {
        let (Some(la), Some(pa)) = (life, plan.tensor(a as u32)) else { continue };
        assert!(pa.offset + pa.size <= plan.chunk_sizes(0)[pa.chunk as usize]);
        assert_eq!(pa.offset % spec.alignment, 0);
        for (b, life) in lives.iter().enumerate().skip(a + 1) {
            let (Some(lb), Some(pb)) = (life, plan.tensor(b as u32)) else { continue };
            if la.first <= lb.last && lb.first <= la.last && overlap(&pa, &pb) {
                let in_place = la.last == lb.first && pa.address() == pb.address() && graph.can_inplace(b as u32);
                assert!(in_place && graph.same_layout(a as u32, b as u32), "{a} and {b}");
            }
        }
    }
    Some(plan.total_size(0))
}

fuzz_target!(|data: &[u8]| {
    let [mode, limit, rest @ ..] = data else { return };
    let wild = mode & 1 != 0;
    // Pictures take longest.
    let draw = mode & 14 == 14;
    let max_size = if limit & 1 == 0 { u64::MAX } else { u64::from(*limit) * 16 };
    let spec = BufferSpec { id: 0, alignment: 1 << (mode >> 4), max_size };
    let graph = build(rest, wild);
    let greedy = check(&graph, spec, Greedy::default(), [wild, draw]);
    let offline = check(&graph, spec, Offline::with_budget(2_000), [wild, draw]);
    if wild {
        return;
    }
    let bound = peak_live_bytes(&graph, 0, spec.alignment).unwrap();
    if let (Some(greedy), Some(offline)) = (greedy, offline) {
        assert!(offline <= greedy && bound <= offline, "greedy {greedy}, offline {offline}, bound {bound}");
    }
});
