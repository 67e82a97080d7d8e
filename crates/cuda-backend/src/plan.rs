//! From nodes to launches: every access checked once, every argument in place.

use std::ops::Range;
use std::sync::Arc;

use quipu_backend::{BufferTable, Error};
use quipu_graph::{BufferId, Graph, Op, Tensor, TensorId};
use smallvec::{SmallVec, smallvec};

use crate::buffer::CudaBuffer;
use crate::driver::{Function, Launch, Value};
use crate::kernels::{Kernel, TensorArg};
use crate::shared::{ALIGNMENT, Shared};
use crate::{ops, support, types};

/// One buffer of the table, as far as the run may use it.
#[derive(Clone, Copy, Debug)]
struct Region {
    address: u64,
    size: usize,
    writable: bool,
}

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

/// Activations that were prepared for one product and serve the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Prepared {
    pub x: TensorId,
    pub how: types::Prepare,
    /// Offset in the scratch.
    pub offset: usize,
}

/// The launches of one run. Kept between runs so that its vectors are allocated once.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    regions: Vec<Option<Region>>,
    /// How many operands of the graph's nodes are this tensor.
    uses: Vec<u32>,
    pub steps: Vec<Step>,
    values: Vec<Value>,
    /// Arguments that are offsets still.
    open: Vec<(usize, Base)>,
    /// Bytes of scratch that the run needs.
    pub scratch_bytes: usize,
    /// Nodes with row numbers: each has a counter of those out of range.
    pub row_nodes: Vec<TensorId>,
    /// At the start of the scratch.
    prepared: Option<Prepared>,
}

/// What planning a node needs besides the plan.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub shared: &'a Arc<Shared>,
    pub graph: &'a Graph,
}

impl Plan {
    /// Resolves and checks `graph.nodes()[nodes]`.
    pub fn build(
        &mut self,
        source: Source<'_>,
        nodes: Range<usize>,
        buffers: &BufferTable,
    ) -> Result<(), Error> {
        let graph = source.graph;
        self.find_regions(source.shared, buffers);
        graph.count_uses(&mut self.uses);
        self.steps.clear();
        self.values.clear();
        self.open.clear();
        self.row_nodes.clear();
        self.scratch_bytes = 0;
        self.prepared = None;
        let n_nodes = graph.nodes().len();
        let (start, end) = (nodes.start, nodes.end);
        let nodes = graph.nodes().get(nodes).ok_or(Error::NodeRange { start, end, n_nodes })?;
        let mut next = 0;
        while let Some(&id) = nodes.get(next) {
            next += 1;
            let tensor = &graph[id];
            support::node(graph, id).map_err(|expected| Error::node(tensor, expected))?;
            if tensor.op.is_metadata() || tensor.n_elements() == 0 {
                continue;
            }
            let fused = self.fused_norm(source, id, &nodes[next..])?;
            if fused == 0 {
                self.check_operands(graph, id)?;
                ops::plan(self, source, id)?;
            }
            next += fused;
            if matches!(tensor.op, Op::SetRows | Op::Cpy) {
                // Tensors may share bytes with what was written.
                self.prepared = None;
            }
        }
        Ok(())
    }

    /// `NORM` or `RMS_NORM` with the `MUL` and the `ADD` of a row behind it, each read by the next alone, as one launch
    /// (`ggml_cuda_can_fuse`). How many of `after` it took in; 0 if nothing was planned.
    fn fused_norm(
        &mut self,
        source: Source<'_>,
        norm_id: TensorId,
        after: &[TensorId],
    ) -> Result<usize, Error> {
        let graph = source.graph;
        let norm = &graph[norm_id];
        let (eps, is_rms) = match norm.op {
            Op::RmsNorm { eps } => (eps, true),
            Op::Norm { eps } => (eps, false),
            _ => return Ok(0),
        };
        let Some((&mul_id, rest)) = after.split_first() else { return Ok(0) };
        let Some(weight) = self.row_behind(graph, norm_id, mul_id, Op::Mul) else { return Ok(0) };
        let add = rest.first().and_then(|add| Some((*add, self.row_behind(graph, mul_id, *add, Op::Add)?)));
        let (name, nodes, rows): (_, &[TensorId], &[TensorId]) = match (is_rms, &add) {
            (true, None) => ("rms_norm_mul", &[mul_id], &[weight]),
            (true, Some((add, bias))) => ("rms_norm_mul_add", &[mul_id, *add], &[weight, *bias]),
            (false, Some((add, bias))) => ("layer_norm_mul_add", &[mul_id, *add], &[weight, *bias]),
            (false, None) => return Ok(0),
        };
        for id in nodes {
            support::node(graph, *id).map_err(|expected| Error::node(&graph[*id], expected))?;
        }
        for id in nodes.iter().chain([&norm_id]) {
            self.check_operands(graph, *id)?;
        }
        // What only the fused kernel needs: that its result does not destroy what it reads.
        let last = &graph[*nodes.last().unwrap_or(&norm_id)];
        let input = &graph[norm.src[0]];
        let (x, dst) = (self.arg(input)?, self.arg(last)?);
        let same = x.data == dst.data && input.same_layout(last);
        if overlap(input, &x, last, &dst) && !same {
            return Ok(0);
        }
        let mut values: SmallVec<[Value; 5]> = smallvec![Value::Tensor(dst), Value::Tensor(x)];
        for row in rows {
            let arg = self.arg(&graph[*row])?;
            if overlap(&graph[*row], &arg, last, &dst) {
                return Ok(0);
            }
            values.push(Value::Tensor(arg));
        }
        values.push(Value::F32(eps));
        self.push(source.shared, name, last.ne, 0, &values)?;
        Ok(nodes.len())
    }

    /// The row that `next` combines with `id`, if it is the only reader of `id`, of that op, and of its shape.
    fn row_behind(&self, graph: &Graph, id: TensorId, next: TensorId, op: Op) -> Option<TensorId> {
        let (tensor, behind) = (&graph[id], &graph[next]);
        let row = match behind.src.as_slice() {
            [a, b] if *a == id && *b != id => *b,
            [a, b] if *b == id && *a != id => *a,
            _ => return None,
        };
        let private = self.uses[id.index()] == 1 && !tensor.flags.output;
        let fits = graph[row].ne == [behind.ne[0], 1, 1, 1] && behind.ne == tensor.ne;
        (behind.op == op && private && fits).then_some(row)
    }

    fn find_regions(&mut self, shared: &Arc<Shared>, buffers: &BufferTable) {
        self.regions.clear();
        for index in 0..buffers.len() {
            let id = BufferId(index as u32);
            let buffer = buffers.get(id).ok().and_then(|buffer| {
                let size = buffer.size();
                let buffer = buffer.as_any().downcast_ref::<CudaBuffer>()?;
                let writable = buffers.is_owned(id);
                buffer.is_of(shared).then(|| Region { address: buffer.address(), size, writable })
            });
            self.regions.push(buffer);
        }
    }

    /// Checks that a node's result may be written, and does not destroy what it is computed from.
    fn check_operands(&self, graph: &Graph, id: TensorId) -> Result<(), Error> {
        let tensor = &graph[id];
        let dst = self.arg(tensor)?;
        if !self.region(tensor)?.0.writable {
            return Err(Error::ReadOnly { what: format!("{} {}", tensor.op.name(), tensor.name) });
        }
        for (i, src) in tensor.src.iter().enumerate() {
            let operand = &graph[*src];
            let at = self.arg(operand)?;
            let same = at.data == dst.data && operand.same_layout(tensor);
            if overlap(operand, &at, tensor, &dst) && !(same && tensor.op.may_overwrite(i)) {
                return Err(Error::overlap(tensor, i, operand));
            }
        }
        Ok(())
    }

    fn region(&self, tensor: &Tensor) -> Result<(Region, usize), Error> {
        let problem = |found: String, expected| Error::tensor(tensor, found, expected);
        let (buffer, offset) = tensor
            .storage
            .location()
            .ok_or_else(|| problem("no memory".to_owned(), "memory from the planner or an owner"))?;
        let region = self.regions.get(buffer.0 as usize).ok_or(Error::UnknownBuffer(buffer.0))?;
        let region = region
            .ok_or_else(|| problem(format!("memory in buffer {}", buffer.0), "memory of this device"))?;
        Ok((region, offset))
    }

    /// A tensor as kernels take it, after a look at its place.
    pub fn arg(&self, tensor: &Tensor) -> Result<TensorArg, Error> {
        let (region, offset) = self.region(tensor)?;
        let len = support::extent(tensor)
            .ok_or_else(|| Error::node(tensor, "whole blocks, and a size in bytes that fits in 63 bits"))?;
        if offset.checked_add(len).is_none_or(|end| end > region.size) {
            return Err(Error::OutOfBounds { offset, len, size: region.size });
        }
        let data = region.address + offset as u64;
        let align = types::alignment(tensor.dtype) as u64;
        if !data.is_multiple_of(align) {
            return Err(Error::tensor(tensor, format!("address {data:#x}"), "memory aligned for its type"));
        }
        Ok(TensorArg { data, ne: tensor.ne.map(|n| n as i64), nb: tensor.nb.map(|n| n as i64) })
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
        self.open_argument(i, Base::Scratch);
    }

    /// Marks argument `i` of the last launch as the counter of `node`'s row numbers out of range.
    pub fn count_rows(&mut self, i: usize, node: TensorId) {
        let offset = self.row_nodes.len() * 4;
        self.row_nodes.push(node);
        self.open_argument(i, Base::Status);
        if let Some((at, _)) = self.open.last() {
            self.values[*at] = Value::Ptr(offset as u64);
        }
    }

    fn open_argument(&mut self, i: usize, base: Base) {
        if let Some(step) = self.steps.last() {
            self.open.push((step.values.start + i, base));
        }
    }

    /// Room in the scratch for something that only the next launches use: after what is prepared, if `keep` says so.
    pub fn reserve(&mut self, bytes: usize, after: usize) -> usize {
        let offset = after.next_multiple_of(ALIGNMENT);
        self.scratch_bytes = self.scratch_bytes.max(offset + bytes);
        offset
    }

    /// Where `x` lies prepared already.
    pub fn prepared(&self, x: TensorId, how: types::Prepare) -> Option<usize> {
        self.prepared.filter(|p| p.x == x && p.how == how).map(|p| p.offset)
    }

    /// Notes what the scratch holds from now on.
    pub fn set_prepared(&mut self, prepared: Option<Prepared>) {
        self.prepared = prepared;
    }

    /// Turns offsets into addresses.
    pub fn close(&mut self, scratch: u64, status: u64) {
        for (at, base) in self.open.drain(..) {
            let Value::Ptr(offset) = self.values[at] else { continue };
            let base = match base {
                Base::Scratch => scratch,
                Base::Status => status,
            };
            self.values[at] = Value::Ptr(base + offset);
        }
    }

    /// The arguments of all launches.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The launch of a step.
    pub fn launch(&self, step: &Step) -> Launch<'_> {
        Launch { kernel: step.kernel, grid: step.grid, args: &self.values[step.values.clone()] }
    }
}

/// Whether the bytes from first to last of both meet.
fn overlap(a: &Tensor, at_a: &TensorArg, b: &Tensor, at_b: &TensorArg) -> bool {
    a.overlaps(at_a.data, b, at_b.data)
}
