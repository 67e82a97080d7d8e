//! Positioned reads past the page cache, where the file system can.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::buffered::read_some;
use super::{BufferedFile, ByteSource, HostMemory, SourceKind, check_range};
use crate::{Error, Result};

/// Bytes of a bounce buffer; every read goes through one, because tensors start anywhere in a block.
const BOUNCE: usize = 1 << 20;
/// Alignment that serves every device if the file system names none.
const DEFAULT_ALIGNMENT: usize = 4096;

/// A file read on demand with `O_DIRECT`: nothing stays in the page cache. Answers to `llama_file` with `use_direct_io`.
///
/// Reads are widened to the file system's blocks, through buffers of 1 MiB aligned to a page, one for each thread that reads at
/// the same time. A file system that refuses, on opening or later on reading, is warned about once, and
/// the rest is read through the page cache, as in the reference.
#[derive(Debug)]
pub struct DirectFile {
    plain: BufferedFile,
    direct: Option<File>,
    refused: AtomicBool,
    path: PathBuf,
    alignment: usize,
    bounce: Mutex<Vec<HostMemory>>,
}

impl DirectFile {
    /// Opens the file at `path`; nothing is read.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::NotAFile`]. A file system without direct I/O is none.
    pub fn open(path: impl AsRef<Path>) -> Result<DirectFile> {
        let path = path.as_ref();
        let plain = BufferedFile::open(path)?;
        let direct = match open_direct(path) {
            Ok(file) => Some(file),
            Err(error) => {
                warn(path, &error);
                None
            }
        };
        let alignment = direct.as_ref().and_then(block_size).unwrap_or(DEFAULT_ALIGNMENT);
        Ok(DirectFile {
            plain,
            direct,
            refused: AtomicBool::new(false),
            path: path.to_owned(),
            alignment,
            bounce: Mutex::new(Vec::new()),
        })
    }

    /// Whether reads still go past the page cache (`has_direct_io`).
    pub fn is_direct(&self) -> bool {
        self.direct.is_some() && !self.refused.load(Ordering::Relaxed)
    }

    /// Bytes that reads are widened to (`read_alignment`).
    pub fn alignment(&self) -> usize {
        self.alignment
    }

    /// Fills the start of `out` from the block that holds `offset` on; at least one byte.
    fn read_window(
        &self,
        file: &File,
        offset: u64,
        out: &mut [u8],
        bounce: &mut [u8],
    ) -> std::io::Result<usize> {
        let skip = offset as usize % self.alignment;
        let wanted = (skip + out.len()).next_multiple_of(self.alignment).min(bounce.len());
        let got = read_some(file, offset - skip as u64, &mut bounce[..wanted])?;
        let n = got.saturating_sub(skip).min(out.len());
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        out[..n].copy_from_slice(&bounce[skip..skip + n]);
        Ok(n)
    }

    /// Reads as much as the file system lets us and returns how much that was.
    fn read_direct(&self, offset: u64, out: &mut [u8]) -> Result<usize> {
        let Some(file) = self.direct.as_ref().filter(|_| !self.refused.load(Ordering::Relaxed)) else {
            return Ok(0);
        };
        let size = BOUNCE.next_multiple_of(self.alignment) + self.alignment;
        let idle = self.bounce.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let mut bounce = idle.map_or_else(|| HostMemory::zeroed(size), Ok)?;
        let mut done = 0;
        while done < out.len() {
            match self.read_window(file, offset + done as u64, &mut out[done..], bounce.as_mut_slice()) {
                Ok(n) => done += n,
                Err(error) if is_refusal(&error) => {
                    if !self.refused.swap(true, Ordering::Relaxed) {
                        warn(&self.path, &error);
                    }
                    break;
                }
                Err(source) => return Err(Error::Read { path: self.path.clone(), offset, source }),
            }
        }
        self.bounce.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(bounce);
        Ok(done)
    }
}

impl ByteSource for DirectFile {
    fn len(&self) -> u64 {
        self.plain.len()
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Direct
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        check_range(offset, out.len(), self.len())?;
        let done = self.read_direct(offset, out)?;
        self.plain.read_at(offset + done as u64, &mut out[done..])
    }
}

/// What file systems say that cannot read past the page cache, or not into this memory.
#[cfg(unix)]
fn is_refusal(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::INVAL | Errno::FAULT))
}

#[cfg(not(unix))]
fn is_refusal(_error: &std::io::Error) -> bool {
    true
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_path: &Path) -> std::io::Result<File> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// The file system's block, if it is one that reads can be aligned to.
#[cfg(unix)]
fn block_size(file: &File) -> Option<usize> {
    let size = std::os::unix::fs::MetadataExt::blksize(&file.metadata().ok()?);
    usize::try_from(size).ok().filter(|n| n.is_power_of_two() && (512..=BOUNCE).contains(n))
}

#[cfg(not(unix))]
fn block_size(_file: &File) -> Option<usize> {
    None
}

fn warn(path: &Path, error: &std::io::Error) {
    tracing::warn!("no direct I/O on {}: {error}; reading through the page cache", path.display());
}
