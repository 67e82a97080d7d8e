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

/// The bytes of the regular file at `path`, which may be `limit` of them: for the small files beside a model, which are read
/// whole. A pipe, a device or a folder is refused before it is opened.
///
/// # Errors
/// [`Error::Open`], [`Error::NotAFile`], [`Error::FileTooLong`].
pub fn read_file(path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>> {
    let path = path.as_ref();
    let (file, len) = open_file(path)?;
    let too_long = || Error::FileTooLong { path: path.to_owned(), limit };
    if len > limit {
        return Err(too_long());
    }
    let failed = |source| Error::Open { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len as usize).map_err(|error| failed(std::io::Error::other(error)))?;
    // It may grow while it is read.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit { Err(too_long()) } else { Ok(bytes) }
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
