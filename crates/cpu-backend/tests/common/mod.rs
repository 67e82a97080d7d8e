//! Runs a graph on every instruction set and several numbers of threads, on memory full of NaN.

use quipu_backend::{Backend, BufferTable, BufferType, Error};
use quipu_cpu_backend::isa::Isa;
use quipu_cpu_backend::{CpuBackend, CpuBufferType};
use quipu_graph::{BufferId, DType, Graph, Storage, TensorId};
use quipu_testing::{SplitMix, nmse};

pub fn bytes<T: bytemuck::Pod>(values: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(values).to_vec()
}

pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// A graph with the bytes of its leaves.
#[derive(Default)]
pub struct Case {
    pub graph: Graph,
    pub data: Vec<(TensorId, Vec<u8>)>,
    pub noise: Option<SplitMix>,
}

impl Case {
    pub fn new(seed: u64) -> Case {
        Case { graph: Graph::new(), data: Vec::new(), noise: Some(SplitMix::new(seed)) }
    }

    pub fn leaf(&mut self, dtype: DType, ne: [usize; 4], bytes: Vec<u8>) -> TensorId {
        let name = format!("leaf{}", self.data.len());
        let id = self.graph.leaf(&name, dtype, ne).unwrap();
        assert_eq!(bytes.len(), self.graph[id].n_bytes());
        self.data.push((id, bytes));
        id
    }

    /// An f32 leaf of noise, and its values.
    pub fn noise(&mut self, ne: [usize; 4], scale: f32) -> (TensorId, Vec<f32>) {
        let values = self.noise.as_mut().unwrap().floats(ne.iter().product(), scale);
        (self.leaf(DType::F32, ne, bytes(&values)), values)
    }

    /// An f16 leaf of noise, and its values.
    pub fn noise_f16(&mut self, ne: [usize; 4], scale: f32) -> (TensorId, Vec<f32>) {
        let values = self.noise.as_mut().unwrap().floats(ne.iter().product(), scale);
        let halves: Vec<half::f16> = values.iter().map(|v| half::f16::from_f32(*v)).collect();
        let rounded = halves.iter().map(|h| h.to_f32()).collect();
        (self.leaf(DType::F16, ne, bytes(&halves)), rounded)
    }

    /// Places every root behind the other in one buffer of NaN, and writes the leaves.
    pub fn bind(&mut self) -> BufferTable {
        let mut end = 0;
        for index in 0..self.graph.tensors().len() {
            let id = self.graph.id(index).unwrap();
            if self.graph[id].view.is_none() && self.graph[id].storage == Storage::Unbound {
                self.graph[id].storage = Storage::Planned { buffer: BufferId(0), offset: end };
                end += self.graph[id].n_bytes().next_multiple_of(64);
            }
        }
        self.graph.resolve_views();
        let mut table = BufferTable::new();
        table.add_owned(CpuBufferType.allocate(end).unwrap());
        self.reset(&mut table);
        table
    }

    /// Poisons memory and writes the leaves again.
    pub fn reset(&self, table: &mut BufferTable) {
        let buffer = table.get_mut(BufferId(0)).unwrap();
        let poison = vec![0xff; buffer.size()];
        buffer.write(0, &poison).unwrap();
        for (id, bytes) in &self.data {
            table.write_tensor(&self.graph[*id], bytes).unwrap();
        }
    }

    /// The bytes of `out`, equal for 1, 2 and 4 threads; of the portable path and of the best one. Every set between them
    /// gives the bits of the best, because all round alike.
    pub fn run_both(&mut self, out: TensorId) -> [Vec<u8>; 2] {
        self.graph.build_forward_expand(out);
        let mut table = self.bind();
        let results: Vec<Vec<u8>> = Isa::available()
            .map(|isa| {
                let mut first: Option<Vec<u8>> = None;
                for n_threads in [1, 2, 4] {
                    self.reset(&mut table);
                    let mut backend = CpuBackend::new(isa, n_threads).unwrap();
                    let n_nodes = self.graph.nodes().len();
                    backend.compute(&self.graph, 0..n_nodes, &mut table, None).unwrap();
                    let mut got = vec![0; self.graph[out].n_bytes()];
                    table.read_tensor(&self.graph[out], 0, &mut got).unwrap();
                    let first = first.get_or_insert_with(|| got.clone());
                    assert!(*first == got, "{isa}: {n_threads} threads give other bits than 1");
                }
                first.unwrap()
            })
            .collect();
        let (portable, best) = (results[0].clone(), results[results.len() - 1].clone());
        for (isa, result) in Isa::available().zip(&results).skip(1) {
            assert!(*result == best, "{isa} gives other bits than the best set");
        }
        [portable, best]
    }

    /// Runs, and compares both paths with the expected f32.
    pub fn check(&mut self, out: TensorId, expected: &[f64], nmse_bound: f64) {
        for got in self.run_both(out) {
            let error = nmse(expected, &floats(&got));
            assert!(error <= nmse_bound, "NMSE {error:e} over {nmse_bound:e}");
        }
    }

    /// Runs once on the best path and returns what `compute` says.
    pub fn outcome(&mut self, out: TensorId, n_threads: usize) -> Result<(), Error> {
        self.graph.build_forward_expand(out);
        let mut table = self.bind();
        let mut backend = CpuBackend::new(Isa::detect(), n_threads)?;
        let n_nodes = self.graph.nodes().len();
        backend.compute(&self.graph, 0..n_nodes, &mut table, None)
    }
}
