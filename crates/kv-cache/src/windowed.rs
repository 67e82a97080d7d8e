//! Two caches: one for layers that see everything, one for layers with windows, which needs few cells.

use quipu_backend::{BufferTable, BufferType};
use quipu_batch::CheckedBatch;

use crate::{
    Error, KvCache, KvLayerShape, KvParams, KvPart, Memory, MemoryKey, MemoryPlan, Pos, SeqId, SeqPositions,
    StateRead, StateWrite, Window, cache_state,
};

/// Cells of the windows' cache are a multiple of this.
const N_CELLS_PAD: usize = 256;

/// What a pair of caches is made from.
#[derive(Clone, Debug)]
pub struct WindowedKvParams {
    /// The cache of layers that see everything. `layers` has all layers, `window` is none.
    pub full: KvParams,
    /// The window of the others.
    pub window: Window,
    /// Which layers see only the window.
    pub windowed: Vec<bool>,
    /// Most tokens of a ubatch.
    pub n_ubatch: usize,
    /// The windows' cache has as many cells as the other one, so that positions can be taken back (`swa_full`).
    pub all_cells: bool,
}

impl WindowedKvParams {
    /// Parameters of both caches: that of full layers, that of windows.
    pub fn parts(&self) -> [KvParams; 2] {
        let only = |windowed: bool| {
            let of_layer = |(il, shape): (usize, &KvLayerShape)| {
                let is_windowed = self.windowed.get(il).copied().unwrap_or(false);
                if is_windowed == windowed { *shape } else { KvLayerShape::NONE }
            };
            self.full.layers.iter().enumerate().map(of_layer).collect::<Vec<_>>()
        };
        // Sequences that share the cells may each be at another place.
        let n_windows = if self.full.unified { self.full.n_seq_max } else { 1 };
        let n_cells = self.window.n_swa.saturating_mul(n_windows).saturating_add(self.n_ubatch);
        let n_cells = n_cells.min(self.full.n_cells).next_multiple_of(N_CELLS_PAD);
        let n_cells = if self.all_cells { self.full.n_cells } else { n_cells };
        let full = KvParams { window: None, layers: only(false), ..self.full.clone() };
        let window = KvParams { window: Some(self.window), n_cells, layers: only(true), ..self.full.clone() };
        [full, window]
    }
}

/// A pair of caches that hold the same tokens, as long as windows see them. Answers to `llama_kv_cache_iswa`.
#[derive(Debug)]
pub struct WindowedKvCache {
    full: KvCache,
    window: KvCache,
}

impl WindowedKvCache {
    /// Allocates both caches, with layer `il` in memory of type `memory(il)`. Errors as [`KvCache::new_in`].
    pub fn new_in<'a>(
        params: &WindowedKvParams,
        memory: &dyn Fn(usize) -> &'a dyn BufferType,
        buffers: &mut BufferTable,
    ) -> Result<WindowedKvCache, Error> {
        let [full, window] = params.parts();
        let full = KvCache::new_in(&full, memory, buffers)?;
        let window = KvCache::new_in(&window, memory, buffers)?;
        Ok(WindowedKvCache { full, window })
    }

    fn caches(&mut self) -> [&mut KvCache; 2] {
        [&mut self.full, &mut self.window]
    }

    /// Finds cells in both caches for the ubatches of a plan.
    fn prepare(&mut self, plan: &mut MemoryPlan) -> Result<(), Error> {
        let (ubatches, full, window) = plan.parts();
        self.full.prepare(ubatches, full)?;
        self.window.prepare(ubatches, window)
    }
}

/// The windows' cache answers: what it has lost the other one still has, but nobody can continue from there.
impl SeqPositions for WindowedKvCache {
    fn seq_pos_min(&self, seq_id: SeqId) -> Pos {
        self.window.seq_pos_min(seq_id)
    }

    fn seq_pos_max(&self, seq_id: SeqId) -> Pos {
        self.window.seq_pos_max(seq_id)
    }
}

impl Memory for WindowedKvCache {
    fn clear(&mut self) {
        self.caches().into_iter().for_each(Memory::clear);
    }

    fn seq_rm(&mut self, seq_id: SeqId, p0: Pos, p1: Pos) -> Result<bool, Error> {
        Ok(self.full.seq_rm(seq_id, p0, p1)? & self.window.seq_rm(seq_id, p0, p1)?)
    }

    fn seq_cp(&mut self, src: SeqId, dst: SeqId, p0: Pos, p1: Pos) -> Result<(), Error> {
        // The longer cache first: where it copies, the other one does too.
        self.full.seq_cp(src, dst, p0, p1)?;
        self.window.seq_cp(src, dst, p0, p1)
    }

    fn seq_keep(&mut self, seq_id: SeqId) -> Result<(), Error> {
        self.caches().into_iter().try_for_each(|cache| cache.seq_keep(seq_id))
    }

    fn seq_add(&mut self, seq_id: SeqId, p0: Pos, p1: Pos, delta: Pos) -> Result<(), Error> {
        self.caches().into_iter().try_for_each(|cache| cache.seq_add(seq_id, p0, p1, delta))
    }

    fn seq_div(&mut self, seq_id: SeqId, p0: Pos, p1: Pos, divisor: i32) -> Result<(), Error> {
        self.caches().into_iter().try_for_each(|cache| cache.seq_div(seq_id, p0, p1, divisor))
    }

    fn can_shift(&self) -> bool {
        let same_size = self.full.n_cells() == self.window.n_cells();
        same_size && self.full.can_shift() && self.window.can_shift()
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
        let streams = self.full.n_stream() > 1;
        plan.split_for_streams(batch, n_ubatch, streams)?;
        let mut prepared = self.prepare(plan);
        if prepared.is_err() && !streams {
            // Sequences side by side need fewer cells at once.
            plan.split_or_fail(batch, |batch, ubatch| batch.split_equal(n_ubatch, false, 0, ubatch))?;
            prepared = self.prepare(plan);
        }
        if prepared.is_err() {
            plan.clear();
        }
        prepared
    }

    fn apply(&mut self, plan: &mut MemoryPlan) -> bool {
        let Some(k) = plan.advance() else { return false };
        let (ubatches, full, window) = plan.parts();
        self.full.apply_ubatch(full, k, &ubatches[k]);
        self.window.apply_ubatch(window, k, &ubatches[k]);
        true
    }

    fn roll_back(&mut self, plan: &mut MemoryPlan) {
        let (_, full, window) = plan.parts();
        self.full.streams.unapply(full);
        self.window.streams.unapply(window);
        plan.rewind();
    }

    fn key(&self, plan: &MemoryPlan) -> MemoryKey {
        let n_kv_window = plan.ubatch().map_or(0, |ubatch| self.window.n_kv(ubatch));
        MemoryKey { n_kv_window, ..self.full.key(plan) }
    }

    fn kv(&self, part: KvPart) -> Option<&KvCache> {
        Some(match part {
            KvPart::Full => &self.full,
            KvPart::Window => &self.window,
        })
    }

    fn has_update(&self) -> bool {
        self.full.has_update() || self.window.has_update()
    }

    fn copy_pending(&mut self, buffers: &mut BufferTable) -> Result<(), Error> {
        self.caches().into_iter().try_for_each(|cache| cache.copy_streams(buffers))
    }

    fn updated(&mut self) {
        self.caches().into_iter().for_each(Memory::updated);
    }

    fn state_write(
        &self,
        buffers: &BufferTable,
        seq_id: Option<SeqId>,
        io: &mut dyn StateWrite,
    ) -> Result<(), Error> {
        self.full.state_write(buffers, seq_id, io)?;
        self.window.state_write(buffers, seq_id, io)
    }

    fn state_write_partial(
        &self,
        buffers: &BufferTable,
        seq_id: SeqId,
        io: &mut dyn StateWrite,
    ) -> Result<(), Error> {
        self.window.state_write(buffers, Some(seq_id), io)
    }

    fn state_read_partial(
        &mut self,
        buffers: &mut BufferTable,
        seq_id: SeqId,
        io: &mut dyn StateRead,
    ) -> Result<(), Error> {
        self.window.state_read(buffers, Some(seq_id), io)
    }

    fn state_read(
        &mut self,
        buffers: &mut BufferTable,
        seq_id: Option<SeqId>,
        io: &mut dyn StateRead,
    ) -> Result<(), Error> {
        seq_id.map_or(Ok(0), |seq_id| self.full.check_seq(seq_id))?;
        let full = cache_state::stage(&self.full, seq_id, io)?;
        let window = cache_state::stage(&self.window, seq_id, io)?;
        cache_state::commit(&mut self.full, buffers, &full, io)?;
        let done = cache_state::commit(&mut self.window, buffers, &window, io);
        if done.is_err() {
            match seq_id {
                Some(seq_id) => _ = self.full.seq_rm(seq_id, -1, -1)?,
                None => self.full.clear(),
            }
        }
        done
    }
}
