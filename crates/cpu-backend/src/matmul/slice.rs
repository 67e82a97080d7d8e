//! One weight matrix against one set of converted columns: what a kernel sees.

use std::ops::Range;

use super::columns::{Column, ColumnLayout};
use super::scalar;

/// Where the weights, the converted columns and the results are.
pub(super) struct Slice {
    pub layout: ColumnLayout,
    pub w: *const u8,
    pub w_stride: usize,
    pub cols: *const u8,
    pub dst: *mut u8,
    pub dst_stride: usize,
    pub n_cols: usize,
}

impl Slice {
    pub unsafe fn weight_row(&self, row: usize) -> *const u8 {
        // SAFETY: the caller names an existing row.
        unsafe { self.w.add(row * self.w_stride) }
    }

    pub unsafe fn column(&self, col: usize, k0: usize) -> Column {
        // SAFETY: the caller names an existing column and a `k0` inside it.
        unsafe { self.layout.column(self.cols.add(col * self.layout.stride), k0) }
    }

    pub unsafe fn output(&self, col: usize, row: usize) -> *mut f32 {
        // SAFETY: the caller names an existing element; strides and base are multiples of 4.
        unsafe { self.dst.add(col * self.dst_stride).cast::<f32>().add(row) }
    }

    /// Rows of a product without terms.
    ///
    /// # Safety
    /// The rows exist and nobody else writes them.
    pub unsafe fn zero_rows(&self, rows: Range<usize>) {
        for col in 0..self.n_cols {
            for row in rows.clone() {
                // SAFETY: row and column exist.
                unsafe { *self.output(col, row) = 0.0 };
            }
        }
    }
}

/// Rows of a type in the portable twin of its kernels.
///
/// # Safety
/// All pointers are valid for the shape; the columns are converted; the rows exist and nobody else writes them.
pub(super) unsafe fn scalar_rows(slice: &Slice, rows: Range<usize>) {
    for row in rows {
        for col in 0..slice.n_cols {
            // SAFETY: row and column exist; the column is of the layout that goes with the type.
            unsafe {
                let (weights, column) = (slice.weight_row(row), slice.column(col, 0));
                *slice.output(col, row) = scalar::dot(slice.layout.dtype, weights, slice.layout.k, column);
            }
        }
    }
}

/// Rows of a type without kernels, by the reference arithmetic of `quipu-quant`; the same on every machine.
///
/// # Safety
/// As [`scalar_rows`].
pub(super) unsafe fn block_rows(slice: &Slice, rows: Range<usize>) {
    let (dtype, k) = (slice.layout.dtype, slice.layout.k);
    let partner = dtype.vec_dot_type().expect("the layout has a partner");
    let w_bytes = dtype.row_bytes(k).expect("the layout checked whole blocks");
    let a_bytes = partner.row_bytes(k).expect("the layout checked whole blocks");
    for row in rows {
        // SAFETY: the row exists and holds `k` weights.
        let w = unsafe { std::slice::from_raw_parts(slice.weight_row(row), w_bytes) };
        for col in 0..slice.n_cols {
            // SAFETY: the column exists and holds `k` activations; the element is ours to write.
            unsafe {
                let a = std::slice::from_raw_parts(slice.cols.add(col * slice.layout.stride), a_bytes);
                *slice.output(col, row) = quipu_quant::vec_dot(dtype, k, w, a).expect("lengths match");
            }
        }
    }
}
