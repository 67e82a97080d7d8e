//! The cache itself: cells, head, and the memory of all layers.

use quipu_backend::{BufferTable, BufferType};
use quipu_batch::Ubatch;
use quipu_graph::{BufferId, DType, Storage};

use crate::slot::{self, SlotPlan};
use crate::{Error, KvCells, Pos, SeqId, SeqSet};

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
    /// Sequences of the context: a whole state with other numbers is refused.
    pub n_seq_max: usize,
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

/// Rows of one kind of one layer: cell `i` has `row_bytes` bytes from `offset + i * row_bytes` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub dtype: DType,
    pub row_bytes: usize,
    pub buffer: BufferId,
    pub offset: usize,
}

impl Layer {
    pub(crate) fn k_storage(&self) -> Storage {
        Storage::External { buffer: self.buffer, offset: self.k_offset }
    }

    pub(crate) fn v_storage(&self) -> Storage {
        Storage::External { buffer: self.buffer, offset: self.v_offset }
    }

    pub(crate) fn k_rows(&self, dtype: DType) -> Rows {
        self.rows(dtype, self.shape.n_embd_k_gqa, self.k_offset)
    }

    pub(crate) fn v_rows(&self, dtype: DType) -> Rows {
        self.rows(dtype, self.shape.n_embd_v_gqa, self.v_offset)
    }

    fn rows(&self, dtype: DType, n_embd_gqa: usize, offset: usize) -> Rows {
        // Laid out by these very sizes, so they exist.
        let row_bytes = dtype.row_bytes(n_embd_gqa).unwrap_or(0);
        Rows { dtype, row_bytes, buffer: self.buffer, offset }
    }
}

/// Where everything goes, before there is memory for it.
struct Layout<'a> {
    /// Types of memory, and bytes of each.
    kinds: Vec<(&'a dyn BufferType, usize)>,
    /// The buffer of a layer is its place in `kinds`.
    layers: Vec<Layer>,
}

impl KvParams {
    /// Bytes of keys and values, with layer `il` in memory of type `memory(il)`: what [`KvCache::n_bytes`] says of such a cache, without
    /// making one.
    ///
    /// Errors as [`KvCache::new`], but for memory that is not to be had.
    pub fn n_bytes<'a>(&self, memory: &dyn Fn(usize) -> &'a dyn BufferType) -> Result<usize, Error> {
        Ok(self.layout(memory)?.n_bytes())
    }

    fn layout<'a>(&self, memory: &dyn Fn(usize) -> &'a dyn BufferType) -> Result<Layout<'a>, Error> {
        let (n_cells, n_layer) = (self.n_cells, self.layers.len());
        if n_cells == 0 || n_layer == 0 || i32::try_from(n_cells).is_err() {
            return Err(Error::Shape { n_cells, n_layer });
        }
        for dtype in [self.type_k, self.type_v] {
            if !matches!(dtype, DType::F16 | DType::F32) {
                return Err(Error::CacheType(dtype));
            }
        }
        let mut kinds: Vec<(&dyn BufferType, usize)> = Vec::new();
        let mut layers = Vec::with_capacity(n_layer);
        for (il, shape) in self.layers.iter().enumerate() {
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
            let k_offset = place(self.type_k, shape.n_embd_k_gqa).ok_or_else(too_large)?;
            let v_offset = place(self.type_v, shape.n_embd_v_gqa).ok_or_else(too_large)?;
            layers.push(Layer { shape: *shape, buffer: BufferId(kind as u32), k_offset, v_offset });
        }
        Ok(Layout { kinds, layers })
    }
}

impl Layout<'_> {
    /// Saturates where several kinds of memory together exceed an address space.
    fn n_bytes(&self) -> usize {
        self.kinds.iter().fold(0, |sum, (_, size)| sum.saturating_add(*size))
    }
}

/// A unified KV cache with one stream. Answers to `llama_kv_cache`.
#[derive(Debug)]
pub struct KvCache {
    pub(crate) cells: KvCells,
    pub(crate) head: usize,
    pub(crate) n_seq_max: usize,
    n_bytes: usize,
    pub(crate) layers: Vec<Layer>,
    pub(crate) type_k: DType,
    pub(crate) type_v: DType,
}

impl KvCache {
    /// Allocates one zeroed buffer for all layers and registers it in `buffers`.
    ///
    /// Errors if a type is neither F16 nor F32, if there are no cells or layers, or if the memory for the cells
    /// or their bookkeeping is not to be had.
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
        let layout = params.layout(memory)?;
        // The bookkeeping first: it is what an absurd number of cells fails on without harm.
        let cells = KvCells::new(params.n_cells)?;
        let n_bytes = layout.n_bytes();
        let Layout { kinds, mut layers } = layout;
        let allocated = kinds.iter().map(|(buffer_type, size)| buffer_type.allocate(*size));
        let allocated = allocated.collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<BufferId> = allocated.into_iter().map(|buffer| buffers.add_owned(buffer)).collect();
        for layer in &mut layers {
            layer.buffer = ids[layer.buffer.0 as usize];
        }
        let KvParams { n_seq_max, type_k, type_v, .. } = *params;
        Ok(KvCache { cells, head: 0, n_seq_max, n_bytes, layers, type_k, type_v })
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

    /// Cells that become free when a sequence, or everything, is removed.
    pub(crate) fn n_replaced(&self, seq_id: Option<SeqId>) -> usize {
        let Some(seq_id) = seq_id else { return self.cells.n_used() };
        let only: SeqSet = std::iter::once(seq_id).collect();
        (0..self.cells.len()).filter(|i| self.cells.seqs(*i) == only).count()
    }

    /// Puts cells that were read into free places; the head goes behind them if `move_head`.
    pub(crate) fn place(&mut self, slot: &[u32], read: &[(Pos, SeqSet)], move_head: bool) {
        for (i, (pos, seqs)) in slot.iter().zip(read) {
            self.cells.place(*i as usize, *pos, *seqs);
        }
        if let Some(last) = slot.last().filter(|_| move_head) {
            self.head = *last as usize + 1;
        }
    }

    /// Moves the head to a freed cell before it, where a search may succeed sooner.
    pub(crate) fn freed(&mut self, first: Option<usize>) {
        self.head = first.map_or(self.head, |first| first.min(self.head));
        self.cells.settle();
    }
}
