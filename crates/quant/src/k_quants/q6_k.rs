//! `Q6_K`: 16 sub-blocks of 16 with signed 8-bit scales.

use super::{EightSums, eight_sums, fit_scales, requantize};
use crate::blocks::{BlockQ6K, BlockQ8K, QK_K};
use crate::convert::{f32_to_f16, nearest_int};
use crate::search::GROUP_MAX_EPS;

/// Answers to `quantize_row_q6_K_ref`.
pub(crate) fn quantize_q6_k(x: &[f32]) -> BlockQ6K {
    let weights: [f32; QK_K] = std::array::from_fn(|i| x[i] * x[i]);
    quantize_q6_k_weighted(x, &weights)
}

/// Answers to `quantize_row_q6_K_impl`: the importances are the weights as they are.
pub(crate) fn quantize_q6_k_weighted(x: &[f32], weights: &[f32]) -> BlockQ6K {
    let (scales, mut quants) = fit_scales(x, weights, 32);
    let (mut max_scale, mut max_abs) = (0.0f32, 0.0f32);
    for scale in scales {
        if scale.abs() > max_abs {
            max_abs = scale.abs();
            max_scale = scale;
        }
    }
    if max_abs < GROUP_MAX_EPS {
        return bytemuck::Zeroable::zeroed();
    }

    let iscale = -128.0 / max_scale;
    let d = f32_to_f16(1.0 / iscale);
    let scales = scales.map(|s| nearest_int(iscale * s).min(127) as i8);
    for ((x, q), sc) in x.chunks_exact(16).zip(quants.chunks_exact_mut(16)).zip(scales) {
        requantize(x, d.to_f32() * f32::from(sc), 0.0, -32, 31, q);
    }
    BlockQ6K {
        ql: std::array::from_fn(|i| {
            let low = i / 64 * 128 + i % 64;
            (quants[low] & 15) | ((quants[low + 64] & 15) << 4)
        }),
        qh: std::array::from_fn(|i| {
            let base = i / 32 * 128 + i % 32;
            (0..4).fold(0u8, |bits, g| bits | ((quants[base + 32 * g] >> 4) << (2 * g)))
        }),
        scales,
        d,
    }
}

pub(crate) fn dequantize_q6_k(b: &BlockQ6K, y: &mut [f32]) {
    let d = b.d.to_f32();
    let quants = b.quants();
    for ((y, q), &sc) in y.chunks_exact_mut(16).zip(quants.chunks_exact(16)).zip(&b.scales) {
        let scale = d * f32::from(sc);
        for (y, &q) in y.iter_mut().zip(q) {
            *y = scale * f32::from(q);
        }
    }
}

pub(crate) fn dot_q6_k(sums: EightSums, w: &BlockQ6K, a: &BlockQ8K) -> EightSums {
    sums.add(w.d.to_f32() * a.d, eight_sums(&w.quants(), a, |j| i32::from(w.scales[j])))
}
