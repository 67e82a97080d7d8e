//! Reading a header from a file that is not in memory: as much of it as the header needs, no more.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::{Error, Gguf, Result};

/// First guess of a header's length; most need less, those with a vocabulary a few MiB.
const FIRST_BYTES: u64 = 64 * 1024;

/// Opens the file at `path`, which must be a regular one.
pub(crate) fn open_file(path: &Path) -> Result<(File, u64)> {
    let failed = |source| Error::Open { path: path.to_owned(), source };
    // Asked before opening: opening a pipe would wait for its other end.
    let found = std::fs::metadata(path).map_err(failed)?;
    if !found.is_file() {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    Ok((file, len))
}

impl Gguf {
    /// Reads and checks the header of the file at `path` with plain reads; at most twice the header's length
    /// (64 KiB at least) is held in memory. Returns the open file with it.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::NotAFile`], and as [`Gguf::parse`].
    pub fn open(path: impl AsRef<Path>) -> Result<(Gguf, File)> {
        let path = path.as_ref();
        let (mut file, file_len) = open_file(path)?;
        let mut prefix = Vec::new();
        let mut wanted = FIRST_BYTES.min(file_len);
        loop {
            let missing = wanted - prefix.len() as u64;
            let n = Read::by_ref(&mut file)
                .take(missing)
                .read_to_end(&mut prefix)
                .map_err(|source| Error::Open { path: path.to_owned(), source })?;
            if n as u64 != missing {
                // Somebody cut the file since its length was asked for.
                let what = "the header".to_owned();
                let offset = prefix.len() as u64;
                return Err(Error::Truncated { what, offset, needed: wanted - offset, remaining: 0 });
            }
            match Gguf::parse_prefix(&prefix, file_len) {
                // `needed` lies within the file, so this grows.
                Err(Error::PrefixTooShort { have, needed }) => wanted = needed.max(2 * have).min(file_len),
                done => return done.map(|gguf| (gguf, file)),
            }
        }
    }
}
