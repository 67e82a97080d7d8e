//! Caches for the layers that attend, states for those that are recurrent.

use quipu_backend::{BufferTable, BufferType};
use quipu_batch::CheckedBatch;

use crate::{
    Error, KvCache, KvParams, KvPart, Memory, MemoryKey, MemoryPlan, Pos, RecurrentMemory, RecurrentParams,
    SeqId, SeqPositions, StateRead, StateWrite, WindowedKvParams, cache_state, recurrent_state,
};

/// What the attention of a hybrid model remembers in.
#[derive(Clone, Debug)]
pub enum HybridKvParams {
    /// One cache.
    One(KvParams),
    /// A pair, as some layers have windows.
    Pair(WindowedKvParams),
}

/// A memory of both kinds, which hold the same sequences. Answers to `llama_memory_hybrid` and `llama_memory_hybrid_iswa`.
#[derive(Debug)]
pub struct HybridMemory {
    full: KvCache,
    window: Option<KvCache>,
    recurrent: RecurrentMemory,
}

impl HybridMemory {
    /// Allocates caches and states, with layer `il` in memory of type `memory(il)`. Errors as [`KvCache::new_in`] and
    /// [`RecurrentMemory::new_in`].
    pub fn new_in<'a>(
        attention: &HybridKvParams,
        recurrent: &RecurrentParams,
        memory: &dyn Fn(usize) -> &'a dyn BufferType,
        buffers: &mut BufferTable,
    ) -> Result<HybridMemory, Error> {
        let (full, window) = match attention {
            HybridKvParams::One(params) => (KvCache::new_in(params, memory, buffers)?, None),
            HybridKvParams::Pair(params) => {
                let [full, window] = params.parts();
                let full = KvCache::new_in(&full, memory, buffers)?;
                (full, Some(KvCache::new_in(&window, memory, buffers)?))
            }
        };
        Ok(HybridMemory { full, window, recurrent: RecurrentMemory::new_in(recurrent, memory, buffers)? })
    }

    fn caches(&mut self) -> impl Iterator<Item = &mut KvCache> {
        std::iter::once(&mut self.full).chain(&mut self.window)
    }

    /// The cache whose positions count: what windows have lost nobody can continue from.
    fn last_cache(&self) -> &KvCache {
        self.window.as_ref().unwrap_or(&self.full)
    }

    /// Finds places everywhere for the ubatches of a plan.
    fn prepare(&mut self, plan: &mut MemoryPlan) -> Result<(), Error> {
        self.recurrent.prepare(plan)?;
        let (ubatches, full, windowed) = plan.parts();
        self.full.prepare(ubatches, full)?;
        self.window.as_mut().map_or(Ok(()), |window| window.prepare(ubatches, windowed))
    }

    /// Forgets a sequence, or all of them.
    fn forget(&mut self, seq_id: Option<SeqId>) -> Result<(), Error> {
        match seq_id {
            Some(seq_id) => _ = self.seq_rm(seq_id, -1, -1)?,
            None => self.clear(),
        }
        Ok(())
    }
}

/// What both kinds have: a sequence goes on only where all layers remember it.
impl SeqPositions for HybridMemory {
    fn seq_pos_min(&self, seq_id: SeqId) -> Pos {
        self.last_cache().seq_pos_min(seq_id).max(self.recurrent.seq_pos_min(seq_id))
    }

    fn seq_pos_max(&self, seq_id: SeqId) -> Pos {
        self.last_cache().seq_pos_max(seq_id).min(self.recurrent.seq_pos_max(seq_id))
    }
}

impl Memory for HybridMemory {
    fn clear(&mut self) {
        self.caches().for_each(Memory::clear);
        self.recurrent.clear();
    }

    /// States first, which may be unable to; nothing has changed then.
    fn seq_rm(&mut self, seq_id: SeqId, p0: Pos, p1: Pos) -> Result<bool, Error> {
        if !self.recurrent.seq_rm(seq_id, p0, p1)? {
            return Ok(false);
        }
        let mut all = true;
        for cache in self.caches() {
            all &= cache.seq_rm(seq_id, p0, p1)?;
        }
        Ok(all)
    }

    fn seq_cp(&mut self, src: SeqId, dst: SeqId, p0: Pos, p1: Pos) -> Result<(), Error> {
        self.recurrent.check_seq(src)?;
        self.recurrent.check_seq(dst)?;
        self.caches().try_for_each(|cache| cache.seq_cp(src, dst, p0, p1))?;
        self.recurrent.seq_cp(src, dst, p0, p1)
    }

    fn seq_keep(&mut self, seq_id: SeqId) -> Result<(), Error> {
        self.recurrent.check_seq(seq_id)?;
        self.caches().try_for_each(|cache| cache.seq_keep(seq_id))?;
        self.recurrent.seq_keep(seq_id)
    }

    fn seq_add(&mut self, seq_id: SeqId, p0: Pos, p1: Pos, delta: Pos) -> Result<(), Error> {
        self.recurrent.check_seq(seq_id)?;
        self.caches().try_for_each(|cache| cache.seq_add(seq_id, p0, p1, delta))?;
        self.recurrent.seq_add(seq_id, p0, p1, delta)
    }

    fn seq_div(&mut self, seq_id: SeqId, p0: Pos, p1: Pos, divisor: i32) -> Result<(), Error> {
        self.recurrent.check_seq(seq_id)?;
        self.caches().try_for_each(|cache| cache.seq_div(seq_id, p0, p1, divisor))?;
        self.recurrent.seq_div(seq_id, p0, p1, divisor)
    }

    fn can_shift(&self) -> bool {
        let same_size = self.last_cache().n_cells() == self.full.n_cells();
        same_size && self.full.can_shift() && self.last_cache().can_shift()
    }

    fn n_cells(&self) -> usize {
        Memory::n_cells(&self.full)
    }

    fn plan(
        &mut self,
        batch: &mut CheckedBatch,
        n_ubatch: usize,
        plan: &mut MemoryPlan,
    ) -> Result<(), Error> {
        self.recurrent.split(batch, n_ubatch, self.full.n_stream() > 1, plan)?;
        let prepared = self.prepare(plan);
        if prepared.is_err() {
            plan.clear();
        }
        prepared
    }

    fn apply(&mut self, plan: &mut MemoryPlan) -> bool {
        let Some(k) = plan.advance() else { return false };
        let (ubatches, full, windowed) = plan.parts();
        self.full.apply_ubatch(full, k, &ubatches[k]);
        if let Some(window) = &mut self.window {
            window.apply_ubatch(windowed, k, &ubatches[k]);
        }
        self.recurrent.apply_ubatch(plan, k);
        true
    }

    fn roll_back(&mut self, plan: &mut MemoryPlan) {
        let (_, full, windowed) = plan.parts();
        self.full.streams.unapply(full);
        if let Some(window) = &mut self.window {
            window.streams.unapply(windowed);
        }
        for seq_id in self.recurrent.unapply(plan).iter() {
            // Known to both kinds, as it was in a batch.
            self.caches().for_each(|cache| _ = cache.seq_rm(seq_id, -1, -1));
        }
        plan.rewind();
    }

    fn key(&self, plan: &MemoryPlan) -> MemoryKey {
        let windowed = |cache: &KvCache| plan.ubatch().map_or(0, |ubatch| cache.n_kv(ubatch));
        let n_kv_window = self.window.as_ref().map_or(0, windowed);
        MemoryKey { n_kv_window, recurrent: self.recurrent.recurrent_key(plan), ..self.full.key(plan) }
    }

    fn kv(&self, part: KvPart) -> Option<&KvCache> {
        match part {
            KvPart::Full => Some(&self.full),
            KvPart::Window => self.window.as_ref(),
        }
    }

    fn recurrent(&self) -> Option<&RecurrentMemory> {
        Some(&self.recurrent)
    }

    fn has_update(&self) -> bool {
        self.full.has_update() || self.last_cache().has_update()
    }

    fn copy_pending(&mut self, buffers: &mut BufferTable) -> Result<(), Error> {
        self.caches().try_for_each(|cache| cache.copy_streams(buffers))
    }

    fn updated(&mut self) {
        self.caches().for_each(Memory::updated);
    }

    fn state_write(
        &self,
        buffers: &BufferTable,
        seq_id: Option<SeqId>,
        io: &mut dyn StateWrite,
    ) -> Result<(), Error> {
        self.full.state_write(buffers, seq_id, io)?;
        if let Some(window) = &self.window {
            window.state_write(buffers, seq_id, io)?;
        }
        self.recurrent.state_write(buffers, seq_id, io)
    }

    fn state_read(
        &mut self,
        buffers: &mut BufferTable,
        seq_id: Option<SeqId>,
        io: &mut dyn StateRead,
    ) -> Result<(), Error> {
        seq_id.map_or(Ok(()), |seq_id| self.recurrent.check_seq(seq_id))?;
        seq_id.map_or(Ok(0), |seq_id| self.full.check_seq(seq_id))?;
        let full = cache_state::stage(&self.full, seq_id, io)?;
        let window = self.window.as_ref().map(|window| cache_state::stage(window, seq_id, io)).transpose()?;
        let states = recurrent_state::stage(&self.recurrent, seq_id, io)?;
        let mut done = cache_state::commit(&mut self.full, buffers, &full, io);
        if let (Ok(()), Some(cache), Some(staged)) = (&done, &mut self.window, &window) {
            done = cache_state::commit(cache, buffers, staged, io);
        }
        let done = done.and_then(|()| recurrent_state::commit(&mut self.recurrent, buffers, &states, io));
        if done.is_err() {
            self.forget(seq_id)?;
        }
        done
    }
}
