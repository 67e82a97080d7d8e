//! The cache itself: cells, head, and the memory of all layers.

use quipu_backend::{BufferTable, BufferType};
use quipu_batch::Ubatch;
use quipu_graph::{BufferId, DType, Storage};

use crate::slot::{self, SlotPlan};
use crate::{Error, KvCells, KvGraph, MAX_SEQ, Memory, Pos, SeqId, SeqPositions};

/// Attention sees this many cells or a multiple, so that a graph stays valid for many tokens.
const N_KV_PAD: usize = 256;

/// Row lengths of one layer's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayerShape {
    /// Elements of a key row: head size times KV heads.
    pub n_embd_k_gqa: usize,
    /// Elements of a value row.
    pub n_embd_v_gqa: usize,
}

/// What a cache is made from.
#[derive(Clone, Debug)]
pub struct KvParams {
    /// Cells; the context pads this to 256.
    pub n_cells: usize,
    /// Type of the keys: F16 or F32.
    pub type_k: DType,
    /// Type of the values: F16 or F32.
    pub type_v: DType,
    /// One entry per layer.
    pub layers: Vec<KvLayerShape>,
}

/// Where a layer's keys and values live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    pub shape: KvLayerShape,
    buffer: BufferId,
    k_offset: usize,
    v_offset: usize,
}

impl Layer {
    pub(crate) fn k_storage(&self) -> Storage {
        Storage::External { buffer: self.buffer, offset: self.k_offset }
    }

    pub(crate) fn v_storage(&self) -> Storage {
        Storage::External { buffer: self.buffer, offset: self.v_offset }
    }
}

/// A unified KV cache with one stream. Answers to `llama_kv_cache`.
#[derive(Debug)]
pub struct KvCache {
    cells: KvCells,
    head: usize,
    n_bytes: usize,
    pub(crate) layers: Vec<Layer>,
    pub(crate) type_k: DType,
    pub(crate) type_v: DType,
}

impl KvCache {
    /// Allocates one zeroed buffer for all layers and registers it in `buffers`.
    ///
    /// Errors if a type is neither F16 nor F32, if there are no cells or layers, or if the memory is not to
    /// be had.
    pub fn new(
        params: &KvParams,
        buffer_type: &dyn BufferType,
        buffers: &mut BufferTable,
    ) -> Result<KvCache, Error> {
        KvCache::new_in(params, &|_| buffer_type, buffers)
    }

    /// As [`KvCache::new`], with layer `il` in memory of type `memory(il)`: one buffer for each type, told apart by name.
    pub fn new_in<'a>(
        params: &KvParams,
        memory: &dyn Fn(usize) -> &'a dyn BufferType,
        buffers: &mut BufferTable,
    ) -> Result<KvCache, Error> {
        let (n_cells, n_layer) = (params.n_cells, params.layers.len());
        if n_cells == 0 || n_layer == 0 || i32::try_from(n_cells).is_err() {
            return Err(Error::Shape { n_cells, n_layer });
        }
        for dtype in [params.type_k, params.type_v] {
            if !matches!(dtype, DType::F16 | DType::F32) {
                return Err(Error::CacheType(dtype));
            }
        }
        // Type of memory, and bytes of it so far; layers name the place in this list until the buffers are there.
        let mut kinds: Vec<(&dyn BufferType, usize)> = Vec::new();
        let mut layers = Vec::with_capacity(n_layer);
        for (il, shape) in params.layers.iter().enumerate() {
            let buffer_type = memory(il);
            let too_large =
                || Error::TooLarge { n_cells, n_layer, buffer_type: buffer_type.name().to_owned() };
            let kind = kinds.iter().position(|(known, _)| known.name() == buffer_type.name());
            let kind = kind.unwrap_or_else(|| {
                kinds.push((buffer_type, 0));
                kinds.len() - 1
            });
            let end = &mut kinds[kind].1;
            let mut place = |dtype: DType, n_embd_gqa: usize| -> Option<usize> {
                let offset = end.checked_next_multiple_of(buffer_type.alignment())?;
                *end = offset.checked_add(buffer_type.alloc_size(dtype, [n_embd_gqa, n_cells, 1, 1])?)?;
                (*end <= buffer_type.max_size()).then_some(offset)
            };
            let k_offset = place(params.type_k, shape.n_embd_k_gqa).ok_or_else(too_large)?;
            let v_offset = place(params.type_v, shape.n_embd_v_gqa).ok_or_else(too_large)?;
            layers.push(Layer { shape: *shape, buffer: BufferId(kind as u32), k_offset, v_offset });
        }
        let allocated = kinds.iter().map(|(buffer_type, size)| buffer_type.allocate(*size));
        let allocated = allocated.collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<BufferId> = allocated.into_iter().map(|buffer| buffers.add_owned(buffer)).collect();
        for layer in &mut layers {
            layer.buffer = ids[layer.buffer.0 as usize];
        }
        Ok(KvCache {
            cells: KvCells::new(n_cells),
            head: 0,
            n_bytes: kinds.iter().map(|(_, size)| size).sum(),
            layers,
            type_k: params.type_k,
            type_v: params.type_v,
        })
    }

    /// Number of cells (`get_size`).
    pub fn n_cells(&self) -> usize {
        self.cells.len()
    }

    /// Number of layers.
    pub fn n_layer(&self) -> usize {
        self.layers.len()
    }

    /// The bookkeeping, for reading.
    pub fn cells(&self) -> &KvCells {
        &self.cells
    }

    /// Cell at which the next search starts.
    pub fn head(&self) -> usize {
        self.head
    }

    /// Bytes of keys and values (`total_size`).
    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Starts putting this cache into a graph.
    pub fn graph(&self) -> KvGraph<'_> {
        KvGraph::new(self)
    }

    /// Finds cells for all ubatches of a batch, in order, without changing the cache (`prepare`).
    ///
    /// [`Error::NoSlot`] if one does not fit; the plan is then empty.
    pub fn prepare<'a>(
        &mut self,
        ubatches: impl IntoIterator<Item = &'a Ubatch>,
        plan: &mut SlotPlan,
    ) -> Result<(), Error> {
        slot::prepare(&mut self.cells, self.head, ubatches, plan)
    }

    /// Takes the planned cells for a ubatch (`apply_ubatch`).
    pub fn apply_ubatch(&mut self, slot: &[u32], ubatch: &Ubatch) {
        self.head = slot::apply(&mut self.cells, slot, ubatch).unwrap_or(self.head);
    }

    /// Cells that attention must see: up to the last used one, padded to 256 (`get_n_kv`).
    pub fn n_kv(&self) -> usize {
        let padded = self.cells.used_max_p1().next_multiple_of(N_KV_PAD).max(N_KV_PAD);
        padded.min(self.cells.len())
    }

    /// Whether shifts wait to be applied to the keys (`get_has_shift`).
    pub fn has_shift(&self) -> bool {
        self.cells.has_shift()
    }

    /// Forgets pending shifts, after the shift graph ran.
    pub fn reset_shift(&mut self) {
        self.cells.reset_shift();
    }

    pub(crate) fn layer(&self, il: usize) -> Result<&Layer, Error> {
        self.layers.get(il).ok_or(Error::Layer { il, n_layer: self.layers.len() })
    }

    /// Moves the head to a freed cell before it, where a search may succeed sooner.
    fn freed(&mut self, first: Option<usize>) {
        self.head = first.map_or(self.head, |first| first.min(self.head));
        self.cells.settle();
    }
}

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
        let (p0, p1) = range(p0, p1);
        let mut first = None;
        for i in 0..self.cells.len() {
            if !self.cells.pos_in(i, p0, p1) {
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
        let (p0, p1) = range(p0, p1);
        for i in 0..self.cells.len() {
            if self.cells.pos_in(i, p0, p1) && self.cells.seq_has(i, src) {
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
        let (p0, p1) = range(p0, p1);
        if delta == 0 || p0 == p1 {
            return Ok(());
        }
        let pos_max = self.seq_pos_max(seq_id);
        if pos_max.checked_add(delta).is_none() {
            return Err(Error::Shift { seq_id, pos_max, delta });
        }
        let mut first = None;
        for i in 0..self.cells.len() {
            if !self.cells.pos_in(i, p0, p1) || !self.cells.seq_has(i, seq_id) {
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
        let (p0, p1) = range(p0, p1);
        if divisor == 1 || p0 == p1 {
            return Ok(());
        }
        for i in 0..self.cells.len() {
            if self.cells.pos_in(i, p0, p1) && self.cells.seq_has(i, seq_id) {
                self.cells.pos_div(i, divisor);
            }
        }
        self.cells.settle();
        Ok(())
    }

    fn can_shift(&self) -> bool {
        true
    }
}

fn check_seq(seq_id: SeqId) -> Result<(), Error> {
    if seq_id < 0 || seq_id as usize >= MAX_SEQ {
        return Err(Error::SeqId(seq_id));
    }
    Ok(())
}

/// A range with its open ends closed.
fn range(p0: Pos, p1: Pos) -> (Pos, Pos) {
    (p0.max(0), if p1 < 0 { Pos::MAX } else { p1 })
}
