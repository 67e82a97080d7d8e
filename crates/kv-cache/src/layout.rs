//! Where layers go, before there is memory for them: one buffer for each type of memory, told apart by name.

use quipu_backend::{BufferTable, BufferType};
use quipu_graph::BufferId;

use crate::Error;

/// Types of memory, and bytes of each that are taken.
#[derive(Default)]
pub(crate) struct Layout<'a> {
    kinds: Vec<(&'a dyn BufferType, usize)>,
}

impl<'a> Layout<'a> {
    /// The number of a type of memory here.
    pub fn kind(&mut self, buffer_type: &'a dyn BufferType) -> BufferId {
        let kind = self.kinds.iter().position(|(known, _)| known.name() == buffer_type.name());
        let kind = kind.unwrap_or_else(|| {
            self.kinds.push((buffer_type, 0));
            self.kinds.len() - 1
        });
        BufferId(kind as u32)
    }

    /// Takes so many bytes of a type of memory; their offset, and `None` if that is more than it can have.
    pub fn place(&mut self, kind: BufferId, size: usize) -> Option<usize> {
        let (buffer_type, end) = &mut self.kinds[kind.0 as usize];
        let offset = end.checked_next_multiple_of(buffer_type.alignment())?;
        *end = offset.checked_add(size)?;
        (*end <= buffer_type.max_size()).then_some(offset)
    }

    /// All that is taken. Saturates where several kinds of memory together exceed an address space.
    pub fn n_bytes(&self) -> usize {
        self.kinds.iter().fold(0, |sum: usize, (_, size)| sum.saturating_add(*size))
    }

    /// Allocates zeroed buffers and registers them: what the types' numbers are in `buffers`.
    ///
    /// # Errors
    /// Memory that is not to be had; nothing is registered then.
    pub fn allocate(&self, buffers: &mut BufferTable) -> Result<Vec<BufferId>, Error> {
        let allocated = self.kinds.iter().map(|(buffer_type, size)| buffer_type.allocate(*size));
        let allocated = allocated.collect::<Result<Vec<_>, _>>()?;
        Ok(allocated.into_iter().map(|buffer| buffers.add_owned(buffer)).collect())
    }
}
