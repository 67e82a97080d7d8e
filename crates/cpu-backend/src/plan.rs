//! From a graph with (buffer, offset) pairs to steps with pointers, every access checked once.

use std::ops::Range;

use quipu_backend::{BufferTable, Error};
use quipu_graph::{BufferId, Graph, MAX_SRC, Op, Tensor, TensorId};

use crate::buffer::{CpuBuffer, HostBuffer};
use crate::check;
use crate::ops::{self, Operand, Step};

/// Elements of a result up to which one thread does a step alone. Below, a barrier costs as much as the
/// work; results do not depend on it.
const SOLO_ELEMENTS: usize = 8192;

/// One buffer of the table, as far as the run may use it.
#[derive(Clone, Copy, Debug)]
struct Region {
    ptr: *mut u8,
    size: usize,
    writable: bool,
}

/// The steps of one run. Kept between runs so that its vectors are allocated once.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    regions: Vec<Option<Region>>,
    /// How many operands of the graph's nodes are this tensor.
    uses: Vec<u32>,
    pub steps: Vec<Step>,
    /// Bytes of scratch that the hungriest step needs.
    pub scratch_bytes: usize,
}

// SAFETY: regions and steps are plain addresses. They are only dereferenced during the `compute` call that
// made them, which borrows the table they point into.
unsafe impl Send for Plan {}

impl Plan {
    /// Resolves and checks `graph.nodes()[nodes]`. Allocates only if the graph outgrew all earlier ones.
    pub fn build(
        &mut self,
        graph: &Graph,
        nodes: Range<usize>,
        buffers: &mut BufferTable,
        n_threads: usize,
    ) -> Result<(), Error> {
        self.find_regions(buffers);
        graph.count_uses(&mut self.uses);
        self.steps.clear();
        self.scratch_bytes = 0;
        let n_nodes = graph.nodes().len();
        let nodes = graph.nodes().get(nodes.clone()).ok_or_else(|| Error::Tensor {
            name: "graph".to_owned(),
            found: format!("nodes {nodes:?} of {n_nodes}"),
            expected: "nodes it has",
        })?;
        let mut next = 0;
        while let Some(&id) = nodes.get(next) {
            next += 1;
            let tensor = &graph[id];
            check::node(graph, id).map_err(|expected| Error::node(tensor, expected))?;
            if tensor.op.is_metadata() || tensor.n_elements() == 0 {
                continue;
            }
            let mut step = self.step(graph, id)?;
            if let Some(&after) = nodes.get(next)
                && let Some(fused) = self.fuse(graph, &step, id, after)?
            {
                step = fused;
                next += 1;
            }
            let bytes = ops::scratch_bytes(&step, n_threads)
                .ok_or_else(|| Error::node(tensor, "working memory that fits in 64 bits"))?;
            self.scratch_bytes = self.scratch_bytes.max(bytes);
            ops::warm_up(step.op);
            self.steps.push(step);
        }
        Ok(())
    }

    fn find_regions(&mut self, buffers: &mut BufferTable) {
        self.regions.clear();
        for index in 0..buffers.len() {
            let id = BufferId(index as u32);
            let owned = buffers.is_owned(id);
            let region = buffers.get(id).ok().and_then(|buffer| {
                let any = buffer.as_any();
                if let Some(buffer) = any.downcast_ref::<CpuBuffer>() {
                    // The address comes from the allocation, not from a reference: writing through it is
                    // sound as long as nobody else has the buffer, which `&mut BufferTable` proves for
                    // owned ones.
                    return Some(Region {
                        ptr: buffer.bytes.as_ptr(),
                        size: buffer.bytes.len(),
                        writable: owned,
                    });
                }
                let bytes = any.downcast_ref::<HostBuffer>()?.as_slice();
                Some(Region { ptr: bytes.as_ptr().cast_mut(), size: bytes.len(), writable: false })
            });
            self.regions.push(region);
        }
    }

    fn step(&self, graph: &Graph, id: TensorId) -> Result<Step, Error> {
        let tensor = &graph[id];
        let (dst, writable) = self.operand(tensor)?;
        if !writable {
            return Err(Error::ReadOnly { what: format!("{} {}", tensor.op.name(), tensor.name) });
        }
        let mut src = [Operand::NONE; MAX_SRC];
        for (i, (slot, id)) in src.iter_mut().zip(&tensor.src).enumerate() {
            let operand = &graph[*id];
            *slot = self.operand(operand)?.0;
            let same = slot.ptr == dst.ptr && operand.same_layout(tensor);
            if overlap(operand, slot, tensor, &dst) && !(same && tensor.op.may_overwrite(i)) {
                return Err(Error::overlap(tensor, i, operand));
            }
        }
        let alone = ops::kernel(tensor.op).is_some_and(|kernel| kernel.needs_team);
        let work = if tensor.op == Op::SetRows { src[0].n_elements() } else { tensor.n_elements() };
        Ok(Step {
            op: tensor.op,
            tensor: id.index(),
            dst,
            src,
            fused_mul: false,
            solo: !alone && work <= SOLO_ELEMENTS,
        })
    }

    /// `RMS_NORM` and the `MUL` with a weight row that alone reads it, as one step (`ggml_can_fuse`).
    fn fuse(
        &self,
        graph: &Graph,
        norm: &Step,
        norm_id: TensorId,
        mul_id: TensorId,
    ) -> Result<Option<Step>, Error> {
        let (tensor, mul) = (&graph[norm_id], &graph[mul_id]);
        let private = self.uses[norm_id.index()] == 1 && !tensor.flags.output;
        if !matches!(norm.op, Op::RmsNorm { .. }) || mul.op != Op::Mul || !private {
            return Ok(None);
        }
        let weight_id = match mul.src.as_slice() {
            [a, b] if *a == norm_id => *b,
            [a, b] if *b == norm_id => *a,
            _ => return Ok(None),
        };
        check::node(graph, mul_id).map_err(|expected| Error::node(mul, expected))?;
        let weight = &graph[weight_id];
        if weight.ne != [mul.ne[0], 1, 1, 1] || mul.ne != tensor.ne {
            return Ok(None);
        }
        // Everything the two steps would check, then what only the fused one needs: that its result does
        // not destroy the norm's operand before it is read.
        let mut step = self.step(graph, mul_id)?;
        let input = &graph[tensor.src[0]];
        let same = norm.src[0].ptr == step.dst.ptr && input.same_layout(mul);
        if overlap(input, &norm.src[0], mul, &step.dst) && !same {
            return Ok(None);
        }
        let weight = if mul.src[0] == weight_id { step.src[0] } else { step.src[1] };
        if weight.ptr == step.dst.ptr {
            return Ok(None);
        }
        step.op = norm.op;
        step.src = [Operand::NONE; MAX_SRC];
        step.src[..2].copy_from_slice(&[norm.src[0], weight]);
        step.fused_mul = true;
        Ok(Some(step))
    }

    /// The pointers of a tensor, and whether they may be written through.
    fn operand(&self, tensor: &Tensor) -> Result<(Operand, bool), Error> {
        let problem = |found: String, expected| Error::tensor(tensor, found, expected);
        let (buffer, offset) = tensor
            .storage
            .location()
            .ok_or_else(|| problem("no memory".to_owned(), "memory from the planner or an owner"))?;
        let region = self.regions.get(buffer.0 as usize).ok_or(Error::UnknownBuffer(buffer.0))?;
        let Some(region) = region else {
            return Err(problem(format!("memory in buffer {}", buffer.0), "memory the host can read"));
        };
        let len = tensor
            .extent()
            .ok_or_else(|| problem("an impossible shape".to_owned(), "a size that fits in 64 bits"))?;
        if offset.checked_add(len).is_none_or(|end| end > region.size) {
            return Err(Error::OutOfBounds { offset, len, size: region.size });
        }
        // `wrapping_add`: an empty tensor may have any offset, and is never dereferenced.
        let ptr = region.ptr.wrapping_add(offset);
        let align = check::alignment(tensor.dtype);
        if !ptr.addr().is_multiple_of(align) {
            return Err(problem(format!("address {:#x}", ptr.addr()), "memory aligned for its type"));
        }
        Ok((Operand { ptr, dtype: tensor.dtype, ne: tensor.ne, nb: tensor.nb }, region.writable))
    }
}

/// Whether the bytes from first to last of both meet.
fn overlap(a: &Tensor, at_a: &Operand, b: &Tensor, at_b: &Operand) -> bool {
    a.overlaps(at_a.ptr.addr() as u64, b, at_b.ptr.addr() as u64)
}
