//! From nodes to launches: every access checked once, every argument in place.

mod ops;
mod replay;

use std::ops::Range;
use std::sync::Arc;

use quipu_backend::{Buffer, BufferTable, Error, Regions, Resolver, Span};
use quipu_graph::{Graph, Op, Tensor, TensorId};
use smallvec::{SmallVec, smallvec};

use crate::buffer::CudaBuffer;
use crate::driver::{Function, Launch, Value};
use crate::kernels::{Kernel, TensorArg};
use crate::shared::{ALIGNMENT, Shared};
use crate::{support, types};
pub(crate) use replay::Recorder;
use replay::Replay;

/// A launch whose arguments lie in [`Plan::values`].
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub kernel: &'static Kernel,
    pub function: Function,
    pub grid: [u32; 3],
    values: Range<usize>,
}

/// What an argument is relative to until the run's own memory is there.
#[derive(Clone, Copy, Debug)]
enum Base {
    Scratch,
    Status,
}

/// An argument in a backend's own memory, which may move when that grows.
#[derive(Clone, Copy, Debug)]
struct Open {
    at: usize,
    base: Base,
    offset: u64,
}

/// Activations that were made ready for one product and serve the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Activations {
    pub x: TensorId,
    pub how: types::Prepare,
    /// Offset in the scratch.
    pub offset: usize,
}

/// A node with row numbers, as far as an error needs it.
#[derive(Clone, Debug)]
pub(crate) struct RowNode {
    pub op: Op,
    /// Name of the table.
    pub name: String,
    pub ids: Option<Tensor>,
    pub n_rows: usize,
}

/// A graph's nodes as launches. The addresses in it may be used after [`Plan::verify`], as long as the table stays exclusively
/// borrowed, and after [`Plan::close`] with the memory of the backend that runs it.
#[derive(Debug)]
pub(crate) struct Plan {
    shared: Arc<Shared>,
    regions: Option<Regions>,
    pub steps: Vec<Step>,
    values: Vec<Value>,
    /// Arguments in the backend's own memory, and where that was when they were set last.
    open: Vec<Open>,
    closed: Option<(u64, u64)>,
    /// Bytes of scratch that the run needs.
    pub scratch_bytes: usize,
    /// Each has a counter of row numbers out of range.
    pub row_nodes: Vec<RowNode>,
    /// While planning: what lies at the start of the scratch.
    activations: Option<Activations>,
    pub replay: Replay,
}

/// What planning a node needs besides the plan.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub shared: &'a Arc<Shared>,
    pub graph: &'a Graph,
    pub resolver: &'a Resolver<'a>,
}

impl Source<'_> {
    /// A tensor as kernels take it, after a look at its place.
    pub fn arg(&self, tensor: &Tensor) -> Result<TensorArg, Error> {
        let data = self.resolver.place(tensor)?.address;
        Ok(TensorArg { data, ne: tensor.ne.map(|n| n as i64), nb: tensor.nb.map(|n| n as i64) })
    }
}

/// Where a buffer lies, if it is that device's.
fn reach(shared: &Arc<Shared>, buffer: &dyn Buffer) -> Option<Span> {
    let size = buffer.size();
    let buffer = buffer.as_any().downcast_ref::<CudaBuffer>()?;
    buffer.is_of(shared).then(|| Span {
        address: buffer.address(),
        size,
        writable: true,
        allocation: buffer.id(),
    })
}

impl Plan {
    /// Resolves and checks `graph.nodes()[nodes]`.
    pub fn build(
        shared: &Arc<Shared>,
        graph: &Graph,
        nodes: Range<usize>,
        buffers: &BufferTable,
    ) -> Result<Plan, Error> {
        let resolver = Resolver::new(graph, buffers, |buffer| reach(shared, buffer), types::alignment);
        let mut plan = Plan {
            shared: Arc::clone(shared),
            regions: None,
            steps: Vec::new(),
            values: Vec::new(),
            open: Vec::new(),
            closed: None,
            scratch_bytes: 0,
            row_nodes: Vec::new(),
            activations: None,
            replay: Replay::new(Arc::clone(shared)),
        };
        let source = Source { shared, graph, resolver: &resolver };
        let nodes = resolver.nodes(nodes)?;
        let mut next = 0;
        while let Some(&id) = nodes.get(next) {
            next += 1;
            let tensor = &graph[id];
            support::node(graph, id).map_err(|expected| Error::node(tensor, expected))?;
            if tensor.op.is_metadata() || tensor.n_elements() == 0 {
                continue;
            }
            let fused = plan.fused_norm(source, id, &nodes[next..])?;
            if fused == 0 {
                resolver.node(id)?;
                ops::plan(&mut plan, source, id)?;
            }
            next += fused;
            if matches!(tensor.op, Op::SetRows | Op::Cpy) {
                // Tensors may share bytes with what was written.
                plan.activations = None;
            }
        }
        plan.regions = Some(resolver.into_regions());
        Ok(plan)
    }

    /// Whether the launches are of that device, whatever backend planned them.
    pub fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    /// Checks that every address of a buffer is where it was when it was noted.
    pub fn verify(&self, buffers: &BufferTable) -> Result<(), Error> {
        let regions = self.regions.as_ref().ok_or(Error::Stale)?;
        regions.verify(buffers, |buffer| reach(&self.shared, buffer))
    }

    /// `NORM` or `RMS_NORM` with the `MUL` and the `ADD` of a row behind it, each read by the next alone, as one launch
    /// (`ggml_cuda_can_fuse`). How many of `after` it took in; 0 if nothing was planned.
    fn fused_norm(
        &mut self,
        source: Source<'_>,
        norm_id: TensorId,
        after: &[TensorId],
    ) -> Result<usize, Error> {
        let Source { shared, graph, resolver } = source;
        let norm = &graph[norm_id];
        let (eps, is_rms) = match norm.op {
            Op::RmsNorm { eps } => (eps, true),
            Op::Norm { eps } => (eps, false),
            _ => return Ok(0),
        };
        let Some(chain) = resolver.norm_chain(norm_id, after) else { return Ok(0) };
        let (mul, weight) = (chain.mul, chain.weight);
        let (name, nodes, rows): (_, &[TensorId], &[TensorId]) = match (is_rms, chain.add) {
            (true, None) => ("rms_norm_mul", &[mul], &[weight]),
            (true, Some((add, bias))) => ("rms_norm_mul_add", &[mul, add], &[weight, bias]),
            (false, Some((add, bias))) => ("layer_norm_mul_add", &[mul, add], &[weight, bias]),
            (false, None) => return Ok(0),
        };
        for id in nodes {
            support::node(graph, *id).map_err(|expected| Error::node(&graph[*id], expected))?;
        }
        for id in nodes.iter().chain([&norm_id]) {
            resolver.node(*id)?;
        }
        let last = *nodes.last().unwrap_or(&norm_id);
        if !resolver.may_fuse(norm_id, last, rows)? {
            return Ok(0);
        }
        let last = &graph[last];
        let (x, dst) = (source.arg(&graph[norm.src[0]])?, source.arg(last)?);
        let mut values: SmallVec<[Value; 5]> = smallvec![Value::Tensor(dst), Value::Tensor(x)];
        for row in rows {
            values.push(Value::Tensor(source.arg(&graph[*row])?));
        }
        values.push(Value::F32(eps));
        self.push(shared, name, last.ne, 0, &values)?;
        Ok(nodes.len())
    }

    /// Adds a launch whose grid follows from `shape` and `inner` by the kernel's rule.
    pub fn push(
        &mut self,
        shared: &Arc<Shared>,
        kernel: &'static str,
        shape: [usize; 4],
        inner: usize,
        values: &[Value],
    ) -> Result<(), Error> {
        let (kernel, function) = shared.kernel(kernel)?;
        let grid = kernel.grid.blocks(kernel.block, shape, inner);
        self.push_grid(shared, (kernel, function), grid, values)
    }

    /// Adds a launch of `grid` blocks.
    pub fn push_grid(
        &mut self,
        shared: &Arc<Shared>,
        (kernel, function): (&'static Kernel, Function),
        grid: [u32; 3],
        values: &[Value],
    ) -> Result<(), Error> {
        let start = self.values.len();
        self.values.extend_from_slice(values);
        let fits = Launch { kernel, grid, args: values }.fits();
        if !fits || grid[0] > i32::MAX as u32 || grid[1] > 65535 || grid[2] > 65535 {
            // A bug of this crate or a shape that `support` should have refused: told, not launched.
            let message = format!("{} with a grid of {grid:?} blocks cannot be launched", kernel.name);
            return Err(Error::Device { device: shared.name.clone(), message });
        }
        self.steps.push(Step { kernel, function, grid, values: start..self.values.len() });
        Ok(())
    }

    /// Marks argument `i` of the last launch as an offset in the scratch.
    pub fn in_scratch(&mut self, i: usize) {
        let offset = match self.steps.last().and_then(|step| self.values.get(step.values.start + i)) {
            Some(Value::Ptr(offset)) => *offset,
            _ => return,
        };
        self.open_argument(i, Base::Scratch, offset);
    }

    /// Marks argument `i` of the last launch as the counter of `node`'s row numbers out of range.
    pub fn count_rows(&mut self, i: usize, node: RowNode) {
        let offset = self.row_nodes.len() as u64 * 4;
        self.row_nodes.push(node);
        self.open_argument(i, Base::Status, offset);
    }

    fn open_argument(&mut self, i: usize, base: Base, offset: u64) {
        if let Some(step) = self.steps.last() {
            self.open.push(Open { at: step.values.start + i, base, offset });
        }
    }

    /// Room in the scratch for something that only the next launches use: after what is prepared, if `keep` says so.
    pub fn reserve(&mut self, bytes: usize, after: usize) -> usize {
        let offset = after.next_multiple_of(ALIGNMENT);
        self.scratch_bytes = self.scratch_bytes.max(offset + bytes);
        offset
    }

    /// Where `x` lies prepared already.
    pub fn activations(&self, x: TensorId, how: types::Prepare) -> Option<usize> {
        self.activations.filter(|p| p.x == x && p.how == how).map(|p| p.offset)
    }

    /// Notes what the scratch holds from now on.
    pub fn set_activations(&mut self, activations: Option<Activations>) {
        self.activations = activations;
    }

    /// Turns offsets in the running backend's own memory into addresses. A recording of others is forgotten.
    pub fn close(&mut self, scratch: u64, status: u64) {
        if self.closed == Some((scratch, status)) {
            return;
        }
        self.closed = Some((scratch, status));
        self.replay.forget();
        for Open { at, base, offset } in &self.open {
            let base = match base {
                Base::Scratch => scratch,
                Base::Status => status,
            };
            self.values[*at] = Value::Ptr(base + offset);
        }
    }

    /// The launch of a step.
    pub fn launch(&self, step: &Step) -> Launch<'_> {
        Launch { kernel: step.kernel, grid: step.grid, args: &self.values[step.values.clone()] }
    }
}
