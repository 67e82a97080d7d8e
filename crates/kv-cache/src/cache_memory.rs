//! A cache as a memory: sequence operations, planning, state.

use quipu_backend::BufferTable;
use quipu_batch::CheckedBatch;

use crate::cells::PosRange;
use crate::slot::Stream;
use crate::{
    Error, KvCache, KvPart, Memory, MemoryKey, MemoryPlan, Pos, SeqId, SeqPositions, StateRead, StateWrite,
    cache_state,
};

impl SeqPositions for KvCache {
    fn seq_pos_min(&self, seq_id: SeqId) -> Pos {
        self.stream_of(seq_id).map_or(-1, |stream| stream.cells.seq_pos_min(seq_id))
    }

    fn seq_pos_max(&self, seq_id: SeqId) -> Pos {
        self.stream_of(seq_id).map_or(-1, |stream| stream.cells.seq_pos_max(seq_id))
    }
}

impl Memory for KvCache {
    fn clear(&mut self) {
        for stream in self.streams.iter_mut() {
            stream.cells.reset();
            stream.head = 0;
        }
        // Nothing of what would be copied is there any more.
        self.copies.clear();
    }

    fn seq_rm(&mut self, seq_id: SeqId, p0: Pos, p1: Pos) -> Result<bool, Error> {
        let range = PosRange::new(p0, p1);
        if seq_id == -1 {
            self.streams.iter_mut().for_each(|stream| stream.rm(range));
        } else {
            self.stream_mut(seq_id)?.seq_rm(seq_id, range);
        }
        Ok(true)
    }

    fn seq_cp(&mut self, src: SeqId, dst: SeqId, p0: Pos, p1: Pos) -> Result<(), Error> {
        let range = PosRange::new(p0, p1);
        let (from, to) = (self.check_seq(src)?, self.check_seq(dst)?);
        if from == to {
            self.streams.get_mut(from).seq_cp(src, dst, range);
            return Ok(());
        }
        // Only whole streams are copied; an end close to that of the cache counts as one, as in the reference.
        let n_cells = self.n_cells() as i64;
        if [p0, p1].into_iter().any(|p| p > 0 && i64::from(p) + 1 < n_cells) {
            return Err(Error::PartialCopy { src, dst, p0, p1 });
        }
        if let Some((from, to)) = self.streams.pair_mut(from, to) {
            to.cells.copy_seq(&from.cells, src, dst);
            to.head = from.head;
        }
        self.copies.push((from, to));
        Ok(())
    }

    /// In caches with several streams, those of other sequences stay as they are, as in the reference.
    fn seq_keep(&mut self, seq_id: SeqId) -> Result<(), Error> {
        self.stream_mut(seq_id)?.seq_keep(seq_id);
        Ok(())
    }

    fn seq_add(&mut self, seq_id: SeqId, p0: Pos, p1: Pos, delta: Pos) -> Result<(), Error> {
        self.check_one_pos("seq_add")?;
        let range = PosRange::new(p0, p1);
        let pos_max = self.stream_mut(seq_id)?.cells.seq_pos_max(seq_id);
        if delta == 0 || range.is_empty() {
            return Ok(());
        }
        if i64::from(pos_max) + i64::from(delta) > i64::from(Pos::MAX) {
            return Err(Error::Shift { seq_id, pos_max, delta });
        }
        self.stream_mut(seq_id)?.seq_add(seq_id, range, delta);
        Ok(())
    }

    fn seq_div(&mut self, seq_id: SeqId, p0: Pos, p1: Pos, divisor: i32) -> Result<(), Error> {
        self.check_one_pos("seq_div")?;
        let range = PosRange::new(p0, p1);
        let stream = self.stream_mut(seq_id)?;
        if divisor <= 0 {
            return Err(Error::Divisor { seq_id, divisor });
        }
        if divisor != 1 && !range.is_empty() {
            stream.seq_div(seq_id, range, divisor);
        }
        Ok(())
    }

    fn can_shift(&self) -> bool {
        self.n_pos == 1
    }

    fn n_cells(&self) -> usize {
        self.n_cells() * self.n_stream()
    }

    fn plan(
        &mut self,
        batch: &mut CheckedBatch,
        n_ubatch: usize,
        plan: &mut MemoryPlan,
    ) -> Result<(), Error> {
        plan.split_for_streams(batch, n_ubatch, self.n_stream() > 1)?;
        let (ubatches, slots, _) = plan.parts();
        let prepared = self.prepare(ubatches, slots);
        if prepared.is_err() {
            plan.clear();
        }
        prepared
    }

    fn apply(&mut self, plan: &mut MemoryPlan) -> bool {
        let Some(k) = plan.advance() else { return false };
        let (ubatches, slots, _) = plan.parts();
        self.apply_ubatch(slots, k, &ubatches[k]);
        true
    }

    fn roll_back(&mut self, plan: &mut MemoryPlan) {
        let (_, slots, _) = plan.parts();
        self.streams.unapply(slots);
        plan.rewind();
    }

    fn key(&self, plan: &MemoryPlan) -> MemoryKey {
        let Some(ubatch) = plan.ubatch() else { return MemoryKey::default() };
        let (stream, n_stream) = self.streams_of(ubatch);
        MemoryKey { n_kv: self.n_kv(ubatch), stream, n_stream, ..MemoryKey::default() }
    }

    fn kv(&self, part: KvPart) -> Option<&KvCache> {
        (part == KvPart::Full).then_some(self)
    }

    fn has_update(&self) -> bool {
        self.has_shift() || !self.copies.is_empty()
    }

    fn copy_pending(&mut self, buffers: &mut BufferTable) -> Result<(), Error> {
        self.copy_streams(buffers)
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
        seq_id.map_or(Ok(0), |seq_id| self.check_seq(seq_id))?;
        cache_state::write(self, buffers, seq_id, io)
    }

    fn state_read(
        &mut self,
        buffers: &mut BufferTable,
        seq_id: Option<SeqId>,
        io: &mut dyn StateRead,
    ) -> Result<(), Error> {
        seq_id.map_or(Ok(0), |seq_id| self.check_seq(seq_id))?;
        let staged = cache_state::stage(self, seq_id, io)?;
        cache_state::commit(self, buffers, &staged, io)
    }
}

impl KvCache {
    /// The stream of a sequence; an error if the cache has no room for such a sequence.
    pub(crate) fn check_seq(&self, seq_id: SeqId) -> Result<usize, Error> {
        let n_seq = self.streams.n_seq();
        if usize::try_from(seq_id).is_ok_and(|s| s < n_seq) {
            return Ok(self.streams.of_seq(seq_id));
        }
        Err(Error::SeqId { seq_id, n_seq })
    }

    fn stream_of(&self, seq_id: SeqId) -> Option<&Stream> {
        self.check_seq(seq_id).ok().map(|stream| self.streams.get(stream))
    }

    fn stream_mut(&mut self, seq_id: SeqId) -> Result<&mut Stream, Error> {
        let stream = self.check_seq(seq_id)?;
        Ok(self.streams.get_mut(stream))
    }

    /// Positions in images are not moved.
    fn check_one_pos(&self, what: &'static str) -> Result<(), Error> {
        if self.n_pos == 1 { Ok(()) } else { Err(Error::SeveralPositions { what, n_pos: self.n_pos }) }
    }
}
