//! The state of a context in bytes, in the reference's format.
//!
//! Here is what lies between the model and its memory; the memory's part is `quipu-kv-cache`'s, files are `state_file`'s.

use quipu_backend::Buffer;
use quipu_batch::SeqId;
use quipu_kv_cache::{Error as MemoryError, StateBytes, StateRead, StateWrite};

use super::Context;
use crate::error::Error;

/// What the state of a sequence begins with where it is not in a file.
const SEQUENCE_MAGIC: u32 = 0xAF14_3CD8;

/// How the state of a sequence is taken (`llama_state_seq_flags`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateFlags {
    /// Only what cannot be had by cutting later tokens off: windows and recurrent rows (`LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY`).
    pub partial_only: bool,
    /// Rows of keys, values and recurrent layers stay with the context, for as long as it lives or until this sequence's state is taken again; the
    /// bytes only say what they are (`LLAMA_STATE_SEQ_FLAGS_ON_DEVICE`).
    pub on_device: bool,
}

/// No architecture has a longer name.
const MAX_NAME: usize = 255;

impl Context {
    /// Writes everything the memory holds, after the name of the model's architecture (`llama_state_get_data`).
    ///
    /// Errors if pending shifts cannot be applied, or if the writer refuses.
    pub fn state_write(&mut self, io: &mut dyn StateWrite) -> Result<(), Error> {
        self.update_memory()?;
        let name = self.model().architecture();
        io.write(&(name.len() as u32).to_le_bytes())?;
        io.write(name.as_bytes())?;
        Ok(self.memory().state_write(self.buffers(), None, io)?)
    }

    /// Reads what [`Context::state_write`] wrote, in place of everything (`llama_state_set_data`).
    ///
    /// Errors if it is of another architecture, or as [`quipu_kv_cache::Memory::state_read`]; the memory is as it was then.
    pub fn state_read(&mut self, io: &mut dyn StateRead) -> Result<(), Error> {
        let mut len = [0; 4];
        io.read(&mut len)?;
        let len = u32::from_le_bytes(len) as usize;
        let mut name = [0; MAX_NAME];
        // A longer name is another one: its beginning says enough.
        let name = &mut name[..len.min(MAX_NAME)];
        io.read(name)?;
        let expected = self.model().architecture();
        if name != expected.as_bytes() {
            let (found, expected) = (String::from_utf8_lossy(name).into_owned(), expected.to_owned());
            return Err(Error::StateArchitecture { found, expected });
        }
        let (memory, buffers) = self.memory_and_buffers();
        Ok(memory.state_read(buffers, None, io)?)
    }

    /// Writes one sequence (`llama_state_seq_get_data`). Errors as [`Context::state_write`].
    pub fn state_seq_write(&mut self, seq_id: SeqId, io: &mut dyn StateWrite) -> Result<(), Error> {
        self.update_memory()?;
        Ok(self.memory().state_write(self.buffers(), Some(seq_id), io)?)
    }

    /// The state of a sequence (`llama_state_seq_get_data_ext`): a mark, the sequence's number, then what [`Context::state_seq_write`] writes, as
    /// far as the flags say.
    ///
    /// # Errors
    /// As [`Context::state_write`].
    pub fn state_seq_data(&mut self, seq_id: SeqId, flags: StateFlags) -> Result<Vec<u8>, Error> {
        self.update_memory()?;
        let mut bytes = Vec::new();
        bytes.write(&SEQUENCE_MAGIC.to_le_bytes())?;
        bytes.write(&seq_id.to_le_bytes())?;
        let mut taken = Taken { all: Vec::new(), without_rows: Vec::new() };
        if flags.partial_only {
            self.memory().state_write_partial(self.buffers(), seq_id, &mut taken)?;
        } else {
            self.memory().state_write(self.buffers(), Some(seq_id), &mut taken)?;
        }
        if flags.on_device {
            bytes.write(&taken.without_rows)?;
            self.taken.insert(seq_id, taken);
        } else {
            bytes.write(&taken.all)?;
        }
        Ok(bytes)
    }

    /// Reads what [`Context::state_seq_data`] gave with the same flags, of whatever sequence, in place of this one
    /// (`llama_state_seq_set_data_ext`); the number of bytes that were read.
    ///
    /// # Errors
    /// Bytes that begin otherwise, rows that the context does not keep, or as [`quipu_kv_cache::Memory::state_read`]; the memory is as it was
    /// then.
    pub fn set_state_seq_data(
        &mut self,
        seq_id: SeqId,
        bytes: &[u8],
        flags: StateFlags,
    ) -> Result<usize, Error> {
        let mut io = StateBytes::new(bytes);
        let mut word = [0; 4];
        io.read(&mut word)?;
        let found = u32::from_le_bytes(word);
        if found != SEQUENCE_MAGIC {
            let (what, expected) = ("mark of a sequence's state", SEQUENCE_MAGIC.to_string());
            return Err(MemoryError::State { at: 0, what, found: i64::from(found), expected }.into());
        }
        io.read(&mut word)?;
        if !flags.on_device {
            self.read_seq(seq_id, &mut io, flags)?;
            return Ok(io.n_bytes());
        }
        let from = SeqId::from_le_bytes(word);
        let state = |what, expected: &str| {
            let (found, expected) = (i64::from(from), expected.to_owned());
            Error::Memory(MemoryError::State { at: size_of::<u32>(), what, found, expected })
        };
        let Some(taken) = self.taken.remove(&from) else {
            return Err(state("sequence of the state", "one whose rows the context keeps"));
        };
        let read = if bytes[io.n_bytes()..] == taken.without_rows {
            self.read_seq(seq_id, &mut StateBytes::new(&taken.all), flags)
        } else {
            Err(state("sequence of the state", "one whose rows are still those of these bytes"))
        };
        self.taken.insert(from, taken);
        read.map(|()| bytes.len())
    }

    fn read_seq(&mut self, seq_id: SeqId, io: &mut dyn StateRead, flags: StateFlags) -> Result<(), Error> {
        let (memory, buffers) = self.memory_and_buffers();
        if flags.partial_only {
            return Ok(memory.state_read_partial(buffers, seq_id, io)?);
        }
        Ok(memory.state_read(buffers, Some(seq_id), io)?)
    }

    /// Reads what [`Context::state_seq_write`] wrote, of whatever sequence, in place of this one (`llama_state_seq_set_data`).
    ///
    /// Errors as [`quipu_kv_cache::Memory::state_read`]; the memory is as it was then.
    pub fn state_seq_read(&mut self, seq_id: SeqId, io: &mut dyn StateRead) -> Result<(), Error> {
        let (memory, buffers) = self.memory_and_buffers();
        Ok(memory.state_read(buffers, Some(seq_id), io)?)
    }
}

/// The state of a sequence, and the same without the bytes of buffers.
#[derive(Debug)]
pub(crate) struct Taken {
    all: Vec<u8>,
    without_rows: Vec<u8>,
}

impl StateWrite for Taken {
    fn write(&mut self, bytes: &[u8]) -> Result<(), MemoryError> {
        self.all.write(bytes)?;
        self.without_rows.write(bytes)
    }

    fn n_bytes(&self) -> usize {
        self.all.len()
    }

    fn write_buffer(&mut self, buffer: &dyn Buffer, offset: usize, size: usize) -> Result<(), MemoryError> {
        self.all.write_buffer(buffer, offset, size)
    }
}
