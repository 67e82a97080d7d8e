//! One query row against one tile of cells: scores, powers, weighted values.
#![allow(clippy::needless_range_loop)] // see `crate::vec::lanes` on iterators

use crate::vec::Kernel;
use crate::vec::lanes::{Lanes, N, exp, larger};

/// Cells of a tile: keys and values of a tile stay in the L1 cache while all rows use them.
pub(super) const TILE_CELLS: usize = 32;

/// Where a thread keeps its query rows and their running results.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    /// `dk` floats per row.
    pub queries: *mut f32,
    /// [`TILE_CELLS`] floats per row.
    pub scores: *mut f32,
    /// Per row `dv` values, the largest score, the sum of powers, and padding: `dv + 16` floats.
    pub state: *mut f32,
    /// Padded head sizes: multiples of 16.
    pub dk: usize,
    pub dv: usize,
}

impl Rows {
    unsafe fn state(&self, row: usize) -> *mut f32 {
        // SAFETY: the caller names an existing row.
        unsafe { self.state.add(row * (self.dv + N)) }
    }

    /// Empties a row's running result.
    ///
    /// # Safety
    /// The row exists.
    pub unsafe fn reset(&self, row: usize) {
        // SAFETY: a row's state has `dv + 16` floats.
        unsafe {
            let state = self.state(row);
            std::slice::from_raw_parts_mut(state, self.dv + N).fill(0.0);
            *state.add(self.dv) = f32::NEG_INFINITY;
        }
    }
}

/// Adds a tile of cells to a row's running result.
pub(super) struct Tile<'a> {
    pub rows: &'a Rows,
    pub row: usize,
    /// `n_cells` rows of `dk` floats.
    pub keys: *const f32,
    /// `n_cells` rows of `dv` floats.
    pub values: *const f32,
    pub n_cells: usize,
    /// Factor on the products; already divided by `cap` if that is not 0.
    pub scale: f32,
    pub cap: f32,
    /// `n_cells` masks, or null.
    pub masks: *const f32,
    pub slope: f32,
}

impl Kernel for Tile<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<const FMA: bool>(self) {
        // SAFETY: fields are as their comments say; the row's scores and state are this thread's own.
        unsafe {
            let scores = self.rows.scores.add(self.row * TILE_CELLS);
            self.products::<FMA>(scores);
            let mut tile_max = self.finish_scores(scores);
            if tile_max == f32::NEG_INFINITY {
                // No cell is visible, or those that are have scores the maximum does not see: these must not vanish.
                if !is_any_nan(scores) {
                    return;
                }
                tile_max = f32::NAN;
            }
            let state = self.rows.state(self.row);
            let (max, sum) = (state.add(self.rows.dv), state.add(self.rows.dv + 1));
            let top = larger(*max, tile_max);
            let shrink = exp::<FMA>(*max - top);
            *max = top;
            let mut total = Lanes::ZERO;
            for i in (0..TILE_CELLS).step_by(N) {
                let powers = Lanes::load(scores.add(i)).sub(Lanes::splat(top)).exp::<FMA>();
                powers.store(scores.add(i));
                total = total.add(powers);
            }
            *sum = *sum * shrink + total.sum();
            self.add_values::<FMA>(scores, state, shrink);
        }
    }
}

impl Tile<'_> {
    /// Dot products of the query with each key.
    #[inline(always)]
    unsafe fn products<const FMA: bool>(&self, scores: *mut f32) {
        let dk = self.rows.dk;
        // SAFETY: as in `run`; `dk` is a multiple of 16.
        unsafe {
            let query = self.rows.queries.add(self.row * dk);
            let mut cell = 0;
            while cell + 4 <= self.n_cells {
                let key = self.keys.add(cell * dk);
                let mut acc = [Lanes::ZERO; 4];
                let mut d = 0;
                while d < dk {
                    let q = Lanes::load(query.add(d));
                    for j in 0..4 {
                        acc[j] = Lanes::load(key.add(j * dk + d)).fma::<FMA>(q, acc[j]);
                    }
                    d += N;
                }
                let sums = sums(&acc);
                for j in 0..4 {
                    *scores.add(cell + j) = sums[j];
                }
                cell += 4;
            }
            while cell < self.n_cells {
                let key = self.keys.add(cell * dk);
                let mut acc = Lanes::ZERO;
                for d in (0..dk).step_by(N) {
                    acc = Lanes::load(key.add(d)).fma::<FMA>(Lanes::load(query.add(d)), acc);
                }
                *scores.add(cell) = acc.sum();
                cell += 1;
            }
        }
    }

    /// Scale, cap and mask; cells that do not exist or are masked get minus infinity. Returns the maximum.
    #[inline(always)]
    unsafe fn finish_scores(&self, scores: *mut f32) -> f32 {
        // SAFETY: as in `run`.
        unsafe {
            let scores = std::slice::from_raw_parts_mut(scores, TILE_CELLS);
            scores[self.n_cells..].fill(f32::NEG_INFINITY);
            for score in &mut scores[..self.n_cells] {
                *score *= self.scale;
            }
            if self.cap != 0.0 {
                for score in &mut scores[..self.n_cells] {
                    *score = self.cap * score.tanh();
                }
            }
            if !self.masks.is_null() {
                let masks = std::slice::from_raw_parts(self.masks, self.n_cells);
                for (score, mask) in scores.iter_mut().zip(masks) {
                    // What a masked cell holds must not matter, not even if it is NaN.
                    *score = if *mask == f32::NEG_INFINITY {
                        f32::NEG_INFINITY
                    } else {
                        *score + self.slope * mask
                    };
                }
            }
            let mut top = Lanes::load(scores.as_ptr());
            for i in (N..TILE_CELLS).step_by(N) {
                top = top.larger(Lanes::load(scores.as_ptr().add(i)));
            }
            top.max()
        }
    }

    /// `state = state * shrink + sum of powers * values`, skipping cells without weight.
    #[inline(always)]
    unsafe fn add_values<const FMA: bool>(&self, powers: *const f32, state: *mut f32, shrink: f32) {
        const WIDE: usize = 4;
        let dv = self.rows.dv;
        let shrink = Lanes::splat(shrink);
        let mut d = 0;
        // SAFETY: as in `run`; `dv` is a multiple of 16.
        unsafe {
            while d + WIDE * N <= dv {
                let mut acc = [Lanes::ZERO; WIDE];
                for j in 0..WIDE {
                    acc[j] = Lanes::load(state.add(d + j * N)).mul(shrink);
                }
                for cell in 0..self.n_cells {
                    let power = *powers.add(cell);
                    if power == 0.0 {
                        continue;
                    }
                    let value = self.values.add(cell * dv + d);
                    for j in 0..WIDE {
                        acc[j] = Lanes::load(value.add(j * N)).fma::<FMA>(Lanes::splat(power), acc[j]);
                    }
                }
                for j in 0..WIDE {
                    acc[j].store(state.add(d + j * N));
                }
                d += WIDE * N;
            }
            while d < dv {
                let mut acc = Lanes::load(state.add(d)).mul(shrink);
                for cell in 0..self.n_cells {
                    let power = *powers.add(cell);
                    if power != 0.0 {
                        let value = Lanes::load(self.values.add(cell * dv + d));
                        acc = value.fma::<FMA>(Lanes::splat(power), acc);
                    }
                }
                acc.store(state.add(d));
                d += N;
            }
        }
    }
}

/// Whether a score of the tile is NaN.
///
/// # Safety
/// `scores` points to a tile's scores.
#[cold]
unsafe fn is_any_nan(scores: *const f32) -> bool {
    // SAFETY: promised by the caller.
    unsafe { std::slice::from_raw_parts(scores, TILE_CELLS) }.iter().any(|score| score.is_nan())
}

/// [`Lanes::sum`] of four at once, in the same order.
///
/// Each fold is made opaque: the compiler otherwise tears accumulators apart, back to the loop that fills
/// them, to suit the last scalar additions.
#[inline(always)]
fn sums(acc: &[Lanes; 4]) -> [f32; 4] {
    let mut eight = [[0f32; 8]; 4];
    for j in 0..4 {
        for i in 0..8 {
            eight[j][i] = acc[j].0[i] + acc[j].0[i + 8];
        }
    }
    let eight = std::hint::black_box(eight);
    let mut four = [[0f32; 4]; 4];
    for j in 0..4 {
        for i in 0..4 {
            four[i][j] = eight[j][i] + eight[j][i + 4];
        }
    }
    let four = std::hint::black_box(four);
    let mut out = [0f32; 4];
    for j in 0..4 {
        out[j] = (four[0][j] + four[2][j]) + (four[1][j] + four[3][j]);
    }
    out
}
