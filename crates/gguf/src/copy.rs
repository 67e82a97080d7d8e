//! Tensor data from one file to another in bounded memory.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::{Error, GgufWriter, NewFile, Result};

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

/// Writes a GGUF file to `out`.
pub(crate) fn write_file(
    out: &mut NewFile,
    writer: &GgufWriter,
    data: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let path = out.path().to_owned();
    writer.write_to(&mut BufWriter::with_capacity(CHUNK, out), data).map_err(|error| match error {
        Error::Write(source) => Error::Create { path, source },
        error => error,
    })
}
