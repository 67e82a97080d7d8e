//! What every kind of memory of a context offers, whatever it keeps per token.

use std::fmt::Debug;

use quipu_backend::BufferTable;
use quipu_batch::CheckedBatch;

use crate::{
    Error, KvCache, KvPart, MemoryKey, MemoryPlan, Pos, RecurrentMemory, SeqId, SeqPositions, StateRead,
    StateWrite,
};

/// The memory of a context. Answers to `llama_memory_i`.
///
/// Ranges of positions are `[p0, p1)`; a negative `p0` means 0, a negative `p1` means no end.
///
/// A batch goes through [`Memory::plan`], then [`Memory::apply`] for each of its ubatches, whose graph runs in between. If one fails,
/// [`Memory::roll_back`] takes all of them back.
pub trait Memory: SeqPositions + Debug + Send + Sync {
    /// Forgets every token (`clear(false)`); bytes of empty cells are masked, so they need no clearing.
    fn clear(&mut self);

    /// Forgets every token and sets the bytes of all cells to zero (`clear(true)`).
    ///
    /// # Errors
    /// The memory's buffers refuse; the tokens are forgotten.
    fn clear_data(&mut self, buffers: &mut BufferTable) -> Result<(), Error> {
        self.clear();
        let caches = [KvPart::Full, KvPart::Window].map(|part| self.kv(part));
        caches.into_iter().flatten().try_for_each(|cache| cache.zero(buffers))
    }

    /// Removes the positions of a sequence, or of all sequences if `seq_id` is -1 (`seq_rm`).
    ///
    /// `Ok(false)` if the memory cannot remove that range (a recurrent state cannot be cut in half).
    fn seq_rm(&mut self, seq_id: SeqId, p0: Pos, p1: Pos) -> Result<bool, Error>;

    /// Makes the positions of `src` belong to `dst` too (`seq_cp`).
    fn seq_cp(&mut self, src: SeqId, dst: SeqId, p0: Pos, p1: Pos) -> Result<(), Error>;

    /// Removes all sequences but one (`seq_keep`).
    fn seq_keep(&mut self, seq_id: SeqId) -> Result<(), Error>;

    /// Adds `delta` to the positions; those that fall below 0 are removed (`seq_add`).
    fn seq_add(&mut self, seq_id: SeqId, p0: Pos, p1: Pos, delta: Pos) -> Result<(), Error>;

    /// Divides the positions by `divisor` (`seq_div`).
    fn seq_div(&mut self, seq_id: SeqId, p0: Pos, p1: Pos, divisor: i32) -> Result<(), Error>;

    /// Whether positions can be shifted (`get_can_shift`).
    fn can_shift(&self) -> bool;

    /// Cells there are, 0 for a memory without (`get_size`).
    fn n_cells(&self) -> usize {
        0
    }

    /// Cells that hold a token.
    fn n_used(&self) -> usize {
        self.kv(KvPart::Full).map_or(0, KvCache::n_used)
    }

    /// Splits a batch into ubatches of at most `n_ubatch` tokens, the way this memory wants them, and finds places for all of them. The
    /// memory itself stays as it is (`init_batch`).
    ///
    /// # Errors
    /// [`Error::NoSlot`] if a ubatch does not fit, [`Error::Split`] if the batch cannot be split; the plan is then empty.
    fn plan(&mut self, batch: &mut CheckedBatch, n_ubatch: usize, plan: &mut MemoryPlan)
    -> Result<(), Error>;

    /// Takes the places of the plan's next ubatch, which becomes [`MemoryPlan::ubatch`]; false if all are done (`next`, `apply`).
    ///
    /// Between planning and the last ubatch nothing else may change the memory.
    fn apply(&mut self, plan: &mut MemoryPlan) -> bool;

    /// Gives back the places of all ubatches of the plan that were applied: the memory is as it was when it planned. Only recurrent states
    /// that their graphs may have overwritten cannot be had back: their sequences are forgotten.
    fn roll_back(&mut self, plan: &mut MemoryPlan);

    /// What the shape of the graph of the plan's ubatch depends on, after it was applied.
    fn key(&self, plan: &MemoryPlan) -> MemoryKey;

    /// The cells that attention of some layers reads and writes; `None` if there are none. Without any a ubatch attends over itself.
    fn kv(&self, part: KvPart) -> Option<&KvCache>;

    /// The states of recurrent layers; `None` if there are none.
    fn recurrent(&self) -> Option<&RecurrentMemory> {
        None
    }

    /// Whether operations wait for bytes before the next batch: streams are not copied or shifted keys not rotated yet
    /// (`init_update`). First comes [`Memory::copy_pending`]; the model builds the graph for the rest.
    fn has_update(&self) -> bool;

    /// Copies bytes that operations on sequences left to be copied.
    ///
    /// # Errors
    /// The memory's buffers refuse; what was not copied stays pending.
    fn copy_pending(&mut self, _buffers: &mut BufferTable) -> Result<(), Error> {
        Ok(())
    }

    /// Told that what was pending was computed.
    fn updated(&mut self);

    /// Writes what the memory holds, of one sequence or of all, in the reference's format (`state_write`).
    ///
    /// # Errors
    /// An update is pending, or the writer or the memory's buffers refuse.
    fn state_write(
        &self,
        buffers: &BufferTable,
        seq_id: Option<SeqId>,
        io: &mut dyn StateWrite,
    ) -> Result<(), Error>;

    /// As [`Memory::state_write`], of a sequence's state only what cannot be had from the tokens before by cutting: windows and recurrent
    /// rows, not the cells of layers that see everything (`LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY`). Memories that have but one part write it.
    ///
    /// # Errors
    /// As [`Memory::state_write`].
    fn state_write_partial(
        &self,
        buffers: &BufferTable,
        seq_id: SeqId,
        io: &mut dyn StateWrite,
    ) -> Result<(), Error> {
        self.state_write(buffers, Some(seq_id), io)
    }

    /// Reads what [`Memory::state_write_partial`] wrote, in place of that part of the sequence.
    ///
    /// # Errors
    /// As [`Memory::state_read`].
    fn state_read_partial(
        &mut self,
        buffers: &mut BufferTable,
        seq_id: SeqId,
        io: &mut dyn StateRead,
    ) -> Result<(), Error> {
        self.state_read(buffers, Some(seq_id), io)
    }

    /// Reads what [`Memory::state_write`] wrote: in place of everything, or, with `seq_id`, in place of that sequence (`state_read`).
    ///
    /// # Errors
    /// A state that is cut, contradicts itself or is of another shape of memory, or that finds no room: nothing has changed then. If
    /// buffers refuse the bytes of a good state, what was to be replaced is gone.
    fn state_read(
        &mut self,
        buffers: &mut BufferTable,
        seq_id: Option<SeqId>,
        io: &mut dyn StateRead,
    ) -> Result<(), Error>;
}
