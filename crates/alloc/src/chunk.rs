//! The chunk allocator: offsets in up to 16 chunks of virtual memory, best fit, merging on free.
//!
//! Chunks exist because devices cap the size of one buffer. Only numbers are handed out here; memory of
//! [`ChunkAllocator::max_size`] bytes per chunk is obtained later, when the whole graph has been planned.

use crate::AllocError;

/// Most chunks one allocator opens (`GGML_VBUFFER_MAX_CHUNKS`); the last one is unbounded.
pub const MAX_CHUNKS: usize = 16;

/// Largest size of anything, bytes (`SIZE_MAX / 2`): sums of two sizes never overflow.
pub const MAX_SIZE: u64 = u64::MAX / 2;

/// A place in a buffer that is made of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address {
    /// Chunk index.
    pub chunk: u32,
    /// Byte offset in that chunk.
    pub offset: u64,
}

/// A free range of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeBlock {
    /// Byte offset in the chunk.
    pub offset: u64,
    /// Length, bytes.
    pub size: u64,
}

impl FreeBlock {
    fn end(self) -> u64 {
        self.offset + self.size
    }
}

#[derive(Debug, Clone, Default)]
struct Chunk {
    /// Sorted by offset; the last one usually is the still untouched tail.
    free: Vec<FreeBlock>,
    /// One past the highest byte ever handed out.
    max_size: u64,
    /// Bytes the chunk may grow to.
    capacity: u64,
}

/// Hands out aligned ranges of up to [`MAX_CHUNKS`] chunks (`ggml_dyn_tallocr`).
///
/// ggml aborts beyond 256 free blocks per chunk; here the list grows.
#[derive(Debug, Clone)]
pub struct ChunkAllocator {
    alignment: u64,
    max_chunk_size: u64,
    /// The first `n_chunks` are open; the rest keep their memory for the next graph.
    chunks: Vec<Chunk>,
    n_chunks: usize,
}

/// Rounds `size` up to a multiple of `alignment` (a power of two), at most [`MAX_SIZE`].
pub(crate) fn align_up(size: u64, alignment: u64) -> Result<u64, AllocError> {
    let mask = alignment - 1;
    size.checked_add(mask).map(|s| s & !mask).filter(|&s| s <= MAX_SIZE).ok_or(AllocError::SizeTooLarge {
        size,
        alignment,
        max: MAX_SIZE,
    })
}

pub(crate) fn check_alignment(alignment: u64) -> Result<(), AllocError> {
    if alignment.is_power_of_two() { Ok(()) } else { Err(AllocError::BadAlignment { found: alignment }) }
}

impl ChunkAllocator {
    /// An empty allocator for a buffer type with this alignment and largest single buffer, both in bytes
    /// (`ggml_dyn_tallocr_new`). Fails unless `alignment` is a power of two.
    pub fn new(alignment: u64, max_buffer_size: u64) -> Result<Self, AllocError> {
        check_alignment(alignment)?;
        Ok(Self { alignment, max_chunk_size: max_buffer_size.min(MAX_SIZE), chunks: Vec::new(), n_chunks: 0 })
    }

    /// Alignment of every size and offset, bytes.
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// Chunks opened so far.
    pub fn n_chunks(&self) -> usize {
        self.n_chunks
    }

    fn open(&self) -> &[Chunk] {
        &self.chunks[..self.n_chunks]
    }

    /// Bytes chunk `chunk` must have, 0 if it was never opened (`ggml_dyn_tallocr_max_size`).
    pub fn max_size(&self, chunk: usize) -> u64 {
        self.open().get(chunk).map_or(0, |c| c.max_size)
    }

    /// Bytes each opened chunk must have.
    pub fn chunk_sizes(&self) -> impl Iterator<Item = u64> + '_ {
        self.open().iter().map(|c| c.max_size)
    }

    /// Free ranges of a chunk by ascending offset; empty for a chunk that was never opened.
    pub fn free_blocks(&self, chunk: usize) -> &[FreeBlock] {
        self.open().get(chunk).map_or(&[], |c| &c.free)
    }

    /// Forgets all ranges and chunks (`ggml_dyn_tallocr_reset`).
    pub fn reset(&mut self) {
        self.n_chunks = 0;
    }

    /// Places `size` bytes, rounded up to the alignment (`ggml_dyn_tallocr_alloc`).
    ///
    /// Order of preference: the tightest hole below the tail of a chunk (a hole in a later chunk wins over one
    /// in an earlier chunk whatever its size); the tail that wastes or grows least; a new chunk.
    /// A chunk grows past the buffer type's limit only for a single tensor larger than the limit, or when it
    /// is the last of [`MAX_CHUNKS`]: the backend then either provides the memory or reports the failure.
    pub fn alloc(&mut self, size: u64) -> Result<Address, AllocError> {
        let size = align_up(size, self.alignment)?;
        let (chunk_index, block_index) = match self.find_hole(size).or_else(|| self.find_tail(size)) {
            Some(found) => found,
            None => (self.new_chunk(size)?, 0),
        };
        let chunk = &mut self.chunks[chunk_index];
        let block = &mut chunk.free[block_index];
        let address = Address { chunk: chunk_index as u32, offset: block.offset };
        block.offset += size;
        block.size -= size;
        if block.size == 0 {
            chunk.free.remove(block_index);
        }
        chunk.max_size = chunk.max_size.max(address.offset + size);
        Ok(address)
    }

    fn find_hole(&self, size: u64) -> Option<(usize, usize)> {
        let mut found = None;
        for (c, chunk) in self.open().iter().enumerate() {
            // The best size starts afresh in each chunk, as in the reference: the last chunk with a fit wins.
            let mut best_size = u64::MAX;
            let holes = chunk.free.len().saturating_sub(1);
            for (b, block) in chunk.free[..holes].iter().enumerate() {
                if block.size >= size && block.size <= best_size {
                    found = Some((c, b));
                    best_size = block.size;
                }
            }
        }
        found
    }

    fn find_tail(&self, size: u64) -> Option<(usize, usize)> {
        let mut found = None;
        let mut best = i64::MIN;
        for (c, chunk) in self.open().iter().enumerate() {
            let Some(tail) = chunk.free.last() else { continue };
            if tail.size < size {
                continue;
            }
            // Negative: bytes the chunk would grow by. Positive: bytes left unused behind the tensor.
            // offset + size <= capacity <= MAX_SIZE, so the difference fits.
            let surplus = chunk.max_size as i64 - (tail.offset + size) as i64;
            let grows_less = best < 0 && surplus > best;
            let wastes_less = surplus >= 0 && surplus < best;
            if grows_less || wastes_less {
                found = Some((c, chunk.free.len() - 1));
                best = surplus;
            }
        }
        found
    }

    fn new_chunk(&mut self, min_size: u64) -> Result<usize, AllocError> {
        let n_chunks = self.n_chunks;
        if n_chunks >= MAX_CHUNKS {
            let largest = self.open().iter().flat_map(|c| &c.free).map(|b| b.size).max().unwrap_or(0);
            return Err(AllocError::NoSpace { size: min_size, largest, n_chunks });
        }
        let capacity = if n_chunks == MAX_CHUNKS - 1 { MAX_SIZE } else { min_size.max(self.max_chunk_size) };
        if n_chunks == self.chunks.len() {
            self.chunks.push(Chunk::default());
        }
        let chunk = &mut self.chunks[n_chunks];
        chunk.free.clear();
        chunk.free.push(FreeBlock { offset: 0, size: capacity });
        chunk.max_size = 0;
        chunk.capacity = capacity;
        self.n_chunks += 1;
        Ok(n_chunks)
    }

    /// Gives back `size` bytes (rounded up to the alignment) at `address` and merges them with free
    /// neighbours (`ggml_dyn_tallocr_free_bytes`). Part of an allocation may be freed.
    /// Fails, changing nothing, if any byte of the range is not allocated or the range does not start aligned.
    pub fn free(&mut self, address: Address, size: u64) -> Result<(), AllocError> {
        let size = align_up(size, self.alignment)?;
        let bad = || AllocError::BadFree { chunk: address.chunk, offset: address.offset, size };
        let n_chunks = self.n_chunks;
        let chunk = self.chunks[..n_chunks].get_mut(address.chunk as usize).ok_or_else(bad)?;
        let start = address.offset;
        let end = start.checked_add(size).ok_or_else(bad)?;
        if end > chunk.max_size.min(chunk.capacity) || start & (self.alignment - 1) != 0 {
            return Err(bad());
        }
        let free = &mut chunk.free;
        let mut neighbour = None;
        let mut insert_at = free.len();
        // To the end of the list: blocks of no bytes, which the reference keeps, can leave it unsorted.
        for (i, block) in free.iter().enumerate() {
            if size > 0 && block.size > 0 && block.offset < end && start < block.end() {
                return Err(bad());
            }
            if neighbour.is_none() && (block.end() == start || end == block.offset) {
                neighbour = Some(i);
            }
            if block.offset >= start {
                insert_at = insert_at.min(i);
            }
        }
        let Some(i) = neighbour else {
            // Nothing to merge with. Even no bytes at all leave a block, as in the reference.
            free.insert(insert_at, FreeBlock { offset: start, size });
            return Ok(());
        };
        if free[i].end() == start {
            free[i].size += size;
            if i + 1 < free.len() && free[i].end() == free[i + 1].offset {
                free[i].size += free[i + 1].size;
                free.remove(i + 1);
            }
        } else {
            free[i].offset = start;
            free[i].size += size;
            if i > 0 && free[i - 1].end() == free[i].offset {
                free[i - 1].size += free[i].size;
                free.remove(i);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(chunk: u32, offset: u64) -> Address {
        Address { chunk, offset }
    }

    #[test]
    fn a_hole_in_a_later_chunk_wins_over_a_tighter_one_before() {
        let mut a = ChunkAllocator::new(8, 64).unwrap();
        for chunk in 0..2 {
            assert_eq!(a.alloc(16), Ok(at(chunk, 0)));
            assert_eq!(a.alloc(8), Ok(at(chunk, 16)));
            assert_eq!(a.alloc(40), Ok(at(chunk, 24)));
        }
        a.free(at(0, 16), 8).unwrap();
        a.free(at(0, 56), 8).unwrap();
        a.free(at(1, 0), 16).unwrap();
        a.free(at(1, 56), 8).unwrap();
        assert_eq!(a.alloc(8), Ok(at(1, 0)));
    }

    #[test]
    fn frees_merge_on_both_sides() {
        let mut a = ChunkAllocator::new(4, 1024).unwrap();
        let x: Vec<_> = (0..4).map(|_| a.alloc(10).unwrap()).collect();
        assert_eq!(x[3], at(0, 36));
        a.free(x[0], 10).unwrap();
        a.free(x[2], 10).unwrap();
        assert_eq!(a.free_blocks(0).len(), 3);
        a.free(x[1], 10).unwrap();
        assert_eq!(
            a.free_blocks(0),
            &[FreeBlock { offset: 0, size: 36 }, FreeBlock { offset: 48, size: 976 }]
        );
        a.free(x[3], 12).unwrap();
        assert_eq!(a.free_blocks(0), &[FreeBlock { offset: 0, size: 1024 }]);
        assert_eq!(a.max_size(0), 48);
    }

    #[test]
    fn sizes_at_the_limit_are_errors_not_wraps() {
        let mut a = ChunkAllocator::new(256, u64::MAX).unwrap();
        assert!(matches!(a.alloc(u64::MAX), Err(AllocError::SizeTooLarge { .. })));
        assert!(matches!(a.alloc(u64::MAX - 255), Err(AllocError::SizeTooLarge { .. })));
        assert!(matches!(a.alloc(MAX_SIZE), Err(AllocError::SizeTooLarge { .. })));
        assert_eq!(a.n_chunks(), 0);
        for chunk in 0..16 {
            assert_eq!(a.alloc(MAX_SIZE - 255), Ok(at(chunk, 0)));
        }
        assert!(matches!(a.alloc(256), Err(AllocError::NoSpace { n_chunks: 16, largest: 255, .. })));
        assert!(matches!(ChunkAllocator::new(0, 1), Err(AllocError::BadAlignment { found: 0 })));
        assert!(matches!(ChunkAllocator::new(24, 1), Err(AllocError::BadAlignment { found: 24 })));
    }

    #[test]
    fn only_allocated_ranges_can_be_freed() {
        let mut a = ChunkAllocator::new(8, 64).unwrap();
        assert!(a.free(at(0, 0), 8).is_err());
        a.alloc(24).unwrap();
        assert!(a.free(at(0, 16), 16).is_err());
        assert!(a.free(at(0, u64::MAX), 8).is_err());
        a.free(at(0, 8), 8).unwrap();
        assert!(a.free(at(0, 8), 8).is_err());
        assert!(a.free(at(0, 0), 16).is_err());
        assert!(a.free(at(1, 0), 8).is_err());
        assert!(a.free(at(0, 20), 8).is_err(), "not aligned");
    }
}
