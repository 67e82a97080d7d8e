//! What a free slot holds, in files and out of them.

use std::path::Path;

use quipu_decoder::SeqId;

use crate::engine::Engine;
use crate::error::Error;
use crate::sequence::Held;

impl Engine {
    /// Writes what a free slot (a sequence number) holds to a file, as `llama_state_seq_save_file` does; the number of tokens. The file appears when
    /// it is complete and on the disk. Tokens behind a context shift are left out: nobody could go on from them.
    ///
    /// # Errors
    /// A slot that is not there or not free; a file that cannot be written, and what was under its name is still there then.
    pub fn save_slot(&mut self, slot: usize, path: impl AsRef<Path>) -> Result<usize, Error> {
        let seq_id = self.free_slot(slot)?;
        let cached = &mut self.lanes[slot].cached;
        cached.settle(seq_id, self.context.memory_mut())?;
        self.context.state_seq_save_file(path, seq_id, cached.computed())?;
        Ok(cached.n_past())
    }

    /// Reads what [`Engine::save_slot`] or the reference wrote into a free slot; the number of tokens.
    ///
    /// # Errors
    /// A slot that is not there or not free; a file that is none of a sequence, is damaged, or has more than a sequence may have. The slot is empty
    /// then.
    pub fn restore_slot(&mut self, slot: usize, path: impl AsRef<Path>) -> Result<usize, Error> {
        self.erase_slot(slot)?;
        let tokens = self.context.state_seq_load_file(path, slot as SeqId, self.n_ctx_seq)?;
        let n_tokens = tokens.len();
        let held = Held::of_computed(tokens);
        // A state of other tokens than those that are named would be taken for theirs.
        if !held.restore(slot as SeqId, self.context.memory_mut()) {
            self.context.memory_mut().seq_rm(slot as SeqId, 0, -1).map_err(quipu_decoder::Error::from)?;
            return Err(Error::Slot {
                slot,
                found: "the file's state is not that of its tokens",
                n_seq_max: self.lanes.len(),
            });
        }
        self.lanes[slot].cached = held;
        self.clock += 1;
        self.lanes[slot].last_used = self.clock;
        Ok(n_tokens)
    }

    /// Forgets what a free slot holds; the number of tokens.
    ///
    /// # Errors
    /// A slot that is not there or not free.
    pub fn erase_slot(&mut self, slot: usize) -> Result<usize, Error> {
        let seq_id = self.free_slot(slot)?;
        let cached = &mut self.lanes[slot].cached;
        let n_tokens = cached.n_past();
        cached.drop_all(seq_id, self.context.memory_mut())?;
        Ok(n_tokens)
    }

    /// Whether a sequence has this slot.
    pub fn is_slot_taken(&self, slot: usize) -> bool {
        self.lanes.get(slot).is_some_and(|lane| lane.is_taken)
    }

    /// Its sequence number, if it is free.
    pub(super) fn free_slot(&mut self, slot: usize) -> Result<SeqId, Error> {
        self.reap();
        let found = match self.lanes.get(slot) {
            None => "there is none",
            Some(lane) if lane.is_taken => "a sequence has it",
            Some(_) => return Ok(slot as SeqId),
        };
        Err(Error::Slot { slot, found, n_seq_max: self.lanes.len() })
    }
}
