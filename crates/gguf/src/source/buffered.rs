//! Positioned reads through the page cache.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{ByteSource, SourceKind, check_range, open_file};
use crate::{Error, Result};

/// A file read on demand through the page cache. Answers to `llama_file`.
#[derive(Debug)]
pub struct BufferedFile {
    file: File,
    path: PathBuf,
    len: u64,
}

impl BufferedFile {
    /// Opens the file at `path`; nothing is read.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::NotAFile`].
    pub fn open(path: impl AsRef<Path>) -> Result<BufferedFile> {
        let path = path.as_ref();
        let file = open_file(path)?;
        let metadata = file.metadata().map_err(|source| Error::Open { path: path.to_owned(), source })?;
        Ok(BufferedFile { file, path: path.to_owned(), len: metadata.len() })
    }
}

impl ByteSource for BufferedFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Buffered
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        check_range(offset, out.len(), self.len)?;
        let mut done = 0;
        while done < out.len() {
            done += read_some(&self.file, offset + done as u64, &mut out[done..])
                .map_err(|source| Error::Read { path: self.path.clone(), offset, source })?;
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn prefetch(&self, range: std::ops::Range<u64>) {
        if let Some(len) = std::num::NonZeroU64::new(range.end.saturating_sub(range.start)) {
            // Advice that is not taken costs time, nothing else.
            let _ = rustix::fs::fadvise(&self.file, range.start, Some(len), rustix::fs::Advice::WillNeed);
        }
    }
}

/// Reads at least one byte at `offset`; fewer than asked for is fine.
pub(super) fn read_some(file: &File, offset: u64, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match read_once(file, offset, out) {
            // The file was longer when it was opened.
            Ok(0) if !out.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            done => return done,
        }
    }
}

#[cfg(unix)]
fn read_once(file: &File, offset: u64, out: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, out, offset)
}

#[cfg(windows)]
fn read_once(file: &File, offset: u64, out: &mut [u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, out, offset)
}
