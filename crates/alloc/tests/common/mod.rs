//! Graphs and cases the tests share, and the text format they have in common with `parity/probes/alloc.cpp`.
//!
//! One case per line, one result line per case:
//! - `T alignment max_size op..`: a trace; `a<size>` allocates, `f<k>` frees allocation `k`, `t<k>:<keep>` frees
//!   all but its first bytes. Result: `chunk:offset` per allocation, then per chunk `|max_size offset+size..`.
//! - `G n_buffers id:alignment:max_size:pad.. n_tensors tensor.. size2..`: a graph, reserved, then again with
//!   other sizes; a tensor is `kind:op:flags:layout:size:view:buffer:sources` with kind L(eaf), N(ode) or
//!   S(ource only), op i(nplace), n(ot) or 0 (none), flags 1 input + 2 output + 4 external, view = root + 1 or 0,
//!   sources `3,_,4` or `-`. Result: placements of leafs and `node,source..`, chunk sizes per buffer,
//!   whether the second graph needs a realloc, chunk sizes after it. Without second sizes it is the same graph.
//! - `C alignment max_size size..` (`-` has memory already): a context. Result: total and buffer sizes, then
//!   addresses.
#![allow(dead_code)] // each test uses its part

use std::fmt::Write as _;

use quipu_alloc::{
    Address, BackingAllocator, BufferAssignment, BufferSpec, ChunkAllocator, GraphAllocator, Placement,
    PlanGraph, View, split_tensors,
};
use quipu_testing::SplitMix;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Leaf,
    Node,
    SourceOnly,
}

#[derive(Clone, Debug)]
pub struct Tensor {
    pub kind: Kind,
    pub op: char,
    pub input: bool,
    pub output: bool,
    pub external: bool,
    pub layout: u64,
    pub size: u64,
    pub root: Option<u32>,
    pub view_offset: u64,
    pub buffer: u32,
    pub sources: Vec<Option<u32>>,
}

#[derive(Clone, Debug, Default)]
pub struct TestGraph {
    pub tensors: Vec<Tensor>,
    pub nodes: Vec<u32>,
    pub leafs: Vec<u32>,
    pub node_buffers: Vec<u32>,
    pub leaf_buffers: Vec<u32>,
    /// Added to the size of every tensor, per buffer.
    pub pads: Vec<u64>,
}

impl TestGraph {
    pub fn push(&mut self, tensor: Tensor) -> u32 {
        let id = self.tensors.len() as u32;
        match tensor.kind {
            Kind::Leaf => {
                self.leafs.push(id);
                self.leaf_buffers.push(tensor.buffer);
            }
            Kind::Node => {
                self.nodes.push(id);
                self.node_buffers.push(tensor.buffer);
            }
            Kind::SourceOnly => {}
        }
        self.tensors.push(tensor);
        id
    }

    fn tensor(kind: Kind, op: char, size: u64, sources: &[u32]) -> Tensor {
        Tensor {
            kind,
            op,
            input: false,
            output: false,
            external: false,
            layout: size,
            size,
            root: None,
            view_offset: 0,
            buffer: 0,
            sources: sources.iter().map(|&s| Some(s)).collect(),
        }
    }

    /// An input leaf of `size` bytes.
    pub fn input(&mut self, size: u64) -> u32 {
        self.push(Tensor { input: true, ..Self::tensor(Kind::Leaf, '0', size, &[]) })
    }

    /// A node whose op can run in place.
    pub fn inplace(&mut self, size: u64, sources: &[u32]) -> u32 {
        self.push(Self::tensor(Kind::Node, 'i', size, sources))
    }

    /// A node whose op cannot.
    pub fn op(&mut self, size: u64, sources: &[u32]) -> u32 {
        self.push(Self::tensor(Kind::Node, 'n', size, sources))
    }

    /// A view node of `source` (or of what that is a view of).
    pub fn view(&mut self, size: u64, source: u32, offset: u64) -> u32 {
        let from = &self.tensors[source as usize];
        let (root, offset) = (from.root.unwrap_or(source), from.view_offset + offset);
        let view = Tensor {
            root: Some(root),
            view_offset: offset,
            // A view's strides are its parent's: never the layout of a fresh result here.
            layout: 1_000_000 + size,
            ..Self::tensor(Kind::Node, 'n', size, &[source])
        };
        self.push(view)
    }

    pub fn output(&mut self, id: u32) {
        self.tensors[id as usize].output = true;
    }

    pub fn assignment(&self) -> BufferAssignment<'_> {
        BufferAssignment { nodes: Some(&self.node_buffers), leafs: Some(&self.leaf_buffers) }
    }

    pub fn to_case(&self, specs: &[BufferSpec], sizes2: &[u64]) -> String {
        let mut s = format!("G {}", specs.len());
        for (i, b) in specs.iter().enumerate() {
            write!(s, " {}:{}:{}:{}", b.id, b.alignment, b.max_size, self.pads[i]).unwrap();
        }
        write!(s, " {}", self.tensors.len()).unwrap();
        for t in &self.tensors {
            let kind = match t.kind {
                Kind::Leaf => 'L',
                Kind::Node => 'N',
                Kind::SourceOnly => 'S',
            };
            let flags = u8::from(t.input) + 2 * u8::from(t.output) + 4 * u8::from(t.external);
            let view = t.root.map_or(0, |r| r + 1);
            let sources: Vec<String> =
                t.sources.iter().map(|s| s.map_or("_".to_owned(), |s| s.to_string())).collect();
            let sources = if sources.is_empty() { "-".to_owned() } else { sources.join(",") };
            write!(s, " {kind}:{}:{flags}:{}:{}:{view}:{}:{sources}", t.op, t.layout, t.size, t.buffer)
                .unwrap();
        }
        for size in sizes2 {
            write!(s, " {size}").unwrap();
        }
        s
    }
}

impl PlanGraph for TestGraph {
    fn n_tensors(&self) -> usize {
        self.tensors.len()
    }
    fn n_nodes(&self) -> usize {
        self.nodes.len()
    }
    fn node(&self, i: usize) -> u32 {
        self.nodes[i]
    }
    fn n_leafs(&self) -> usize {
        self.leafs.len()
    }
    fn leaf(&self, i: usize) -> u32 {
        self.leafs[i]
    }
    fn n_sources(&self, tensor: u32) -> usize {
        self.tensors[tensor as usize].sources.len()
    }
    fn source(&self, tensor: u32, slot: usize) -> Option<u32> {
        self.tensors[tensor as usize].sources[slot]
    }
    fn sources(&self, tensor: u32) -> impl ExactSizeIterator<Item = Option<u32>> {
        self.tensors[tensor as usize].sources.iter().copied()
    }
    fn view_of(&self, tensor: u32) -> Option<View> {
        let t = &self.tensors[tensor as usize];
        t.root.map(|root| View { root, offset: t.view_offset })
    }
    fn alloc_size(&self, tensor: u32, buffer: u32) -> u64 {
        let pad = self.pads.get(buffer as usize).copied().unwrap_or(0);
        self.tensors[tensor as usize].size.saturating_add(pad)
    }
    fn is_input(&self, tensor: u32) -> bool {
        self.tensors[tensor as usize].input
    }
    fn is_output(&self, tensor: u32) -> bool {
        self.tensors[tensor as usize].output
    }
    fn is_external(&self, tensor: u32) -> bool {
        self.tensors[tensor as usize].external
    }
    fn can_inplace(&self, tensor: u32) -> bool {
        self.tensors[tensor as usize].op == 'i'
    }
    fn same_layout(&self, a: u32, b: u32) -> bool {
        self.tensors[a as usize].layout == self.tensors[b as usize].layout
    }
    fn is_dependency_only(&self, tensor: u32) -> bool {
        self.tensors[tensor as usize].op == '0'
    }
}

/// Memory that is only counted. Fails once `budget` bytes are live.
#[derive(Debug)]
pub struct Counted {
    pub live: std::rc::Rc<std::cell::Cell<u64>>,
    pub budget: u64,
    pub n_allocs: usize,
}

impl Counted {
    pub fn new(budget: u64) -> Self {
        Self { live: std::rc::Rc::default(), budget, n_allocs: 0 }
    }
}

#[derive(Debug)]
pub struct CountedBuffer {
    pub size: u64,
    live: std::rc::Rc<std::cell::Cell<u64>>,
}

impl Drop for CountedBuffer {
    fn drop(&mut self) {
        self.live.set(self.live.get() - self.size);
    }
}

impl BackingAllocator for Counted {
    type Buffer = CountedBuffer;
    type Error = String;
    fn alloc(&mut self, _buffer: u32, size: u64) -> Result<CountedBuffer, String> {
        let live = self.live.get().saturating_add(size);
        if live > self.budget {
            return Err(format!("budget of {} bytes exceeded", self.budget));
        }
        self.n_allocs += 1;
        self.live.set(live);
        Ok(CountedBuffer { size, live: self.live.clone() })
    }
}

pub fn random_trace(rng: &mut SplitMix) -> String {
    let alignment = 1u64 << rng.below(9);
    let max_size = match rng.below(6) {
        0 => u64::MAX,
        1 => rng.below(64),
        2 => 1 << (20 + rng.below(40)),
        _ => 64 + rng.below(4096),
    };
    let mut line = format!("T {alignment} {max_size}");
    let mut allocator = ChunkAllocator::new(alignment, max_size).unwrap();
    let mut live: Vec<(usize, Address, u64)> = Vec::new();
    let mut n_allocs = 0;
    let top = 1 + rng.below(512);
    for _ in 0..4 + rng.below(150) {
        let dice = rng.below(20);
        if dice < 11 || live.is_empty() {
            let size = match rng.below(40) {
                0 => 0,
                1 => u64::MAX / 2 - rng.below(1 << 20),
                2 => 1 << rng.below(50),
                _ => rng.below(top + 1),
            };
            // What the reference would abort on is left out.
            if let Ok(address) = allocator.alloc(size) {
                write!(line, " a{size}").unwrap();
                live.push((n_allocs, address, size));
                n_allocs += 1;
            }
        } else {
            let pick = rng.below(live.len() as u64) as usize;
            let (k, address, size) = live[pick];
            if dice < 18 {
                if allocator.free(address, size).is_ok() {
                    write!(line, " f{k}").unwrap();
                }
                live.swap_remove(pick);
            } else {
                let keep = rng.below(size + 1).next_multiple_of(alignment);
                let end = size.next_multiple_of(alignment);
                let tail = Address { offset: address.offset + keep, ..address };
                if keep < end && allocator.free(tail, end - keep).is_ok() {
                    write!(line, " t{k}:{keep}").unwrap();
                    live[pick].2 = keep;
                }
            }
        }
    }
    line
}

pub fn random_specs(rng: &mut SplitMix) -> (Vec<BufferSpec>, Vec<u64>) {
    let n = 1 + rng.below(3);
    let mut specs: Vec<BufferSpec> = Vec::new();
    let mut pads = Vec::new();
    for i in 0..n {
        if i > 0 && rng.one_in(3) {
            let j = rng.below(i) as usize;
            specs.push(specs[j]);
            pads.push(pads[j]);
            continue;
        }
        let max_size = match rng.below(4) {
            0 => u64::MAX,
            1 => 16 + rng.below(200),
            _ => 200 + rng.below(3000),
        };
        specs.push(BufferSpec { id: i, alignment: 1 << rng.below(8), max_size });
        pads.push(if rng.one_in(3) { rng.below(40) } else { 0 });
    }
    (specs, pads)
}

/// A DAG whose nodes come after their sources. `wild` adds what graph builders do not make but ggml accepts:
/// sources that are neither leaf nor node, dependency-only nodes, leafs that are views, computed inputs.
pub fn random_graph(rng: &mut SplitMix, pads: Vec<u64>, wild: bool) -> TestGraph {
    let n_buffers = pads.len() as u64;
    let mut g = TestGraph { pads, ..TestGraph::default() };
    let n_leafs = 1 + rng.below(6);
    let n_nodes = 4 + rng.below(36);
    let n_layouts = 1 + rng.below(4);
    let total = n_leafs + n_nodes;
    let shrink = if rng.one_in(4) { 1 + rng.below(30) } else { 0 };
    let bases: Vec<u64> =
        (0..n_layouts).map(|_| if rng.one_in(20) { rng.below(1 << 40) } else { rng.below(300) }).collect();
    let switch = 1 + rng.below(6);
    let mut buffer = 0;
    let mut n_odd = 0;
    for i in 0..total {
        let leaf = i < n_leafs;
        if rng.one_in(switch) {
            buffer = rng.below(n_buffers) as u32;
        }
        let layout = rng.below(n_layouts);
        let mut t = TestGraph::tensor(Kind::Node, 'n', bases[layout as usize] + (total - i) * shrink, &[]);
        t.layout = layout + 1;
        t.buffer = buffer;
        let id = g.tensors.len() as u64;
        if leaf {
            t.kind = Kind::Leaf;
            t.op = '0';
            t.input = rng.one_in(2);
            t.external = rng.one_in(4);
            if wild && id > 0 && rng.one_in(10) {
                let from = rng.below(id) as usize;
                t.root = Some(g.tensors[from].root.unwrap_or(from as u32));
            }
        } else {
            if wild && rng.one_in(20) && n_odd < (id / 8) {
                t.kind = Kind::SourceOnly;
                n_odd += 1;
            }
            t.op = if rng.one_in(2) { 'i' } else { 'n' };
            t.input = rng.one_in(30) && wild;
            t.external = rng.one_in(40);
            let n_sources = if rng.one_in(12) { rng.below(11) } else { 1 + rng.below(3) };
            let window = 1 + rng.below(id);
            for _ in 0..n_sources {
                let source = if rng.one_in(4) { rng.below(id) } else { id - 1 - rng.below(window) };
                t.sources.push((!rng.one_in(20)).then_some(source as u32));
            }
            if rng.one_in(5)
                && t.kind == Kind::Node
                && let Some(from) = t.sources.first().copied().flatten()
            {
                t.root = Some(g.tensors[from as usize].root.unwrap_or(from));
                t.op = if wild && rng.one_in(5) { '0' } else { 'n' };
                t.input = false;
                t.external = false;
            }
        }
        t.output = rng.one_in(12) || i + 1 == total;
        g.push(t);
    }
    g
}

pub fn random_graph_case(rng: &mut SplitMix) -> String {
    let (specs, pads) = random_specs(rng);
    let wild = rng.one_in(2);
    let g = random_graph(rng, pads, wild);
    // Sizes of the second graph: per layout, so that sources stay as large as what may overwrite them.
    let change: Vec<u64> = (0..5).map(|_| if rng.one_in(2) { 0 } else { rng.below(40) }).collect();
    let grow = rng.one_in(2);
    let sizes2: Vec<u64> = g
        .tensors
        .iter()
        .map(|t| {
            let by = change[t.layout as usize];
            if grow { t.size + by } else { t.size.saturating_sub(by) }
        })
        .collect();
    g.to_case(&specs, &sizes2)
}

pub fn random_context_case(rng: &mut SplitMix) -> String {
    let alignment = 1u64 << rng.below(9);
    let max_size = if rng.one_in(5) { u64::MAX } else { rng.below(3000) };
    let mut line = format!("C {alignment} {max_size}");
    for _ in 0..rng.below(50) {
        match rng.below(12) {
            0 => line.push_str(" -"),
            1 => line.push_str(" 0"),
            _ => write!(line, " {}", rng.below(1 + max_size.min(1000))).unwrap(),
        }
    }
    line
}

/// The result line this crate gives for a case line.
pub fn run_case(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[0] {
        "T" => run_trace(&words[1..]),
        "G" => run_graph(&words[1..]),
        "C" => run_context(&words[1..]),
        other => panic!("unknown case kind {other}"),
    }
}

fn number(s: &str) -> u64 {
    s.parse().unwrap()
}

fn run_trace(words: &[&str]) -> String {
    let alignment = number(words[0]);
    let mut a = ChunkAllocator::new(alignment, number(words[1])).unwrap();
    let mut ranges: Vec<(Address, u64)> = Vec::new();
    let mut out = String::new();
    for op in &words[2..] {
        let (kind, rest) = op.split_at(1);
        match kind {
            "a" => {
                let address = a.alloc(number(rest)).unwrap();
                ranges.push((address, number(rest)));
                write!(out, "{}:{} ", address.chunk, address.offset).unwrap();
            }
            "f" => {
                let (address, size) = ranges[number(rest) as usize];
                a.free(address, size).unwrap();
            }
            _ => {
                let (k, keep) = rest.split_once(':').unwrap();
                let range = &mut ranges[number(k) as usize];
                let keep = number(keep);
                let tail = Address { offset: range.0.offset + keep, ..range.0 };
                a.free(tail, range.1.next_multiple_of(alignment) - keep).unwrap();
                range.1 = keep;
            }
        }
    }
    for c in 0..a.n_chunks() {
        write!(out, "|{}", a.max_size(c)).unwrap();
        for b in a.free_blocks(c) {
            write!(out, " {}+{}", b.offset, b.size).unwrap();
        }
    }
    out
}

pub fn parse_graph(words: &[&str]) -> (Vec<BufferSpec>, TestGraph, Vec<u64>) {
    let n_buffers = number(words[0]) as usize;
    let mut g = TestGraph::default();
    let mut specs = Vec::new();
    for word in &words[1..=n_buffers] {
        let p: Vec<u64> = word.split(':').map(number).collect();
        specs.push(BufferSpec { id: p[0], alignment: p[1], max_size: p[2] });
        g.pads.push(p[3]);
    }
    let n_tensors = number(words[n_buffers + 1]) as usize;
    let words = &words[n_buffers + 2..];
    for word in &words[..n_tensors] {
        let p: Vec<&str> = word.split(':').collect();
        let flags = number(p[2]);
        let sources = match p[7] {
            "-" => Vec::new(),
            list => list.split(',').map(|s| s.parse().ok()).collect(),
        };
        g.push(Tensor {
            kind: match p[0] {
                "L" => Kind::Leaf,
                "N" => Kind::Node,
                _ => Kind::SourceOnly,
            },
            op: p[1].chars().next().unwrap(),
            input: flags & 1 != 0,
            output: flags & 2 != 0,
            external: flags & 4 != 0,
            layout: number(p[3]),
            size: number(p[4]),
            root: (number(p[5]) as u32).checked_sub(1),
            view_offset: 0,
            buffer: number(p[6]) as u32,
            sources,
        });
    }
    (specs, g, words[n_tensors..].iter().map(|w| number(w)).collect())
}

fn run_graph(words: &[&str]) -> String {
    let (specs, mut g, sizes2) = parse_graph(words);
    let mut allocator = GraphAllocator::<Counted>::new(&specs).unwrap();
    let mut memory = Counted::new(u64::MAX);
    let mut out = String::new();
    let plan = allocator.reserve(&g, g.assignment(), &mut memory).unwrap();
    let put = |out: &mut String, p: Option<Placement>| match p {
        Some(p) => write!(out, "{}:{}:{}", p.buffer, p.chunk, p.offset).unwrap(),
        None => out.push('-'),
    };
    for i in 0..plan.n_leafs() {
        put(&mut out, plan.leaf(i));
        out.push(' ');
    }
    for (i, &node) in g.nodes.iter().enumerate() {
        put(&mut out, plan.node(i));
        for slot in 0..g.n_sources(node) {
            out.push(',');
            put(&mut out, plan.source(i, slot));
        }
        out.push(' ');
    }
    put_sizes(&mut out, &allocator, specs.len());
    for (t, &size) in g.tensors.iter_mut().zip(&sizes2) {
        t.size = size;
    }
    let plan = allocator.plan().unwrap();
    let realloc = plan.needs_realloc(&g);
    assert_eq!(realloc, plan.realloc_reason(&g).is_some_and(quipu_alloc::ReallocReason::is_in_reference));
    write!(out, " ; {}", u8::from(realloc)).unwrap();
    allocator.reserve(&g, g.assignment(), &mut memory).unwrap();
    put_sizes(&mut out, &allocator, specs.len());
    out
}

fn put_sizes(out: &mut String, allocator: &GraphAllocator<Counted>, n_buffers: usize) {
    for buffer in 0..n_buffers as u32 {
        out.push_str(" |");
        let mut chunk = 0;
        while let Some(b) = allocator.chunk(buffer, chunk) {
            write!(out, " {}", b.size).unwrap();
            chunk += 1;
        }
    }
}

fn run_context(words: &[&str]) -> String {
    let spec = BufferSpec { id: 0, alignment: number(words[0]), max_size: number(words[1]) };
    let sizes: Vec<Option<u64>> = words[2..].iter().map(|w| w.parse().ok()).collect();
    let layout = split_tensors(spec, &sizes).unwrap();
    let mut out = layout.total_size().to_string();
    for size in &layout.buffer_sizes {
        write!(out, " {size}").unwrap();
    }
    out.push_str(" |");
    for address in &layout.addresses {
        match address {
            Some(a) => write!(out, " {}:{}", a.chunk, a.offset).unwrap(),
            None => out.push_str(" -"),
        }
    }
    out
}
