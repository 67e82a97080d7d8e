//! States in files, as the reference has them: whole sessions and single sequences, with the tokens they were made of.
//!
//! ```text
//! u32 magic ('ggsn' or 'ggsq'), u32 version (9 or 2)
//! u32 number of tokens, u32 each token
//! the state: everything (`Context::state_write`) or a sequence (`Context::state_seq_write`)
//! ```
//!
//! A file appears when it is complete and on the disk. Behind a sequence the reference reads no further, so there is room for `QPCK` and a
//! checksum (FNV-1a, u64) of all bytes before; a file without it is read as well. A session must end with its state.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use quipu_batch::{SeqId, TokenId};
use quipu_gguf::{Inputs, NewFile};
use quipu_kv_cache::{Error as MemoryError, StateRead, StateWrite};

use crate::context::Context;
use crate::error::Error;

/// What a kind of file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    magic: u32,
    version: u32,
    name: &'static str,
}

const SESSION: Kind = Kind { magic: 0x6767_736E, version: 9, name: "a session file" };
const SEQUENCE: Kind = Kind { magic: 0x6767_7371, version: 2, name: "a sequence file" };

/// Before a checksum.
const CHECKSUM: &[u8; 4] = b"QPCK";
/// The mark and the sum.
const CHECKSUM_BYTES: u64 = 12;

impl Context {
    /// Writes everything the memory holds, and the tokens it was made of, to a file (`llama_state_save_file`).
    ///
    /// # Errors
    /// As [`Context::state_write`], or the file cannot be written; what was under its name is still there then.
    pub fn state_save_file(&mut self, path: impl AsRef<Path>, tokens: &[TokenId]) -> Result<(), Error> {
        save(path.as_ref(), SESSION, tokens, |io| self.state_write(io))
    }

    /// Reads what [`Context::state_save_file`] or the reference wrote, in place of everything; the tokens it was made of
    /// (`llama_state_load_file`).
    ///
    /// # Errors
    /// Another kind of file, more than `n_tokens_max` tokens, or as [`Context::state_read`]; the memory is as it was then. Bytes behind a good
    /// state are an error too, after it was read.
    pub fn state_load_file(
        &mut self,
        path: impl AsRef<Path>,
        n_tokens_max: usize,
    ) -> Result<Vec<TokenId>, Error> {
        load(path.as_ref(), SESSION, n_tokens_max, |io| self.state_read(io))
    }

    /// Writes one sequence, and the tokens it was made of, to a file (`llama_state_seq_save_file`).
    ///
    /// # Errors
    /// As [`Context::state_save_file`].
    pub fn state_seq_save_file(
        &mut self,
        path: impl AsRef<Path>,
        seq_id: SeqId,
        tokens: &[TokenId],
    ) -> Result<(), Error> {
        save(path.as_ref(), SEQUENCE, tokens, |io| self.state_seq_write(seq_id, io))
    }

    /// Reads what [`Context::state_seq_save_file`] or the reference wrote, of whatever sequence, in place of this one
    /// (`llama_state_seq_load_file`).
    ///
    /// # Errors
    /// As [`Context::state_load_file`], and if the checksum is there and another one.
    pub fn state_seq_load_file(
        &mut self,
        path: impl AsRef<Path>,
        seq_id: SeqId,
        n_tokens_max: usize,
    ) -> Result<Vec<TokenId>, Error> {
        load(path.as_ref(), SEQUENCE, n_tokens_max, |io| self.state_seq_read(seq_id, io))
    }
}

fn save(
    path: &Path,
    kind: Kind,
    tokens: &[TokenId],
    state: impl FnOnce(&mut dyn StateWrite) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut io = Sink {
        file: BufWriter::new(NewFile::create(path, &Inputs::new()).map_err(file(path))?),
        n_bytes: 0,
        sum: Fnv::default(),
    };
    for word in [kind.magic, kind.version, tokens.len() as u32] {
        io.write(&word.to_le_bytes())?;
    }
    io.write(bytemuck::cast_slice(tokens))?;
    state(&mut io)?;
    if kind == SEQUENCE {
        let sum = io.sum.0;
        io.write(CHECKSUM)?;
        io.write(&sum.to_le_bytes())?;
    }
    let done = io.file.into_inner().map_err(|error| MemoryError::from(error.into_error()))?;
    done.finish().map_err(file(path))
}

fn load(
    path: &Path,
    kind: Kind,
    n_tokens_max: usize,
    state: impl FnOnce(&mut dyn StateRead) -> Result<(), Error>,
) -> Result<Vec<TokenId>, Error> {
    let opened = File::open(path).map_err(MemoryError::from)?;
    let len = opened.metadata().map_err(MemoryError::from)?.len();
    let mut io = Source { file: BufReader::new(opened), at: 0, len: len as usize };
    let wrong = |found: String, expected: String| Error::StateFile { path: path.to_owned(), found, expected };
    let mut head = [[0; 4]; 3];
    head.iter_mut().try_for_each(|word| io.read(word))?;
    let [magic, version, n_tokens] = head.map(u32::from_le_bytes);
    if (magic, version) != (kind.magic, kind.version) {
        let found = format!("magic {magic:08x}, version {version}");
        let expected = format!("{}: magic {:08x}, version {}", kind.name, kind.magic, kind.version);
        return Err(wrong(found, expected));
    }
    let n_tokens = n_tokens as usize;
    if n_tokens > n_tokens_max || n_tokens > io.len / size_of::<TokenId>() {
        return Err(wrong(format!("{n_tokens} tokens"), format!("at most {n_tokens_max}, in {len} bytes")));
    }
    let mut tokens = vec![0; n_tokens];
    io.read(bytemuck::cast_slice_mut(&mut tokens))?;
    if kind == SEQUENCE {
        let start = io.at;
        if io.has_wrong_sum()? {
            return Err(wrong("another checksum".to_owned(), "the one of its bytes".to_owned()));
        }
        io.rewind(start)?;
    }
    state(&mut io)?;
    if kind == SESSION && io.at != io.len {
        return Err(wrong(format!("{} bytes behind the state", io.len - io.at), "none".to_owned()));
    }
    Ok(tokens)
}

/// What is wrong with a file that is written.
fn file(path: &Path) -> impl Fn(quipu_gguf::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::StateFile {
        path: path.clone(),
        found: error.to_string(),
        expected: "a file that can be written".to_owned(),
    }
}

/// FNV-1a.
#[derive(Clone, Copy, Debug)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xCBF2_9CE4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x0100_0000_01B3));
    }
}

/// Writes a state to a file.
struct Sink {
    file: BufWriter<NewFile>,
    n_bytes: usize,
    sum: Fnv,
}

impl StateWrite for Sink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), MemoryError> {
        self.file.write_all(bytes)?;
        self.sum.add(bytes);
        self.n_bytes += bytes.len();
        Ok(())
    }

    fn n_bytes(&self) -> usize {
        self.n_bytes
    }
}

/// Reads a state from a file.
struct Source {
    file: BufReader<File>,
    at: usize,
    len: usize,
}

impl Source {
    /// Whether a checksum is at the end and is not that of the bytes before it. Goes through the whole file.
    fn has_wrong_sum(&mut self) -> Result<bool, Error> {
        let Some(end) = (self.len as u64).checked_sub(CHECKSUM_BYTES) else { return Ok(false) };
        self.rewind(end as usize)?;
        let (mut mark, mut expected) = ([0; 4], [0; 8]);
        self.read(&mut mark)?;
        self.read(&mut expected)?;
        if mark != *CHECKSUM {
            return Ok(false);
        }
        self.rewind(0)?;
        let (mut sum, mut chunk, mut left) = (Fnv::default(), [0; 16 * 1024], end as usize);
        while left > 0 {
            let bytes = &mut chunk[..left.min(16 * 1024)];
            self.read(bytes)?;
            sum.add(bytes);
            left -= bytes.len();
        }
        Ok(sum.0 != u64::from_le_bytes(expected))
    }

    fn left(&self, wanted: usize) -> Result<(), MemoryError> {
        let left = self.len.saturating_sub(self.at);
        if wanted > left { Err(MemoryError::StateCut { at: self.at, wanted, left }) } else { Ok(()) }
    }
}

impl StateRead for Source {
    fn read(&mut self, out: &mut [u8]) -> Result<(), MemoryError> {
        self.left(out.len())?;
        self.file.read_exact(out)?;
        self.at += out.len();
        Ok(())
    }

    fn skip(&mut self, n: usize) -> Result<(), MemoryError> {
        self.left(n)?;
        self.file.seek_relative(n as i64)?;
        self.at += n;
        Ok(())
    }

    fn n_bytes(&self) -> usize {
        self.at
    }

    fn rewind(&mut self, n: usize) -> Result<(), MemoryError> {
        self.file.seek(SeekFrom::Start(n as u64))?;
        self.at = n;
        Ok(())
    }
}
