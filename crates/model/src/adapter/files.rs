//! Memory for tensors that are no model's: each lies with the layer it belongs to.

use std::sync::Arc;

use quipu_backend::{Buffer, BufferType, Devices};
use quipu_graph::{BufferId, DType, Storage};

use crate::error::Error;
use crate::layer_map::LayerMap;
use crate::weight::Weight;

/// A tensor that is to get memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub name: &'a str,
    pub dtype: DType,
    pub ne: [usize; 4],
}

/// Buffers under construction: one for each type of memory.
#[derive(Debug, Default)]
pub(super) struct Layout {
    types: Vec<(Arc<dyn BufferType>, usize)>,
}

impl Layout {
    /// A place for a tensor in memory of a type; its buffer is a number in this layout.
    pub fn place(&mut self, buffer_type: Arc<dyn BufferType>, wanted: Wanted<'_>) -> Result<Weight, Error> {
        let Wanted { name, dtype, ne } = wanted;
        let too_large = || Error::TooLarge { name: name.to_owned(), shape: ne };
        let known = self.types.iter().position(|(known, _)| known.name() == buffer_type.name());
        let number = known.unwrap_or_else(|| {
            self.types.push((buffer_type, 0));
            self.types.len() - 1
        });
        let (buffer_type, end) = &mut self.types[number];
        let offset = end.checked_next_multiple_of(buffer_type.alignment()).ok_or_else(too_large)?;
        let size = buffer_type.alloc_size(dtype, ne).ok_or_else(too_large)?;
        *end = offset.checked_add(size).filter(|end| *end <= buffer_type.max_size()).ok_or_else(too_large)?;
        let storage = Storage::External { buffer: BufferId(number as u32), offset };
        Ok(Weight { name: name.to_owned(), dtype, ne, storage })
    }

    /// The memory.
    pub fn allocate(&self) -> Result<Vec<Box<dyn Buffer>>, Error> {
        let allocated = self.types.iter().map(|(buffer_type, size)| buffer_type.allocate(*size));
        Ok(allocated.collect::<Result<_, _>>()?)
    }
}

/// Writes the bytes of a placed tensor.
pub(super) fn write(buffers: &mut [Box<dyn Buffer>], weight: &Weight, bytes: &[u8]) -> Result<(), Error> {
    if let Storage::External { buffer, offset } = weight.storage {
        buffers[buffer.0 as usize].write(offset, bytes)?;
    }
    Ok(())
}

/// The plain memory of the device that a tensor of the model belongs to.
pub(super) fn memory_of(devices: &Devices<'_>, layers: &LayerMap, name: &str) -> Arc<dyn BufferType> {
    devices.get(layers.of_tensor(name, quipu_backend::WeightUse::MulMat)).buffer_type()
}

/// A weight as a graph sees it whose runner has registered the first of its buffers under a number.
pub(crate) fn shifted(weight: &Weight, first_buffer: u32) -> Storage {
    match weight.storage {
        Storage::External { buffer, offset } => {
            Storage::External { buffer: BufferId(buffer.0 + first_buffer), offset }
        }
        other => other,
    }
}
