//! The graph allocator: the current plan and the memory behind it.

use std::fmt::Display;

use crate::graph::{BufferAssignment, BufferSpec, PlanGraph};
use crate::plan::{Placement, Plan};
use crate::planner::Planner;
use crate::strategy::{Greedy, Strategy};
use crate::{AllocError, ReallocReason};

/// Where chunks of memory come from (`ggml_backend_buft_alloc_buffer`).
pub trait BackingAllocator {
    /// One chunk of memory; released when dropped.
    type Buffer;
    /// What is said when there is no memory.
    type Error: Display;
    /// A chunk of `size` bytes (may be 0) of the buffer type at index `buffer` of the specs.
    fn alloc(&mut self, buffer: u32, size: u64) -> Result<Self::Buffer, Self::Error>;
}

pub(crate) struct Chunk<T> {
    pub size: u64,
    pub buffer: T,
}

/// Plans graphs and keeps memory for the largest seen (`ggml_gallocr`).
pub struct GraphAllocator<B: BackingAllocator, S = Greedy> {
    planner: Planner<S>,
    plan: Option<Plan>,
    /// Per buffer, its chunks; `None` until reserved. Filled at canonical indices only.
    memory: Vec<Option<Vec<Chunk<B::Buffer>>>>,
    placements: Vec<Option<Placement>>,
}

impl<B: BackingAllocator> GraphAllocator<B> {
    /// Over these buffer types, without memory yet, planning like ggml (`ggml_gallocr_new_n`).
    pub fn new(specs: &[BufferSpec]) -> Result<Self, AllocError> {
        Self::with_strategy(specs, Greedy::default())
    }
}

impl<B: BackingAllocator, S: Strategy + Clone> GraphAllocator<B, S> {
    /// As [`GraphAllocator::new`], with a strategy of one's own.
    pub fn with_strategy(specs: &[BufferSpec], strategy: S) -> Result<Self, AllocError> {
        let planner = Planner::with_strategy(specs, strategy)?;
        let memory = specs.iter().map(|_| None).collect();
        Ok(Self { planner, plan: None, memory, placements: Vec::new() })
    }

    /// Bytes each buffer would need for this graph, changing nothing (`ggml_gallocr_reserve_n_size`, which
    /// in the reference also drops memory that is too small). A repeated buffer id repeats its size.
    pub fn measure(
        &self,
        graph: &impl PlanGraph,
        buffers: BufferAssignment<'_>,
    ) -> Result<Vec<u64>, AllocError> {
        Ok(self.planner.clone().plan(graph, buffers)?.total_sizes)
    }

    /// Plans the graph and makes the memory large enough (`ggml_gallocr_reserve_n`).
    ///
    /// A buffer is obtained anew, all chunks of it, if one of its chunks has to grow; otherwise it stays as it
    /// is: memory never shrinks for a smaller graph. On any error nothing changes: the plan and the memory in force
    /// stay, and what had been obtained is given back. For that the old chunks are kept until the new ones are
    /// there; on a device that cannot hold both, [`GraphAllocator::release`] first.
    pub fn reserve(
        &mut self,
        graph: &impl PlanGraph,
        buffers: BufferAssignment<'_>,
        backing: &mut B,
    ) -> Result<&Plan, AllocError> {
        let plan = self.planner.plan(graph, buffers)?;
        let mut grown = Vec::new();
        for i in 0..self.memory.len() {
            if self.planner.canonical(i) == i && !self.holds(i, plan.chunk_sizes(i)) {
                grown.push((i, obtain(i, plan.chunk_sizes(i), backing)?));
            }
        }
        for (i, chunks) in grown {
            self.memory[i] = Some(chunks);
        }
        Ok(self.plan.insert(plan))
    }

    /// Gives back all memory and forgets the plan (`ggml_gallocr_free`, but the allocator can be used again).
    pub fn release(&mut self) {
        self.plan = None;
        self.placements.clear();
        self.memory.iter_mut().for_each(|chunks| *chunks = None);
    }

    /// Whether a buffer's chunks are at least this large. A buffer without chunks still has to be reserved
    /// once, as views of nothing are initialised through it.
    fn holds(&self, buffer: usize, sizes: &[u64]) -> bool {
        let Some(chunks) = &self.memory[buffer] else { return false };
        sizes.iter().enumerate().all(|(c, &size)| chunks.get(c).map_or(0, |chunk| chunk.size) >= size)
    }

    /// Placements of every tensor of the graph by id, `None` for those without memory here
    /// (`ggml_gallocr_alloc_graph`).
    ///
    /// If the reserved plan serves the graph nothing is allocated and nothing replanned. If not, a single
    /// buffer is reserved anew; with several, the caller has to assign nodes to buffers and
    /// [`GraphAllocator::reserve`] ([`AllocError::NeedsReserve`]).
    pub fn alloc(
        &mut self,
        graph: &impl PlanGraph,
        backing: &mut B,
    ) -> Result<&[Option<Placement>], AllocError> {
        if let Some(reason) = self.realloc_reason(graph) {
            let n_buffers = self.planner.specs().len();
            if n_buffers > 1 {
                return Err(AllocError::NeedsReserve { reason, n_buffers });
            }
            self.reserve(graph, BufferAssignment::default(), backing)?;
        }
        if let Some(plan) = &self.plan {
            plan.place(graph, &mut self.placements);
        }
        Ok(&self.placements)
    }

    /// Why the reserved plan does not serve this graph; `None` if it does.
    pub fn realloc_reason(&self, graph: &impl PlanGraph) -> Option<ReallocReason> {
        match &self.plan {
            Some(plan) => plan.realloc_reason(graph),
            None => Some(ReallocReason::NoPlan),
        }
    }

    /// The plan in force.
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// The placements of the last [`GraphAllocator::alloc`], by tensor id.
    pub fn placements(&self) -> &[Option<Placement>] {
        &self.placements
    }

    /// The memory of a chunk; a repeated buffer id answers with the memory it shares.
    pub fn chunk(&self, buffer: u32, chunk: u32) -> Option<&B::Buffer> {
        let i = self.shared_index(buffer)?;
        Some(&self.memory[i].as_ref()?.get(chunk as usize)?.buffer)
    }

    /// The memory of a chunk, to write to.
    pub fn chunk_mut(&mut self, buffer: u32, chunk: u32) -> Option<&mut B::Buffer> {
        let i = self.shared_index(buffer)?;
        Some(&mut self.memory[i].as_mut()?.get_mut(chunk as usize)?.buffer)
    }

    /// Bytes held for a buffer, 0 for one that repeats an earlier id (`ggml_gallocr_get_buffer_size`).
    pub fn buffer_size(&self, buffer: u32) -> u64 {
        let chunks = self.memory.get(buffer as usize).and_then(Option::as_ref);
        chunks.map_or(0, |chunks| chunks.iter().map(|c| c.size).sum())
    }

    fn shared_index(&self, buffer: u32) -> Option<usize> {
        ((buffer as usize) < self.memory.len()).then(|| self.planner.canonical(buffer as usize))
    }
}

/// Chunks of these sizes, or none.
pub(crate) fn obtain<B: BackingAllocator>(
    buffer: usize,
    sizes: &[u64],
    backing: &mut B,
) -> Result<Vec<Chunk<B::Buffer>>, AllocError> {
    let buffer_index = buffer as u32;
    let mut chunks = Vec::with_capacity(sizes.len());
    for (chunk, &size) in sizes.iter().enumerate() {
        // On failure the chunks obtained so far are dropped with the vector.
        let buffer = backing.alloc(buffer_index, size).map_err(|e| AllocError::Backing {
            buffer: buffer_index,
            chunk,
            size,
            cause: e.to_string(),
        })?;
        chunks.push(Chunk { size, buffer });
    }
    Ok(chunks)
}
