//! x86-64 kernels and the loops around them.
//!
//! Few columns: row dots, each weight read once from memory. Many columns: rows are packed into panels
//! and register tiles run over all columns. Either way an element of the result is computed in an order
//! that depends on `k`, the number of columns and the ISA, never on which rows share a chunk.

// The intrinsics of a register width are one vocabulary.
#![allow(clippy::wildcard_imports)]

mod dot;
mod format;
mod pack;
mod tiles256;
mod tiles512;

use std::mem::MaybeUninit;
use std::ops::Range;

use quipu_quant::DType;

use self::format::Format;
use self::pack::{FLOAT_KC, FloatFormat, FloatPanel, INT_KC, IntPanel, PANEL_ROWS};
use super::Slice;
use super::columns::Column;
use crate::isa::{Isa, Level};

/// From this many columns on, packing panels beats row dots.
const MIN_TILE_COLS: usize = 5;
/// Columns that share one pass of a row dot.
const DOT_COLS: usize = 4;

/// Whether rows are worth handing out in multiples of [`PANEL_ROWS`].
pub fn row_granularity(n_cols: usize) -> usize {
    if n_cols >= MIN_TILE_COLS { PANEL_ROWS } else { 1 }
}

/// Computes the given rows of the result.
///
/// # Safety
/// `slice` describes valid memory (see [`Slice`]), `isa` is AVX2 or higher, `rows` exist, and nobody
/// else writes them.
pub unsafe fn rows(isa: Isa, dtype: DType, slice: &Slice, rows: Range<usize>) {
    // SAFETY: the caller's promise, unchanged; each format is the one of its type.
    unsafe {
        match dtype {
            DType::Q4_0 => int_rows::<format::Q4_0>(isa, slice, rows),
            DType::Q5_0 => int_rows::<format::Q5_0>(isa, slice, rows),
            DType::Q8_0 => int_rows::<format::Q8_0>(isa, slice, rows),
            DType::MXFP4 => int_rows::<format::Mxfp4>(isa, slice, rows),
            DType::Q4_K => int_rows::<format::Q4K>(isa, slice, rows),
            DType::Q5_K => int_rows::<format::Q5K>(isa, slice, rows),
            DType::Q6_K => int_rows::<format::Q6K>(isa, slice, rows),
            DType::F32 => float_rows::<pack::F32>(isa, slice, rows),
            DType::F16 => float_rows::<pack::F16>(isa, slice, rows),
            DType::BF16 => float_rows::<pack::Bf16>(isa, slice, rows),
            other => unreachable!("no kernel for {other}: checked when the product was described"),
        }
    }
}

/// Splits `n` columns into the fewest groups of at most `max`, as equal as possible.
fn groups(n: usize, max: usize) -> impl Iterator<Item = Range<usize>> {
    let count = n.div_ceil(max).max(1);
    (0..count).map(move |i| i * n / count..(i + 1) * n / count)
}

impl Slice {
    /// Columns `from .. from + C` at element `k0`.
    unsafe fn columns<const C: usize>(&self, from: usize, k0: usize) -> [Column; C] {
        // SAFETY: the caller stays below the number of columns.
        std::array::from_fn(|i| unsafe { self.column(from + i, k0) })
    }

    /// Row `row` of columns `from .. from + C` of the result.
    unsafe fn outputs<const C: usize>(&self, from: usize, row: usize) -> [*mut f32; C] {
        // SAFETY: the caller stays below the number of columns and rows.
        std::array::from_fn(|i| unsafe { self.output(from + i, row) })
    }

    /// 32 row pointers from `row` on, at `offset` bytes; those past the end repeat the last row.
    unsafe fn panel_rows(&self, rows: &Range<usize>, row: usize, offset: usize) -> [*const u8; PANEL_ROWS] {
        // SAFETY: every index is a row that exists.
        std::array::from_fn(|i| unsafe { self.weight_row((row + i).min(rows.end - 1)).add(offset) })
    }
}

unsafe fn int_rows<F: Format>(isa: Isa, slice: &Slice, rows: Range<usize>) {
    // SAFETY: the caller's promise, for the whole function; `isa` proves the features of the kernels chosen.
    unsafe {
        if slice.n_cols < MIN_TILE_COLS {
            for cols in groups(slice.n_cols, DOT_COLS) {
                match cols.len() {
                    1 => int_dots::<F, 1>(slice, rows.clone(), cols.start),
                    2 => int_dots::<F, 2>(slice, rows.clone(), cols.start),
                    3 => int_dots::<F, 3>(slice, rows.clone(), cols.start),
                    _ => int_dots::<F, 4>(slice, rows.clone(), cols.start),
                }
            }
            return;
        }
        let wide = isa.level() == Level::Avx512;
        let max_cols = if wide { tiles512::INT_COLS } else { tiles256::INT_COLS };
        let mut panel = MaybeUninit::<IntPanel>::uninit();
        for k0 in (0..slice.layout.k).step_by(INT_KC) {
            let kc = INT_KC.min(slice.layout.k - k0);
            for row in rows.clone().step_by(PANEL_ROWS) {
                let pointers = slice.panel_rows(&rows, row, k0 / F::LEN * F::BYTES);
                pack::pack_int::<F>(&pointers, slice.w_stride, kc, &mut panel);
                // Plain numbers: any bytes are valid, and the kernels read only what was just written.
                let tile =
                    IntTile { panel: &*panel.as_ptr(), k0, n_sub: kc / F::SUB, row, n_rows: rows.end - row };
                for cols in groups(slice.n_cols, max_cols) {
                    match cols.len() {
                        1 => tile.run::<F, 1>(slice, wide, cols.start),
                        2 => tile.run::<F, 2>(slice, wide, cols.start),
                        3 => tile.run::<F, 3>(slice, wide, cols.start),
                        4 => tile.run::<F, 4>(slice, wide, cols.start),
                        5 => tile.run::<F, 5>(slice, wide, cols.start),
                        _ => tile.run::<F, 6>(slice, wide, cols.start),
                    }
                }
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn int_dots<F: Format, const NC: usize>(slice: &Slice, rows: Range<usize>, from: usize) {
    // SAFETY: rows and columns exist, by the caller's promise.
    unsafe {
        let cols = slice.columns::<NC>(from, 0);
        for row in rows {
            let sums = F::dot::<NC>(slice.weight_row(row), slice.layout.k, &cols);
            for (out, sum) in slice.outputs::<NC>(from, row).into_iter().zip(sums) {
                *out = sum;
            }
        }
    }
}

/// A packed panel and where it belongs.
struct IntTile<'a> {
    panel: &'a IntPanel,
    k0: usize,
    n_sub: usize,
    row: usize,
    /// Rows from `row` to the end of the chunk.
    n_rows: usize,
}

impl IntTile<'_> {
    unsafe fn run<F: Format, const C: usize>(&self, slice: &Slice, wide: bool, from: usize) {
        let n_rows = self.n_rows.min(PANEL_ROWS);
        let first = self.k0 == 0;
        // SAFETY: the panel was packed from `F` for this `k0`; rows and columns exist; `wide` is AVX-512.
        unsafe {
            let (cols, dst) = (slice.columns::<C>(from, self.k0), slice.outputs::<C>(from, self.row));
            let (p, n) = (self.panel, self.n_sub);
            match (wide, F::HAS_MIN, F::SUB) {
                (true, true, _) => tiles512::int_tile::<C, 8, true>(p, n, &cols, &dst, n_rows, first),
                (true, false, 16) => tiles512::int_tile::<C, 4, false>(p, n, &cols, &dst, n_rows, first),
                (true, false, _) => tiles512::int_tile::<C, 8, false>(p, n, &cols, &dst, n_rows, first),
                (false, true, _) => tiles256::int_tile::<C, 8, true, false>(p, n, &cols, &dst, n_rows, first),
                (false, false, 16) => {
                    tiles256::int_tile::<C, 4, false, false>(p, n, &cols, &dst, n_rows, first);
                }
                (false, false, _) if F::FULL_RANGE => {
                    tiles256::int_tile::<C, 8, false, true>(p, n, &cols, &dst, n_rows, first);
                }
                (false, false, _) => {
                    tiles256::int_tile::<C, 8, false, false>(p, n, &cols, &dst, n_rows, first);
                }
            }
        }
    }
}

unsafe fn float_rows<F: FloatFormat>(isa: Isa, slice: &Slice, rows: Range<usize>) {
    // SAFETY: the caller's promise, for the whole function; `isa` proves the features of the kernels chosen.
    unsafe {
        if slice.n_cols < MIN_TILE_COLS {
            for cols in groups(slice.n_cols, DOT_COLS) {
                match cols.len() {
                    1 => float_dots::<F, 1>(slice, rows.clone(), cols.start),
                    2 => float_dots::<F, 2>(slice, rows.clone(), cols.start),
                    3 => float_dots::<F, 3>(slice, rows.clone(), cols.start),
                    _ => float_dots::<F, 4>(slice, rows.clone(), cols.start),
                }
            }
            return;
        }
        let wide = isa.level() == Level::Avx512;
        let max_cols = if wide { tiles512::FLOAT_COLS } else { tiles256::FLOAT_COLS };
        let mut panel = MaybeUninit::<FloatPanel>::uninit();
        for k0 in (0..slice.layout.k).step_by(FLOAT_KC) {
            let kc = FLOAT_KC.min(slice.layout.k - k0);
            for row in rows.clone().step_by(PANEL_ROWS) {
                let pointers = slice.panel_rows(&rows, row, k0 * F::BYTES);
                pack::pack_float::<F>(&pointers, slice.w_stride, kc, &mut panel);
                // Plain numbers: any bytes are valid, and the kernels read only what was just written.
                let tile = FloatTile { panel: &*panel.as_ptr(), k0, kc, row, n_rows: rows.end - row };
                for cols in groups(slice.n_cols, max_cols) {
                    match cols.len() {
                        1 => tile.run::<1>(slice, wide, cols.start),
                        2 => tile.run::<2>(slice, wide, cols.start),
                        3 => tile.run::<3>(slice, wide, cols.start),
                        4 => tile.run::<4>(slice, wide, cols.start),
                        5 => tile.run::<5>(slice, wide, cols.start),
                        6 => tile.run::<6>(slice, wide, cols.start),
                        7 => tile.run::<7>(slice, wide, cols.start),
                        8 => tile.run::<8>(slice, wide, cols.start),
                        9 => tile.run::<9>(slice, wide, cols.start),
                        10 => tile.run::<10>(slice, wide, cols.start),
                        11 => tile.run::<11>(slice, wide, cols.start),
                        _ => tile.run::<12>(slice, wide, cols.start),
                    }
                }
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn float_dots<F: FloatFormat, const NC: usize>(slice: &Slice, rows: Range<usize>, from: usize) {
    // SAFETY: rows and columns exist, by the caller's promise.
    unsafe {
        let cols = slice.columns::<NC>(from, 0);
        for row in rows {
            let sums = pack::dot_float::<F, NC>(slice.weight_row(row), slice.layout.k, &cols);
            for (out, sum) in slice.outputs::<NC>(from, row).into_iter().zip(sums) {
                *out = sum;
            }
        }
    }
}

struct FloatTile<'a> {
    panel: &'a FloatPanel,
    k0: usize,
    kc: usize,
    row: usize,
    n_rows: usize,
}

impl FloatTile<'_> {
    unsafe fn run<const C: usize>(&self, slice: &Slice, wide: bool, from: usize) {
        let n_rows = self.n_rows.min(PANEL_ROWS);
        let first = self.k0 == 0;
        // SAFETY: the panel was packed for this `k0`; rows and columns exist; `wide` is AVX-512.
        unsafe {
            let (cols, dst) = (slice.columns::<C>(from, self.k0), slice.outputs::<C>(from, self.row));
            if wide {
                tiles512::float_tile::<C>(self.panel, self.kc, &cols, &dst, n_rows, first);
            } else {
                tiles256::float_tile::<C>(self.panel, self.kc, &cols, &dst, n_rows, first);
            }
        }
    }
}
