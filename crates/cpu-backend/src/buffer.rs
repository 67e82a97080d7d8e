//! Host memory: zeroed aligned blocks, and mapped files used in place.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::any::Any;
use std::fmt;
use std::ptr::NonNull;

use quipu_backend::{AllocationId, Buffer, BufferType, Error, HostBytes, WeightSpec, check};
use quipu_graph::DType;

/// Alignment in bytes of tensors in memory this crate allocates: a cache line, and a full AVX-512 vector.
pub const ALIGNMENT: usize = 64;

/// A zeroed, 64-byte aligned block that frees itself.
pub(crate) struct AlignedBytes {
    base: NonNull<u8>,
    layout: Layout,
    start: NonNull<u8>,
    size: usize,
    id: AllocationId,
}

// SAFETY: the block is plain memory owned by this value alone; access follows the borrow of the owner.
unsafe impl Send for AlignedBytes {}
// SAFETY: as above; `&AlignedBytes` gives out nothing but a pointer and shared slices.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// A block of `size` zero bytes; `None` if the system has no such block.
    ///
    /// The allocator is asked for its natural alignment and the start is moved up by hand: with a larger
    /// alignment it would write every zero itself, and so touch every page of memory nobody uses yet.
    pub fn zeroed(size: usize) -> Option<AlignedBytes> {
        let layout = Layout::from_size_align(size.checked_add(ALIGNMENT)?, 16).ok()?;
        // SAFETY: the layout has a size of at least ALIGNMENT.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        let skip = base.as_ptr().align_offset(ALIGNMENT);
        // SAFETY: `skip < ALIGNMENT`, and the block is ALIGNMENT bytes longer than `size`.
        let start = unsafe { base.add(skip) };
        Some(AlignedBytes { base, layout, start, size, id: AllocationId::unique() })
    }

    pub fn len(&self) -> usize {
        self.size
    }

    pub fn id(&self) -> AllocationId {
        self.id
    }

    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `size` initialised bytes at `start`, borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.size) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` proves that nobody else reads or writes.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.size) }
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        // SAFETY: `base` came from `alloc_zeroed` with this layout and is freed once.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

fn allocate(buffer_type: &str, size: usize) -> Result<AlignedBytes, Error> {
    AlignedBytes::zeroed(size).ok_or_else(|| Error::OutOfMemory { buffer_type: buffer_type.to_owned(), size })
}

fn range(offset: usize, len: usize, size: usize) -> Result<std::ops::Range<usize>, Error> {
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(offset..end),
        _ => Err(Error::OutOfBounds { offset, len, size }),
    }
}

fn copy_out(bytes: &[u8], offset: usize, out: &mut [u8]) -> Result<(), Error> {
    out.copy_from_slice(&bytes[range(offset, out.len(), bytes.len())?]);
    Ok(())
}

/// Ordinary host memory (`ggml_backend_cpu_buffer_type`).
#[derive(Debug)]
pub struct CpuBufferType;

impl BufferType for CpuBufferType {
    fn name(&self) -> &'static str {
        "CPU"
    }

    fn alignment(&self) -> usize {
        ALIGNMENT
    }

    fn accepts_weight(&self, _weight: &WeightSpec) -> bool {
        true
    }

    fn is_host(&self) -> bool {
        true
    }

    fn allocate(&self, size: usize) -> Result<Box<dyn Buffer>, Error> {
        Ok(Box::new(CpuBuffer { bytes: allocate(self.name(), size)? }))
    }
}

/// Zeroed host memory. Answers to `ggml_backend_cpu_buffer`.
pub struct CpuBuffer {
    pub(crate) bytes: AlignedBytes,
}

impl fmt::Debug for CpuBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuBuffer").field("size", &self.bytes.len()).finish()
    }
}

impl Buffer for CpuBuffer {
    fn size(&self) -> usize {
        self.bytes.len()
    }

    fn type_name(&self) -> &'static str {
        "CPU"
    }

    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), Error> {
        copy_out(self.bytes.as_slice(), offset, out)
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> Result<(), Error> {
        let range = range(offset, data.len(), self.bytes.len())?;
        self.bytes.as_mut_slice()[range].copy_from_slice(data);
        Ok(())
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

    fn clear(&mut self) {
        self.bytes.as_mut_slice().fill(0);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Somebody else's bytes, read in place: a mapped model file (`ggml_backend_cpu_buffer_from_ptr`).
pub struct HostBuffer {
    bytes: HostBytes,
    id: AllocationId,
}

impl HostBuffer {
    pub(crate) fn new(bytes: HostBytes) -> HostBuffer {
        HostBuffer { bytes, id: AllocationId::unique() }
    }

    /// The bytes belong to it for as long as it lives.
    pub(crate) fn id(&self) -> AllocationId {
        self.id
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }
}

impl fmt::Debug for HostBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostBuffer").field("size", &self.as_slice().len()).finish()
    }
}

impl Buffer for HostBuffer {
    fn size(&self) -> usize {
        self.as_slice().len()
    }

    fn type_name(&self) -> &'static str {
        "CPU_Mapped"
    }

    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), Error> {
        copy_out(self.as_slice(), offset, out)
    }

    fn write(&mut self, _offset: usize, _data: &[u8]) -> Result<(), Error> {
        Err(Error::ReadOnly { what: "bytes of a mapped file".to_owned() })
    }

    fn write_weight(
        &mut self,
        _offset: usize,
        dtype: DType,
        ne: [usize; 4],
        _data: &[u8],
    ) -> Result<(), Error> {
        Err(Error::ReadOnly { what: format!("{dtype} weight {ne:?} in a mapped file") })
    }

    /// Does nothing: the bytes are not ours to clear.
    fn clear(&mut self) {}

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
