//! Device memory as the rest of Quipu sees it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use quipu_backend::{AllocationId, Buffer, BufferType, Error, WeightSpec, WeightUse, check};
use quipu_graph::DType;

use crate::ledger::Purpose;
use crate::shared::{ALIGNMENT, Shared};
use crate::types;

/// A device's memory for one purpose. Answers to `ggml_backend_cuda_buffer_type`.
#[derive(Clone, Debug)]
pub struct CudaBufferType {
    pub(crate) shared: Arc<Shared>,
    pub(crate) purpose: Purpose,
}

impl BufferType for CudaBufferType {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn alignment(&self) -> usize {
        ALIGNMENT
    }

    /// What the kernels compute with: the types of the table, in whole blocks.
    fn accepts_weight(&self, weight: &WeightSpec) -> bool {
        let whole = weight.ne[0].is_multiple_of(weight.dtype.block_len());
        whole
            && match weight.usage {
                WeightUse::MulMat | WeightUse::GetRows => types::find(weight.dtype).is_some(),
                WeightUse::Elementwise => weight.dtype == DType::F32,
            }
    }

    fn is_host(&self) -> bool {
        false
    }

    fn allocate(&self, size: usize) -> Result<Box<dyn Buffer>, Error> {
        Ok(Box::new(CudaBuffer::new(Arc::clone(&self.shared), size, self.purpose)?))
    }
}

/// One reservation of device memory, zeroed, that tensors are cut from. Answers to `ggml_backend_cuda_buffer`.
///
/// Writes are queued: whatever the device does later sees them. Reads wait.
pub struct CudaBuffer {
    shared: Arc<Shared>,
    /// Address and bytes reserved; `None` if it is empty.
    memory: Option<(u64, usize)>,
    size: usize,
    purpose: Purpose,
    id: AllocationId,
}

impl fmt::Debug for CudaBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaBuffer")
            .field("device", &self.shared.name)
            .field("purpose", &self.purpose)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl CudaBuffer {
    pub(crate) fn new(shared: Arc<Shared>, size: usize, purpose: Purpose) -> Result<CudaBuffer, Error> {
        let memory = if size == 0 { None } else { Some(shared.alloc(size, purpose)?) };
        let buffer = CudaBuffer { shared, memory, size, purpose, id: AllocationId::unique() };
        if let Some((address, reserved)) = buffer.memory {
            // SAFETY: exactly the reservation.
            unsafe { buffer.shared.clear(address, reserved) }?;
        }
        Ok(buffer)
    }

    /// Whether it is memory of that device.
    pub(crate) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    pub(crate) fn id(&self) -> AllocationId {
        self.id
    }

    /// Address of the first byte; 0 if it is empty.
    pub(crate) fn address(&self) -> u64 {
        self.memory.map_or(0, |(address, _)| address)
    }

    /// The address of `len` bytes from `offset` on, after a look at the size.
    fn range(&self, offset: usize, len: usize) -> Result<u64, Error> {
        match offset.checked_add(len) {
            Some(end) if end <= self.size => Ok(self.address() + offset as u64),
            _ => Err(Error::OutOfBounds { offset, len, size: self.size }),
        }
    }
}

impl Drop for CudaBuffer {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            // SAFETY: allocated in `new`, freed once; the driver finishes what is queued first.
            unsafe { self.shared.free(memory, self.purpose) };
        }
    }
}

impl Buffer for CudaBuffer {
    fn size(&self) -> usize {
        self.size
    }

    fn type_name(&self) -> &str {
        &self.shared.name
    }

    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), Error> {
        let from = self.range(offset, out.len())?;
        // SAFETY: `range` checked that the bytes are inside the reservation.
        unsafe { self.shared.read(from, out) }
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> Result<(), Error> {
        let to = self.range(offset, data.len())?;
        // SAFETY: `range` checked that the bytes are inside the reservation.
        unsafe { self.shared.write(to, data) }
    }

    fn write_weight(
        &mut self,
        offset: usize,
        dtype: DType,
        ne: [usize; 4],
        data: &[u8],
    ) -> Result<(), Error> {
        check::weight(dtype, ne, data.len())?;
        self.write(offset, data)
    }

    /// A refusal of the driver is told by whoever waits next.
    fn clear(&mut self) {
        if let Some((address, reserved)) = self.memory {
            // SAFETY: exactly the reservation.
            let _ = unsafe { self.shared.clear(address, reserved) };
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
