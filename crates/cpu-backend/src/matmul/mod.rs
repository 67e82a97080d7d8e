//! Matrix products of (quantised) weights with f32 activations, in ggml's arithmetic.
//!
//! Activations are first converted to the partner type of the weights (Q8_0, Q8_K, f16, bf16 or f32);
//! products of quants are exact integers inside a block, blocks are summed in f32. Weights stay in the
//! file's layout: where many columns share them, they are repacked panel by panel into the cache, which
//! costs a few percent of the product and leaves mapped files untouched. Types without kernels are multiplied
//! by the reference arithmetic of `quipu-quant`.

// Weights lie at any address and are read unaligned; column fields are aligned by their layout.
#![allow(clippy::cast_ptr_alignment)]
// Kernels index several arrays of registers alike; a closure that is not inlined would be compiled without their set.
#![allow(clippy::needless_range_loop)]

mod columns;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
mod dot;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
mod floats;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
mod formats;
mod kernels;
#[cfg(test)]
mod oracle;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
mod pack;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
mod rows;
mod scalar;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
mod simd;
mod slice;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
mod tiles;

use quipu_quant::DType;

use self::columns::{ColumnLayout, column_stride};
use self::kernels::Kernels;
use self::slice::Slice;
use crate::isa::Isa;
use crate::pool::{PoolError, Team, ThreadPool};

/// A product that cannot be computed, or slices that do not hold it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MatMulError {
    /// No kernel for the weights' type, or `k` is no whole number of its blocks.
    #[error("no matrix product for weights of type {dtype} with k = {k} (blocks of {block_len})", block_len = dtype.block_len())]
    Unsupported {
        /// Type of the weights.
        dtype: DType,
        /// Row length.
        k: usize,
    },
    /// The sizes overflow the address space.
    #[error("sizes of the product overflow: {n_rows} rows, {n_cols} columns, k = {k}")]
    Overflow {
        /// Weight rows.
        n_rows: usize,
        /// Activation columns.
        n_cols: usize,
        /// Row length.
        k: usize,
    },
    /// A slice is shorter than the product needs.
    #[error("{what} holds {found} elements, expected at least {expected}")]
    Short {
        /// Which slice.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The least length.
        expected: usize,
    },
    /// The pool failed.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

/// Shape and strides of a (batched) product `dst[n_cols][n_rows] = X[n_cols][k] · W[n_rows][k]ᵀ`, as
/// `GGML_OP_MUL_MAT` has them. Strides are in bytes; the innermost dimension of each operand is contiguous.
///
/// Batch index `(i2, i3)` of X and dst meets batch `(i2 / (x_batch[0] / w_batch[0]), ...)` of W.
#[derive(Clone, Copy, Debug)]
pub struct MatMul {
    /// Type of the weights.
    pub dtype: DType,
    /// Row length (ne00 = ne10).
    pub k: usize,
    /// Weight rows (ne01 = ne0).
    pub n_rows: usize,
    /// Activation columns per batch (ne11 = ne1).
    pub n_cols: usize,
    /// Batches of W (ne02, ne03); each divides its entry in `x_batch`.
    pub w_batch: [usize; 2],
    /// Batches of X and dst (ne12, ne13).
    pub x_batch: [usize; 2],
    /// From weight row to row (nb01), to batch (nb02, nb03).
    pub w_stride: [usize; 3],
    /// From column to column of X (nb11), to batch (nb12, nb13). Multiples of 4.
    pub x_stride: [usize; 3],
    /// From column to column of dst (nb1), to batch (nb2, nb3). Multiples of 4.
    pub dst_stride: [usize; 3],
}

/// Where the operands of a product are.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Weights, any alignment.
    pub w: *const u8,
    /// Activations, aligned to 4.
    pub x: *const f32,
    /// Result, aligned to 4.
    pub dst: *mut f32,
    /// [`MatMul::scratch_bytes`] bytes, aligned to 64.
    pub scratch: *mut u8,
}

// SAFETY: plain addresses; `mul_mat`'s contract says what each thread may do with them.
unsafe impl Send for Operands {}
// SAFETY: as above.
unsafe impl Sync for Operands {}

/// Alignment of the scratch buffer.
pub const SCRATCH_ALIGN: usize = 64;

/// Whether products with weights of this type and row length can be computed.
pub fn is_supported(dtype: DType, k: usize) -> bool {
    column_stride(dtype, k).is_some()
}

impl MatMul {
    /// A product of contiguous matrices without batches.
    pub fn plain(dtype: DType, k: usize, n_rows: usize, n_cols: usize) -> Result<MatMul, MatMulError> {
        let overflow = MatMulError::Overflow { n_rows, n_cols, k };
        let row = dtype.row_bytes(k).ok_or(MatMulError::Unsupported { dtype, k })?;
        let product = |a: usize, b: usize| a.checked_mul(b);
        let all = (product(row, n_rows), product(k * 4, n_cols), product(n_rows.saturating_mul(4), n_cols));
        let (Some(w_all), Some(x_all), Some(dst_all)) = all else { return Err(overflow) };
        let m = MatMul {
            dtype,
            k,
            n_rows,
            n_cols,
            w_batch: [1, 1],
            x_batch: [1, 1],
            w_stride: [row, w_all, w_all],
            x_stride: [k * 4, x_all, x_all],
            dst_stride: [n_rows * 4, dst_all, dst_all],
        };
        m.scratch_bytes()?;
        Ok(m)
    }

    /// Bytes of scratch that [`mul_mat`] needs, whatever the number of threads (`wsize` of `ggml_graph_plan`).
    pub fn scratch_bytes(&self) -> Result<usize, MatMulError> {
        let stride = column_stride(self.dtype, self.k).ok_or(self.unsupported())?;
        stride.checked_mul(self.total_cols()?).ok_or(self.overflow())
    }

    fn unsupported(&self) -> MatMulError {
        MatMulError::Unsupported { dtype: self.dtype, k: self.k }
    }

    fn total_cols(&self) -> Result<usize, MatMulError> {
        let batches = self.x_batch[0].checked_mul(self.x_batch[1]);
        batches.and_then(|b| b.checked_mul(self.n_cols)).ok_or(self.overflow())
    }

    fn overflow(&self) -> MatMulError {
        MatMulError::Overflow { n_rows: self.n_rows, n_cols: self.n_cols, k: self.k }
    }
}

/// A product whose kernels are chosen: what can be kept per node of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    m: MatMul,
    layout: ColumnLayout,
    kernels: Kernels,
    total_cols: usize,
}

impl Product {
    /// Chooses the kernels for a product on an instruction set.
    ///
    /// # Errors
    /// If the type has no product, or sizes overflow.
    pub fn new(isa: Isa, m: &MatMul) -> Result<Product, MatMulError> {
        let layout = ColumnLayout::new(isa, m.dtype, m.k).ok_or(m.unsupported())?;
        m.scratch_bytes()?;
        Ok(Product { m: *m, layout, kernels: Kernels::choose(isa, &layout), total_cols: m.total_cols()? })
    }

    /// Computes the product with the whole team; every thread calls it with the same arguments.
    ///
    /// Answers to `ggml_compute_forward_mul_mat`. The chunk counter must be fresh (a barrier or the start of a
    /// run precedes), and the caller puts a barrier behind before anyone reads `dst` or reuses `scratch`.
    /// The result does not depend on the number of threads.
    ///
    /// # Safety
    /// The operands are valid for the shape and strides of the product during the call (and until the barrier behind
    /// it): `w` and `x` readable, `dst` and `scratch` (of [`MatMul::scratch_bytes`]) writable, exclusively the
    /// team's, not overlapping the others; alignments as [`Operands`] says.
    pub unsafe fn run(&self, team: &Team<'_>, op: &Operands) {
        let Product { m, layout, kernels, total_cols } = self;
        if *total_cols == 0 || m.n_rows == 0 {
            return;
        }
        let split = |col: usize| {
            let batch = col / m.n_cols;
            (col % m.n_cols, batch % m.x_batch[0], batch / m.x_batch[0])
        };

        let n_units = layout.n_units();
        for i in team.share(n_units * total_cols) {
            let (unit, col) = (i % n_units, i / n_units);
            let (i1, i2, i3) = split(col);
            // SAFETY: column and unit exist; shares do not overlap, so each unit has one writer; the kernels were
            // chosen by a proof.
            unsafe {
                let x = op.x.byte_add(i1 * m.x_stride[0] + i2 * m.x_stride[1] + i3 * m.x_stride[2]);
                (kernels.convert)(layout, x, op.scratch.add(col * layout.stride), unit);
            }
        }
        team.barrier();

        let n_batches = m.x_batch[0] * m.x_batch[1];
        let per_chunk = rows_per_chunk(m, n_batches, team.nth());
        let chunks_per_batch = m.n_rows.div_ceil(per_chunk);
        loop {
            let chunk = team.next_chunk();
            if chunk >= chunks_per_batch * n_batches {
                return;
            }
            let (batch, part) = (chunk / chunks_per_batch, chunk % chunks_per_batch);
            let (_, i2, i3) = split(batch * m.n_cols);
            let (w2, w3) = (i2 * m.w_batch[0] / m.x_batch[0], i3 * m.w_batch[1] / m.x_batch[1]);
            let rows = part * per_chunk..m.n_rows.min((part + 1) * per_chunk);
            // SAFETY: batch and rows exist by the arithmetic above; the columns were converted before the
            // barrier; a chunk is taken by one thread only; the kernels were chosen by a proof.
            unsafe {
                let slice = Slice {
                    layout: *layout,
                    w: op.w.add(w2 * m.w_stride[1] + w3 * m.w_stride[2]),
                    w_stride: m.w_stride[0],
                    cols: op.scratch.add(batch * m.n_cols * layout.stride),
                    dst: op.dst.cast::<u8>().add(i2 * m.dst_stride[1] + i3 * m.dst_stride[2]),
                    dst_stride: m.dst_stride[0],
                    n_cols: m.n_cols,
                };
                if m.k == 0 {
                    slice.zero_rows(rows);
                } else {
                    (kernels.rows)(&slice, rows);
                }
            }
        }
    }
}

/// [`Product::new`] and [`Product::run`] in one, for callers that keep no product.
///
/// # Errors
/// As [`Product::new`]; every thread then gets the same error and none has waited.
///
/// # Safety
/// As [`Product::run`].
pub unsafe fn mul_mat(team: &Team<'_>, isa: Isa, m: &MatMul, op: &Operands) -> Result<(), MatMulError> {
    let product = Product::new(isa, m)?;
    // SAFETY: the caller's promise, unchanged.
    unsafe { product.run(team, op) };
    Ok(())
}

/// Rows a thread takes at a time: few enough to balance the team, enough to reuse the columns in cache.
/// Only speed depends on it.
fn rows_per_chunk(m: &MatMul, n_batches: usize, nth: usize) -> usize {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    let granularity = rows::row_granularity(m.n_cols);
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let granularity = 1;
    if nth == 1 && granularity == 1 {
        return m.n_rows;
    }
    let (least, most) = if granularity == 1 { (16, 128) } else { (granularity, 128) };
    let balanced = m.n_rows.saturating_mul(n_batches) / (nth * 8);
    balanced.clamp(least, most).next_multiple_of(granularity)
}

/// A contiguous product on slices, for callers outside a graph: tests, benches, quantisation tools.
///
/// `w` holds `n_rows` rows of `k` weights, `x` `n_cols` columns of `k` floats, `dst` `n_cols` columns of
/// `n_rows` floats. Allocates its own scratch.
///
/// # Errors
/// An unsupported shape, a slice that is too short, or a failure of the pool.
pub fn mul_mat_pool(
    pool: &ThreadPool,
    isa: Isa,
    m: &MatMul,
    w: &[u8],
    x: &[f32],
    dst: &mut [f32],
) -> Result<(), MatMulError> {
    let m = MatMul::plain(m.dtype, m.k, m.n_rows, m.n_cols)?;
    let product = Product::new(isa, &m)?;
    let scratch_bytes = m.scratch_bytes()?;
    let short = |what, found, expected| {
        if found < expected { Err(MatMulError::Short { what, found, expected }) } else { Ok(()) }
    };
    short("w (bytes)", w.len(), m.w_stride[1])?;
    short("x", x.len(), m.x_stride[1] / 4)?;
    short("dst", dst.len(), m.dst_stride[1] / 4)?;
    let n_bytes = scratch_bytes.checked_add(SCRATCH_ALIGN).ok_or(m.overflow())?;
    let mut scratch = vec![0u8; n_bytes];
    let scratch = scratch.as_mut_ptr();
    let op = Operands {
        w: w.as_ptr(),
        x: x.as_ptr(),
        dst: dst.as_mut_ptr(),
        // SAFETY: at most SCRATCH_ALIGN bytes past the start, which the allocation has to spare.
        scratch: unsafe { scratch.add(scratch.align_offset(SCRATCH_ALIGN)) },
    };
    let n = pool.n_threads();
    // SAFETY: lengths were checked against the contiguous shape, the exclusive borrows last until `run`
    // returns, and `run` returns after every thread is done.
    pool.run(n, |team| unsafe { product.run(team, &op) })?;
    Ok(())
}
