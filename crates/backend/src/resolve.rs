//! From a graph with (buffer, offset) pairs to addresses, every access checked once, the same way for every backend.
//!
//! A backend that keeps addresses from here holds on to the [`Regions`] too, and asks [`Regions::verify`] before each use,
//! with the table that stays borrowed until the use is over. That is what makes addresses of one call good in a later one,
//! whatever was done to graphs, tables and buffers in between: no address is followed that the table at hand does not have
//! at that moment.

use std::ops::Range;

use quipu_graph::{BufferId, DType, Graph, MAX_SRC, Tensor, TensorId};

use crate::buffer::Buffer;
use crate::error::Error;
use crate::table::BufferTable;
use crate::unique::AllocationId;

/// Where the bytes of a buffer lie for the backend that computes with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Address of the first byte, host's or device's.
    pub address: u64,
    /// Bytes.
    pub size: usize,
    /// Whether the backend writes memory of this kind, if it belongs to the table alone.
    pub writable: bool,
    /// Whose memory it is: what was freed and obtained again is another allocation, also at the same address.
    pub allocation: AllocationId,
}

/// A buffer as far as a run may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Region {
    span: Span,
    writable: bool,
}

/// The buffers of a table as one backend reaches them.
#[derive(Debug)]
pub struct Regions {
    table: u64,
    /// By buffer number; `None` where the backend does not reach.
    regions: Vec<Option<Region>>,
}

fn region(
    buffers: &BufferTable,
    id: BufferId,
    reach: impl Fn(&dyn Buffer) -> Option<Span>,
) -> Option<Region> {
    let span = reach(buffers.get(id).ok()?)?;
    Some(Region { span, writable: span.writable && buffers.is_owned(id) })
}

fn numbers(n: usize) -> impl Iterator<Item = BufferId> {
    (0..n).map(|index| BufferId(index as u32))
}

impl Regions {
    /// Asks `reach` where each buffer lies; `None` if the backend cannot use it.
    pub fn find(buffers: &BufferTable, reach: impl Fn(&dyn Buffer) -> Option<Span>) -> Regions {
        let regions = numbers(buffers.len()).map(|id| region(buffers, id, &reach)).collect();
        Regions { table: buffers.generation(), regions }
    }

    /// Checks that `buffers` is the table that was looked at, and that every buffer is still the same memory and may still
    /// be written if it might.
    ///
    /// Each buffer is asked again, because who may write a buffer may also put another in its place without the table
    /// knowing.
    ///
    /// # Errors
    /// [`Error::Stale`] if anything differs.
    pub fn verify(
        &self,
        buffers: &BufferTable,
        reach: impl Fn(&dyn Buffer) -> Option<Span>,
    ) -> Result<(), Error> {
        let same = buffers.generation() == self.table
            && buffers.len() == self.regions.len()
            && numbers(self.regions.len())
                .zip(&self.regions)
                .all(|(id, known)| region(buffers, id, &reach) == *known);
        if same { Ok(()) } else { Err(Error::Stale) }
    }

    /// The buffers that runs may write, and where they lie.
    pub fn writable(&self) -> impl Iterator<Item = (BufferId, Span)> {
        let written =
            |(id, region): (BufferId, &Option<Region>)| Some((id, region.filter(|r| r.writable)?.span));
        numbers(self.regions.len()).zip(&self.regions).filter_map(written)
    }
}

/// A tensor's place, inside one buffer that the backend reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The buffer.
    pub buffer: BufferId,
    /// Bytes from its start.
    pub offset: usize,
    /// Address of the first byte. An empty tensor may have any, also outside of the buffer.
    pub address: u64,
    /// Whether a run may write there.
    pub writable: bool,
}

/// What the nodes of a graph read and write, for one backend and one table.
#[derive(Debug)]
pub struct Resolver<'a> {
    pub(crate) graph: &'a Graph,
    /// How many operands of the graph's nodes each tensor is.
    pub(crate) uses: Vec<u32>,
    regions: Regions,
    alignment: fn(DType) -> usize,
}

impl<'a> Resolver<'a> {
    /// A look at all buffers. Tensors' first bytes must lie at multiples of `alignment` of their type.
    pub fn new(
        graph: &'a Graph,
        buffers: &BufferTable,
        reach: impl Fn(&dyn Buffer) -> Option<Span>,
        alignment: fn(DType) -> usize,
    ) -> Resolver<'a> {
        let mut uses = Vec::new();
        graph.count_uses(&mut uses);
        Resolver { graph, uses, regions: Regions::find(buffers, reach), alignment }
    }

    /// The graph's nodes of these numbers.
    ///
    /// # Errors
    /// [`Error::NodeRange`] if it has no such nodes.
    pub fn nodes(&self, range: Range<usize>) -> Result<&'a [TensorId], Error> {
        let (start, end, n_nodes) = (range.start, range.end, self.graph.nodes().len());
        self.graph.nodes().get(range).ok_or(Error::NodeRange { start, end, n_nodes })
    }

    /// Where a tensor lies, all its bytes inside of a buffer.
    ///
    /// # Errors
    /// If it has no memory, memory that the backend does not reach, too little of it, or at an odd address.
    pub fn place(&self, tensor: &Tensor) -> Result<Place, Error> {
        let problem = |found: String, expected| Error::tensor(tensor, found, expected);
        let (buffer, offset) = tensor
            .storage
            .location()
            .ok_or_else(|| problem("no memory".to_owned(), "memory from the planner or an owner"))?;
        let region = self.regions.regions.get(buffer.0 as usize).ok_or(Error::UnknownBuffer(buffer.0))?;
        let Some(Region { span, writable }) = *region else {
            return Err(problem(format!("memory in buffer {}", buffer.0), "memory that the backend reaches"));
        };
        let len = tensor
            .extent()
            .ok_or_else(|| problem("an impossible shape".to_owned(), "a size that fits in 64 bits"))?;
        if offset.checked_add(len).is_none_or(|end| end > span.size) {
            return Err(Error::OutOfBounds { offset, len, size: span.size });
        }
        let address = span.address + offset as u64;
        if !address.is_multiple_of((self.alignment)(tensor.dtype) as u64) {
            return Err(problem(format!("address {address:#x}"), "memory aligned for its type"));
        }
        Ok(Place { buffer, offset, address, writable })
    }

    /// Where a node's result goes, after a look at all operands: it may be written, and it destroys nothing that it is
    /// computed from.
    ///
    /// # Errors
    /// As [`Resolver::place`], or if the result is read-only, lies over an operand, or has more than [`MAX_SRC`] of them.
    pub fn node(&self, id: TensorId) -> Result<Place, Error> {
        let tensor = &self.graph[id];
        let dst = self.place(tensor)?;
        if !dst.writable {
            return Err(Error::ReadOnly { what: format!("{} {}", tensor.op.name(), tensor.name) });
        }
        if tensor.src.len() > MAX_SRC {
            let found = format!("{} operands", tensor.src.len());
            return Err(Error::tensor(tensor, found, "at most 10 operands"));
        }
        for (i, src) in tensor.src.iter().enumerate() {
            let operand = &self.graph[*src];
            let at = self.place(operand)?;
            let same = at.address == dst.address && operand.same_layout(tensor);
            let overlap = operand.overlaps(at.address, tensor, dst.address);
            if overlap && !(same && tensor.op.may_overwrite(i)) {
                return Err(Error::overlap(tensor, i, operand));
            }
        }
        Ok(dst)
    }

    /// Gives the buffers back, to be kept with the addresses.
    pub fn into_regions(self) -> Regions {
        self.regions
    }
}
