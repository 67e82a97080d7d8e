//! Dot products of one weight row with one activation row, in the formats ggml multiplies: the dispatch over
//! types. Scalar, in the order of the reference's portable code, written to be read and compared against.

use bytemuck::Pod;
use half::f16;

use crate::convert::bf16_to_f32;
use crate::error::check_row;
use crate::k_quants::EightSums;
use crate::{DType, Error, fp4, grids, iq4, k_quants, legacy, low_bit};

/// Dot product of `n` weights of `dtype` with `n` activations of [`DType::vec_dot_type`] of `dtype`.
///
/// Answers to `ggml_vec_dot_*_generic`, operation for operation (without contraction to FMA). Block formats
/// accumulate in f32, a term or a few per block; float formats multiply in f32 and accumulate in f64, as
/// ggml's scalar fallback does. Neither slice needs alignment.
///
/// # Errors
/// [`Error::NotComputed`]; [`Error::PartialBlock`] and [`Error::ByteLength`] if a length does not match
/// (the type in the error says which of the two rows).
pub fn vec_dot(dtype: DType, n: usize, weights: &[u8], activations: &[u8]) -> Result<f32, Error> {
    let Some(partner) = dtype.vec_dot_type() else {
        return Err(Error::NotComputed { dtype });
    };
    check_row(dtype, n, weights.len())?;
    check_row(partner, n, activations.len())?;
    let (w, a) = (weights, activations);
    Ok(match dtype {
        DType::F32 => floats(w, a, |x: f32| x),
        DType::F16 => floats(w, a, f16::to_f32),
        DType::BF16 => floats(w, a, bf16_to_f32),
        DType::Q4_0 => sum(w, a, legacy::dot_q4_0),
        DType::Q4_1 => sum(w, a, legacy::dot_q4_1),
        DType::Q5_0 => sum(w, a, legacy::dot_q5_0),
        DType::Q5_1 => sum(w, a, legacy::dot_q5_1),
        DType::Q8_0 => sum(w, a, legacy::dot_q8_0),
        DType::Q2_K => sum(w, a, k_quants::dot_q2_k),
        DType::Q3_K => sum::<EightSums, _, _>(w, a, k_quants::dot_q3_k).total(),
        DType::Q4_K => sum::<EightSums, _, _>(w, a, k_quants::dot_q4_k).total(),
        DType::Q5_K => sum::<EightSums, _, _>(w, a, k_quants::dot_q5_k).total(),
        DType::Q6_K => sum::<EightSums, _, _>(w, a, k_quants::dot_q6_k).total(),
        DType::IQ4_NL => sum(w, a, iq4::dot_iq4_nl),
        DType::IQ4_XS => sum(w, a, iq4::dot_iq4_xs),
        DType::TQ1_0 => sum(w, a, low_bit::dot_tq1_0),
        DType::TQ2_0 => sum(w, a, low_bit::dot_tq2_0),
        DType::MXFP4 => sum(w, a, fp4::dot_mxfp4),
        DType::NVFP4 => sum(w, a, fp4::dot_nvfp4),
        DType::Q1_0 => sum(w, a, low_bit::dot_q1_0),
        DType::Q2_0 => sum(w, a, low_bit::dot_q2_0),
        DType::IQ2_XXS => 0.125 * sum(w, a, grids::dot_iq2_xxs),
        DType::IQ2_XS => 0.125 * sum(w, a, grids::dot_iq2_xs),
        DType::IQ2_S => 0.125 * sum(w, a, grids::dot_iq2_s),
        DType::IQ3_XXS => 0.25 * sum(w, a, grids::dot_iq3_xxs),
        DType::IQ3_S => sum(w, a, grids::dot_iq3_s),
        DType::IQ1_S => sum(w, a, grids::dot_iq1_s),
        DType::IQ1_M => sum(w, a, grids::dot_iq1_m),
        DType::Q8_1 | DType::Q8_K | DType::I8 | DType::I16 | DType::I32 | DType::I64 | DType::F64 => {
            return Err(Error::NotComputed { dtype });
        }
    })
}

fn blocks<B: Pod>(bytes: &[u8]) -> impl Iterator<Item = B> {
    bytes.chunks_exact(size_of::<B>()).map(bytemuck::pod_read_unaligned)
}

fn floats<T: Pod>(w: &[u8], a: &[u8], to_f32: impl Fn(T) -> f32) -> f32 {
    blocks::<T>(w).zip(blocks::<T>(a)).map(|(w, a)| f64::from(to_f32(w) * to_f32(a))).sum::<f64>() as f32
}

/// Adds the blocks' products in order, starting from +0 (an empty `Iterator::sum` would be -0). `A` is as many
/// activation blocks as one weight block meets.
fn sum<S: Default, W: Pod, A: Pod>(w: &[u8], a: &[u8], f: impl Fn(S, &W, &A) -> S) -> S {
    blocks::<W>(w).zip(blocks::<A>(a)).fold(S::default(), |sum, (w, a)| f(sum, &w, &a))
}
