//! The unified cache as a memory: sequence operations, planning, state.

use quipu_backend::BufferTable;
use quipu_batch::CheckedBatch;

use crate::cells::PosRange;
use crate::{
    Error, KvCache, MAX_SEQ, Memory, MemoryKey, MemoryPlan, Pos, SeqId, SeqPositions, StateRead, StateWrite,
    cache_state, slot,
};

impl SeqPositions for KvCache {
    fn seq_pos_min(&self, seq_id: SeqId) -> Pos {
        self.cells.seq_pos_min(seq_id)
    }

    fn seq_pos_max(&self, seq_id: SeqId) -> Pos {
        self.cells.seq_pos_max(seq_id)
    }
}

impl Memory for KvCache {
    fn clear(&mut self) {
        self.cells.reset();
        self.head = 0;
    }

    fn seq_rm(&mut self, seq_id: SeqId, p0: Pos, p1: Pos) -> Result<bool, Error> {
        if seq_id != -1 {
            check_seq(seq_id)?;
        }
        let range = PosRange::new(p0, p1);
        let mut first = None;
        for i in 0..self.cells.len() {
            if !self.cells.pos_in(i, range) {
                continue;
            }
            let freed = if seq_id < 0 {
                self.cells.rm(i);
                true
            } else {
                self.cells.seq_has(i, seq_id) && self.cells.seq_rm(i, seq_id)
            };
            if freed && first.is_none() {
                first = Some(i);
            }
        }
        self.freed(first);
        Ok(true)
    }

    fn seq_cp(&mut self, src: SeqId, dst: SeqId, p0: Pos, p1: Pos) -> Result<(), Error> {
        check_seq(src)?;
        check_seq(dst)?;
        let range = PosRange::new(p0, p1);
        for i in 0..self.cells.len() {
            if self.cells.pos_in(i, range) && self.cells.seq_has(i, src) {
                self.cells.seq_add(i, dst);
            }
        }
        Ok(())
    }

    fn seq_keep(&mut self, seq_id: SeqId) -> Result<(), Error> {
        check_seq(seq_id)?;
        let mut first = None;
        for i in 0..self.cells.len() {
            if self.cells.seq_keep(i, seq_id) && first.is_none() {
                first = Some(i);
            }
        }
        self.freed(first);
        Ok(())
    }

    fn seq_add(&mut self, seq_id: SeqId, p0: Pos, p1: Pos, delta: Pos) -> Result<(), Error> {
        check_seq(seq_id)?;
        let range = PosRange::new(p0, p1);
        if delta == 0 || range.is_empty() {
            return Ok(());
        }
        let pos_max = self.seq_pos_max(seq_id);
        if i64::from(pos_max) + i64::from(delta) > i64::from(Pos::MAX) {
            return Err(Error::Shift { seq_id, pos_max, delta });
        }
        let mut first = None;
        for i in 0..self.cells.len() {
            if !self.cells.pos_in(i, range) || !self.cells.seq_has(i, seq_id) {
                continue;
            }
            if self.cells.pos_add(i, delta) && first.is_none() {
                first = Some(i);
            }
        }
        // Without a freed cell the next search starts from the beginning.
        self.head = first.unwrap_or(0);
        self.cells.settle();
        Ok(())
    }

    fn seq_div(&mut self, seq_id: SeqId, p0: Pos, p1: Pos, divisor: i32) -> Result<(), Error> {
        check_seq(seq_id)?;
        if divisor <= 0 {
            return Err(Error::Divisor { seq_id, divisor });
        }
        let range = PosRange::new(p0, p1);
        if divisor == 1 || range.is_empty() {
            return Ok(());
        }
        for i in 0..self.cells.len() {
            if self.cells.pos_in(i, range) && self.cells.seq_has(i, seq_id) {
                self.cells.pos_div(i, divisor);
            }
        }
        self.cells.settle();
        Ok(())
    }

    fn can_shift(&self) -> bool {
        true
    }

    fn plan(
        &mut self,
        batch: &mut CheckedBatch,
        n_ubatch: usize,
        plan: &mut MemoryPlan,
    ) -> Result<(), Error> {
        // One stream: any tokens may go together, so they go in their order.
        if !plan.split(batch, |batch, ubatch| batch.split_simple(n_ubatch, ubatch)) {
            let (n_used, n_tokens) = (batch.n_used(), batch.n_tokens());
            plan.clear();
            return Err(Error::Split { n_used, n_tokens });
        }
        let (ubatches, slots) = plan.parts();
        let prepared = self.prepare(ubatches, slots);
        if prepared.is_err() {
            plan.clear();
        }
        prepared
    }

    fn apply(&mut self, plan: &mut MemoryPlan) -> bool {
        if !plan.advance() {
            return false;
        }
        if let Some(ubatch) = plan.ubatch() {
            self.apply_ubatch(plan.slot(), ubatch);
        }
        true
    }

    fn roll_back(&mut self, plan: &mut MemoryPlan) {
        self.head = slot::unapply(&mut self.cells, &plan.slots, plan.n_applied()).unwrap_or(self.head);
        plan.rewind();
    }

    fn key(&self) -> MemoryKey {
        MemoryKey { n_kv: self.n_kv() }
    }

    fn kv(&self) -> Option<&KvCache> {
        Some(self)
    }

    fn has_update(&self) -> bool {
        self.has_shift()
    }

    fn updated(&mut self) {
        self.reset_shift();
    }

    fn state_write(
        &self,
        buffers: &BufferTable,
        seq_id: Option<SeqId>,
        io: &mut dyn StateWrite,
    ) -> Result<(), Error> {
        seq_id.map_or(Ok(()), check_seq)?;
        cache_state::write(self, buffers, seq_id, io)
    }

    fn state_read(
        &mut self,
        buffers: &mut BufferTable,
        seq_id: Option<SeqId>,
        io: &mut dyn StateRead,
    ) -> Result<(), Error> {
        seq_id.map_or(Ok(()), check_seq)?;
        cache_state::read(self, buffers, seq_id, io)
    }
}

fn check_seq(seq_id: SeqId) -> Result<(), Error> {
    if seq_id < 0 || seq_id as usize >= MAX_SEQ {
        return Err(Error::SeqId(seq_id));
    }
    Ok(())
}
