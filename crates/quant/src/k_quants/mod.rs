//! The K formats: super-blocks of 256 whose sub-blocks have scales (and mins) of a few bits each.
//!
//! A file for each format; what they share is here: fitting all sub-blocks of a super-block (eight at a
//! time where the values allow it), requantizing with the scales as stored, and bit packing.

mod q2_k;
mod q3_k;
mod q4_q5_k;
mod q6_k;

pub(crate) use q2_k::{dequantize_q2_k, dot_q2_k, quantize_q2_k, quantize_q2_k_weighted};
pub(crate) use q3_k::{dequantize_q3_k, dot_q3_k, quantize_q3_k, quantize_q3_k_weighted};
pub use q4_q5_k::scale_min;
pub(crate) use q4_q5_k::{
    dequantize_q4_k, dequantize_q5_k, dot_q4_k, dot_q5_k, quantize_q4_k, quantize_q4_k_weighted,
    quantize_q5_k, quantize_q5_k_weighted,
};
pub(crate) use q6_k::{dequantize_q6_k, dot_q6_k, quantize_q6_k, quantize_q6_k_weighted};

use crate::blocks::{BlockQ8K, QK_K};
use crate::convert::nearest_int;
use crate::lanes::{self, LANES};
use crate::search::{self, MinSearch};

/// Scales, negated mins and quants of the sub-blocks of one super-block, `S` sub-blocks of `N` elements.
fn fit_mins<const N: usize, const S: usize>(
    x: &[f32],
    weights: &[f32; QK_K],
    search: &MinSearch,
) -> ([f32; S], [f32; S], [u8; QK_K]) {
    const { assert!(N * S == QK_K) };
    let mut quants = [0u8; QK_K];
    let (mut scales, mut mins) = ([0.0f32; S], [0.0f32; S]);
    let groups = x.chunks_exact(N * LANES).zip(weights.chunks_exact(N * LANES));
    for (g, ((x, w), q)) in groups.zip(quants.chunks_exact_mut(N * LANES)).enumerate() {
        let first = g * LANES;
        if let Some((s, m)) = lanes::fit_scale_min::<N>(x, w, search, q) {
            scales[first..first + LANES].copy_from_slice(&s);
            mins[first..first + LANES].copy_from_slice(&m);
            continue;
        }
        let subs = x.chunks_exact(N).zip(w.chunks_exact(N)).zip(q.chunks_exact_mut(N));
        for (l, ((x, w), q)) in subs.enumerate() {
            (scales[first + l], mins[first + l]) = search::fit_scale_min(x, w, search, q);
        }
    }
    (scales, mins, quants)
}

/// Scales and quants (+ `n_max`) of the 16 sub-blocks of one super-block.
fn fit_scales(x: &[f32], weights: &[f32], n_max: i32) -> ([f32; 16], [u8; QK_K]) {
    const N: usize = 16;
    let mut quants = [0u8; QK_K];
    let mut scales = [0.0f32; 16];
    let groups = x.chunks_exact(N * LANES).zip(weights.chunks_exact(N * LANES));
    for (((x, w), q), scales) in
        groups.zip(quants.chunks_exact_mut(N * LANES)).zip(scales.chunks_exact_mut(LANES))
    {
        if let Some(s) = lanes::fit_scale::<N>(x, w, n_max, q) {
            scales.copy_from_slice(&s);
            continue;
        }
        let subs = x.chunks_exact(N).zip(w.chunks_exact(N)).zip(q.chunks_exact_mut(N));
        for (((x, w), q), scale) in subs.zip(scales) {
            *scale = search::fit_scale(x, w, n_max, q);
        }
    }
    (scales, quants)
}

/// Quants of one sub-block with its scale and min as stored. A scale of zero keeps the search's quants.
fn requantize(x: &[f32], scale: f32, min: f32, low: i32, high: i32, quants: &mut [u8]) {
    if scale == 0.0 {
        return;
    }
    for (q, &v) in quants.iter_mut().zip(x) {
        *q = (nearest_int((v + min) / scale).clamp(low, high) - low) as u8;
    }
}

/// Sum of squares in order.
fn sum_x2(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |sum, v| sum + v * v)
}

/// Sums of `N` values each, in order.
fn group_sums<const N: usize, const S: usize>(values: &[f32; QK_K]) -> [f32; S] {
    std::array::from_fn(|j| values[N * j..N * (j + 1)].iter().fold(0.0, |sum, v| sum + v))
}

/// Importance times magnitude, where the magnitude is damped by the mean square `sigma2` of its surroundings.
fn damped(x: &[f32], importance: &[f32], sigma2: f32) -> [f32; QK_K] {
    std::array::from_fn(|j| importance[j] * (sigma2 + x[j] * x[j]).sqrt())
}

/// Two bits of each of 256 quants: byte `l` of each 32 takes elements `l`, `l + 32`, `l + 64`, `l + 96`.
pub(crate) fn pack_pairs(q: impl Fn(usize) -> u8) -> [u8; QK_K / 4] {
    std::array::from_fn(|i| {
        let base = i / 32 * 128 + i % 32;
        (0..4).fold(0, |bits, g| bits | (q(base + 32 * g) << (2 * g)))
    })
}

/// Scaled products of a super-block, summed by element number modulo 8, as the reference's portable dot
/// products keep them apart until the end of the row. `scale` is asked for each 16 elements.
fn eight_sums(quants: &[i8; QK_K], a: &BlockQ8K, scale: impl Fn(usize) -> i32) -> [i32; 8] {
    let mut sums = [0i32; 8];
    for (j, (q, y)) in quants.as_chunks::<16>().0.iter().zip(a.qs.as_chunks::<16>().0).enumerate() {
        let scale = scale(j);
        for l in 0..16 {
            sums[l % 8] += scale * (i32::from(q[l]) * i32::from(y[l]));
        }
    }
    sums
}

/// What a row's dot product has come to: eight sums and what the minimums take away.
#[derive(Clone, Copy, Default)]
pub(crate) struct EightSums {
    sums: [f32; 8],
    rest: f32,
}

impl EightSums {
    fn add(mut self, d: f32, products: [i32; 8]) -> EightSums {
        for (sum, p) in self.sums.iter_mut().zip(products) {
            *sum += d * p as f32;
        }
        self
    }

    /// All of it, in the reference's order.
    pub fn total(self) -> f32 {
        self.sums.iter().fold(self.rest, |total, sum| total + sum)
    }
}
