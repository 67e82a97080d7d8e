//! The inputs that come from the cache: cell numbers, mask, shifts.

use quipu_backend::BufferTable;
use quipu_batch::Ubatch;
use quipu_graph::{Graph, TensorId};

use crate::input::write_input;
use crate::{Error, GraphInput, GraphShape, InputSource, KvCache, MAX_SEQ, Pos};

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

    /// The mask as f16 bits, `n_kv` per token: 0 where a token may attend to a cell, else -inf
    /// (`set_input_kq_mask`).
    ///
    /// A cell is seen if it belongs to the token's first sequence and, with `causal`, if its position is not
    /// later than the token's. `n_kv` is cut to the number of cells. [`Error::HostMemory`] if the mask is too large.
    pub fn fill_mask(
        &self,
        ubatch: &Ubatch,
        n_kv: usize,
        causal: bool,
        scratch: &mut MaskScratch,
        out: &mut Vec<u16>,
    ) -> Result<(), Error> {
        let cells = self.cells();
        let n_tokens = ubatch.n_tokens;
        let n_kv = n_kv.min(cells.len());
        let mut pos_min = [Pos::MAX; MAX_SEQ];
        for (pos, seq_id) in ubatch.pos.iter().zip(&ubatch.seq_id) {
            if let Some(min) = pos_min.get_mut(*seq_id as usize) {
                *min = (*min).min(*pos);
            }
        }
        refill(out, DROP, n_kv.saturating_mul(n_tokens))?;
        for i in 0..n_tokens {
            let (pos, seq_id) = (ubatch.pos[i], ubatch.seq_id[i]);
            let (done, rest) = out.split_at_mut(i * n_kv);
            let row = &mut rest[..n_kv];
            if i > 0 && ubatch.seq_id[i - 1] == seq_id {
                // Same sequence as the token before: only cells of this ubatch's positions can differ.
                row.copy_from_slice(&done[(i - 1) * n_kv..]);
                for j in &scratch.recent {
                    let later = causal && cells.pos(*j as usize) > pos;
                    row[*j as usize] = if later { DROP } else { KEEP };
                }
                continue;
            }
            scratch.recent.clear();
            for (j, value) in row.iter_mut().enumerate() {
                if !cells.seq_has(j, seq_id) {
                    continue;
                }
                let cell_pos = cells.pos(j);
                if cell_pos >= pos_min[seq_id as usize] {
                    scratch.recent.push(j as u32);
                }
                if !causal || cell_pos <= pos {
                    *value = KEEP;
                }
            }
        }
        Ok(())
    }

    /// Puts minus the distance of token and cell, as f16 bits, where a mask lets a token attend: what ALiBi's slopes are multiplied
    /// with (`set_input_kq_mask` with `use_alibi`).
    pub fn fill_distances(&self, ubatch: &Ubatch, mask: &mut [u16]) {
        let Some(n_kv) = mask.len().checked_div(ubatch.n_tokens).filter(|n_kv| *n_kv > 0) else { return };
        for (row, pos) in mask.chunks_exact_mut(n_kv).zip(&ubatch.pos) {
            for (j, value) in row.iter_mut().enumerate().filter(|(_, value)| **value == KEEP) {
                *value = minus_distance(self.cells().pos(j), *pos);
            }
        }
    }

    /// The pending shift of each cell, 0 for empty ones, for the input of `KvGraph::input_shift`
    /// (`set_input_k_shift`).
    pub fn fill_shift(&self, out: &mut Vec<i32>) -> Result<(), Error> {
        refill(out, 0, self.n_cells())?;
        for (i, shift) in out.iter_mut().enumerate() {
            *shift = self.cells().shift(i);
        }
        Ok(())
    }
}

/// The cells the tokens of a ubatch are stored in.
#[derive(Debug)]
pub(crate) struct KvIdxs {
    idxs: TensorId,
    n_tokens: usize,
    values: Vec<i64>,
}

impl KvIdxs {
    pub(crate) fn new(idxs: TensorId, n_tokens: usize) -> KvIdxs {
        KvIdxs { idxs, n_tokens, values: Vec::new() }
    }
}

impl GraphInput for KvIdxs {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), Error> {
        cache_of(source)?.fill_idxs(source.plan.slot(), &mut self.values);
        write_input(graph, self.idxs, &self.values, buffers)
    }

    fn can_reuse(&self, shape: &GraphShape) -> bool {
        shape.n_tokens == self.n_tokens
    }
}

/// Who attends to which cell.
#[derive(Debug)]
pub(crate) struct KvMask {
    mask: TensorId,
    n_kv: usize,
    n_tokens: usize,
    causal: bool,
    /// Distances stand where a token may attend.
    alibi: bool,
    scratch: MaskScratch,
    values: Vec<u16>,
}

impl KvMask {
    pub(crate) fn new(mask: TensorId, n_kv: usize, n_tokens: usize, causal: bool, alibi: bool) -> KvMask {
        KvMask { mask, n_kv, n_tokens, causal, alibi, scratch: MaskScratch::default(), values: Vec::new() }
    }
}

/// Minus the distance of two positions, as f16 bits.
pub(crate) fn minus_distance(a: Pos, b: Pos) -> u16 {
    half::f16::from_f32(-(a.abs_diff(b) as f32)).to_bits()
}

impl GraphInput for KvMask {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), Error> {
        let (scratch, values) = (&mut self.scratch, &mut self.values);
        let cache = cache_of(source)?;
        cache.fill_mask(source.ubatch, self.n_kv, self.causal, scratch, values)?;
        if self.alibi {
            cache.fill_distances(source.ubatch, values);
        }
        write_input(graph, self.mask, &self.values, buffers)
    }

    fn can_reuse(&self, shape: &GraphShape) -> bool {
        (shape.n_tokens, shape.memory.n_kv) == (self.n_tokens, self.n_kv)
    }
}

/// By how much each cell's position moved. Answers to `llm_graph_input_k_shift`.
#[derive(Debug)]
pub struct KShift {
    shift: TensorId,
    values: Vec<i32>,
}

impl KShift {
    /// The input `shift` of a shift graph, as [`crate::KvGraph::input_shift`] made it.
    pub fn new(shift: TensorId) -> KShift {
        KShift { shift, values: Vec::new() }
    }
}

impl GraphInput for KShift {
    fn set(
        &mut self,
        graph: &Graph,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), Error> {
        cache_of(source)?.fill_shift(&mut self.values)?;
        write_input(graph, self.shift, &self.values, buffers)
    }

    /// A shift is applied once.
    fn can_reuse(&self, _: &GraphShape) -> bool {
        false
    }
}

/// The cache a graph was built over; its inputs exist only where there is one.
fn cache_of<'a>(source: &InputSource<'a>) -> Result<&'a KvCache, Error> {
    source.memory.kv().ok_or(Error::NoCache)
}

/// Fills a vector with one value; its length follows from parameters, so its memory is asked for.
pub(crate) fn refill<T: Copy>(out: &mut Vec<T>, value: T, n: usize) -> Result<(), Error> {
    out.clear();
    let n_bytes = n.saturating_mul(size_of::<T>());
    out.try_reserve_exact(n).map_err(|_| Error::HostMemory { n_bytes })?;
    out.resize(n, value);
    Ok(())
}
