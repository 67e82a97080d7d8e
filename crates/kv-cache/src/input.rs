//! Values of the inputs that come from the cache: cell numbers, mask, shifts.

use quipu_batch::Ubatch;

use crate::{KvCache, MAX_SEQ, Pos};

/// f16 bits of 0: attend.
const KEEP: u16 = 0x0000;
/// f16 bits of -inf: do not attend.
const DROP: u16 = 0xfc00;

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
    /// later than the token's. `n_kv` is cut to the number of cells.
    pub fn fill_mask(
        &self,
        ubatch: &Ubatch,
        n_kv: usize,
        causal: bool,
        scratch: &mut MaskScratch,
        out: &mut Vec<u16>,
    ) {
        let cells = self.cells();
        let n_tokens = ubatch.n_tokens;
        let n_kv = n_kv.min(cells.len());
        let mut pos_min = [Pos::MAX; MAX_SEQ];
        for (pos, seq_id) in ubatch.pos.iter().zip(&ubatch.seq_id) {
            if let Some(min) = pos_min.get_mut(*seq_id as usize) {
                *min = (*min).min(*pos);
            }
        }
        out.clear();
        out.resize(n_kv * n_tokens, DROP);
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
    }

    /// The pending shift of each cell, 0 for empty ones, for the input of `KvGraph::input_shift`
    /// (`set_input_k_shift`).
    pub fn fill_shift(&self, out: &mut Vec<i32>) {
        out.clear();
        out.extend((0..self.n_cells()).map(|i| self.cells().shift(i)));
    }
}
