//! The battery that every op of the table must stand: each case at every level of instructions this machine has, by one to five
//! threads with equal bits, on poisoned memory, with nothing written beside the result, and in place where the op's rule allows.
//!
//! An op gets it by its cases: a function beside the kernel that builds nodes and says what they come to, in the plainest
//! arithmetic there is. [`super::CASES`] lists them; an op of the table without a case makes the battery fail.

use std::collections::BTreeSet;

use half::f16;
use quipu_backend::{Backend, BufferTable, BufferType};
use quipu_graph::{BufferId, DType, Graph, RULES, Storage, TensorId};
use quipu_testing::SplitMix;

use crate::isa::Isa;
use crate::{CpuBackend, CpuBufferType};

/// From one element to more than one thread does alone, and none a multiple of any vector.
pub const SHAPES: [[usize; 4]; 5] =
    [[1, 1, 1, 1], [7, 3, 2, 1], [33, 5, 3, 2], [101, 1, 1, 1], [37, 41, 3, 2]];

/// How an operand lies in memory. What is between its elements is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Contiguous.
    Dense,
    /// Rows further apart than they are long, and not the first of their tensor.
    Gaps,
    /// The second and third dimension lie the other way round.
    Permuted,
}

impl Layout {
    pub const ALL: [Layout; 3] = [Layout::Dense, Layout::Gaps, Layout::Permuted];
}

/// A graph of one node, with the bytes of its leaves.
pub struct Case {
    pub graph: Graph,
    leafs: Vec<(TensorId, Vec<u8>)>,
    noise: SplitMix,
}

impl Case {
    pub fn new(seed: u64) -> Case {
        Case { graph: Graph::new(), leafs: Vec::new(), noise: SplitMix::new(seed) }
    }

    /// A number in -1..1, deterministic.
    pub fn noise(&mut self) -> f32 {
        self.noise.signed()
    }

    pub fn leaf<T: bytemuck::Pod>(&mut self, dtype: DType, ne: [usize; 4], values: &[T]) -> TensorId {
        let id = self.graph.leaf("leaf", dtype, ne).expect("a small tensor");
        let bytes: Vec<u8> = bytemuck::cast_slice(values).to_vec();
        assert_eq!(bytes.len(), self.graph[id].n_bytes());
        self.leafs.push((id, bytes));
        id
    }

    /// f32 of these values, the first dimension fastest.
    pub fn f32(&mut self, ne: [usize; 4], layout: Layout, values: &[f32]) -> TensorId {
        assert_eq!(values.len(), ne.iter().product::<usize>());
        let wide = match layout {
            Layout::Dense => return self.leaf(DType::F32, ne, values),
            Layout::Gaps => [ne[0] + 3, ne[1] + 1, ne[2], ne[3]],
            Layout::Permuted => [ne[0], ne[2], ne[1], ne[3]],
        };
        let mut data = vec![f32::NAN; wide.iter().product()];
        for (i, value) in values.iter().enumerate() {
            let [i0, i1, i2, i3] = unravel(i, ne);
            let at = if layout == Layout::Gaps { [i0 + 2, i1, i2, i3] } else { [i0, i2, i1, i3] };
            data[((at[3] * wide[2] + at[2]) * wide[1] + at[1]) * wide[0] + at[0]] = *value;
        }
        let whole = self.leaf(DType::F32, wide, &data);
        let nb = self.graph[whole].nb;
        match layout {
            Layout::Gaps => self.graph.view(whole, ne, [nb[1], nb[2], nb[3]], 8).expect("inside"),
            _ => self.graph.permute(whole, [0, 2, 1, 3]).expect("a permutation"),
        }
    }

    /// f32 noise of that size, with NaN in places if asked for, and its values.
    pub fn values(&mut self, ne: [usize; 4], layout: Layout, scale: f32, nan: bool) -> (TensorId, Vec<f32>) {
        let n = ne.iter().product();
        let values: Vec<f32> =
            (0..n).map(|i| if nan && i % 37 == 5 % n { f32::NAN } else { self.noise() * scale }).collect();
        (self.f32(ne, layout, &values), values)
    }
}

/// Indices of the `i`-th element.
pub fn unravel(i: usize, ne: [usize; 4]) -> [usize; 4] {
    [i % ne[0], i / ne[0] % ne[1], i / ne[0] / ne[1] % ne[2], i / ne[0] / ne[1] / ne[2]]
}

/// The element of a tensor of shape `small` that stands for the `i`-th of `large` when `small` is repeated.
pub fn repeated(i: usize, large: [usize; 4], small: [usize; 4]) -> usize {
    let at = unravel(i, large);
    let [i0, i1, i2, i3]: [usize; 4] = std::array::from_fn(|d| at[d] % small[d]);
    ((i3 * small[2] + i2) * small[1] + i1) * small[0] + i0
}

/// Backends of every level, by number of threads, the names of the ops that had a case, and what went wrong.
pub struct Battery {
    backends: Vec<(Isa, Vec<CpuBackend>)>,
    covered: BTreeSet<&'static str>,
    failures: Vec<String>,
}

impl Battery {
    fn new() -> Battery {
        let backends = Isa::available().map(|isa| {
            let of = |n| CpuBackend::new(isa, n).expect("threads");
            (isa, [1, 2, 3, 5].map(of).into_iter().collect())
        });
        Battery { backends: backends.collect(), covered: BTreeSet::new(), failures: Vec::new() }
    }

    /// `out` is f32 within `bound` of the expected numbers (the error's square over theirs, of all that are finite), and NaN
    /// and infinite exactly where these are.
    pub fn close(&mut self, what: &str, case: &mut Case, out: TensorId, expected: &[f64], bound: f64) {
        self.run(what, case, out, |got| {
            let got: Vec<f32> = got.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            assert_eq!(got.len(), expected.len(), "{what}");
            // Per element 1 is added to what the error is compared with, for results that are nearly 0.
            let (mut error, mut size) = (0.0, got.len() as f64);
            for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
                let got = f64::from(*got);
                let same = if expected.is_finite() {
                    error += (got - expected).powi(2);
                    size += expected * expected;
                    got.is_finite()
                } else {
                    got == *expected || got.is_nan() && expected.is_nan()
                };
                if !same {
                    return Some(format!("element {i} is {got}, expected {expected}"));
                }
            }
            (error / size > bound).then(|| format!("NMSE {:e} over {bound:e}", error / size))
        });
    }

    /// `out` is f32 and equal to what is expected; NaN equals NaN.
    pub fn equal(&mut self, what: &str, case: &mut Case, out: TensorId, expected: &[f32]) {
        let expected: Vec<f64> = expected.iter().map(|x| f64::from(*x)).collect();
        self.close(what, case, out, &expected, 0.0);
    }

    /// `out` has exactly these bytes.
    pub fn bytes<T: bytemuck::Pod>(&mut self, what: &str, case: &mut Case, out: TensorId, expected: &[T]) {
        let expected: &[u8] = bytemuck::cast_slice(expected);
        self.run(what, case, out, |got| (got != expected).then(|| "other bytes than expected".to_owned()));
    }

    fn run(&mut self, what: &str, case: &mut Case, out: TensorId, check: impl Fn(&[u8]) -> Option<String>) {
        let rule = case.graph[out].op.rule();
        self.covered.insert(rule.name);
        case.graph.build_forward_expand(out);
        let (mut table, size) = bind(case);
        let mut results = Vec::new();
        for (isa, backends) in &mut self.backends {
            let mut first: Option<Vec<u8>> = None;
            for (backend, n_threads) in backends.iter_mut().zip([1, 2, 3, 5]) {
                let got = compute(case, out, &mut table, size, backend, &format!("{what} ({isa})"));
                let first = first.get_or_insert_with(|| got.clone());
                assert!(*first == got, "{what} ({isa}): {n_threads} threads give other bits than 1");
            }
            let first = first.expect("backends");
            if let Some(failure) = check(&first) {
                self.failures.push(format!("{what} ({isa}): {failure}"));
            }
            results.push(first);
        }
        for i in 0..case.graph[out].src.len() {
            let (src, dst) = (&case.graph[case.graph[out].src[i]], &case.graph[out]);
            if dst.view.is_some() || src.view.is_some() || !src.same_layout(dst) {
                continue;
            }
            if rule.can_inplace {
                assert!(rule.overwrites.contains(&i), "{what}: a planner may put {} there", rule.name);
            }
            if rule.overwrites.contains(&i) {
                self.in_place(what, case, out, i, &results);
            }
        }
    }

    /// Runs with the result over operand `i`: the bits stay.
    fn in_place(&mut self, what: &str, case: &mut Case, out: TensorId, i: usize, results: &[Vec<u8>]) {
        let apart = case.graph[out].storage;
        case.graph[out].storage = case.graph[case.graph[out].src[i]].storage;
        let (mut table, size) = bind(case);
        for ((isa, backends), expected) in self.backends.iter_mut().zip(results) {
            for backend in [0, 2] {
                let what = format!("{what} over operand {i} ({isa})");
                let got = compute(case, out, &mut table, size, &mut backends[backend], &what);
                assert!(got == *expected, "{what}: other bits than apart");
            }
        }
        case.graph[out].storage = apart;
    }
}

/// Places every root behind the other.
fn bind(case: &mut Case) -> (BufferTable, usize) {
    let mut end = 64;
    for index in 0..case.graph.tensors().len() {
        let id = case.graph.id(index).expect("a tensor");
        let t = &mut case.graph[id];
        if t.view.is_none() {
            if t.storage == Storage::Unbound {
                t.storage = Storage::Planned { buffer: BufferId(0), offset: end };
            }
            let (_, offset) = t.storage.location().expect("bound");
            end = end.max(offset + t.n_bytes().next_multiple_of(64) + 64);
        }
    }
    case.graph.resolve_views();
    let mut table = BufferTable::new();
    table.add_owned(CpuBufferType.allocate(end).expect("memory"));
    (table, end)
}

/// One run on poisoned memory: the bytes of `out`'s elements. Whatever else there is in memory stays as it was.
fn compute(
    case: &Case,
    out: TensorId,
    table: &mut BufferTable,
    size: usize,
    backend: &mut CpuBackend,
    what: &str,
) -> Vec<u8> {
    let graph = &case.graph;
    let memory = |table: &BufferTable| {
        let mut bytes = vec![0; size];
        table.get(BufferId(0)).expect("the buffer").read(0, &mut bytes).expect("inside");
        bytes
    };
    table.get_mut(BufferId(0)).expect("the buffer").write(0, &vec![0xff; size]).expect("inside");
    for (id, bytes) in &case.leafs {
        table.write_tensor(&graph[*id], bytes).expect("a leaf");
    }
    let mut before = memory(table);
    let nodes = 0..graph.nodes().len();
    backend.compute(graph, nodes, table, None).unwrap_or_else(|error| panic!("{what}: {error}"));
    let after = memory(table);
    let dst = &graph[out];
    let (_, offset) = dst.storage.location().expect("bound");
    let (block, n) = (dst.dtype.block_bytes(), dst.ne[0] / dst.dtype.block_len());
    let mut got = Vec::new();
    for i in 0..n * dst.n_rows() {
        let at = unravel(i, [n, dst.ne[1], dst.ne[2], dst.ne[3]]);
        let start = offset + (0..4).map(|d| at[d] * dst.nb[d]).sum::<usize>();
        got.extend_from_slice(&after[start..start + block]);
        before[start..start + block].copy_from_slice(&after[start..start + block]);
    }
    if let Some(at) = (0..size).find(|i| before[*i] != after[*i]) {
        panic!("{what}: byte {at} was written, beside the result at {offset}");
    }
    got
}

/// `f16` of a number, as f64: what kernels that round operands compute with.
pub fn halved(x: f32) -> f64 {
    f16::from_f32(x).to_f64()
}

#[test]
fn every_op_stands_its_battery() {
    let mut battery = Battery::new();
    for cases in super::CASES {
        cases(&mut battery);
    }
    assert!(battery.failures.is_empty(), "{:#?}", battery.failures);
    for rule in RULES.iter().filter(|rule| !rule.is_metadata()) {
        assert!(battery.covered.contains(rule.name), "{} has no case", rule.name);
    }
}
