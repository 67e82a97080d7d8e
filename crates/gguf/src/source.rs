//! Where a file's bytes come from: a trait with a mapping and a memory form. All `unsafe` of the crate is here.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use bytemuck::{Pod, Zeroable};
use memmap2::Mmap;

use crate::{Error, Result};

/// Alignment the start of every source has, so that data aligned within the file is aligned in memory.
pub const SOURCE_ALIGNMENT: usize = 32;

/// All bytes of a file, readable at any time from any thread, at an address aligned to
/// [`SOURCE_ALIGNMENT`].
pub trait ByteSource: fmt::Debug + Send + Sync {
    /// The whole file.
    fn bytes(&self) -> &[u8];

    /// Says that `range` will not be read soon, so that its memory may be let go; reading it again stays
    /// valid. Ranges beyond the end are cut; failures are ignored. Does nothing by default.
    fn release(&self, range: Range<usize>) {
        let _ = range;
    }
}

/// A file mapped into memory, read only; pages are read when touched. Answers to `llama_mmap`.
pub struct MappedFile {
    map: Mmap,
}

impl MappedFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::NotAFile`].
    pub fn open(path: impl AsRef<Path>) -> Result<MappedFile> {
        let path = path.as_ref();
        let failed = |source| Error::Open { path: path.to_owned(), source };
        // Asked before opening: opening a pipe would wait for its other end.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(Error::NotAFile { path: path.to_owned() });
        }
        let file = File::open(path).map_err(failed)?;
        // SAFETY: the mapping is private and read only, and lives as long as the `Mmap` that owns it. What
        // remains is that the file must not be truncated or rewritten while it is mapped, which no program
        // can rule out; as in the reference and every mapping reader, that is the user's part. A change
        // seen through the mapping can alter numbers, but nothing derives an unchecked index from the
        // data: all header values are copied out and checked before use.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        Ok(MappedFile { map })
    }
}

impl ByteSource for MappedFile {
    fn bytes(&self) -> &[u8] {
        &self.map
    }

    #[cfg(unix)]
    fn release(&self, range: Range<usize>) {
        // Whole pages inside the range only, so that neighbours stay. 64 KiB covers every page size.
        const PAGE: usize = 64 * 1024;
        let start = range.start.next_multiple_of(PAGE);
        let end = range.end.min(self.map.len()) / PAGE * PAGE;
        if start < end {
            // SAFETY: the pages belong to a read-only file mapping that was never written to, so dropping
            // them loses nothing: the next access reads the same bytes from the file again. References
            // into the range therefore stay valid.
            let dropped = unsafe {
                self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start)
            };
            // Advice that is not taken costs memory, nothing else.
            drop(dropped);
        }
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedFile").field("len", &self.map.len()).finish()
    }
}

/// 32 bytes at a multiple of 32.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(32))]
struct Aligned([u8; SOURCE_ALIGNMENT]);

enum Memory {
    Static(&'static [u8]),
    Owned(Vec<u8>),
    Copied { chunks: Vec<Aligned>, len: usize },
}

/// A file held in memory, such as an embedded model. Bytes that do not start at a multiple of
/// [`SOURCE_ALIGNMENT`] are copied once, the rest is used in place.
pub struct MemoryFile(Memory);

impl MemoryFile {
    /// Takes bytes compiled into the program; embed them in an aligned static to avoid the copy.
    pub fn from_static(bytes: &'static [u8]) -> MemoryFile {
        if is_aligned(bytes) { MemoryFile(Memory::Static(bytes)) } else { MemoryFile::copy_of(bytes) }
    }

    /// Takes bytes from the heap.
    pub fn from_vec(bytes: Vec<u8>) -> MemoryFile {
        if is_aligned(&bytes) { MemoryFile(Memory::Owned(bytes)) } else { MemoryFile::copy_of(&bytes) }
    }

    fn copy_of(bytes: &[u8]) -> MemoryFile {
        let mut chunks = vec![Aligned::zeroed(); bytes.len().div_ceil(SOURCE_ALIGNMENT)];
        bytemuck::cast_slice_mut(&mut chunks)[..bytes.len()].copy_from_slice(bytes);
        MemoryFile(Memory::Copied { chunks, len: bytes.len() })
    }
}

fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(SOURCE_ALIGNMENT)
}

impl ByteSource for MemoryFile {
    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Memory::Static(bytes) => bytes,
            Memory::Owned(bytes) => bytes,
            Memory::Copied { chunks, len } => &bytemuck::cast_slice(chunks)[..*len],
        }
    }
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFile").field("len", &self.bytes().len()).finish()
    }
}
