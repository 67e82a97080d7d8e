//! `Q2_K`: 16 sub-blocks of 16 with 4-bit scales and mins.

use super::{damped, fit_mins, group_sums, pack_pairs, requantize, sum_x2};
use crate::blocks::{BlockQ2K, BlockQ8K, QK_K};
use crate::convert::{f32_to_f16, nearest_int};
use crate::search::{MinSearch, fit_positive_scale};

/// Answers to `quantize_row_q2_K_ref`.
pub(crate) fn quantize_q2_k(x: &[f32]) -> BlockQ2K {
    let weights: [f32; QK_K] = std::array::from_fn(|i| x[i].abs());
    let search = MinSearch { n_max: 3, r_min: -0.5, r_delta: 0.1, n_step: 15, absolute: true };
    let (scales, mins, quants) = fit_mins::<16, 16>(x, &weights, &search);
    let largest = |values: &[f32; 16]| values.iter().fold(0.0f32, |m, &v| if v > m { v } else { m });
    let (max_scale, max_min) = (largest(&scales), largest(&mins));
    let level = |v: f32, max: f32| if max > 0.0 { nearest_int(15.0 / max * v) as u8 } else { 0 };
    let packed = std::array::from_fn(|j| level(scales[j], max_scale) | (level(mins[j], max_min) << 4));
    finish(x, packed, max_scale / 15.0, max_min / 15.0, quants)
}

/// Answers to `quantize_row_q2_K_impl`.
pub(crate) fn quantize_q2_k_weighted(x: &[f32], importance: &[f32]) -> BlockQ2K {
    let weights = damped(x, importance, sum_x2(x) / QK_K as f32);
    let (scales, mins, quants) = fit_mins::<16, 16>(x, &weights, &MinSearch::weighted(3));
    let sums: [f32; 16] = group_sums::<16, 16>(&weights);
    let (mut ls, mut lm) = ([0u8; 16], [0u8; 16]);
    let d = fit_positive_scale(&scales, &sums, 15, &mut ls);
    let dmin = fit_positive_scale(&mins, &sums, 15, &mut lm);
    finish(x, std::array::from_fn(|j| ls[j] | (lm[j] << 4)), d, dmin, quants)
}

fn finish(x: &[f32], scales: [u8; 16], d: f32, dmin: f32, mut quants: [u8; QK_K]) -> BlockQ2K {
    let (d, dmin) = (f32_to_f16(d), f32_to_f16(dmin));
    for ((x, q), sc) in x.chunks_exact(16).zip(quants.chunks_exact_mut(16)).zip(scales) {
        requantize(x, d.to_f32() * f32::from(sc & 15), dmin.to_f32() * f32::from(sc >> 4), 0, 3, q);
    }
    BlockQ2K { scales, qs: pack_pairs(|i| quants[i]), d, dmin }
}

pub(crate) fn dequantize_q2_k(b: &BlockQ2K, y: &mut [f32]) {
    let (d, dmin) = (b.d.to_f32(), b.dmin.to_f32());
    let quants = b.quants();
    for ((y, q), sc) in y.chunks_exact_mut(16).zip(quants.chunks_exact(16)).zip(b.scales) {
        let (scale, min) = (d * f32::from(sc & 15), dmin * f32::from(sc >> 4));
        for (y, &q) in y.iter_mut().zip(q) {
            *y = scale * f32::from(q) - min;
        }
    }
}

pub(crate) fn dot_q2_k(sum: f32, w: &BlockQ2K, a: &BlockQ8K) -> f32 {
    let quants = w.quants();
    let (mut products, mut mins) = (0i32, 0i32);
    for (j, (q, y)) in quants.chunks_exact(16).zip(a.qs.chunks_exact(16)).enumerate() {
        let dot: i32 = q.iter().zip(y).map(|(&q, &y)| i32::from(q) * i32::from(y)).sum();
        products += i32::from(w.scales[j] & 15) * dot;
        mins += i32::from(a.bsums[j]) * i32::from(w.scales[j] >> 4);
    }
    sum + ((a.d * w.d.to_f32()) * products as f32 - (a.d * w.dmin.to_f32()) * mins as f32)
}
