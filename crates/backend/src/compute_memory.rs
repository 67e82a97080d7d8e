//! The memory that graphs are computed in: planned and sized by `quipu-alloc`'s graph allocator, kept in the table.

use std::fmt;
use std::sync::Arc;

use quipu_alloc::{AllocError, BackingAllocator, BufferAssignment, BufferSpec, GraphAllocator};
use quipu_graph::{BufferId, Graph, Storage};

use crate::buffer::{Buffer, BufferType};
use crate::error::Error;
use crate::plan_graph::GraphView;
use crate::table::BufferTable;

/// A buffer of the table that compute memory is in. It keeps its number for good, and never shrinks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk {
    pub buffer: BufferId,
    pub size: u64,
}

/// Compute memory on the buffer types of all backends.
pub(crate) struct ComputeMemory {
    buffer_types: Arc<[Arc<dyn BufferType>]>,
    allocator: GraphAllocator<Backing>,
    backing: Backing,
    n_plans: u64,
}

impl fmt::Debug for ComputeMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComputeMemory").field("backing", &self.backing).finish_non_exhaustive()
    }
}

impl ComputeMemory {
    /// None yet.
    pub fn new(buffer_types: Arc<[Arc<dyn BufferType>]>, specs: &[BufferSpec]) -> Result<Self, Error> {
        let backing = Backing {
            chunks: vec![Vec::new(); specs.len()],
            buffer_types: Arc::clone(&buffer_types),
            obtained: Vec::new(),
            last: None,
            refused: None,
        };
        Ok(ComputeMemory { buffer_types, allocator: GraphAllocator::new(specs)?, backing, n_plans: 0 })
    }

    /// Finds a place for every unbound tensor of `graph`. The plan in force serves again if the graph has its structure;
    /// otherwise a new one is made, and memory is obtained where a chunk has to grow. On an error plan, memory and graph
    /// are as they were.
    pub fn place(
        &mut self,
        graph: &mut Graph,
        assignment: BufferAssignment<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), Error> {
        let view = GraphView { graph, buffer_types: &self.buffer_types };
        // With several backends the same structure may have been assigned differently.
        if self.buffer_types.len() > 1 || self.allocator.realloc_reason(&view).is_some() {
            self.n_plans += 1;
            let reserved = self.allocator.reserve(&view, assignment, &mut self.backing).map(drop);
            self.backing.settle(reserved, buffers)?;
        }
        self.allocator.alloc(&view, &mut self.backing)?;
        for (index, placement) in self.allocator.placements().iter().enumerate() {
            let (Some(id), Some(placement)) = (graph.id(index), placement) else { continue };
            if graph[id].view.is_some() {
                continue;
            }
            let number = self.allocator.chunk(placement.buffer, placement.chunk);
            let chunk = number.and_then(|number| self.backing.chunks[placement.buffer as usize].get(*number));
            if let Some(chunk) = chunk {
                let offset = placement.offset as usize;
                graph[id].storage = Storage::Planned { buffer: chunk.buffer, offset };
            }
        }
        graph.resolve_views();
        Ok(())
    }

    /// Plans made so far.
    pub fn n_plans(&self) -> u64 {
        self.n_plans
    }

    /// Bytes held on all buffer types.
    pub fn bytes(&self) -> u64 {
        self.backing.chunks.iter().flatten().map(|chunk| chunk.size).sum()
    }
}

/// Where the graph allocator gets memory from. What it got goes to the table when all of it was to be had.
#[derive(Debug)]
struct Backing {
    buffer_types: Arc<[Arc<dyn BufferType>]>,
    /// By buffer type.
    chunks: Vec<Vec<Chunk>>,
    obtained: Vec<Obtained>,
    /// Buffer type and number of the chunk that was asked for last: the allocator asks in order.
    last: Option<(u32, usize)>,
    /// What the buffer type said, which the allocator only tells in words.
    refused: Option<Error>,
}

#[derive(Debug)]
struct Obtained {
    buffer_type: usize,
    number: usize,
    size: u64,
    memory: Box<dyn Buffer>,
}

impl BackingAllocator for Backing {
    /// The chunk's number.
    type Buffer = usize;
    type Error = String;

    fn alloc(&mut self, buffer: u32, size: u64) -> Result<usize, String> {
        let number = self.last.filter(|(last, _)| *last == buffer).map_or(0, |(_, number)| number + 1);
        self.last = Some((buffer, number));
        let buffer_type = buffer as usize;
        if self.chunks[buffer_type].get(number).is_none_or(|chunk| chunk.size < size) {
            let memory = allocate(self.buffer_types[buffer_type].as_ref(), size).map_err(|error| {
                let words = error.to_string();
                self.refused = Some(error);
                words
            })?;
            self.obtained.push(Obtained { buffer_type, number, size, memory });
        }
        Ok(number)
    }
}

impl Backing {
    /// Ends a reservation: hands what was obtained to the table, or gives it back.
    fn settle(&mut self, reserved: Result<(), AllocError>, buffers: &mut BufferTable) -> Result<(), Error> {
        self.last = None;
        if let Err(error) = reserved {
            self.obtained.clear();
            return Err(self.refused.take().unwrap_or(Error::Plan(error)));
        }
        for Obtained { buffer_type, number, size, memory } in self.obtained.drain(..) {
            put(&mut self.chunks[buffer_type], number, size, memory, buffers)?;
        }
        Ok(())
    }
}

fn allocate(buffer_type: &dyn BufferType, size: u64) -> Result<Box<dyn Buffer>, Error> {
    let bytes = usize::try_from(size)
        .map_err(|_| Error::OutOfMemory { buffer_type: buffer_type.name().to_owned(), size: usize::MAX })?;
    buffer_type.allocate(bytes)
}

/// Makes `memory` chunk `number`, which keeps its number in the table if it was there.
fn put(
    chunks: &mut Vec<Chunk>,
    number: usize,
    size: u64,
    memory: Box<dyn Buffer>,
    buffers: &mut BufferTable,
) -> Result<(), Error> {
    if let Some(chunk) = chunks.get_mut(number) {
        buffers.replace_owned(chunk.buffer, memory)?;
        chunk.size = size;
    } else {
        chunks.push(Chunk { buffer: buffers.add_owned(memory), size });
    }
    Ok(())
}

/// Makes chunk `number` at least `size` bytes large, keeping its number.
pub(crate) fn grow(
    chunks: &mut Vec<Chunk>,
    number: usize,
    size: u64,
    buffer_type: &dyn BufferType,
    buffers: &mut BufferTable,
) -> Result<(), Error> {
    if chunks.get(number).is_some_and(|chunk| chunk.size >= size) {
        return Ok(());
    }
    put(chunks, number, size, allocate(buffer_type, size)?, buffers)
}
