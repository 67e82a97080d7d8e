//! Where a file's bytes come from: one trait; a mapping, a buffered stream, direct I/O and plain memory.
//!
//! Counterpart of `llama_file`, `llama_mmap` and `llama_mlock`. All `unsafe` of the crate is in this folder.

mod buffered;
mod direct;
mod fault;
mod lock;
mod mapped;
mod memory;
mod mode;

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub use buffered::BufferedFile;
pub use direct::DirectFile;
pub use lock::MemoryLock;
pub use mapped::MappedFile;
pub use memory::{HostMemory, MemoryFile};
pub use mode::{LoadMode, SourceKind};

use crate::{Error, Result};

/// Alignment the start of every source that is in memory has, so that data aligned within the file is aligned in memory.
pub const SOURCE_ALIGNMENT: usize = 32;

/// All bytes of a file, readable at any time from any thread.
///
/// Every source hands bytes out by copying ([`ByteSource::read_at`]); those that have the whole file in the address
/// space also hand them out where they lie ([`ByteSource::in_place`]).
pub trait ByteSource: fmt::Debug + Send + Sync {
    /// Bytes of the file when it was opened.
    fn len(&self) -> u64;

    /// True for a file without bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How the bytes are fetched.
    fn kind(&self) -> SourceKind;

    /// Fills `out` with the bytes from `offset` on (`llama_file::read_raw`).
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if they are not all in the file, [`Error::Read`] if the system refuses.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()>;

    /// The whole file where it lies, at an address aligned to [`SOURCE_ALIGNMENT`]; `None` if the source reads on
    /// demand.
    fn in_place(&self) -> Option<&[u8]> {
        None
    }

    /// Says that `range` will be read soon. Failures are ignored. Does nothing by default.
    fn prefetch(&self, range: Range<u64>) {
        let _ = range;
    }

    /// Says that `range` will not be read soon, so that its memory may be let go; reading it again stays
    /// valid. Ranges beyond the end are cut; failures are ignored. Does nothing by default.
    fn release(&self, range: Range<u64>) {
        let _ = range;
    }

    /// Whether what was handed out so far was the file. To be asked after bytes were used in place: the answer holds for all that was
    /// read before. A copy asks by itself.
    ///
    /// # Errors
    /// [`Error::MappingChanged`]: pages of a mapping were missing, and zeros stood in for them. Not noticed is a file that was
    /// overwritten, or cut off within its last page.
    fn check_unchanged(&self) -> Result<()> {
        Ok(())
    }

    /// Keeps the first `end` bytes in physical memory from now on (`llama_mlock::grow_to`). Returns how many bytes are locked:
    /// a system that refuses is warned about once and not asked again. Sources that hold nothing in memory lock nothing.
    fn lock(&self, end: u64) -> u64 {
        let _ = end;
        0
    }
}

/// Opens the file at `path` as a source of that kind.
///
/// # Errors
/// [`Error::Open`], [`Error::NotAFile`].
pub fn open_source(path: impl AsRef<Path>, kind: SourceKind) -> Result<Arc<dyn ByteSource>> {
    Ok(match kind {
        SourceKind::Mapped => Arc::new(MappedFile::open(path)?),
        SourceKind::Buffered => Arc::new(BufferedFile::open(path)?),
        SourceKind::Direct => Arc::new(DirectFile::open(path)?),
        SourceKind::Memory => {
            let file = BufferedFile::open(path)?;
            let mut bytes = HostMemory::zeroed(usize::try_from(file.len()).unwrap_or(usize::MAX))?;
            file.read_at(0, bytes.as_mut_slice())?;
            Arc::new(MemoryFile::from_host(bytes))
        }
    })
}

/// Opens a regular file for reading.
fn open_file(path: &Path) -> Result<File> {
    Ok(crate::header::open_file(path)?.0)
}

/// Whether `len` bytes from `offset` on are in a file of `file_len` bytes.
fn check_range(offset: u64, len: usize, file_len: u64) -> Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= file_len => Ok(()),
        _ => Err(Error::OutOfRange { offset, len: len as u64, file_len }),
    }
}

/// Copies a range out of bytes that are in memory.
fn copy_from(bytes: &[u8], offset: u64, out: &mut [u8]) -> Result<()> {
    check_range(offset, out.len(), bytes.len() as u64)?;
    let start = offset as usize;
    out.copy_from_slice(&bytes[start..start + out.len()]);
    Ok(())
}
