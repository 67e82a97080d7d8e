//! The cache itself: the cells of its streams, and the memory of all layers.

use quipu_backend::{BufferTable, BufferType};
use quipu_batch::Ubatch;
use quipu_graph::{BufferId, DType, Storage};

use crate::layout::Layout;
use crate::slot::{SlotPlan, Streams};
use crate::{Error, KvCells, MAX_SEQ, SeqId, Window, rotation};

/// Attention sees this many cells or a multiple, so that a graph stays valid for many tokens.
const N_KV_PAD: usize = 256;

/// Row lengths of one layer's cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvLayerShape {
    /// Elements of a key row: head size times KV heads; 0: this cache has nothing of the layer.
    pub n_embd_k_gqa: usize,
    /// Elements of a value row; 0: values are not kept (latent attention has them in its keys).
    pub n_embd_v_gqa: usize,
}

impl KvLayerShape {
    /// A layer that keeps nothing.
    pub const NONE: KvLayerShape = KvLayerShape { n_embd_k_gqa: 0, n_embd_v_gqa: 0 };
}

/// Bytes that are copied at once between streams.
const COPY_BYTES: usize = 1 << 20;

/// What a cache is made from.
#[derive(Clone, Debug)]
pub struct KvParams {
    /// Cells of a stream; the context pads this to 256.
    pub n_cells: usize,
    /// Sequences of the context: a whole state with other numbers is refused.
    pub n_seq_max: usize,
    /// All sequences share one stream of cells; else each has a stream of its own (`kv_unified`).
    pub unified: bool,
    /// No token sees further: cells behind it are used again.
    pub window: Option<Window>,
    /// Positions per token; with several, cells remember places in images.
    pub n_pos: usize,
    /// Type of the keys, one of [`CACHE_TYPES`].
    pub type_k: DType,
    /// Type of the values, one of [`CACHE_TYPES`].
    pub type_v: DType,
    /// Values are stored element by element, those of all cells of a stream side by side, as attention without flash attention reads
    /// them. Their type must have single elements then.
    pub v_trans: bool,
    /// Elements of a head of keys, if all layers have the same; else 0. Quantised keys of such heads are stored rotated.
    pub n_embd_head_k: usize,
    /// As `n_embd_head_k`, for values.
    pub n_embd_head_v: usize,
    /// One entry per layer.
    pub layers: Vec<KvLayerShape>,
    /// Layers that have no cells of their own and read those of another layer; layers beyond its end have none such (`layer_reuse_cb`).
    pub reuse: Vec<Option<usize>>,
}

/// Types that keys and values may be kept in.
pub const CACHE_TYPES: [DType; 9] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::Q8_0,
    DType::Q5_1,
    DType::Q5_0,
    DType::Q4_1,
    DType::Q4_0,
    DType::IQ4_NL,
];

impl Default for KvParams {
    /// One sequence in f16, without cells or layers yet.
    fn default() -> KvParams {
        KvParams {
            n_cells: 0,
            n_seq_max: 1,
            unified: true,
            window: None,
            n_pos: 1,
            type_k: DType::F16,
            type_v: DType::F16,
            v_trans: false,
            n_embd_head_k: 0,
            n_embd_head_v: 0,
            layers: Vec::new(),
            reuse: Vec::new(),
        }
    }
}

/// Where a layer's keys and values live, those of all streams one behind the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    pub shape: KvLayerShape,
    buffer: BufferId,
    k_offset: usize,
    v_offset: usize,
}

/// Rows of one kind of one layer: cell `i`, counted through all streams, has `row_bytes` bytes from `offset + i * row_bytes` on.
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

    /// Keys and values, if the layer keeps them.
    pub(crate) fn all_rows(&self, type_k: DType, type_v: DType) -> impl Iterator<Item = Rows> + use<> {
        let kept = |rows: &Rows| rows.row_bytes > 0;
        [self.k_rows(type_k), self.v_rows(type_v)].into_iter().filter(kept)
    }

    fn rows(&self, dtype: DType, n_embd_gqa: usize, offset: usize) -> Rows {
        // Laid out by these very sizes, so they exist.
        let row_bytes = dtype.row_bytes(n_embd_gqa).unwrap_or(0);
        Rows { dtype, row_bytes, buffer: self.buffer, offset }
    }
}

impl KvParams {
    /// Streams of cells.
    pub fn n_stream(&self) -> usize {
        if self.unified { 1 } else { self.n_seq_max.max(1) }
    }

    /// Bytes of keys and values, with layer `il` in memory of type `memory(il)`: what [`KvCache::n_bytes`] says of such a cache, without
    /// making one.
    ///
    /// Errors as [`KvCache::new`], but for memory that is not to be had.
    pub fn n_bytes<'a>(&self, memory: &dyn Fn(usize) -> &'a dyn BufferType) -> Result<usize, Error> {
        Ok(self.layout(memory)?.0.n_bytes())
    }

    /// Where everything goes; the layers' buffers are numbered as there.
    fn layout<'a>(
        &self,
        memory: &dyn Fn(usize) -> &'a dyn BufferType,
    ) -> Result<(Layout<'a>, Vec<Layer>), Error> {
        let (n_layer, n_stream) = (self.layers.len(), self.n_stream());
        if n_stream > MAX_SEQ {
            return Err(Error::Streams(n_stream));
        }
        // Cells of all streams together have numbers of 32 bits.
        let n_cells = self.n_cells.saturating_mul(n_stream);
        if n_cells == 0 || n_layer == 0 || i32::try_from(n_cells).is_err() {
            return Err(Error::Shape { n_cells, n_layer });
        }
        for dtype in [self.type_k, self.type_v] {
            if !CACHE_TYPES.contains(&dtype) {
                return Err(Error::CacheType(dtype));
            }
        }
        if self.v_trans && self.type_v.block_len() > 1 {
            return Err(Error::TransposedBlocks(self.type_v));
        }
        let mut layout = Layout::default();
        let mut layers = Vec::with_capacity(n_layer);
        for (il, shape) in self.layers.iter().enumerate() {
            if *shape == KvLayerShape::NONE {
                layers.push(Layer { shape: *shape, buffer: BufferId(0), k_offset: 0, v_offset: 0 });
                continue;
            }
            for (dtype, n_embd_gqa) in [(self.type_k, shape.n_embd_k_gqa), (self.type_v, shape.n_embd_v_gqa)]
            {
                if !n_embd_gqa.is_multiple_of(dtype.block_len()) {
                    return Err(Error::RowBlocks { il, dtype, n: n_embd_gqa });
                }
            }
            let buffer_type = memory(il);
            let too_large =
                || Error::TooLarge { n_cells, n_layer, buffer_type: buffer_type.name().to_owned() };
            let buffer = layout.kind(buffer_type);
            let mut place = |dtype: DType, n_embd_gqa: usize| -> Option<usize> {
                layout.place(buffer, buffer_type.alloc_size(dtype, [n_embd_gqa, n_cells, 1, 1])?)
            };
            let k_offset = place(self.type_k, shape.n_embd_k_gqa).ok_or_else(too_large)?;
            let v_offset = place(self.type_v, shape.n_embd_v_gqa).ok_or_else(too_large)?;
            layers.push(Layer { shape: *shape, buffer, k_offset, v_offset });
        }
        Ok((layout, layers))
    }
}

/// A KV cache. Answers to `llama_kv_cache`.
///
/// All sequences share its cells, or each has a stream of cells of its own. With a window, cells that no token will see again are taken over.
#[derive(Debug)]
pub struct KvCache {
    pub(crate) streams: Streams,
    /// Copies of whole streams that wait for the next update: source and destination.
    pub(crate) copies: Vec<(usize, usize)>,
    pub(crate) n_seq_max: usize,
    pub(crate) n_pos: usize,
    n_bytes: usize,
    pub(crate) layers: Vec<Layer>,
    pub(crate) type_k: DType,
    pub(crate) type_v: DType,
    pub(crate) v_trans: bool,
    /// Whose cells layers without their own read.
    reuse: Vec<Option<usize>>,
    /// Elements of heads of keys and of values that are rotated together.
    rotations: [Option<usize>; 2],
}

impl KvCache {
    /// Allocates one zeroed buffer for all layers and registers it in `buffers`.
    ///
    /// Errors if a type is none of [`CACHE_TYPES`] or its blocks do not divide rows, if there are no cells or layers, or if the memory for the cells
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
        let (layout, mut layers) = params.layout(memory)?;
        // The bookkeeping first: it is what an absurd number of cells fails on without harm.
        let streams = Streams::new(params.n_stream(), params.n_cells, params.n_pos, params.window)?;
        let n_bytes = layout.n_bytes();
        let ids = layout.allocate(buffers)?;
        for layer in layers.iter_mut().filter(|layer| layer.shape != KvLayerShape::NONE) {
            layer.buffer = ids[layer.buffer.0 as usize];
        }
        let KvParams { n_seq_max, n_pos, type_k, type_v, v_trans, .. } = *params;
        let rotations = [
            rotation::of_keys(type_k, params.n_embd_head_k),
            rotation::of_values(type_v, params.n_embd_head_v),
        ];
        let copies = Vec::new();
        Ok(KvCache {
            streams,
            copies,
            n_seq_max,
            n_pos,
            n_bytes,
            layers,
            type_k,
            type_v,
            v_trans,
            reuse: params.reuse.clone(),
            rotations,
        })
    }

    /// Number of cells of a stream (`get_size`).
    pub fn n_cells(&self) -> usize {
        self.streams.n_cells()
    }

    /// Streams of cells (`get_n_stream`).
    pub fn n_stream(&self) -> usize {
        self.streams.len()
    }

    /// The window outside of which no token sees.
    pub fn window(&self) -> Option<Window> {
        self.streams.window()
    }

    /// Number of layers that the cache was made for.
    pub fn n_layer(&self) -> usize {
        self.layers.len()
    }

    /// Whether it has anything of layer `il`.
    pub fn has_layer(&self, il: usize) -> bool {
        self.layers.get(il).is_some_and(|layer| layer.shape != KvLayerShape::NONE)
    }

    /// The bookkeeping of the first stream, for reading; the only one of a unified cache.
    pub fn cells(&self) -> &KvCells {
        self.cells_of(0)
    }

    /// The bookkeeping of the stream that a sequence is in (`get_cells`); of the first one for sequences the cache has no room for.
    pub fn cells_of(&self, seq_id: SeqId) -> &KvCells {
        let known = usize::try_from(seq_id).is_ok_and(|s| s < self.streams.n_seq());
        &self.streams.get(if known { self.streams.of_seq(seq_id) } else { 0 }).cells
    }

    /// Cell at which the next search in a stream starts.
    pub fn head(&self, stream: usize) -> usize {
        self.streams.get(stream).head
    }

    /// Whether values are stored element by element (`v_trans`).
    pub fn v_trans(&self) -> bool {
        self.v_trans
    }

    /// Elements of a head of keys that are rotated together before they are stored, if they are.
    pub fn key_rotation(&self) -> Option<usize> {
        self.rotations[0]
    }

    /// As [`KvCache::key_rotation`], for values.
    pub fn value_rotation(&self) -> Option<usize> {
        self.rotations[1]
    }

    /// Cells that hold a token, in all streams.
    pub fn n_used(&self) -> usize {
        self.streams.iter().map(|stream| stream.cells.n_used()).sum()
    }

    /// Bytes of keys and values (`total_size`).
    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// The cells that a ubatch would get now, which with `contiguous` are neighbours in each stream (`find_slot`).
    ///
    /// [`Error::NoSlot`] if it does not fit.
    pub fn find_slot(&self, ubatch: &Ubatch, contiguous: bool) -> Result<Vec<u32>, Error> {
        let mut plan = SlotPlan::new();
        self.streams.find_slot(ubatch, contiguous, &mut plan)?;
        plan.end_slot();
        Ok(plan.slot(0).to_vec())
    }

    /// Finds cells for all ubatches of a batch, in order, without changing the cache (`prepare`).
    ///
    /// [`Error::NoSlot`] if one does not fit; the plan is then empty.
    pub fn prepare<'a>(
        &mut self,
        ubatches: impl IntoIterator<Item = &'a Ubatch>,
        plan: &mut SlotPlan,
    ) -> Result<(), Error> {
        self.streams.prepare(ubatches, plan)
    }

    /// Takes the cells that were planned for the `k`-th ubatch (`apply_ubatch`).
    pub fn apply_ubatch(&mut self, plan: &mut SlotPlan, k: usize, ubatch: &Ubatch) {
        if k < plan.len() {
            self.streams.apply(k, ubatch, plan);
        }
    }

    /// Cells that attention must see in each stream of a ubatch: up to the last used one, padded to 256 (`get_n_kv`).
    pub fn n_kv(&self, ubatch: &Ubatch) -> usize {
        let padded = self.streams.used_max_p1(ubatch).next_multiple_of(N_KV_PAD).max(N_KV_PAD);
        padded.min(self.n_cells())
    }

    /// First stream and number of streams that attention sees for a ubatch.
    pub fn streams_of(&self, ubatch: &Ubatch) -> (usize, usize) {
        match (self.n_stream(), ubatch.seq_id_unq.as_slice()) {
            (1, _) | (_, []) => (0, 1),
            (_, [first, .., last]) => (*first as usize, (last - first) as usize + 1),
            (_, [only]) => (*only as usize, 1),
        }
    }

    /// Whether shifts wait to be applied to the keys (`get_has_shift`).
    pub fn has_shift(&self) -> bool {
        self.streams.iter().any(|stream| stream.cells.has_shift())
    }

    /// Forgets pending shifts, after the shift graph ran.
    pub fn reset_shift(&mut self) {
        self.streams.iter_mut().for_each(|stream| stream.cells.reset_shift());
    }

    /// Copies the keys and values of streams that sequences were copied to (the first half of `update`).
    pub fn copy_streams(&mut self, buffers: &mut BufferTable) -> Result<(), Error> {
        let mut chunk = vec![0; if self.copies.is_empty() { 0 } else { COPY_BYTES }];
        while let Some((src, dst)) = self.copies.first().copied() {
            for rows in self.layers.iter().flat_map(|layer| layer.all_rows(self.type_k, self.type_v)) {
                let size = rows.row_bytes * self.n_cells();
                let buffer = buffers.get_mut(rows.buffer)?;
                for done in (0..size).step_by(COPY_BYTES) {
                    let bytes = &mut chunk[..COPY_BYTES.min(size - done)];
                    buffer.read(rows.offset + src * size + done, bytes)?;
                    buffer.write(rows.offset + dst * size + done, bytes)?;
                }
            }
            self.copies.remove(0);
        }
        Ok(())
    }

    /// Sets the bytes of all cells to zero.
    ///
    /// # Errors
    /// A buffer that is not there.
    pub(crate) fn zero(&self, buffers: &mut BufferTable) -> Result<(), Error> {
        // All of a buffer is this cache's.
        for layer in self.layers.iter().filter(|layer| layer.shape != KvLayerShape::NONE) {
            buffers.get_mut(layer.buffer)?.clear();
        }
        Ok(())
    }

    /// The layer whose cells layer `il` reads: itself, or the one that it reuses.
    pub fn source_layer(&self, il: usize) -> usize {
        self.reuse.get(il).copied().flatten().unwrap_or(il)
    }

    /// What the cache has for layer `il`, if only by reuse.
    pub(crate) fn layer(&self, il: usize) -> Result<&Layer, Error> {
        let layer = self.layers.get(self.source_layer(il)).filter(|layer| layer.shape != KvLayerShape::NONE);
        layer.ok_or(Error::Layer { il, n_layer: self.layers.len() })
    }
}
