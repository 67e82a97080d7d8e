//! The inputs that come from the cache: cell numbers, mask, shifts.

use quipu_backend::BufferTable;
use quipu_batch::Ubatch;
use quipu_graph::{Graph, TensorId};

use crate::attention_kind::AttentionKind;
use crate::input::write_input;
use crate::{Error, GraphInput, GraphShape, InputSource, KvCache, KvPart, MAX_SEQ, MemoryKey, Pos};

/// f16 bits of 0: attend.
pub(crate) const KEEP: u16 = 0x0000;
/// f16 bits of -inf: do not attend.
pub(crate) const DROP: u16 = 0xfc00;

/// Working memory for masks, kept from token to token.
#[derive(Clone, Debug, Default)]
pub struct MaskScratch {
    /// Cells of the current sequence that not every token of the ubatch may see.
    recent: Vec<u32>,
}

impl KvCache {
    /// The cell of each token, for the input of `KvGraph::input_idxs` (`set_input_k_idxs`).
    pub fn fill_idxs(&self, slot: &[u32], out: &mut Vec<i64>) {
        out.clear();
        out.extend(slot.iter().map(|cell| i64::from(*cell)));
    }

    /// The place of each element of the values of each token, for the input of `KvGraph::input_v_idxs` (`set_input_v_idxs`).
    pub fn fill_v_idxs(&self, slot: &[u32], n_embd_v_gqa: usize, out: &mut Vec<i64>) {
        let n_cells = self.n_cells();
        out.clear();
        for cell in slot {
            let (stream, cell) = (*cell as usize / n_cells, *cell as usize % n_cells);
            let first = stream * n_cells * n_embd_v_gqa + cell;
            out.extend((0..n_embd_v_gqa).map(|j| (first + j * n_cells) as i64));
        }
    }

    /// The mask as f16 bits, `n_kv` per token: 0 where a token may attend to a cell of its stream, else -inf
    /// (`set_input_kq_mask`).
    ///
    /// A cell is seen if it belongs to the token's first sequence, if no window hides it and, with `causal`, if it is not
    /// later than the token. `n_kv` is cut to the number of cells. [`Error::HostMemory`] if the mask is too large.
    pub fn fill_mask(
        &self,
        ubatch: &Ubatch,
        n_kv: usize,
        causal: bool,
        scratch: &mut MaskScratch,
        out: &mut Vec<u16>,
    ) -> Result<(), Error> {
        let n_tokens = ubatch.n_tokens;
        let n_kv = n_kv.min(self.n_cells());
        let mut pos_min = [Pos::MAX; MAX_SEQ];
        for (pos, seq_id) in ubatch.pos.iter().zip(&ubatch.seq_id) {
            if let Some(min) = pos_min.get_mut(*seq_id as usize) {
                *min = (*min).min(*pos);
            }
        }
        let window = self.window();
        refill(out, DROP, n_kv.saturating_mul(n_tokens))?;
        for i in 0..n_tokens {
            let (pos, seq_id, place_2d) = (ubatch.pos[i], ubatch.seq_id[i], ubatch.pos_2d(i));
            let cells = self.cells_of(seq_id);
            let hidden = |j: usize| {
                let of = cells.pos(j);
                let later = causal && (of > pos || of == pos && is_behind(cells.place_2d(j), place_2d));
                later || window.is_some_and(|window| window.hides(of, pos))
            };
            let (done, rest) = out.split_at_mut(i * n_kv);
            let row = &mut rest[..n_kv];
            if i > 0 && ubatch.seq_id[i - 1] == seq_id {
                // Same sequence as the token before: only some cells can differ.
                row.copy_from_slice(&done[(i - 1) * n_kv..]);
                for j in &scratch.recent {
                    row[*j as usize] = if hidden(*j as usize) { DROP } else { KEEP };
                }
                continue;
            }
            scratch.recent.clear();
            let first = pos_min[seq_id as usize];
            for (j, value) in row.iter_mut().enumerate() {
                if !cells.seq_has(j, seq_id) {
                    continue;
                }
                // Later than some token of the ubatch, or in a window that may move past it.
                let of = cells.pos(j);
                if of >= first || window.is_some_and(|window| !window.hides(of, first)) {
                    scratch.recent.push(j as u32);
                }
                if !hidden(j) {
                    *value = KEEP;
                }
            }
        }
        Ok(())
    }

    /// Puts minus the distance of token and cell, as f16 bits, where a mask lets a token attend: what ALiBi's slopes are multiplied
    /// with (`set_input_kq_mask` with `use_alibi`).
    pub fn fill_distances(&self, ubatch: &Ubatch, mask: &mut [u16]) {
        self.fill_distances_as(ubatch, mask, KEEP, minus_distance);
    }

    /// As [`KvCache::fill_distances`], in a mask of numbers in which a token may attend where it has `keep`.
    fn fill_distances_as<T: Copy + PartialEq>(
        &self,
        ubatch: &Ubatch,
        mask: &mut [T],
        keep: T,
        distance: impl Fn(Pos, Pos) -> T,
    ) {
        let Some(n_kv) = mask.len().checked_div(ubatch.n_tokens).filter(|n_kv| *n_kv > 0) else { return };
        let tokens = ubatch.pos.iter().zip(&ubatch.seq_id);
        for (row, (pos, seq_id)) in mask.chunks_exact_mut(n_kv).zip(tokens) {
            let cells = self.cells_of(*seq_id);
            for (j, value) in row.iter_mut().enumerate().filter(|(_, value)| **value == keep) {
                *value = distance(cells.pos(j), *pos);
            }
        }
    }

    /// The position of each of the first `n_kv` cells, once for each token of the ubatch in turn; -1 for empty cells. `bucket` gets the
    /// position of cell and token and says the number that stands for both (`set_input_pos_bucket`).
    pub fn fill_buckets(
        &self,
        ubatch: &Ubatch,
        n_kv: usize,
        bucket: impl Fn(Pos, Pos) -> i32,
        out: &mut Vec<i32>,
    ) {
        out.clear();
        for (pos, seq_id) in ubatch.pos.iter().zip(&ubatch.seq_id) {
            let cells = self.cells_of(*seq_id);
            let of = |j: usize| if cells.is_free(j) { -1 } else { cells.pos(j) };
            out.extend((0..n_kv.min(cells.len())).map(|j| bucket(of(j), *pos)));
        }
    }

    /// The pending shift of each cell of each stream, 0 for empty ones, for the input of `KvGraph::input_shift`
    /// (`set_input_k_shift`).
    pub fn fill_shift(&self, out: &mut Vec<i32>) -> Result<(), Error> {
        let n_cells = self.n_cells();
        refill(out, 0, n_cells * self.n_stream())?;
        for (shifts, stream) in out.chunks_exact_mut(n_cells).zip(self.streams.iter()) {
            shifts.iter_mut().enumerate().for_each(|(i, shift)| *shift = stream.cells.shift(i));
        }
        Ok(())
    }
}

/// Whether a cell's place in an image comes after a token's, line by line (`is_2d_gt`).
fn is_behind([x, y]: [Pos; 2], token: Option<[Pos; 2]>) -> bool {
    token.is_some_and(|[of_x, of_y]| (y, x) > (of_y, of_x))
}

/// The cells the tokens of a ubatch are stored in.
#[derive(Debug)]
pub(crate) struct KvIdxs {
    part: KvPart,
    idxs: TensorId,
    n_tokens: usize,
    values: Vec<i64>,
}

impl KvIdxs {
    pub(crate) fn new(part: KvPart, idxs: TensorId, n_tokens: usize) -> KvIdxs {
        KvIdxs { part, idxs, n_tokens, values: Vec::new() }
    }
}

impl GraphInput for KvIdxs {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), Error> {
        cache_of(source, self.part)?.fill_idxs(source.plan.slot(self.part), &mut self.values);
        write_input(graph, self.idxs, &self.values, buffers)
    }

    fn can_reuse(&self, shape: &GraphShape) -> bool {
        shape.n_tokens == self.n_tokens
    }
}

/// Where the elements of the values of a ubatch's tokens are stored.
#[derive(Debug)]
pub(crate) struct KvElementIdxs {
    part: KvPart,
    idxs: TensorId,
    n_embd_v_gqa: usize,
    n_tokens: usize,
    values: Vec<i64>,
}

impl KvElementIdxs {
    pub(crate) fn new(part: KvPart, idxs: TensorId, n_embd_v_gqa: usize, n_tokens: usize) -> KvElementIdxs {
        KvElementIdxs { part, idxs, n_embd_v_gqa, n_tokens, values: Vec::new() }
    }
}

impl GraphInput for KvElementIdxs {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), Error> {
        let slot = source.plan.slot(self.part);
        cache_of(source, self.part)?.fill_v_idxs(slot, self.n_embd_v_gqa, &mut self.values);
        write_input(graph, self.idxs, &self.values, buffers)
    }

    fn can_reuse(&self, shape: &GraphShape) -> bool {
        shape.n_tokens == self.n_tokens
    }
}

/// Who attends to which cell.
#[derive(Debug)]
pub(crate) struct KvMask {
    part: KvPart,
    mask: TensorId,
    /// What the memory was when the graph was built.
    key: MemoryKey,
    n_tokens: usize,
    kind: AttentionKind,
    scratch: MaskScratch,
    values: Vec<u16>,
    /// The values in f32, where attention takes such.
    wide: Vec<f32>,
}

impl KvMask {
    pub(crate) fn new(part: KvPart, mask: TensorId, shape: &GraphShape, kind: AttentionKind) -> KvMask {
        let (key, n_tokens) = (shape.memory, shape.n_tokens);
        let scratch = MaskScratch::default();
        KvMask { part, mask, key, n_tokens, kind, scratch, values: Vec::new(), wide: Vec::new() }
    }
}

/// Minus the distance of two positions.
pub(crate) fn minus_distance_f32(a: Pos, b: Pos) -> f32 {
    -(a.abs_diff(b) as f32)
}

/// Minus the distance of two positions, as f16 bits.
pub(crate) fn minus_distance(a: Pos, b: Pos) -> u16 {
    half::f16::from_f32(minus_distance_f32(a, b)).to_bits()
}

/// A mask of 0 and -inf, in f32.
pub(crate) fn widen(mask: &[u16], out: &mut Vec<f32>) -> Result<(), Error> {
    refill(out, f32::NEG_INFINITY, mask.len())?;
    out.iter_mut().zip(mask).filter(|(_, value)| **value == KEEP).for_each(|(wide, _)| *wide = 0.0);
    Ok(())
}

impl GraphInput for KvMask {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), Error> {
        let (scratch, values) = (&mut self.scratch, &mut self.values);
        let (cache, n_kv) = (cache_of(source, self.part)?, n_kv_of(&self.key, self.part));
        cache.fill_mask(source.ubatch, n_kv, self.kind.causal, scratch, values)?;
        if !self.kind.flash {
            widen(values, &mut self.wide)?;
            if self.kind.alibi {
                cache.fill_distances_as(source.ubatch, &mut self.wide, 0.0, minus_distance_f32);
            }
            return write_input(graph, self.mask, &self.wide, buffers);
        }
        if self.kind.alibi {
            cache.fill_distances(source.ubatch, values);
        }
        write_input(graph, self.mask, &self.values, buffers)
    }

    fn can_reuse(&self, shape: &GraphShape) -> bool {
        (shape.n_tokens, shape.memory) == (self.n_tokens, self.key)
    }
}

/// By how much each cell's position moved. Answers to `llm_graph_input_k_shift`.
#[derive(Debug)]
pub struct KShift {
    part: KvPart,
    shift: TensorId,
    values: Vec<i32>,
}

impl KShift {
    /// The input `shift` of a shift graph over a memory's cache, as [`crate::KvGraph::input_shift`] made it.
    pub fn new(part: KvPart, shift: TensorId) -> KShift {
        KShift { part, shift, values: Vec::new() }
    }
}

impl GraphInput for KShift {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), Error> {
        cache_of(source, self.part)?.fill_shift(&mut self.values)?;
        write_input(graph, self.shift, &self.values, buffers)
    }

    /// A shift is applied once.
    fn can_reuse(&self, _: &GraphShape) -> bool {
        false
    }
}

/// The cache a graph was built over; its inputs exist only where there is one.
fn cache_of<'a>(source: &InputSource<'a>, part: KvPart) -> Result<&'a KvCache, Error> {
    source.memory.kv(part).ok_or(Error::NoCache)
}

/// Cells of each stream that attention over a part of the memory looks at.
pub(crate) fn n_kv_of(key: &MemoryKey, part: KvPart) -> usize {
    match part {
        KvPart::Full => key.n_kv,
        KvPart::Window => key.n_kv_window,
    }
}

/// Fills a vector with one value; its length follows from parameters, so its memory is asked for.
pub(crate) fn refill<T: Copy>(out: &mut Vec<T>, value: T, n: usize) -> Result<(), Error> {
    out.clear();
    let n_bytes = n.saturating_mul(size_of::<T>());
    out.try_reserve_exact(n).map_err(|_| Error::HostMemory { n_bytes })?;
    out.resize(n, value);
    Ok(())
}
