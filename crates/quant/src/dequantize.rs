//! Blocks to f32, exactly as `dequantize_row_*` of ggml-quants.c: the dispatch over types.

use bytemuck::Pod;
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::blocks::{BlockQ8K, QK, QK_K, QK_NVFP4, QK1_0, QK2_0};
use crate::convert::bf16_to_f32;
use crate::error::check_row;
use crate::{DType, Error, fp4, grids, iq4, k_quants, legacy, low_bit};

/// Expands a row of `dtype` in `bytes` to `out.len()` floats. Answers to `ggml_type_traits::to_float` (and, for
/// `Q8_K`, which that has not, to `dequantize_row_q8_K`).
///
/// `bytes` needs no alignment.
///
/// # Errors
/// [`Error::NotComputed`]; [`Error::PartialBlock`] and [`Error::ByteLength`] if the lengths do not match.
pub fn dequantize_row(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<(), Error> {
    check_row(dtype, out.len(), bytes.len())?;
    match dtype {
        DType::F32 => bytemuck::cast_slice_mut(out).copy_from_slice(bytes),
        DType::F16 => f16_row(bytes, out),
        DType::BF16 => each(bytes, out, 1, |x: &u16, y| y[0] = bf16_to_f32(*x)),
        DType::Q4_0 => each(bytes, out, QK, legacy::dequantize_q4_0),
        DType::Q4_1 => each(bytes, out, QK, legacy::dequantize_q4_1),
        DType::Q5_0 => each(bytes, out, QK, legacy::dequantize_q5_0),
        DType::Q5_1 => each(bytes, out, QK, legacy::dequantize_q5_1),
        DType::Q8_0 => each(bytes, out, QK, legacy::dequantize_q8_0),
        DType::Q2_K => each(bytes, out, QK_K, k_quants::dequantize_q2_k),
        DType::Q3_K => each(bytes, out, QK_K, k_quants::dequantize_q3_k),
        DType::Q4_K => each(bytes, out, QK_K, k_quants::dequantize_q4_k),
        DType::Q5_K => each(bytes, out, QK_K, k_quants::dequantize_q5_k),
        DType::Q6_K => each(bytes, out, QK_K, k_quants::dequantize_q6_k),
        DType::Q8_K => each(bytes, out, QK_K, q8_k),
        DType::IQ4_NL => each(bytes, out, QK, iq4::dequantize_iq4_nl),
        DType::IQ4_XS => each(bytes, out, QK_K, iq4::dequantize_iq4_xs),
        DType::TQ1_0 => each(bytes, out, QK_K, low_bit::dequantize_tq1_0),
        DType::TQ2_0 => each(bytes, out, QK_K, low_bit::dequantize_tq2_0),
        DType::MXFP4 => each(bytes, out, QK, fp4::dequantize_mxfp4),
        DType::NVFP4 => each(bytes, out, QK_NVFP4, fp4::dequantize_nvfp4),
        DType::Q1_0 => each(bytes, out, QK1_0, low_bit::dequantize_q1_0),
        DType::Q2_0 => each(bytes, out, QK2_0, low_bit::dequantize_q2_0),
        DType::IQ2_XXS => each(bytes, out, QK_K, grids::dequantize_iq2_xxs),
        DType::IQ2_XS => each(bytes, out, QK_K, grids::dequantize_iq2_xs),
        DType::IQ2_S => each(bytes, out, QK_K, grids::dequantize_iq2_s),
        DType::IQ3_XXS => each(bytes, out, QK_K, grids::dequantize_iq3_xxs),
        DType::IQ3_S => each(bytes, out, QK_K, grids::dequantize_iq3_s),
        DType::IQ1_S => each(bytes, out, QK_K, grids::dequantize_iq1_s),
        DType::IQ1_M => each(bytes, out, QK_K, grids::dequantize_iq1_m),
        DType::Q8_1 | DType::I8 | DType::I16 | DType::I32 | DType::I64 | DType::F64 => {
            return Err(Error::NotComputed { dtype });
        }
    }
    Ok(())
}

/// Runs `f` on every block of `bytes` and the `len` floats it stands for.
fn each<B: Pod>(bytes: &[u8], out: &mut [f32], len: usize, f: impl Fn(&B, &mut [f32])) {
    for (block, y) in bytes.chunks_exact(size_of::<B>()).zip(out.chunks_exact_mut(len)) {
        f(&bytemuck::pod_read_unaligned(block), y);
    }
}

/// By pieces, so that the conversion can use the machine's instruction for it.
fn f16_row(bytes: &[u8], out: &mut [f32]) {
    const PIECE: usize = 64;
    let mut piece = [f16::ZERO; PIECE];
    for (bytes, y) in bytes.chunks(2 * PIECE).zip(out.chunks_mut(PIECE)) {
        let piece = &mut piece[..y.len()];
        bytemuck::cast_slice_mut(piece).copy_from_slice(bytes);
        piece.convert_to_f32_slice(y);
    }
}

fn q8_k(b: &BlockQ8K, y: &mut [f32]) {
    for (y, &q) in y.iter_mut().zip(&b.qs) {
        *y = b.d * f32::from(q);
    }
}
