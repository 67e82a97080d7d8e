//! The memory of those who keep nothing: encoders, and decoders that see a whole text at once.

use quipu_backend::BufferTable;
use quipu_batch::CheckedBatch;

use crate::{
    Error, KvCache, KvPart, Memory, MemoryKey, MemoryPlan, Pos, SeqId, SeqPositions, StateRead, StateWrite,
};

/// No memory at all: a ubatch attends over itself, and nothing of it stays. Stands for the reference's null `llama_memory_t`.
///
/// Sequence operations succeed and do nothing; there is never a position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoMemory;

impl SeqPositions for NoMemory {
    fn seq_pos_min(&self, _: SeqId) -> Pos {
        -1
    }

    fn seq_pos_max(&self, _: SeqId) -> Pos {
        -1
    }
}

impl Memory for NoMemory {
    fn clear(&mut self) {}

    fn seq_rm(&mut self, _: SeqId, _: Pos, _: Pos) -> Result<bool, Error> {
        Ok(true)
    }

    fn seq_cp(&mut self, _: SeqId, _: SeqId, _: Pos, _: Pos) -> Result<(), Error> {
        Ok(())
    }

    fn seq_keep(&mut self, _: SeqId) -> Result<(), Error> {
        Ok(())
    }

    fn seq_add(&mut self, _: SeqId, _: Pos, _: Pos, _: Pos) -> Result<(), Error> {
        Ok(())
    }

    fn seq_div(&mut self, _: SeqId, _: Pos, _: Pos, _: i32) -> Result<(), Error> {
        Ok(())
    }

    fn can_shift(&self) -> bool {
        false
    }

    /// One ubatch takes all tokens: what is not in it is not seen.
    fn plan(
        &mut self,
        batch: &mut CheckedBatch,
        n_ubatch: usize,
        plan: &mut MemoryPlan,
    ) -> Result<(), Error> {
        let n_tokens = batch.n_tokens();
        if n_tokens > n_ubatch {
            plan.clear();
            return Err(Error::OneUbatch { n_tokens, n_ubatch });
        }
        plan.split(batch, |batch, ubatch| batch.split_simple(n_ubatch, ubatch));
        Ok(())
    }

    fn apply(&mut self, plan: &mut MemoryPlan) -> bool {
        plan.advance().is_some()
    }

    fn roll_back(&mut self, plan: &mut MemoryPlan) {
        plan.rewind();
    }

    fn key(&self, _: &MemoryPlan) -> MemoryKey {
        MemoryKey::default()
    }

    fn kv(&self, _: KvPart) -> Option<&KvCache> {
        None
    }

    fn has_update(&self) -> bool {
        false
    }

    fn updated(&mut self) {}

    fn state_write(&self, _: &BufferTable, _: Option<SeqId>, _: &mut dyn StateWrite) -> Result<(), Error> {
        Ok(())
    }

    fn state_read(
        &mut self,
        _: &mut BufferTable,
        _: Option<SeqId>,
        _: &mut dyn StateRead,
    ) -> Result<(), Error> {
        Ok(())
    }
}
