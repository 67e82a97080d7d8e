//! From a graph with (buffer, offset) pairs to steps with pointers, every access checked once.

use std::ops::Range;

use quipu_backend::{Buffer, BufferTable, Error, Regions, Resolver, Span};
use quipu_graph::{Graph, MAX_SRC, Op, Tensor, TensorId};

use crate::buffer::{CpuBuffer, HostBuffer};
use crate::check;
use crate::ops::{self, BadRow, Operand, Step};
use crate::pace::Pace;

/// Elements of a result up to which one thread does a step alone. Below, a barrier costs as much as the
/// work; results do not depend on it.
const SOLO_ELEMENTS: usize = 8192;
/// Multiplications up to which one thread does a product, or an attention, alone.
const SOLO_MULTIPLICATIONS: usize = 1 << 14;
/// Multiplications up to which a plan may be done by one thread wholly, if that turns out to be quicker.
const LIGHT_MULTIPLICATIONS: usize = 1 << 24;

/// A graph's nodes as steps for the team. The pointers in it may be followed after [`Plan::verify`], as long as the table
/// stays exclusively borrowed.
#[derive(Debug)]
pub(crate) struct Plan {
    regions: Regions,
    pub steps: Vec<Step>,
    /// Steps that look rows up, with the names of their ops and tables: for errors.
    tables: Vec<(usize, &'static str, String)>,
    /// Bytes of scratch that the hungriest step needs with that many threads.
    scratch_bytes: (usize, usize),
    /// No step is for the team.
    all_solo: bool,
    /// For a small plan with steps for the team: whether the team is worth calling.
    pub pace: Option<Pace>,
}

/// First byte of a buffer's memory, if it is the host's, and where that lies.
fn memory(buffer: &dyn Buffer) -> Option<(*mut u8, Span)> {
    let any = buffer.as_any();
    let (ptr, size, writable, allocation) = if let Some(CpuBuffer { bytes }) = any.downcast_ref() {
        // The address comes from the allocation, not from a reference: writing through it is sound while nobody else
        // has the buffer, which `Plan::verify` makes sure of.
        (bytes.as_ptr(), bytes.len(), true, bytes.id())
    } else {
        let buffer = any.downcast_ref::<HostBuffer>()?;
        let bytes = buffer.as_slice();
        (bytes.as_ptr().cast_mut(), bytes.len(), false, buffer.id())
    };
    Some((ptr, Span { address: ptr.addr() as u64, size, writable, allocation }))
}

fn reach(buffer: &dyn Buffer) -> Option<Span> {
    memory(buffer).map(|(_, span)| span)
}

/// What resolving a node needs.
struct Source<'a> {
    graph: &'a Graph,
    buffers: &'a BufferTable,
    resolver: Resolver<'a>,
}

impl Plan {
    /// Resolves and checks `graph.nodes()[nodes]`.
    pub fn build(
        graph: &Graph,
        nodes: Range<usize>,
        buffers: &BufferTable,
        n_threads: usize,
    ) -> Result<Plan, Error> {
        let source =
            Source { graph, buffers, resolver: Resolver::new(graph, buffers, reach, check::alignment) };
        let nodes = source.resolver.nodes(nodes)?;
        let mut steps: Vec<Step> = Vec::with_capacity(nodes.len());
        let mut tables = Vec::new();
        let mut next = 0;
        while let Some(&id) = nodes.get(next) {
            next += 1;
            let tensor = &graph[id];
            check::node(graph, id).map_err(|expected| Error::node(tensor, expected))?;
            if tensor.op.is_metadata() || tensor.n_elements() == 0 {
                continue;
            }
            let mut step = source.step(id)?;
            if let Some(fused) = source.fused(&step, id, &nodes[next..])? {
                step = fused;
                next += 1;
            }
            if let Some(table) = row_table(graph, id) {
                tables.push((steps.len(), tensor.op.name(), table.name.clone()));
            }
            ops::warm_up(step.op);
            steps.push(step);
        }
        for i in 0..steps.len() {
            let next_is_solo = steps.get(i + 1).is_some_and(|next| next.solo);
            steps[i].meet = !(steps[i].solo && next_is_solo);
        }
        let regions = source.resolver.into_regions();
        let total = steps.iter().fold(0, |total: usize, step| total.saturating_add(multiplications(step)));
        let all_solo = steps.iter().all(|step| step.solo);
        let pace = (total <= LIGHT_MULTIPLICATIONS && !all_solo).then(Pace::new);
        let mut plan = Plan { regions, steps, tables, scratch_bytes: (0, 0), all_solo, pace };
        plan.scratch_for(n_threads)?;
        Ok(plan)
    }

    /// Checks that every pointer leads where it did when it was made, and that nobody else has what is written: only who
    /// has a buffer for itself can lend it for writing.
    pub fn verify(&self, buffers: &mut BufferTable) -> Result<(), Error> {
        self.regions.verify(buffers, reach)?;
        for (id, span) in self.regions.writable() {
            let buffer = buffers.get_mut(id)?.as_any_mut().downcast_mut::<CpuBuffer>().ok_or(Error::Stale)?;
            if buffer.bytes.id() != span.allocation {
                return Err(Error::Stale);
            }
        }
        Ok(())
    }

    /// Bytes of scratch for a team of `n_threads`.
    pub fn scratch_for(&mut self, n_threads: usize) -> Result<usize, Error> {
        if self.scratch_bytes.0 != n_threads {
            let mut needed = self.steps.iter().map(|step| ops::scratch_bytes(step, n_threads));
            let most = needed.try_fold(0, |most: usize, bytes| Some(most.max(bytes?)));
            let too_much =
                || Error::OutOfMemory { buffer_type: "CPU (scratch)".to_owned(), size: usize::MAX };
            self.scratch_bytes = (n_threads, most.ok_or_else(too_much)?);
        }
        Ok(self.scratch_bytes.1)
    }

    /// Threads that are of use now, if there are `n_threads`: results do not depend on it.
    pub fn n_active(&self, n_threads: usize) -> usize {
        let together = self.pace.as_ref().map_or_else(|| !self.all_solo, Pace::together);
        if together { n_threads } else { 1 }
    }

    /// The error for a step that was given a row number outside of its table.
    pub fn row_error(&self, step: usize, bad: BadRow) -> Error {
        let table = self.tables.iter().find(|(at, ..)| *at == step);
        let (op, name) = table.map_or(("", ""), |(_, op, name)| (op, name));
        Error::RowOutOfRange { op, name: name.to_owned(), row: bad.row, n_rows: bad.n_rows }
    }
}

/// The tensor whose rows or matrices a node picks or replaces.
fn row_table(graph: &Graph, id: TensorId) -> Option<&Tensor> {
    let src = &graph[id].src;
    let table = match graph[id].op {
        Op::GetRows | Op::MulMatId | Op::SsmScan => src.first(),
        Op::AddId => src.get(1),
        Op::SetRows => src.get(2),
        _ => None,
    };
    table.map(|table| &graph[*table])
}

impl Source<'_> {
    fn step(&self, id: TensorId) -> Result<Step, Error> {
        let tensor = &self.graph[id];
        self.resolver.node(id)?;
        let dst = self.operand(tensor)?;
        let mut src = [Operand::NONE; MAX_SRC];
        for (slot, id) in src.iter_mut().zip(&tensor.src) {
            *slot = self.operand(&self.graph[*id])?;
        }
        let mut step = Step { op: tensor.op, dst, src, fused_mul: false, solo: false, meet: true };
        step.solo = is_small(&step);
        Ok(step)
    }

    /// `RMS_NORM` and the `MUL` with a weight row that alone reads it, as one step.
    fn fused(&self, norm: &Step, id: TensorId, after: &[TensorId]) -> Result<Option<Step>, Error> {
        let Op::RmsNorm { .. } = norm.op else { return Ok(None) };
        let Some(chain) = self.resolver.norm_chain(id, after) else { return Ok(None) };
        let mul = &self.graph[chain.mul];
        check::node(self.graph, chain.mul).map_err(|expected| Error::node(mul, expected))?;
        let mut step = self.step(chain.mul)?;
        if !self.resolver.may_fuse(id, chain.mul, &[chain.weight])? {
            return Ok(None);
        }
        let weight = if mul.src[0] == chain.weight { step.src[0] } else { step.src[1] };
        step.op = norm.op;
        step.src[0] = norm.src[0];
        step.src[1] = weight;
        step.fused_mul = true;
        Ok(Some(step))
    }

    /// The pointers of a tensor.
    fn operand(&self, tensor: &Tensor) -> Result<Operand, Error> {
        let place = self.resolver.place(tensor)?;
        let (start, ..) = memory(self.buffers.get(place.buffer)?).ok_or(Error::Stale)?;
        // `wrapping_add`: an empty tensor may lie at the end, and is never dereferenced.
        let ptr = start.wrapping_add(place.offset);
        if ptr.addr() as u64 != place.address {
            // Bytes that are somewhere else whenever one asks are of no use.
            return Err(Error::Stale);
        }
        // Strides of what is empty were never looked at, and lead nowhere.
        let nb = if tensor.n_elements() == 0 { [0; 4] } else { tensor.nb };
        Ok(Operand { ptr, dtype: tensor.dtype, ne: tensor.ne, nb })
    }
}

/// Whether a barrier would cost more than the help of other threads brings.
fn is_small(step: &Step) -> bool {
    match step.op {
        Op::MulMat | Op::MulMatId | Op::FlashAttn { .. } => multiplications(step) <= SOLO_MULTIPLICATIONS,
        Op::SetRows | Op::SumRows => step.src[0].n_elements() <= SOLO_ELEMENTS,
        _ => step.dst.n_elements() <= SOLO_ELEMENTS,
    }
}

/// What a step costs in multiplications, roughly; 0 where it reads everything about once.
fn multiplications(step: &Step) -> usize {
    let [a, b, ..] = &step.src;
    match step.op {
        // Each element of the result is a row of weights times a column.
        Op::MulMat | Op::MulMatId => step.dst.n_elements().saturating_mul(a.ne[0]),
        // Each query meets each cell twice: its key and its value.
        Op::FlashAttn { .. } => {
            a.n_elements().max(step.dst.n_elements()).saturating_mul(b.ne[1].saturating_mul(2))
        }
        // Each element of a state is changed and read for each token.
        Op::SsmScan => b.n_elements().saturating_mul(a.ne[0].saturating_mul(4)),
        Op::RwkvWkv6 | Op::RwkvWkv7 | Op::GatedLinearAttn { .. } | Op::GatedDeltaNet { .. } => {
            b.n_elements().saturating_mul(b.ne[0].saturating_mul(4))
        }
        _ => 0,
    }
}
