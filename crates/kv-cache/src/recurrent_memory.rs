//! States as a memory: sequence operations, planning, state.

use quipu_backend::BufferTable;
use quipu_batch::CheckedBatch;

use crate::cells::PosRange;
use crate::{
    Error, KvCache, KvPart, Memory, MemoryKey, MemoryPlan, Pos, RecurrentMemory, SeqId, SeqPositions,
    StateRead, StateWrite, recurrent_state,
};

impl SeqPositions for RecurrentMemory {
    fn seq_pos_min(&self, seq_id: SeqId) -> Pos {
        self.cells.seq_pos_min(seq_id)
    }

    fn seq_pos_max(&self, seq_id: SeqId) -> Pos {
        self.cells.seq_pos_max(seq_id)
    }
}

impl Memory for RecurrentMemory {
    fn clear(&mut self) {
        self.cells.clear();
    }

    fn seq_rm(&mut self, seq_id: SeqId, p0: Pos, p1: Pos) -> Result<bool, Error> {
        Ok(self.cells.seq_rm(seq_id, PosRange::new(p0, p1)))
    }

    /// All of the sequence, whatever the range: a state cannot be divided.
    fn seq_cp(&mut self, src: SeqId, dst: SeqId, _: Pos, _: Pos) -> Result<(), Error> {
        self.check_seq(src)?;
        self.check_seq(dst)?;
        self.cells.seq_cp(src, dst);
        Ok(())
    }

    fn seq_keep(&mut self, seq_id: SeqId) -> Result<(), Error> {
        self.check_seq(seq_id)?;
        self.cells.seq_keep(seq_id);
        Ok(())
    }

    fn seq_add(&mut self, seq_id: SeqId, p0: Pos, p1: Pos, delta: Pos) -> Result<(), Error> {
        self.check_seq(seq_id)?;
        let range = PosRange::new(p0, p1);
        if let Some(pos) = self.cells.pos_mut(seq_id, range) {
            *pos = pos.checked_add(delta).ok_or(Error::Shift { seq_id, pos_max: *pos, delta })?;
        }
        Ok(())
    }

    fn seq_div(&mut self, seq_id: SeqId, p0: Pos, p1: Pos, divisor: i32) -> Result<(), Error> {
        self.check_seq(seq_id)?;
        if divisor <= 0 {
            return Err(Error::Divisor { seq_id, divisor });
        }
        if let Some(pos) = self.cells.pos_mut(seq_id, PosRange::new(p0, p1)) {
            *pos /= divisor;
        }
        Ok(())
    }

    fn can_shift(&self) -> bool {
        true
    }

    fn n_cells(&self) -> usize {
        self.cells.len()
    }

    fn n_used(&self) -> usize {
        self.cells.n_used()
    }

    fn plan(
        &mut self,
        batch: &mut CheckedBatch,
        n_ubatch: usize,
        plan: &mut MemoryPlan,
    ) -> Result<(), Error> {
        self.split(batch, n_ubatch, true, plan)?;
        let prepared = self.prepare(plan);
        if prepared.is_err() {
            plan.clear();
        }
        prepared
    }

    fn apply(&mut self, plan: &mut MemoryPlan) -> bool {
        let Some(k) = plan.advance() else { return false };
        self.apply_ubatch(plan, k);
        true
    }

    fn roll_back(&mut self, plan: &mut MemoryPlan) {
        self.unapply(plan);
        plan.rewind();
    }

    fn key(&self, plan: &MemoryPlan) -> MemoryKey {
        MemoryKey { recurrent: self.recurrent_key(plan), ..MemoryKey::default() }
    }

    fn kv(&self, _: KvPart) -> Option<&KvCache> {
        None
    }

    fn recurrent(&self) -> Option<&RecurrentMemory> {
        Some(self)
    }

    fn has_update(&self) -> bool {
        false
    }

    fn updated(&mut self) {}

    fn state_write(
        &self,
        buffers: &BufferTable,
        seq_id: Option<SeqId>,
        io: &mut dyn StateWrite,
    ) -> Result<(), Error> {
        seq_id.map_or(Ok(()), |seq_id| self.check_seq(seq_id))?;
        recurrent_state::write(self, buffers, seq_id, io)
    }

    fn state_read(
        &mut self,
        buffers: &mut BufferTable,
        seq_id: Option<SeqId>,
        io: &mut dyn StateRead,
    ) -> Result<(), Error> {
        seq_id.map_or(Ok(()), |seq_id| self.check_seq(seq_id))?;
        let staged = recurrent_state::stage(self, seq_id, io)?;
        recurrent_state::commit(self, buffers, &staged, io)
    }
}
