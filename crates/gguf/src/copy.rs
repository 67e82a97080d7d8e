//! Tensor data from one file to another in bounded memory, and new files that do not harm what is there.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::{Error, GgufWriter, Result};

/// Bytes moved at once.
const CHUNK: usize = 1 << 20;

/// Copies ranges of files through one buffer.
pub(crate) struct Copier {
    buffer: Vec<u8>,
}

impl Copier {
    pub(crate) fn new() -> Copier {
        Copier { buffer: vec![0; CHUNK] }
    }

    /// Copies `len` bytes from `offset` of the file at `path`, which is open as `from`. A file that ends earlier
    /// gives less.
    pub(crate) fn copy(
        &mut self,
        path: &Path,
        mut from: &File,
        offset: u64,
        len: u64,
        to: &mut dyn Write,
    ) -> io::Result<()> {
        let reading = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))
        };
        from.seek(SeekFrom::Start(offset)).map_err(reading)?;
        let mut left = len;
        while left > 0 {
            let wanted = left.min(CHUNK as u64) as usize;
            let n = match from.read(&mut self.buffer[..wanted]) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(reading(error)),
            };
            to.write_all(&self.buffer[..n])?;
            left -= n as u64;
        }
        Ok(())
    }
}

/// Writes a GGUF file to `out`, which is open at `path`; a failure leaves no file behind.
pub(crate) fn write_file(
    path: &Path,
    out: File,
    writer: &GgufWriter,
    data: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let mut out = BufWriter::with_capacity(CHUNK, out);
    let done = writer.write_to(&mut out, data).map_err(|error| match error {
        Error::Write(source) => Error::Create { path: path.to_owned(), source },
        error => error,
    });
    if done.is_err() {
        // What is buffered must not be written any more.
        drop(out.into_parts());
        if path.symlink_metadata().is_ok_and(|m| m.is_file()) {
            // The first failure is the one to tell.
            let _ = std::fs::remove_file(path);
        }
    }
    done
}

/// True if `path` leads to the file that is open as `file`.
#[cfg(unix)]
pub(crate) fn is_same_file(path: &Path, file: &File, _opened_at: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |m: std::fs::Metadata| (m.dev(), m.ino());
    match (std::fs::metadata(path), file.metadata()) {
        (Ok(a), Ok(b)) => id(a) == id(b),
        _ => false,
    }
}

/// True if `path` leads to the file that is open as `file`.
#[cfg(not(unix))]
pub(crate) fn is_same_file(path: &Path, _file: &File, opened_at: &Path) -> bool {
    match (path.canonicalize(), opened_at.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}
