//! One and two bits with a scale and nothing else: `Q1_0`, `Q2_0`, and the ternary `TQ1_0`, `TQ2_0`.

use crate::blocks::{BlockQ1_0, BlockQ2_0, BlockQ8_0, BlockQ8K, BlockTq1_0, BlockTq2_0, QK_K, QK1_0, QK2_0};
use crate::convert::{f32_to_f16, round_i64, trunc_i32};
use crate::k_quants::pack_pairs;
use crate::legacy::{abs_max, inverse};
use crate::search::signed_max;

pub(crate) fn quantize_q1_0(x: &[f32]) -> BlockQ1_0 {
    let sum = x.iter().fold(0.0f32, |sum, v| sum + v.abs());
    let bit = |i: usize| u8::from(x[i] >= 0.0);
    BlockQ1_0 {
        d: f32_to_f16(sum / QK1_0 as f32),
        qs: std::array::from_fn(|i| (0..8).fold(0, |bits, j| bits | (bit(8 * i + j) << j))),
    }
}

pub(crate) fn quantize_q2_0(x: &[f32]) -> BlockQ2_0 {
    let d = signed_max(x).abs();
    let id = inverse(d);
    let q = |i: usize| trunc_i32((x[i] * id).round()).wrapping_add(1).clamp(0, 3) as u8;
    BlockQ2_0 {
        d: f32_to_f16(d),
        qs: std::array::from_fn(|i| (0..4).fold(0, |bits, j| bits | (q(4 * i + j) << (2 * j)))),
    }
}

/// -1, 0, 1 as 0, 1, 2; of what is no number whatever the truncated hardware conversion leaves.
fn trit(x: f32) -> u8 {
    round_i64(x).wrapping_add(1) as u8
}

/// Bytes of `TQ1_0` by runs: first byte, bytes, first element, and how many elements, a run length apart,
/// go into each byte.
const TQ1_0_RUNS: [(usize, usize, usize, usize); 3] = [(0, 32, 0, 5), (32, 16, 160, 5), (48, 4, 240, 4)];

pub(crate) fn quantize_tq1_0(x: &[f32]) -> BlockTq1_0 {
    let d = abs_max(x);
    let id = inverse(d);
    let mut bytes = [0u8; 52];
    for (at, len, first, n) in TQ1_0_RUNS {
        for m in 0..len {
            let digit = |i: usize| if i < n { trit(x[first + m + i * len] * id) } else { 0 };
            let q = (0..5).fold(0u8, |q, i| q.wrapping_mul(3).wrapping_add(digit(i)));
            // As a fraction of 256, rounded up, so that multiplying by powers of 3 brings digits to the top.
            bytes[at + m] = (u32::from(q) * 256).div_ceil(243) as u8;
        }
    }
    let (qs, qh) = bytes.split_at(48);
    BlockTq1_0 { qs: qs.try_into().expect("48 bytes"), qh: qh.try_into().expect("4 bytes"), d: f32_to_f16(d) }
}

/// The 256 trits of a `TQ1_0` block in element order, -1 to 1.
fn trits(b: &BlockTq1_0) -> [i8; QK_K] {
    const POW3: [u8; 5] = [1, 3, 9, 27, 81];
    let byte = |i: usize| if i < 48 { b.qs[i] } else { b.qh[i - 48] };
    let mut out = [0i8; QK_K];
    for (at, len, first, n) in TQ1_0_RUNS {
        for (i, power) in POW3.iter().enumerate().take(n) {
            for m in 0..len {
                let q = byte(at + m).wrapping_mul(*power);
                out[first + m + i * len] = ((u16::from(q) * 3) >> 8) as i8 - 1;
            }
        }
    }
    out
}

pub(crate) fn quantize_tq2_0(x: &[f32]) -> BlockTq2_0 {
    let d = abs_max(x);
    let id = inverse(d);
    BlockTq2_0 { qs: pack_pairs(|i| trit(x[i] * id) & 3), d: f32_to_f16(d) }
}

pub(crate) fn dequantize_q1_0(b: &BlockQ1_0, y: &mut [f32]) {
    let d = b.d.to_f32();
    for (i, y) in y.iter_mut().enumerate() {
        *y = if b.qs[i / 8] >> (i % 8) & 1 == 1 { d } else { -d };
    }
}

fn q2_0_quant(b: &BlockQ2_0, i: usize) -> i8 {
    (b.qs[i / 4] >> (i % 4 * 2) & 3) as i8 - 1
}

pub(crate) fn dequantize_q2_0(b: &BlockQ2_0, y: &mut [f32]) {
    let d = b.d.to_f32();
    for (i, y) in y.iter_mut().enumerate() {
        *y = f32::from(q2_0_quant(b, i)) * d;
    }
}

pub(crate) fn dequantize_tq1_0(b: &BlockTq1_0, y: &mut [f32]) {
    scaled(b.d.to_f32(), &trits(b), y);
}

pub(crate) fn dequantize_tq2_0(b: &BlockTq2_0, y: &mut [f32]) {
    scaled(b.d.to_f32(), &b.quants(), y);
}

fn scaled(d: f32, quants: &[i8; QK_K], y: &mut [f32]) {
    for (y, &q) in y.iter_mut().zip(quants) {
        *y = f32::from(q) * d;
    }
}

fn products(w: impl Iterator<Item = i8>, a: &[i8]) -> i32 {
    w.zip(a).map(|(w, &a)| i32::from(w) * i32::from(a)).sum()
}

pub(crate) fn dot_q1_0(sum: f32, w: &BlockQ1_0, a: &[BlockQ8_0; 4]) -> f32 {
    let sign = |i: usize| if w.qs[i / 8] >> (i % 8) & 1 == 1 { 1 } else { -1 };
    let inner = a
        .iter()
        .enumerate()
        .fold(0.0f32, |inner, (k, a)| inner + a.d.to_f32() * products((32 * k..).map(sign), &a.qs) as f32);
    sum + w.d.to_f32() * inner
}

pub(crate) fn dot_q2_0(sum: f32, w: &BlockQ2_0, a: &[BlockQ8_0; 2]) -> f32 {
    let inner = a.iter().enumerate().fold(0.0f32, |inner, (k, a)| {
        let quants = (32 * k..QK2_0).map(|i| q2_0_quant(w, i));
        inner + a.d.to_f32() * products(quants, &a.qs) as f32
    });
    sum + w.d.to_f32() * inner
}

pub(crate) fn dot_tq1_0(sum: f32, w: &BlockTq1_0, a: &BlockQ8K) -> f32 {
    sum + products(trits(w).into_iter(), &a.qs) as f32 * (w.d.to_f32() * a.d)
}

pub(crate) fn dot_tq2_0(sum: f32, w: &BlockTq2_0, a: &BlockQ8K) -> f32 {
    sum + products(w.quants().into_iter(), &a.qs) as f32 * (a.d * w.d.to_f32())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trits_survive_the_round_trip() {
        let x: [f32; QK_K] = std::array::from_fn(|i| [-0.5, 0.0, 0.5, 0.5, -0.5][i * 7 % 5]);
        let mut y = [0.0; QK_K];
        dequantize_tq1_0(&quantize_tq1_0(&x), &mut y);
        assert_eq!(x, y);
        dequantize_tq2_0(&quantize_tq2_0(&x), &mut y);
        assert_eq!(x, y);
    }

    #[test]
    fn the_largest_of_q2_0_is_one_step() {
        let mut x = [0.0; QK2_0];
        (x[0], x[1], x[2]) = (2.0, -2.0, 0.9);
        let mut y = [9.0; QK2_0];
        dequantize_q2_0(&quantize_q2_0(&x), &mut y);
        assert_eq!(y[..4], [2.0, -2.0, 0.0, 0.0]);
    }
}
