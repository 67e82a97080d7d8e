//! A file mapped into memory, read only.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap};

use super::fault::Watched;
use super::lock::MemoryLock;
use super::{ByteSource, SourceKind, copy_from, open_file};
use crate::{Error, Result};

/// A file mapped into memory, read only; pages are read when touched. Answers to `llama_mmap`.
///
/// A file that is cut off while it is mapped ends the process in other programs. On Linux the missing pages read as zeros here, and
/// [`ByteSource::check_unchanged`] tells; the first mapping of a process installs a handler of SIGBUS for that, which passes all other
/// faults on.
pub struct MappedFile {
    /// Before the mapping, so that it is dropped first.
    watched: Watched,
    map: Mmap,
    lock: MemoryLock,
    path: PathBuf,
}

impl MappedFile {
    /// Maps the file at `path`. Nothing is read; [`ByteSource::prefetch`] asks for that.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::NotAFile`].
    pub fn open(path: impl AsRef<Path>) -> Result<MappedFile> {
        let path = path.as_ref();
        let file = open_file(path)?;
        // Advice that is not taken costs time, nothing else.
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential);
        // SAFETY: the mapping is private and read only, and lives as long as the `Mmap` that owns it. What
        // remains is that the file must not be truncated or rewritten while it is mapped, which no program
        // can rule out; as in the reference and every mapping reader, that is the user's part. A change
        // seen through the mapping can alter numbers, but nothing derives an unchecked index from the
        // data: all header values are copied out and checked before use. Pages that go missing read as zeros (`fault`).
        let map = unsafe { Mmap::map(&file) };
        let map = map.map_err(|source| Error::Open { path: path.to_owned(), source })?;
        Ok(MappedFile { watched: Watched::new(&map), map, lock: MemoryLock::new(), path: path.to_owned() })
    }
}

impl ByteSource for MappedFile {
    fn len(&self) -> u64 {
        self.map.len() as u64
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Mapped
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        copy_from(&self.map, offset, out)?;
        self.check_unchanged()
    }

    fn check_unchanged(&self) -> Result<()> {
        if self.watched.has_faulted() {
            Err(Error::MappingChanged { path: self.path.clone() })
        } else {
            Ok(())
        }
    }

    fn in_place(&self) -> Option<&[u8]> {
        Some(&self.map)
    }

    /// `madvise(WILLNEED)`: reading starts in the background and fills the page cache, not this process. The reference also
    /// maps every page before it returns (`MAP_POPULATE`), which waits for the disk.
    #[cfg(unix)]
    fn prefetch(&self, range: Range<u64>) {
        let range = self.cut(range);
        if !range.is_empty() {
            let _ = self.map.advise_range(Advice::WillNeed, range.start, range.len());
        }
    }

    /// `madvise(DONTNEED)` on the whole pages inside `range`. The reference unmaps fragments instead
    /// (`unmap_fragment`); the memory given back is the same, and reading them again stays valid.
    #[cfg(unix)]
    fn release(&self, range: Range<u64>) {
        // Whole pages inside the range only, so that neighbours stay. 64 KiB covers every page size.
        const PAGE: usize = 64 * 1024;
        let range = self.cut(range);
        let start = range.start.next_multiple_of(PAGE);
        let end = if range.end == self.map.len() { range.end } else { range.end / PAGE * PAGE };
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

    fn lock(&self, end: u64) -> u64 {
        self.lock.grow_to(&self.map, usize::try_from(end).unwrap_or(usize::MAX)) as u64
    }
}

impl MappedFile {
    #[cfg(unix)]
    fn cut(&self, range: Range<u64>) -> Range<usize> {
        let len = self.len();
        let end = range.end.min(len);
        range.start.min(end) as usize..end as usize
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedFile").field("len", &self.map.len()).finish_non_exhaustive()
    }
}
