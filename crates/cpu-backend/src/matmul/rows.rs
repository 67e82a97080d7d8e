//! The loops around the vector kernels.
//!
//! Few columns: row dots, each weight read once from memory. Many columns: rows are packed into panels
//! and register tiles run over all columns. Either way an element of the result is computed in an order
//! that depends on `k`, the number of columns and the instruction set, never on which rows share a chunk.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::columns::Column;
use super::dot::dot_float;
use super::floats::FloatFormat;
use super::formats::Format;
use super::pack::{FLOAT_KC, FloatPanel, INT_KC, IntPanel, PANEL_ROWS, pack_float, pack_int};
use super::simd::{Simd, Tiles, Work};
use super::slice::Slice;
use super::tiles::{float_tile, int_tile};

/// From this many columns on, packing panels beats row dots.
const MIN_TILE_COLS: usize = 5;
/// Columns that share one pass of a row dot.
const DOT_COLS: usize = 4;

/// Rows worth handing out together.
pub(super) fn row_granularity(n_cols: usize) -> usize {
    if n_cols >= MIN_TILE_COLS { PANEL_ROWS } else { 1 }
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

/// Rows of a quantised type.
///
/// # Safety
/// `slice` describes valid memory of this format's layout, the rows exist and nobody else writes them; see [`Simd`].
pub(super) unsafe fn int_rows<S: Tiles, F: Format>(slice: &Slice, rows: Range<usize>) {
    // SAFETY: the caller's promise, for the whole function.
    unsafe {
        if slice.n_cols < MIN_TILE_COLS {
            for cols in groups(slice.n_cols, DOT_COLS) {
                match cols.len() {
                    1 => S::vectorize(IntDots::<S, F, 1>::new(slice, rows.clone(), cols.start)),
                    2 => S::vectorize(IntDots::<S, F, 2>::new(slice, rows.clone(), cols.start)),
                    3 => S::vectorize(IntDots::<S, F, 3>::new(slice, rows.clone(), cols.start)),
                    _ => S::vectorize(IntDots::<S, F, 4>::new(slice, rows.clone(), cols.start)),
                }
            }
            return;
        }
        let mut panel = MaybeUninit::<IntPanel>::uninit();
        let panel = panel.as_mut_ptr();
        for k0 in (0..slice.layout.k).step_by(INT_KC) {
            let kc = INT_KC.min(slice.layout.k - k0);
            for row in rows.clone().step_by(PANEL_ROWS) {
                let pointers = slice.panel_rows(&rows, row, k0 / F::LEN * F::BYTES);
                S::vectorize(PackInt::<S, F> {
                    rows: &pointers,
                    stride: slice.w_stride,
                    kc,
                    panel,
                    kinds: PhantomData,
                });
                let n_rows = (rows.end - row).min(PANEL_ROWS);
                let place = Place { k0, len: kc / F::SUB, row, n_rows };
                for cols in groups(slice.n_cols, S::INT_COLS) {
                    match cols.len() {
                        1 => int_tile_of::<S, F, 1>(slice, panel, place, cols.start),
                        2 => int_tile_of::<S, F, 2>(slice, panel, place, cols.start),
                        3 => int_tile_of::<S, F, 3>(slice, panel, place, cols.start),
                        4 => int_tile_of::<S, F, 4>(slice, panel, place, cols.start),
                        5 => int_tile_of::<S, F, 5>(slice, panel, place, cols.start),
                        _ => int_tile_of::<S, F, 6>(slice, panel, place, cols.start),
                    }
                }
            }
        }
    }
}

/// Rows of a float type.
///
/// # Safety
/// As [`int_rows`].
pub(super) unsafe fn float_rows<S: Tiles, F: FloatFormat>(slice: &Slice, rows: Range<usize>) {
    // SAFETY: the caller's promise, for the whole function.
    unsafe {
        if slice.n_cols < MIN_TILE_COLS {
            for cols in groups(slice.n_cols, DOT_COLS) {
                match cols.len() {
                    1 => S::vectorize(FloatDots::<S, F, 1>::new(slice, rows.clone(), cols.start)),
                    2 => S::vectorize(FloatDots::<S, F, 2>::new(slice, rows.clone(), cols.start)),
                    3 => S::vectorize(FloatDots::<S, F, 3>::new(slice, rows.clone(), cols.start)),
                    _ => S::vectorize(FloatDots::<S, F, 4>::new(slice, rows.clone(), cols.start)),
                }
            }
            return;
        }
        let mut panel = MaybeUninit::<FloatPanel>::uninit();
        let panel = panel.as_mut_ptr();
        for k0 in (0..slice.layout.k).step_by(FLOAT_KC) {
            let kc = FLOAT_KC.min(slice.layout.k - k0);
            for row in rows.clone().step_by(PANEL_ROWS) {
                let pointers = slice.panel_rows(&rows, row, k0 * F::BYTES);
                S::vectorize(PackFloat::<S, F> {
                    rows: &pointers,
                    stride: slice.w_stride,
                    kc,
                    panel,
                    kinds: PhantomData,
                });
                let n_rows = (rows.end - row).min(PANEL_ROWS);
                let place = Place { k0, len: kc, row, n_rows };
                for cols in groups(slice.n_cols, S::FLOAT_COLS) {
                    match cols.len() {
                        1 => float_tile_of::<S, 1>(slice, panel, place, cols.start),
                        2 => float_tile_of::<S, 2>(slice, panel, place, cols.start),
                        3 => float_tile_of::<S, 3>(slice, panel, place, cols.start),
                        4 => float_tile_of::<S, 4>(slice, panel, place, cols.start),
                        5 => float_tile_of::<S, 5>(slice, panel, place, cols.start),
                        6 => float_tile_of::<S, 6>(slice, panel, place, cols.start),
                        7 => float_tile_of::<S, 7>(slice, panel, place, cols.start),
                        8 => float_tile_of::<S, 8>(slice, panel, place, cols.start),
                        9 => float_tile_of::<S, 9>(slice, panel, place, cols.start),
                        10 => float_tile_of::<S, 10>(slice, panel, place, cols.start),
                        11 => float_tile_of::<S, 11>(slice, panel, place, cols.start),
                        _ => float_tile_of::<S, 12>(slice, panel, place, cols.start),
                    }
                }
            }
        }
    }
}

/// Where a packed panel belongs.
#[derive(Clone, Copy)]
struct Place {
    k0: usize,
    /// Sub-blocks, or elements of a float type.
    len: usize,
    row: usize,
    /// At most [`PANEL_ROWS`].
    n_rows: usize,
}

/// One integer tile, by the format's constants.
///
/// # Safety
/// The panel was packed from `F` for this place; rows and columns exist; see [`Simd`].
unsafe fn int_tile_of<S: Tiles, F: Format, const C: usize>(
    slice: &Slice,
    panel: *const IntPanel,
    place: Place,
    from: usize,
) {
    // SAFETY: the caller's promise, unchanged.
    unsafe {
        match (F::SUB, F::HAS_MIN) {
            (16, true) => int_tile_by::<S, C, 4, true, false>(slice, panel, place, from),
            (16, false) => int_tile_by::<S, C, 4, false, false>(slice, panel, place, from),
            (_, true) => int_tile_by::<S, C, 8, true, false>(slice, panel, place, from),
            (_, false) if F::FULL_RANGE => int_tile_by::<S, C, 8, false, true>(slice, panel, place, from),
            (_, false) => int_tile_by::<S, C, 8, false, false>(slice, panel, place, from),
        }
    }
}

/// As [`int_tile_of`].
unsafe fn int_tile_by<S: Tiles, const C: usize, const STEPS: usize, const MIN: bool, const FULL: bool>(
    slice: &Slice,
    panel: *const IntPanel,
    place: Place,
    from: usize,
) {
    // SAFETY: the caller's promise, unchanged.
    unsafe {
        let (cols, dst) = (slice.columns::<C>(from, place.k0), slice.outputs::<C>(from, place.row));
        let kinds = PhantomData;
        if S::INT_REGISTERS == 1 {
            S::vectorize(IntTile::<S, 1, C, STEPS, MIN, FULL> {
                panel,
                place,
                cols: &cols,
                dst: &dst,
                kinds,
            });
        } else {
            S::vectorize(IntTile::<S, 2, C, STEPS, MIN, FULL> {
                panel,
                place,
                cols: &cols,
                dst: &dst,
                kinds,
            });
        }
    }
}

/// One float tile.
///
/// # Safety
/// The panel was packed for this place; rows and columns exist; see [`Simd`].
unsafe fn float_tile_of<S: Tiles, const C: usize>(
    slice: &Slice,
    panel: *const FloatPanel,
    place: Place,
    from: usize,
) {
    // SAFETY: the caller's promise, unchanged.
    unsafe {
        let (cols, dst) = (slice.columns::<C>(from, place.k0), slice.outputs::<C>(from, place.row));
        S::vectorize(FloatTile::<S, C> { panel, place, cols: &cols, dst: &dst, kinds: PhantomData });
    }
}

struct IntDots<'a, S, F, const NC: usize> {
    slice: &'a Slice,
    rows: Range<usize>,
    from: usize,
    kinds: PhantomData<(S, F)>,
}

impl<'a, S, F, const NC: usize> IntDots<'a, S, F, NC> {
    fn new(slice: &'a Slice, rows: Range<usize>, from: usize) -> Self {
        IntDots { slice, rows, from, kinds: PhantomData }
    }
}

impl<S: Simd, F: Format, const NC: usize> Work for IntDots<'_, S, F, NC> {
    type Out = ();

    #[inline(always)]
    unsafe fn run(self) {
        // SAFETY: rows and columns exist, by the promise of `int_rows`.
        unsafe {
            let cols = self.slice.columns::<NC>(self.from, 0);
            for row in self.rows {
                let sums = F::dot::<S, NC>(self.slice.weight_row(row), self.slice.layout.k, &cols);
                for c in 0..NC {
                    *self.slice.output(self.from + c, row) = sums[c];
                }
            }
        }
    }
}

struct FloatDots<'a, S, F, const NC: usize> {
    slice: &'a Slice,
    rows: Range<usize>,
    from: usize,
    kinds: PhantomData<(S, F)>,
}

impl<'a, S, F, const NC: usize> FloatDots<'a, S, F, NC> {
    fn new(slice: &'a Slice, rows: Range<usize>, from: usize) -> Self {
        FloatDots { slice, rows, from, kinds: PhantomData }
    }
}

impl<S: Simd, F: FloatFormat, const NC: usize> Work for FloatDots<'_, S, F, NC> {
    type Out = ();

    #[inline(always)]
    unsafe fn run(self) {
        // SAFETY: rows and columns exist, by the promise of `float_rows`.
        unsafe {
            let cols = self.slice.columns::<NC>(self.from, 0);
            for row in self.rows {
                let sums = dot_float::<S, F, NC>(self.slice.weight_row(row), self.slice.layout.k, &cols);
                for c in 0..NC {
                    *self.slice.output(self.from + c, row) = sums[c];
                }
            }
        }
    }
}

struct PackInt<'a, S, F> {
    rows: &'a [*const u8; PANEL_ROWS],
    stride: usize,
    kc: usize,
    panel: *mut IntPanel,
    kinds: PhantomData<(S, F)>,
}

impl<S: Simd, F: Format> Work for PackInt<'_, S, F> {
    type Out = ();

    #[inline(always)]
    unsafe fn run(self) {
        // SAFETY: rows exist from `k0` on for `kc` elements, by the promise of `int_rows`.
        unsafe { pack_int::<S, F>(self.rows, self.stride, self.kc, self.panel) };
    }
}

struct PackFloat<'a, S, F> {
    rows: &'a [*const u8; PANEL_ROWS],
    stride: usize,
    kc: usize,
    panel: *mut FloatPanel,
    kinds: PhantomData<(S, F)>,
}

impl<S: Simd, F: FloatFormat> Work for PackFloat<'_, S, F> {
    type Out = ();

    #[inline(always)]
    unsafe fn run(self) {
        // SAFETY: rows exist from `k0` on for `kc` elements, by the promise of `float_rows`.
        unsafe { pack_float::<S, F>(self.rows, self.stride, self.kc, self.panel) };
    }
}

struct IntTile<'a, S, const R: usize, const C: usize, const STEPS: usize, const MIN: bool, const FULL: bool> {
    panel: *const IntPanel,
    place: Place,
    cols: &'a [Column; C],
    dst: &'a [*mut f32; C],
    kinds: PhantomData<S>,
}

impl<S: Tiles, const R: usize, const C: usize, const STEPS: usize, const MIN: bool, const FULL: bool> Work
    for IntTile<'_, S, R, C, STEPS, MIN, FULL>
{
    type Out = ();

    #[inline(always)]
    unsafe fn run(self) {
        let Place { k0, len, n_rows, .. } = self.place;
        // SAFETY: the promise of `int_tile_of`.
        unsafe {
            int_tile::<S, R, C, STEPS, MIN, FULL>(self.panel, len, self.cols, self.dst, n_rows, k0 == 0);
        }
    }
}

struct FloatTile<'a, S, const C: usize> {
    panel: *const FloatPanel,
    place: Place,
    cols: &'a [Column; C],
    dst: &'a [*mut f32; C],
    kinds: PhantomData<S>,
}

impl<S: Tiles, const C: usize> Work for FloatTile<'_, S, C> {
    type Out = ();

    #[inline(always)]
    unsafe fn run(self) {
        let Place { k0, len, n_rows, .. } = self.place;
        // SAFETY: the promise of `float_tile_of`.
        unsafe { float_tile::<S, C>(self.panel, len, self.cols, self.dst, n_rows, k0 == 0) };
    }
}
