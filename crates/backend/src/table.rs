//! The table that gives the buffer numbers in a graph their meaning.
//!
//! Weights are shared and read-only; compute memory and caches belong to one table. Handing a backend
//! `&mut BufferTable` therefore proves that nobody else reads or writes what it may write.

use std::sync::Arc;

use quipu_graph::{BufferId, Tensor};

use crate::buffer::Buffer;
use crate::error::Error;
use crate::unique;

/// Buffers by number.
#[derive(Debug)]
pub struct BufferTable {
    id: u64,
    generation: u64,
    entries: Vec<Entry>,
}

#[derive(Debug)]
enum Entry {
    Shared(Arc<dyn Buffer>),
    Owned(Box<dyn Buffer>),
}

impl Default for BufferTable {
    fn default() -> BufferTable {
        BufferTable::new()
    }
}

impl BufferTable {
    /// An empty table.
    pub fn new() -> BufferTable {
        BufferTable { id: unique::number(), generation: 0, entries: Vec::new() }
    }

    /// A number that no other table has, for as long as this one lives: buffers' numbers mean something in it only.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// A number that adding or replacing a buffer changes to one that no table had before; empty tables share the 0.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn changed(&mut self) {
        self.generation = unique::number();
    }

    /// Registers a buffer that others may read too.
    pub fn add_shared(&mut self, buffer: Arc<dyn Buffer>) -> BufferId {
        self.changed();
        self.entries.push(Entry::Shared(buffer));
        BufferId(self.entries.len() as u32 - 1)
    }

    /// Registers a buffer that only users of this table touch.
    pub fn add_owned(&mut self, buffer: Box<dyn Buffer>) -> BufferId {
        self.changed();
        self.entries.push(Entry::Owned(buffer));
        BufferId(self.entries.len() as u32 - 1)
    }

    /// Puts another buffer in the place of an owned one, which is dropped.
    pub fn replace_owned(&mut self, id: BufferId, buffer: Box<dyn Buffer>) -> Result<(), Error> {
        let entry = self.entries.get_mut(id.0 as usize).ok_or(Error::UnknownBuffer(id.0))?;
        if matches!(entry, Entry::Shared(_)) {
            return Err(Error::ReadOnly { what: format!("replacing buffer {}", id.0) });
        }
        *entry = Entry::Owned(buffer);
        self.changed();
        Ok(())
    }

    /// Number of buffers; their numbers are `0..len`.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if nothing is registered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the buffer is only this table's, so that its users may write it.
    pub fn is_owned(&self, id: BufferId) -> bool {
        matches!(self.entries.get(id.0 as usize), Some(Entry::Owned(_)))
    }

    /// The buffer, for reading.
    pub fn get(&self, id: BufferId) -> Result<&dyn Buffer, Error> {
        match self.entries.get(id.0 as usize) {
            Some(Entry::Shared(buffer)) => Ok(buffer.as_ref()),
            Some(Entry::Owned(buffer)) => Ok(buffer.as_ref()),
            None => Err(Error::UnknownBuffer(id.0)),
        }
    }

    /// The buffer, for writing; an error if it is shared.
    pub fn get_mut(&mut self, id: BufferId) -> Result<&mut dyn Buffer, Error> {
        match self.entries.get_mut(id.0 as usize) {
            Some(Entry::Owned(buffer)) => Ok(buffer.as_mut()),
            Some(Entry::Shared(_)) => Err(Error::ReadOnly { what: format!("buffer {}", id.0) }),
            None => Err(Error::UnknownBuffer(id.0)),
        }
    }

    /// Writes `data` to the start of a bound tensor (`ggml_backend_tensor_set`).
    pub fn write_tensor(&mut self, tensor: &Tensor, data: &[u8]) -> Result<(), Error> {
        let (buffer, offset) = locate(tensor, data.len())?;
        self.get_mut(buffer)?.write(offset, data)
    }

    /// Reads from byte `start` of a bound tensor (`ggml_backend_tensor_get`).
    pub fn read_tensor(&self, tensor: &Tensor, start: usize, out: &mut [u8]) -> Result<(), Error> {
        let (buffer, offset) = locate(tensor, start.saturating_add(out.len()))?;
        self.get(buffer)?.read(offset + start, out)
    }
}

/// Where a tensor lives, after checking that `len` bytes belong to it.
fn locate(tensor: &Tensor, len: usize) -> Result<(BufferId, usize), Error> {
    if len > tensor.n_bytes() {
        return Err(Error::Tensor {
            name: tensor.name.clone(),
            found: format!("an access to {len} of its {} bytes", tensor.n_bytes()),
            expected: "an access inside it",
        });
    }
    tensor.storage.location().ok_or_else(|| Error::Tensor {
        name: tensor.name.clone(),
        found: "no memory".to_owned(),
        expected: "memory from the planner or an owner",
    })
}
