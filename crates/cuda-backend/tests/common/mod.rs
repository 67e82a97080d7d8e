//! Runs an op on the CPU backend and a kernel in the host emulation on the same operands, and compares.
//!
//! Every tensor lies in a region of its own between guards; results start as NaN. Whatever a launch changes
//! outside of its result's region is a failure.

#![allow(dead_code)] // each test file uses a part of it

use std::ffi::c_void;

use quipu_backend::{Backend, BufferTable, BufferType};
use quipu_cpu_backend::isa::Isa;
use quipu_cpu_backend::{CpuBackend, CpuBufferType};
pub use quipu_cuda_backend::driver::Value;
use quipu_cuda_backend::kernels::{self, Kernel, Kind, TensorArg};
pub use quipu_cuda_emulation::skipped;
use quipu_cuda_emulation::{self as emulation, Order};
use quipu_graph::{BufferId, DType, Graph, Storage, TensorId};
pub use quipu_testing::rows::encode;
use quipu_testing::{SplitMix, nmse};

/// Bytes between regions.
const GUARD: usize = 256;

pub fn bytes<T: bytemuck::Pod>(values: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(values).to_vec()
}

pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// An argument of a launch.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    T(TensorId),
    None,
    P(u64),
    I32(i32),
    I64(i64),
    F32(f32),
}

/// A graph with the bytes of its leaves.
pub struct Case {
    pub graph: Graph,
    data: Vec<(TensorId, Vec<u8>)>,
    pub noise: SplitMix,
}

impl Case {
    pub fn new(seed: u64) -> Case {
        Case { graph: Graph::new(), data: Vec::new(), noise: SplitMix::new(seed) }
    }

    pub fn leaf(&mut self, dtype: DType, ne: [usize; 4], bytes: Vec<u8>) -> TensorId {
        let name = format!("leaf{}", self.data.len());
        let id = self.graph.leaf(&name, dtype, ne).unwrap();
        assert_eq!(bytes.len(), self.graph[id].n_bytes());
        self.data.push((id, bytes));
        id
    }

    /// A leaf of noise of any type.
    pub fn noise(&mut self, dtype: DType, ne: [usize; 4], scale: f32) -> TensorId {
        let values = self.noise.floats(ne.iter().product(), scale);
        self.leaf(dtype, ne, encode(dtype, &values, ne[0]))
    }

    pub fn bytes_of(&self, id: TensorId) -> &[u8] {
        &self.data.iter().find(|(leaf, _)| *leaf == id).unwrap().1
    }

    /// A view of an f32 leaf that is wider than `ne`: rows with gaps, starting inside.
    pub fn strided(&mut self, ne: [usize; 4], gap: usize, scale: f32) -> TensorId {
        let whole = self.noise(DType::F32, [ne[0] + gap, ne[1], ne[2], ne[3]], scale);
        let nb = self.graph[whole].nb;
        self.graph.view(whole, ne, [nb[1], nb[2], nb[3]], gap / 2 * 4).unwrap()
    }

    /// The op's result on the CPU, as bytes of the root it lies in.
    pub fn expected(&mut self, out: TensorId) -> Vec<u8> {
        self.graph.build_forward_expand(out);
        let mut end = 0;
        for index in 0..self.graph.tensors().len() {
            let id = self.graph.id(index).unwrap();
            if self.graph[id].view.is_none() {
                self.graph[id].storage = Storage::Planned { buffer: BufferId(0), offset: end };
                end += self.graph[id].n_bytes().next_multiple_of(64);
            }
        }
        self.graph.resolve_views();
        let mut table = BufferTable::new();
        table.add_owned(CpuBufferType.allocate(end).unwrap());
        let poison = vec![0xff; end];
        table.get_mut(BufferId(0)).unwrap().write(0, &poison).unwrap();
        for (id, bytes) in &self.data {
            table.write_tensor(&self.graph[*id], bytes).unwrap();
        }
        let mut backend = CpuBackend::new(Isa::detect(), 1).unwrap();
        let n_nodes = self.graph.nodes().len();
        backend.compute(&self.graph, 0..n_nodes, &mut table, None).unwrap();
        let root = self.root(out);
        let mut got = vec![0; self.graph[root].n_bytes()];
        table.read_tensor(&self.graph[root], 0, &mut got).unwrap();
        got
    }

    fn root(&self, id: TensorId) -> TensorId {
        self.graph[id].view.map_or(id, |view| view.root)
    }

    pub fn memory(&self) -> Memory {
        Memory::new(self)
    }
}

/// Host memory that stands for a device's.
pub struct Memory {
    bytes: Vec<u64>,
    /// Start and bytes per tensor index; roots only.
    regions: Vec<Option<(usize, usize)>>,
}

impl Memory {
    fn new(case: &Case) -> Memory {
        let mut regions = Vec::new();
        // 256 more, to align by.
        let mut end = 256 + GUARD;
        for tensor in case.graph.tensors() {
            regions.push(tensor.view.is_none().then(|| {
                let start = end;
                end += tensor.n_bytes().next_multiple_of(256) + GUARD;
                (start, tensor.n_bytes())
            }));
        }
        let mut memory = Memory { bytes: vec![u64::MAX; end.div_ceil(8)], regions };
        let shift = 256 - memory.bytes.as_ptr() as usize % 256;
        for region in memory.regions.iter_mut().flatten() {
            region.0 = region.0 - 256 + shift;
        }
        for (id, bytes) in &case.data {
            let (start, len) = memory.regions[id.index()].unwrap();
            memory.all_mut()[start..start + len].copy_from_slice(bytes);
        }
        memory
    }

    fn all_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.bytes)
    }

    fn all(&self) -> &[u8] {
        bytemuck::cast_slice(&self.bytes)
    }

    pub fn read(&self, case: &Case, id: TensorId) -> Vec<u8> {
        let (start, len) = self.regions[case.root(id).index()].unwrap();
        self.all()[start..start + len].to_vec()
    }

    /// A tensor as kernels take it.
    pub fn arg(&self, case: &Case, id: TensorId) -> TensorArg {
        let tensor = &case.graph[id];
        let (start, _) = self.regions[case.root(id).index()].unwrap();
        let offset = start + tensor.view.map_or(0, |view| view.offset);
        TensorArg {
            data: self.bytes.as_ptr() as u64 + offset as u64,
            ne: tensor.ne.map(|n| n as i64),
            nb: tensor.nb.map(|n| n as i64),
        }
    }

    /// Launches twice, with threads in either order, and checks that both give the same bits and that nothing but
    /// the root of `dst` changed (nothing at all for `None`).
    pub fn launch(&mut self, case: &Case, name: &str, grid: [u32; 3], args: &[Arg], dst: Option<TensorId>) {
        let before = self.all().to_vec();
        let args: Vec<Value> = args.iter().map(|arg| value(*arg, |id| self.arg(case, id))).collect();
        launch_in(Order::Forward, name, grid, &args);
        let forward = self.all().to_vec();
        self.all_mut().copy_from_slice(&before);
        launch_in(Order::Reversed, name, grid, &args);
        assert!(forward == self.all(), "{name}: the order of threads shows in the result");
        let region = dst.map_or((0, 0), |dst| self.regions[case.root(dst).index()].unwrap());
        for (i, (a, b)) in before.iter().zip(self.all()).enumerate() {
            let inside = i >= region.0 && i < region.0 + region.1;
            assert!(inside || a == b, "{name} wrote {} bytes past its result", i as i64 - region.0 as i64);
        }
    }
}

fn value(arg: Arg, tensor: impl Fn(TensorId) -> TensorArg) -> Value {
    match arg {
        Arg::T(id) => Value::Tensor(tensor(id)),
        Arg::None => Value::Tensor(TensorArg::default()),
        Arg::P(p) => Value::Ptr(p),
        Arg::I32(v) => Value::I32(v),
        Arg::I64(v) => Value::I64(v),
        Arg::F32(v) => Value::F32(v),
    }
}

pub fn kernel(name: &str) -> &'static Kernel {
    kernels::find(name).unwrap_or_else(|| panic!("no kernel {name} in the table"))
}

/// Launches with arguments of the kinds that the table demands.
pub fn launch(name: &str, grid: [u32; 3], args: &[Value]) {
    launch_in(Order::Forward, name, grid, args);
}

fn launch_in(order: Order, name: &str, grid: [u32; 3], args: &[Value]) {
    let kernel = kernel(name);
    let kinds: Vec<Kind> = kernel.params.iter().map(|p| p.kind).collect();
    assert_eq!(args.iter().map(Value::kind).collect::<Vec<_>>(), kinds, "arguments of {name}");
    let pointers: Vec<*const c_void> = args.iter().map(Value::address).collect();
    // SAFETY: the kinds are the kernel's, and addresses are of regions that outlive the call.
    unsafe { emulation::launch_in(order, name, grid, kernel.block, &pointers) }.unwrap();
}

/// A buffer between guards, for what launches hand each other.
pub struct Scratch {
    bytes: Vec<u64>,
    start: usize,
    len: usize,
}

impl Scratch {
    pub fn new(len: usize) -> Scratch {
        let bytes = vec![u64::MAX; (len + 2 * GUARD + 256) / 8 + 1];
        let start = GUARD + 256 - bytes.as_ptr() as usize % 256;
        Scratch { bytes, start, len }
    }

    pub fn address(&self) -> u64 {
        self.bytes.as_ptr() as u64 + self.start as u64
    }

    /// What was written, after a look at the guards.
    pub fn read(&self) -> &[u8] {
        let all: &[u8] = bytemuck::cast_slice(&self.bytes);
        let (inside, after) = all[self.start..].split_at(self.len);
        assert!(all[..self.start].iter().all(|b| *b == 0xff), "written before the scratch");
        assert!(after.iter().all(|b| *b == 0xff), "written behind the scratch");
        inside
    }
}

/// Compares f32 results.
#[track_caller]
pub fn assert_near(what: &str, got: &[u8], expected: &[u8], bound: f64) {
    let error = nmse(&floats(expected), &floats(got));
    // A NaN must fail too.
    assert!(error <= bound, "{what}: NMSE {error:e} over {bound:e}");
}

/// Bound for float paths.
pub const FLOAT: f64 = 1e-6;
/// Bound where activations or weights are quantised.
pub const QUANTISED: f64 = 1e-4;
