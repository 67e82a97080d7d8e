//! `Q3_K`: 16 sub-blocks of 16 with signed 6-bit scales.

use super::{EightSums, damped, eight_sums, fit_scales, group_sums, pack_pairs, requantize, sum_x2};
use crate::blocks::{BlockQ3K, BlockQ8K, QK_K};
use crate::convert::{f32_to_f16, nearest_int};
use crate::search::{fit_scale, fit_scale_by_moves, signed_max};

/// Answers to `quantize_row_q3_K_ref`.
pub(crate) fn quantize_q3_k(x: &[f32]) -> BlockQ3K {
    let mut quants = [0u8; QK_K];
    let mut scales = [0.0f32; 16];
    for ((x, q), scale) in x.chunks_exact(16).zip(quants.chunks_exact_mut(16)).zip(&mut scales) {
        *scale = fit_scale_by_moves(x, 4, q);
    }
    let max_scale = signed_max(&scales);
    if max_scale == 0.0 {
        return finish(x, [0; 16], 0.0, quants);
    }
    let iscale = -32.0 / max_scale;
    // Truncated to a byte before it is capped.
    let levels = scales.map(|s| ((nearest_int(iscale * s) as i8).clamp(-32, 31) + 32) as u8);
    finish(x, levels, 1.0 / iscale, quants)
}

/// Answers to `quantize_row_q3_K_impl`.
pub(crate) fn quantize_q3_k_weighted(x: &[f32], importance: &[f32]) -> BlockQ3K {
    let weights = damped(x, importance, 2.0 * sum_x2(x) / QK_K as f32);
    let (scales, quants) = fit_scales(x, &weights, 4);
    let mut levels = [0u8; 16];
    let d = fit_scale(&scales, &group_sums::<16, 16>(&weights), 32, &mut levels);
    finish(x, levels, d, quants)
}

/// `levels` are scales + 32; if all are zero, so is `d`.
fn finish(x: &[f32], levels: [u8; 16], d: f32, mut quants: [u8; QK_K]) -> BlockQ3K {
    let d = f32_to_f16(d);
    let mut scales = [0u8; 12];
    for (j, l) in levels.into_iter().enumerate() {
        scales[j % 8] |= (l & 15) << (j / 8 * 4);
        scales[j % 4 + 8] |= (l >> 4) << (2 * (j / 4));
    }
    for ((x, q), l) in x.chunks_exact(16).zip(quants.chunks_exact_mut(16)).zip(levels) {
        requantize(x, d.to_f32() * (i32::from(l) - 32) as f32, 0.0, -4, 3, q);
    }
    BlockQ3K {
        hmask: std::array::from_fn(|l| (0..8).fold(0, |bits, j| bits | ((quants[32 * j + l] >> 2) << j))),
        qs: pack_pairs(|i| quants[i] & 3),
        scales,
        d,
    }
}

pub(crate) fn dequantize_q3_k(b: &BlockQ3K, y: &mut [f32]) {
    let d = b.d.to_f32();
    let quants = b.quants();
    for (j, (y, q)) in y.chunks_exact_mut(16).zip(quants.chunks_exact(16)).enumerate() {
        let scale = d * f32::from(b.scale(j));
        for (y, &q) in y.iter_mut().zip(q) {
            *y = scale * f32::from(q);
        }
    }
}

pub(crate) fn dot_q3_k(sums: EightSums, w: &BlockQ3K, a: &BlockQ8K) -> EightSums {
    sums.add(w.d.to_f32() * a.d, eight_sums(&w.quants(), a, |j| i32::from(w.scale(j))))
}
