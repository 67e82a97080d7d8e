//! Files in memory, and the memory that files are read into.

use std::fmt;

use bytemuck::{Pod, Zeroable};
use memmap2::MmapMut;

use super::lock::MemoryLock;
use super::{ByteSource, SOURCE_ALIGNMENT, SourceKind, copy_from};
use crate::{Error, Result};

/// Zeroed memory in whole pages that can be locked: where weights are read to when their file is not mapped.
pub struct HostMemory {
    map: MmapMut,
    size: usize,
    lock: MemoryLock,
}

impl HostMemory {
    /// `size` zero bytes, starting at a page. Pages cost nothing until they are written.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn zeroed(size: usize) -> Result<HostMemory> {
        // One byte at least: systems map no empty ranges.
        let map = MmapMut::map_anon(size.max(1)).map_err(|source| Error::OutOfMemory { size, source })?;
        Ok(HostMemory { map, size, lock: MemoryLock::new() })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.map[..self.size]
    }

    /// The bytes, to fill them.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.map[..self.size]
    }

    /// Keeps the first `end` bytes in physical memory; as [`ByteSource::lock`].
    pub fn lock(&self, end: usize) -> usize {
        self.lock.grow_to(self.as_slice(), end)
    }
}

impl AsRef<[u8]> for HostMemory {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for HostMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostMemory").field("size", &self.size).finish_non_exhaustive()
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
    Host(HostMemory),
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

    /// Takes pages that were read into.
    pub fn from_host(memory: HostMemory) -> MemoryFile {
        MemoryFile(Memory::Host(memory))
    }

    fn copy_of(bytes: &[u8]) -> MemoryFile {
        let mut chunks = vec![Aligned::zeroed(); bytes.len().div_ceil(SOURCE_ALIGNMENT)];
        bytemuck::cast_slice_mut(&mut chunks)[..bytes.len()].copy_from_slice(bytes);
        MemoryFile(Memory::Copied { chunks, len: bytes.len() })
    }

    /// The bytes, in place.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Memory::Static(bytes) => bytes,
            Memory::Owned(bytes) => bytes,
            Memory::Copied { chunks, len } => &bytemuck::cast_slice(chunks)[..*len],
            Memory::Host(memory) => memory.as_slice(),
        }
    }
}

fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(SOURCE_ALIGNMENT)
}

impl ByteSource for MemoryFile {
    fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Memory
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        copy_from(self.bytes(), offset, out)
    }

    fn in_place(&self) -> Option<&[u8]> {
        Some(self.bytes())
    }

    /// Only pages of our own are locked: a lock on parts of the heap would outlive the file.
    fn lock(&self, end: u64) -> u64 {
        let Memory::Host(memory) = &self.0 else { return 0 };
        memory.lock(usize::try_from(end).unwrap_or(usize::MAX)) as u64
    }
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFile").field("len", &self.bytes().len()).finish()
    }
}
