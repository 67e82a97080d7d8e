//! Blocks to f32, exactly as `dequantize_row_*` of ggml-quants.c.

use bytemuck::Pod;
use half::f16;

use crate::blocks::{BlockMxfp4, BlockQ4_0, BlockQ4K, BlockQ5_0, BlockQ5K, BlockQ6K, BlockQ8_0, QK, QK_K};
use crate::convert::{bf16_to_f32, e8m0_to_f32_half};
use crate::error::check_row;
use crate::{DType, Error};

/// Twice the sixteen E2M1 values, indexed by nibble (`kvalues_mxfp4`).
pub const MXFP4_VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Expands a row of `dtype` in `bytes` to `out.len()` floats. Answers to `ggml_type_traits::to_float`.
///
/// `bytes` needs no alignment.
///
/// # Errors
/// [`Error::NotComputed`]; [`Error::PartialBlock`] and [`Error::ByteLength`] if the lengths do not match.
pub fn dequantize_row(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<(), Error> {
    if !dtype.is_computed() {
        return Err(Error::NotComputed { dtype });
    }
    check_row(dtype, out.len(), bytes.len())?;
    match dtype {
        DType::F32 => each(bytes, out, 1, |x: f32, y| y[0] = x),
        DType::F16 => each(bytes, out, 1, |x: f16, y| y[0] = x.to_f32()),
        DType::BF16 => each(bytes, out, 1, |x: u16, y| y[0] = bf16_to_f32(x)),
        DType::Q8_0 => each(bytes, out, QK, q8_0),
        DType::Q4_0 => each(bytes, out, QK, q4_0),
        DType::Q5_0 => each(bytes, out, QK, q5_0),
        DType::MXFP4 => each(bytes, out, QK, mxfp4),
        DType::Q4_K => each(bytes, out, QK_K, q4_k),
        DType::Q5_K => each(bytes, out, QK_K, q5_k),
        DType::Q6_K => each(bytes, out, QK_K, q6_k),
        _ => return Err(Error::NotComputed { dtype }),
    }
    Ok(())
}

/// Runs `f` on every block of `bytes` and the `len` floats it stands for.
fn each<B: Pod>(bytes: &[u8], out: &mut [f32], len: usize, f: impl Fn(B, &mut [f32])) {
    for (block, y) in bytes.chunks_exact(size_of::<B>()).zip(out.chunks_exact_mut(len)) {
        f(bytemuck::pod_read_unaligned(block), y);
    }
}

fn q8_0(b: BlockQ8_0, y: &mut [f32]) {
    let d = b.d.to_f32();
    for (y, &q) in y.iter_mut().zip(&b.qs) {
        *y = f32::from(q) * d;
    }
}

fn q4_0(b: BlockQ4_0, y: &mut [f32]) {
    let d = b.d.to_f32();
    for (j, &q) in b.qs.iter().enumerate() {
        y[j] = (i32::from(q & 15) - 8) as f32 * d;
        y[j + 16] = (i32::from(q >> 4) - 8) as f32 * d;
    }
}

fn q5_0(b: BlockQ5_0, y: &mut [f32]) {
    let d = b.d.to_f32();
    for (y, q) in y.iter_mut().zip(b.quants()) {
        *y = f32::from(q) * d;
    }
}

fn mxfp4(b: BlockMxfp4, y: &mut [f32]) {
    let d = e8m0_to_f32_half(b.e);
    for (j, &q) in b.qs.iter().enumerate() {
        y[j] = f32::from(MXFP4_VALUES[usize::from(q & 15)]) * d;
        y[j + 16] = f32::from(MXFP4_VALUES[usize::from(q >> 4)]) * d;
    }
}

fn q4_k(b: BlockQ4K, y: &mut [f32]) {
    min_scaled(b.d, b.dmin, &b.scales, &b.quants(), y);
}

fn q5_k(b: BlockQ5K, y: &mut [f32]) {
    min_scaled(b.d, b.dmin, &b.scales, &b.quants(), y);
}

/// `y = d * sc * q - dmin * m` for 8 sub-blocks of 32.
fn min_scaled(d: f16, dmin: f16, scales: &[u8; 12], quants: &[u8; QK_K], y: &mut [f32]) {
    let (d, dmin) = (d.to_f32(), dmin.to_f32());
    for (j, (y, q)) in y.chunks_exact_mut(32).zip(quants.chunks_exact(32)).enumerate() {
        let (sc, m) = scale_min(j, scales);
        let (scale, min) = (d * f32::from(sc), dmin * f32::from(m));
        for (y, &q) in y.iter_mut().zip(q) {
            *y = scale * f32::from(q) - min;
        }
    }
}

fn q6_k(b: BlockQ6K, y: &mut [f32]) {
    let d = b.d.to_f32();
    let quants = b.quants();
    for ((y, q), &sc) in y.chunks_exact_mut(16).zip(quants.chunks_exact(16)).zip(&b.scales) {
        let scale = d * f32::from(sc);
        for (y, &q) in y.iter_mut().zip(q) {
            *y = scale * f32::from(q);
        }
    }
}

/// The 6-bit scale and min of sub-block `j` (0..8). Answers to `get_scale_min_k4`.
pub fn scale_min(j: usize, scales: &[u8; 12]) -> (u8, u8) {
    if j < 4 {
        (scales[j] & 63, scales[j + 4] & 63)
    } else {
        ((scales[j + 4] & 15) | ((scales[j - 4] >> 6) << 4), (scales[j + 4] >> 4) | ((scales[j] >> 6) << 4))
    }
}
