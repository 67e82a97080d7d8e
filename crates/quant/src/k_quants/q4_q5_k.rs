//! `Q4_K` and `Q5_K`: 8 sub-blocks of 32 with 6-bit scales and mins; they differ in the width of the quants.

use half::f16;

use super::{EightSums, damped, eight_sums, fit_mins, group_sums, requantize, sum_x2};
use crate::blocks::{BlockQ4K, BlockQ5K, BlockQ8K, QK_K};
use crate::convert::{f32_to_f16, nearest_int};
use crate::search::{MinSearch, fit_positive_scale};

/// Elements per sub-block.
const SUB: usize = 32;
/// The plain searches of the two formats.
const SEARCH_Q4: MinSearch = MinSearch { n_max: 15, r_min: -1.0, r_delta: 0.1, n_step: 20, absolute: false };
const SEARCH_Q5: MinSearch = MinSearch { n_max: 31, r_min: -0.5, r_delta: 0.1, n_step: 15, absolute: false };

/// What the two formats share: scales, mins and 256 quants of 0 to `n_max`.
struct MinScaled {
    d: f16,
    dmin: f16,
    scales: [u8; 12],
    quants: [u8; QK_K],
}

fn quantize(x: &[f32], search: &MinSearch) -> MinScaled {
    let mut weights = [0.0f32; QK_K];
    for (x, w) in x.chunks_exact(SUB).zip(weights.chunks_exact_mut(SUB)) {
        let av_x = (sum_x2(x) / SUB as f32).sqrt();
        for (w, v) in w.iter_mut().zip(x) {
            *w = av_x + v.abs();
        }
    }
    let (scales, mins, quants) = fit_mins::<SUB, 8>(x, &weights, search);
    let largest = |values: &[f32; 8]| values.iter().fold(0.0f32, |m, &v| if v > m { v } else { m });
    let (max_scale, max_min) = (largest(&scales), largest(&mins));
    let inverse = |max: f32| if max > 0.0 { 63.0 / max } else { 0.0 };
    let (inv_scale, inv_min) = (inverse(max_scale), inverse(max_min));
    let packed = pack_scales(
        scales.map(|s| (nearest_int(inv_scale * s) as u8).min(63)),
        mins.map(|m| (nearest_int(inv_min * m) as u8).min(63)),
    );
    finish(x, search.n_max, packed, max_scale / 63.0, max_min / 63.0, quants)
}

fn quantize_weighted(x: &[f32], importance: &[f32], n_max: i32) -> MinScaled {
    let weights = damped(x, importance, 2.0 * sum_x2(x) / QK_K as f32);
    let (scales, mins, quants) = fit_mins::<SUB, 8>(x, &weights, &MinSearch::weighted(n_max));
    let sums: [f32; 8] = group_sums::<SUB, 8>(&weights);
    let (mut ls, mut lm) = ([0u8; 8], [0u8; 8]);
    let d = fit_positive_scale(&scales, &sums, 63, &mut ls);
    let dmin = fit_positive_scale(&mins, &sums, 63, &mut lm);
    if n_max == 31 {
        // Only here does the reference cap what wrapped around.
        ls = ls.map(|l| l.min(63));
        lm = lm.map(|l| l.min(63));
    }
    finish(x, n_max, pack_scales(ls, lm), d, dmin, quants)
}

/// Quants once more with the scales as stored; a sub-block whose scale became zero keeps the search's.
fn finish(x: &[f32], n_max: i32, scales: [u8; 12], d: f32, dmin: f32, mut quants: [u8; QK_K]) -> MinScaled {
    let (d, dmin) = (f32_to_f16(d), f32_to_f16(dmin));
    for (j, (x, q)) in x.chunks_exact(SUB).zip(quants.chunks_exact_mut(SUB)).enumerate() {
        let (sc, m) = scale_min(j, &scales);
        requantize(x, d.to_f32() * f32::from(sc), dmin.to_f32() * f32::from(m), 0, n_max, q);
    }
    MinScaled { d, dmin, scales, quants }
}

fn pack_scales(scales: [u8; 8], mins: [u8; 8]) -> [u8; 12] {
    let mut packed = [0u8; 12];
    for (j, (ls, lm)) in scales.into_iter().zip(mins).enumerate() {
        if j < 4 {
            packed[j] = ls;
            packed[j + 4] = lm;
        } else {
            packed[j + 4] = (ls & 15) | ((lm & 15) << 4);
            packed[j - 4] |= (ls >> 4) << 6;
            packed[j] |= (lm >> 4) << 6;
        }
    }
    packed
}

/// The 6-bit scale and min of sub-block `j` (0..8). Answers to `get_scale_min_k4`.
pub fn scale_min(j: usize, scales: &[u8; 12]) -> (u8, u8) {
    if j < 4 {
        (scales[j] & 63, scales[j + 4] & 63)
    } else {
        ((scales[j + 4] & 15) | ((scales[j - 4] >> 6) << 4), (scales[j + 4] >> 4) | ((scales[j] >> 6) << 4))
    }
}

/// The low nibbles of `quants`, laid out as [`BlockQ4K::qs`].
fn pack_nibbles(quants: &[u8; QK_K]) -> [u8; QK_K / 2] {
    std::array::from_fn(|i| {
        let low = i / 32 * 64 + i % 32;
        (quants[low] & 15) | ((quants[low + 32] & 15) << 4)
    })
}

fn block_q4_k(b: &MinScaled) -> BlockQ4K {
    BlockQ4K { d: b.d, dmin: b.dmin, scales: b.scales, qs: pack_nibbles(&b.quants) }
}

fn block_q5_k(b: &MinScaled) -> BlockQ5K {
    let qh = std::array::from_fn(|l| (0..8).fold(0u8, |bits, j| bits | ((b.quants[32 * j + l] >> 4) << j)));
    BlockQ5K { d: b.d, dmin: b.dmin, scales: b.scales, qh, qs: pack_nibbles(&b.quants) }
}

/// Answers to `quantize_row_q4_K_ref`.
pub(crate) fn quantize_q4_k(x: &[f32]) -> BlockQ4K {
    block_q4_k(&quantize(x, &SEARCH_Q4))
}

/// Answers to `quantize_row_q4_K_impl`.
pub(crate) fn quantize_q4_k_weighted(x: &[f32], importance: &[f32]) -> BlockQ4K {
    block_q4_k(&quantize_weighted(x, importance, 15))
}

/// Answers to `quantize_row_q5_K_ref`.
pub(crate) fn quantize_q5_k(x: &[f32]) -> BlockQ5K {
    block_q5_k(&quantize(x, &SEARCH_Q5))
}

/// Answers to `quantize_row_q5_K_impl`.
pub(crate) fn quantize_q5_k_weighted(x: &[f32], importance: &[f32]) -> BlockQ5K {
    block_q5_k(&quantize_weighted(x, importance, 31))
}

/// `y = d * sc * q - dmin * m` for 8 sub-blocks of 32.
fn dequantize(d: f16, dmin: f16, scales: &[u8; 12], quants: &[u8; QK_K], y: &mut [f32]) {
    let (d, dmin) = (d.to_f32(), dmin.to_f32());
    for (j, (y, q)) in y.chunks_exact_mut(SUB).zip(quants.chunks_exact(SUB)).enumerate() {
        let (sc, m) = scale_min(j, scales);
        let (scale, min) = (d * f32::from(sc), dmin * f32::from(m));
        for (y, &q) in y.iter_mut().zip(q) {
            *y = scale * f32::from(q) - min;
        }
    }
}

pub(crate) fn dequantize_q4_k(b: &BlockQ4K, y: &mut [f32]) {
    dequantize(b.d, b.dmin, &b.scales, &b.quants(), y);
}

pub(crate) fn dequantize_q5_k(b: &BlockQ5K, y: &mut [f32]) {
    dequantize(b.d, b.dmin, &b.scales, &b.quants(), y);
}

fn dot(
    sums: EightSums,
    (d, dmin): (f16, f16),
    scales: &[u8; 12],
    quants: &[u8; QK_K],
    a: &BlockQ8K,
) -> EightSums {
    let products = eight_sums(&quants.map(|q| q as i8), a, |j| i32::from(scale_min(j / 2, scales).0));
    let mins: i32 = a
        .bsums
        .iter()
        .enumerate()
        .map(|(j, &sum)| i32::from(sum) * i32::from(scale_min(j / 2, scales).1))
        .sum();
    let mut sums = sums.add(d.to_f32() * a.d, products);
    sums.rest -= (dmin.to_f32() * a.d) * mins as f32;
    sums
}

pub(crate) fn dot_q4_k(sums: EightSums, w: &BlockQ4K, a: &BlockQ8K) -> EightSums {
    dot(sums, (w.d, w.dmin), &w.scales, &w.quants(), a)
}

pub(crate) fn dot_q5_k(sums: EightSums, w: &BlockQ5K, a: &BlockQ8K) -> EightSums {
    dot(sums, (w.d, w.dmin), &w.scales, &w.quants(), a)
}
