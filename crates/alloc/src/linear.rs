//! Placing tensors that stay (weights, KV cache) one after the other in as few buffers as the limit allows.

use crate::AllocError;
use crate::chunk::{Address, align_up, check_alignment};
use crate::graph::BufferSpec;

/// Hands out consecutive aligned ranges of one buffer (`ggml_tallocr`).
#[derive(Debug, Clone)]
pub struct LinearAllocator {
    alignment: u64,
    capacity: u64,
    offset: u64,
}

impl LinearAllocator {
    /// Over a buffer of `capacity` bytes whose base address is aligned already.
    pub fn new(alignment: u64, capacity: u64) -> Result<Self, AllocError> {
        check_alignment(alignment)?;
        Ok(Self { alignment, capacity, offset: 0 })
    }

    /// Over a buffer of `capacity` bytes whose memory begins at `base`, an address that need not be aligned: the
    /// first bytes are skipped so that addresses, not offsets, are aligned (`ggml_tallocr_new`).
    pub fn at_base(alignment: u64, capacity: u64, base: u64) -> Result<Self, AllocError> {
        check_alignment(alignment)?;
        // A power of two minus what lies beyond its last multiple.
        let offset = base.wrapping_neg() & (alignment - 1);
        Ok(Self { alignment, capacity, offset })
    }

    /// Offset of the next `size` bytes, rounded up to the alignment (`ggml_tallocr_alloc`).
    pub fn alloc(&mut self, size: u64) -> Result<u64, AllocError> {
        let size = align_up(size, self.alignment)?;
        let offset = self.offset;
        match offset.checked_add(size) {
            Some(end) if end <= self.capacity => {
                self.offset = end;
                Ok(offset)
            }
            _ => Err(AllocError::BufferFull { size, used: offset, capacity: self.capacity }),
        }
    }
}

/// How a list of tensors is spread over buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitLayout {
    /// Bytes of each buffer; empty if there is nothing to allocate.
    pub buffer_sizes: Vec<u64>,
    /// Per tensor, its buffer (as chunk index) and offset; `None` for tensors without memory of their own, and
    /// for empty ones at a point where no buffer is open.
    pub addresses: Vec<Option<Address>>,
}

impl SplitLayout {
    /// Bytes of all buffers together (`ggml_backend_alloc_ctx_tensors_from_buft_size`).
    pub fn total_size(&self) -> u64 {
        self.buffer_sizes.iter().sum()
    }
}

/// Packs tensors in order, opening a new buffer whenever the next one would push the current past
/// `spec.max_size` (`ggml_backend_alloc_ctx_tensors_from_buft`). A tensor larger than the limit gets a buffer
/// of its own size: whether that works is the backend's to say.
///
/// `sizes` are allocation sizes in bytes; `None` for views and tensors that have memory already.
pub fn split_tensors(spec: BufferSpec, sizes: &[Option<u64>]) -> Result<SplitLayout, AllocError> {
    check_alignment(spec.alignment)?;
    let too_large = AllocError::TotalTooLarge { what: "the tensors of a context" };
    let mut layout = SplitLayout { buffer_sizes: Vec::new(), addresses: Vec::with_capacity(sizes.len()) };
    let mut current = 0u64;
    let mut total = 0u64;
    for size in sizes {
        let padded = align_up(size.unwrap_or(0), spec.alignment)?;
        total = total.checked_add(padded).ok_or_else(|| too_large.clone())?;
        // No overflow: the current buffer is part of the total.
        if current > 0 && current + padded > spec.max_size {
            layout.buffer_sizes.push(current);
            current = 0;
        }
        let address = Address { chunk: layout.buffer_sizes.len() as u32, offset: current };
        layout.addresses.push(size.map(|_| address));
        current += padded;
    }
    if current > 0 {
        layout.buffer_sizes.push(current);
    }
    let n_buffers = layout.buffer_sizes.len() as u32;
    for address in &mut layout.addresses {
        *address = address.filter(|a| a.chunk < n_buffers);
    }
    Ok(layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(alignment: u64, max_size: u64) -> BufferSpec {
        BufferSpec { id: 0, alignment, max_size }
    }

    #[test]
    fn buffers_fill_up_in_order() {
        let sizes = [Some(10), Some(20), None, Some(8), Some(100), Some(0), Some(4)];
        let layout = split_tensors(spec(8, 48), &sizes).unwrap();
        assert_eq!(layout.buffer_sizes, [48, 104, 8]);
        let at = |chunk, offset| Some(Address { chunk, offset });
        let expected = [at(0, 0), at(0, 16), None, at(0, 40), at(1, 0), at(2, 0), at(2, 0)];
        assert_eq!(layout.addresses, expected);
        assert_eq!(layout.total_size(), 160);
    }

    #[test]
    fn nothing_to_allocate_opens_no_buffer() {
        let layout = split_tensors(spec(8, 48), &[None, Some(0)]).unwrap();
        assert_eq!((layout.buffer_sizes.len(), layout.addresses), (0, vec![None, None]));
    }

    #[test]
    fn overflowing_sizes_are_errors() {
        assert!(split_tensors(spec(8, u64::MAX), &[Some(u64::MAX - 3)]).is_err());
        let huge = Some(u64::MAX / 4 * 2 - 30);
        assert!(split_tensors(spec(1, u64::MAX), &[huge, huge, huge]).is_err());
    }

    #[test]
    fn a_linear_buffer_ends_at_its_capacity() {
        let mut a = LinearAllocator::new(16, 40).unwrap();
        assert_eq!(a.alloc(5), Ok(0));
        assert_eq!(a.alloc(16), Ok(16));
        assert_eq!(a.alloc(1), Err(AllocError::BufferFull { size: 16, used: 32, capacity: 40 }));
        assert!(a.alloc(u64::MAX).is_err());
        let mut a = LinearAllocator::at_base(16, 40, 0x1004).unwrap();
        assert_eq!(
            (a.alloc(5), a.alloc(5)),
            (Ok(12), Err(AllocError::BufferFull { size: 16, used: 28, capacity: 40 }))
        );
        assert!(LinearAllocator::at_base(1 << 63, 40, 1).unwrap().alloc(1).is_err());
    }
}
