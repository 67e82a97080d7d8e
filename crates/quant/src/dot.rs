//! Dot products of one weight row with one activation row, in the formats ggml multiplies: integer sums
//! inside a block, one f32 multiply-add per block. Scalar, written to be read and compared against.

use bytemuck::Pod;
use half::f16;

use crate::blocks::{
    BlockMxfp4, BlockQ4_0, BlockQ4K, BlockQ5_0, BlockQ5K, BlockQ6K, BlockQ8_0, BlockQ8K, QK_K,
};
use crate::convert::{bf16_to_f32, e8m0_to_f32_half};
use crate::dequantize::{MXFP4_VALUES, scale_min};
use crate::error::check_row;
use crate::{DType, Error};

/// Dot product of `n` weights of `dtype` with `n` activations of [`DType::vec_dot_type`] of `dtype`.
///
/// Answers to `ggml_vec_dot_*` (the generic forms). Block formats accumulate in f32, one term per block;
/// float formats multiply in f32 and accumulate in f64, as ggml's scalar fallback does. Neither slice
/// needs alignment.
///
/// # Errors
/// [`Error::NotComputed`]; [`Error::PartialBlock`] and [`Error::ByteLength`] if a length does not match
/// (the type in the error says which of the two rows).
pub fn vec_dot(dtype: DType, n: usize, weights: &[u8], activations: &[u8]) -> Result<f32, Error> {
    let Some(partner) = dtype.vec_dot_type().filter(|_| dtype.is_computed()) else {
        return Err(Error::NotComputed { dtype });
    };
    check_row(dtype, n, weights.len())?;
    check_row(partner, n, activations.len())?;
    let (w, a) = (weights, activations);
    Ok(match dtype {
        DType::F32 => floats(w, a, |x: f32| x),
        DType::F16 => floats(w, a, f16::to_f32),
        DType::BF16 => floats(w, a, bf16_to_f32),
        DType::Q8_0 => sum_blocks(w, a, q8_0),
        DType::Q4_0 => sum_blocks(w, a, q4_0),
        DType::Q5_0 => sum_blocks(w, a, q5_0),
        DType::MXFP4 => sum_blocks(w, a, mxfp4),
        DType::Q4_K => sum_blocks(w, a, q4_k),
        DType::Q5_K => sum_blocks(w, a, q5_k),
        DType::Q6_K => sum_blocks(w, a, q6_k),
        _ => return Err(Error::NotComputed { dtype }),
    })
}

fn blocks<B: Pod>(bytes: &[u8]) -> impl Iterator<Item = B> {
    bytes.chunks_exact(size_of::<B>()).map(bytemuck::pod_read_unaligned)
}

fn floats<T: Pod>(w: &[u8], a: &[u8], to_f32: impl Fn(T) -> f32) -> f32 {
    blocks::<T>(w).zip(blocks::<T>(a)).map(|(w, a)| f64::from(to_f32(w) * to_f32(a))).sum::<f64>() as f32
}

/// Sums the blocks' products in order. Starts from +0 (an empty `Iterator::sum` would be -0).
fn sum_blocks<W: Pod, A: Pod>(w: &[u8], a: &[u8], f: impl Fn(&W, &A) -> f32) -> f32 {
    blocks::<W>(w).zip(blocks::<A>(a)).fold(0.0, |sum, (w, a)| sum + f(&w, &a))
}

fn q8_0(w: &BlockQ8_0, a: &BlockQ8_0) -> f32 {
    let sum: i32 = w.qs.iter().zip(&a.qs).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum();
    sum as f32 * (w.d.to_f32() * a.d.to_f32())
}

/// Sum over 16 bytes of two quants each: the low nibbles meet `a[..16]`, the high ones `a[16..]`.
fn nibble_sum(qs: &[u8; 16], a: &[i8; 32], value: impl Fn(u8) -> i32) -> i32 {
    let (low, high) = a.split_at(16);
    qs.iter()
        .zip(low.iter().zip(high))
        .map(|(&q, (&y0, &y1))| value(q & 15) * i32::from(y0) + value(q >> 4) * i32::from(y1))
        .sum()
}

fn q4_0(w: &BlockQ4_0, a: &BlockQ8_0) -> f32 {
    let sum = nibble_sum(&w.qs, &a.qs, |q| i32::from(q) - 8);
    sum as f32 * w.d.to_f32() * a.d.to_f32()
}

fn mxfp4(w: &BlockMxfp4, a: &BlockQ8_0) -> f32 {
    let sum = nibble_sum(&w.qs, &a.qs, |q| i32::from(MXFP4_VALUES[usize::from(q)]));
    (a.d.to_f32() * e8m0_to_f32_half(w.e)) * sum as f32
}

fn q5_0(w: &BlockQ5_0, a: &BlockQ8_0) -> f32 {
    let sum: i32 = w.quants().iter().zip(&a.qs).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum();
    (w.d.to_f32() * a.d.to_f32()) * sum as f32
}

fn q4_k(w: &BlockQ4K, a: &BlockQ8K) -> f32 {
    min_scaled(w.d, w.dmin, &w.scales, &w.quants(), a)
}

fn q5_k(w: &BlockQ5K, a: &BlockQ8K) -> f32 {
    min_scaled(w.d, w.dmin, &w.scales, &w.quants(), a)
}

fn min_scaled(d: f16, dmin: f16, scales: &[u8; 12], quants: &[u8; QK_K], a: &BlockQ8K) -> f32 {
    let (mut sum, mut min_sum) = (0i32, 0i32);
    for (j, (q, y)) in quants.chunks_exact(32).zip(a.qs.chunks_exact(32)).enumerate() {
        let (sc, m) = scale_min(j, scales);
        let dot: i32 = q.iter().zip(y).map(|(&q, &y)| i32::from(q) * i32::from(y)).sum();
        sum += i32::from(sc) * dot;
        min_sum += i32::from(m) * (i32::from(a.bsums[2 * j]) + i32::from(a.bsums[2 * j + 1]));
    }
    (d.to_f32() * a.d) * sum as f32 - (dmin.to_f32() * a.d) * min_sum as f32
}

fn q6_k(w: &BlockQ6K, a: &BlockQ8K) -> f32 {
    let quants = w.quants();
    let mut sum = 0i32;
    for ((q, y), &sc) in quants.chunks_exact(16).zip(a.qs.chunks_exact(16)).zip(&w.scales) {
        let dot: i32 = q.iter().zip(y).map(|(&q, &y)| i32::from(q) * i32::from(y)).sum();
        sum += i32::from(sc) * dot;
    }
    (w.d.to_f32() * a.d) * sum as f32
}
