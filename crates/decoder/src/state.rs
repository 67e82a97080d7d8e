//! The state of a context in bytes, in the reference's format.
//!
//! Here is what lies between the model and its memory; the memory's part is `quipu-kv-cache`'s, files are `state_file`'s.

use quipu_batch::SeqId;
use quipu_kv_cache::{StateRead, StateWrite};

use crate::context::Context;
use crate::error::Error;

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

    /// Reads what [`Context::state_seq_write`] wrote, of whatever sequence, in place of this one (`llama_state_seq_set_data`).
    ///
    /// Errors as [`quipu_kv_cache::Memory::state_read`]; the memory is as it was then.
    pub fn state_seq_read(&mut self, seq_id: SeqId, io: &mut dyn StateRead) -> Result<(), Error> {
        let (memory, buffers) = self.memory_and_buffers();
        Ok(memory.state_read(buffers, Some(seq_id), io)?)
    }
}
