//! Where the state of a memory is written to and read from.
//!
//! Numbers are little-endian, as on every machine the reference runs on. Session and sequence files, their magic numbers and their
//! tokens are the context's business.

use quipu_backend::Buffer;

use crate::Error;

/// Bytes moved at once by those who have no better way.
const CHUNK: usize = 16 * 1024;

/// Takes the bytes of a state. Answers to `llama_io_write_i`.
pub trait StateWrite {
    /// Writes bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// Bytes written so far.
    fn n_bytes(&self) -> usize;

    /// Writes `size` bytes of a buffer, from `offset` on (`write_tensor`).
    fn write_buffer(&mut self, buffer: &dyn Buffer, offset: usize, size: usize) -> Result<(), Error> {
        let mut chunk = [0; CHUNK];
        let mut done = 0;
        while done < size {
            let bytes = &mut chunk[..CHUNK.min(size - done)];
            buffer.read(offset + done, bytes)?;
            self.write(bytes)?;
            done += bytes.len();
        }
        Ok(())
    }
}

/// Gives the bytes of a state. Answers to `llama_io_read_i`, and can go back, so that a state is checked before anything is changed.
pub trait StateRead {
    /// Reads exactly as many bytes as `out` holds; [`Error::StateCut`] if there are fewer.
    fn read(&mut self, out: &mut [u8]) -> Result<(), Error>;

    /// Passes over bytes, which must be there.
    fn skip(&mut self, n: usize) -> Result<(), Error>;

    /// Bytes read or passed over so far.
    fn n_bytes(&self) -> usize;

    /// Goes back to where [`StateRead::n_bytes`] was `n`.
    fn rewind(&mut self, n: usize) -> Result<(), Error>;

    /// Reads `size` bytes into a buffer, from `offset` on (`read_tensor`).
    fn read_buffer(&mut self, buffer: &mut dyn Buffer, offset: usize, size: usize) -> Result<(), Error> {
        let mut chunk = [0; CHUNK];
        let mut done = 0;
        while done < size {
            let bytes = &mut chunk[..CHUNK.min(size - done)];
            self.read(bytes)?;
            buffer.write(offset + done, bytes)?;
            done += bytes.len();
        }
        Ok(())
    }
}

/// Counts the bytes a state would take (`llama_io_write_dummy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSize {
    n_bytes: usize,
}

impl StateSize {
    /// Nothing counted yet.
    pub fn new() -> StateSize {
        StateSize::default()
    }
}

impl StateWrite for StateSize {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.n_bytes += bytes.len();
        Ok(())
    }

    fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    fn write_buffer(&mut self, _: &dyn Buffer, _: usize, size: usize) -> Result<(), Error> {
        self.n_bytes += size;
        Ok(())
    }
}

impl StateWrite for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.try_reserve(bytes.len()).map_err(|_| Error::HostMemory { n_bytes: bytes.len() })?;
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn n_bytes(&self) -> usize {
        self.len()
    }

    fn write_buffer(&mut self, buffer: &dyn Buffer, offset: usize, size: usize) -> Result<(), Error> {
        self.try_reserve(size).map_err(|_| Error::HostMemory { n_bytes: size })?;
        let start = self.len();
        self.resize(start + size, 0);
        let done = buffer.read(offset, &mut self[start..]);
        if done.is_err() {
            self.truncate(start);
        }
        Ok(done?)
    }
}

/// Reads a state from bytes (`llama_io_read_buffer`).
#[derive(Clone, Copy, Debug)]
pub struct StateBytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> StateBytes<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> StateBytes<'a> {
        StateBytes { bytes, at: 0 }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let left = &self.bytes[self.at..];
        let taken = left.get(..n).ok_or(Error::StateCut { at: self.at, wanted: n, left: left.len() })?;
        self.at += n;
        Ok(taken)
    }
}

impl StateRead for StateBytes<'_> {
    fn read(&mut self, out: &mut [u8]) -> Result<(), Error> {
        out.copy_from_slice(self.take(out.len())?);
        Ok(())
    }

    fn skip(&mut self, n: usize) -> Result<(), Error> {
        self.take(n).map(|_| ())
    }

    fn n_bytes(&self) -> usize {
        self.at
    }

    fn rewind(&mut self, n: usize) -> Result<(), Error> {
        self.at = n.min(self.bytes.len());
        Ok(())
    }

    fn read_buffer(&mut self, buffer: &mut dyn Buffer, offset: usize, size: usize) -> Result<(), Error> {
        Ok(buffer.write(offset, self.take(size)?)?)
    }
}

/// Reads a little-endian number.
pub(crate) fn read_u32(io: &mut dyn StateRead) -> Result<u32, Error> {
    let mut bytes = [0; 4];
    io.read(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

/// Reads a number that the memory knows already; [`Error::State`] if it is another one.
pub(crate) fn expect_u32(io: &mut dyn StateRead, what: &'static str, expected: u32) -> Result<(), Error> {
    let at = io.n_bytes();
    let found = read_u32(io)?;
    if found == expected {
        return Ok(());
    }
    Err(Error::State { at, what, found: i64::from(found), expected: expected.to_string() })
}
