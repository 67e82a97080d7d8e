//! Quantizers of the K formats: a search for scale (and min) per sub-block, then 6- or 8-bit scales per
//! super-block. Counterparts: `make_qkx2_quants`, `make_qx_quants`, `quantize_row_q{4,5,6}_K_ref`.
//!
//! The order of every floating-point operation is the reference's; candidates often differ in the last
//! bit only, so another order picks other blocks.

use half::f16;

use crate::blocks::{BlockQ4K, BlockQ5K, BlockQ6K, QK_K};
use crate::convert::{f32_to_f16, nearest_int};
use crate::dequantize::scale_min;

/// Below this magnitude a group counts as all zero (`GROUP_MAX_EPS`).
const GROUP_MAX_EPS: f32 = 1e-15;

/// Elements per sub-block of `Q4_K` and `Q5_K`.
const SUB: usize = 32;

/// The candidates of the scale-and-min search: inverse scales `(n_max + r_min + r_delta * i) / range`.
struct Search {
    n_max: i32,
    r_min: f32,
    r_delta: f32,
    n_step: i32,
}

/// Finds scale and (negated) min of one sub-block, minimising the weighted squared error, and leaves the
/// quants in `quants`. Answers to `make_qkx2_quants` without `use_mad`.
fn fit_scale_min(
    x: &[f32; SUB],
    weights: &[f32; SUB],
    search: &Search,
    quants: &mut [u8; SUB],
) -> (f32, f32) {
    let (mut min, mut max) = (x[0], x[0]);
    let mut sum_w = weights[0];
    let mut sum_x = sum_w * x[0];
    for (&v, &w) in x.iter().zip(weights).skip(1) {
        if v < min {
            min = v;
        }
        if v > max {
            max = v;
        }
        sum_w += w;
        sum_x += w * v;
    }
    if min > 0.0 {
        min = 0.0;
    }
    if max == min {
        quants.fill(0);
        return (0.0, -min);
    }

    let n_max = search.n_max;
    let quantize = |iscale: f32, from_min: f32| nearest_int(iscale * from_min).clamp(0, n_max) as u8;
    let error = |scale: f32, min: f32, quants: &[u8; SUB]| {
        let mut sum = 0.0;
        for ((&q, &v), &w) in quants.iter().zip(x).zip(weights) {
            let diff = scale * f32::from(q) + min - v;
            sum += w * (diff * diff);
        }
        sum
    };

    let first_iscale = n_max as f32 / (max - min);
    let mut scale = 1.0 / first_iscale;
    *quants = std::array::from_fn(|i| quantize(first_iscale, x[i] - min));
    let mut best_error: f32 = error(scale, min, quants);

    for step in 0..=search.n_step {
        // `min` is that of the best candidate so far, not the data's: the reference searches so too.
        let iscale = (search.r_min + search.r_delta * step as f32 + n_max as f32) / (max - min);
        let mut candidate = [0u8; SUB];
        let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0f32, 0.0f32, 0.0f32);
        for i in 0..SUB {
            candidate[i] = quantize(iscale, x[i] - min);
            let (w, l) = (weights[i], f32::from(candidate[i]));
            sum_l += w * l;
            sum_l2 += w * l * l;
            sum_xl += w * l * x[i];
        }
        let det = sum_w * sum_l2 - sum_l * sum_l;
        if det > 0.0 {
            let mut this_scale = (sum_w * sum_xl - sum_x * sum_l) / det;
            let mut this_min = (sum_l2 * sum_x - sum_l * sum_xl) / det;
            if this_min > 0.0 {
                this_min = 0.0;
                this_scale = sum_xl / sum_l2;
            }
            let this_error = error(this_scale, this_min, &candidate);
            if this_error < best_error {
                *quants = candidate;
                best_error = this_error;
                scale = this_scale;
                min = this_min;
            }
        }
    }
    (scale, -min)
}

/// What `Q4_K` and `Q5_K` share: scales, mins and 256 quants of 0 to `n_max`.
struct MinScaled {
    d: f16,
    dmin: f16,
    scales: [u8; 12],
    quants: [u8; QK_K],
}

fn quantize_min_scaled(x: &[f32], search: &Search) -> MinScaled {
    let mut quants = [0u8; QK_K];
    let (mut scales, mut mins) = ([0.0f32; 8], [0.0f32; 8]);
    let (mut max_scale, mut max_min) = (0.0f32, 0.0f32);
    let (x_subs, _) = x.as_chunks::<SUB>();
    let (q_subs, _) = quants.as_chunks_mut::<SUB>();
    for (j, (x, quants)) in x_subs.iter().zip(q_subs).enumerate() {
        let mut sum_x2 = 0.0;
        for &v in x {
            sum_x2 += v * v;
        }
        let av_x = (sum_x2 / SUB as f32).sqrt();
        let weights = std::array::from_fn(|l| av_x + x[l].abs());
        (scales[j], mins[j]) = fit_scale_min(x, &weights, search, quants);
        if scales[j] > max_scale {
            max_scale = scales[j];
        }
        if mins[j] > max_min {
            max_min = mins[j];
        }
    }

    let inv_scale = if max_scale > 0.0 { 63.0 / max_scale } else { 0.0 };
    let inv_min = if max_min > 0.0 { 63.0 / max_min } else { 0.0 };
    let mut packed = [0u8; 12];
    for j in 0..8 {
        let ls = (nearest_int(inv_scale * scales[j]) as u8).min(63);
        let lm = (nearest_int(inv_min * mins[j]) as u8).min(63);
        if j < 4 {
            packed[j] = ls;
            packed[j + 4] = lm;
        } else {
            packed[j + 4] = (ls & 15) | ((lm & 15) << 4);
            packed[j - 4] |= (ls >> 4) << 6;
            packed[j] |= (lm >> 4) << 6;
        }
    }

    // Once more with the scales as stored; a sub-block whose scale became zero keeps the search's quants.
    let (d, dmin) = (f32_to_f16(max_scale / 63.0), f32_to_f16(max_min / 63.0));
    for (j, (x, quants)) in x.chunks_exact(SUB).zip(quants.chunks_exact_mut(SUB)).enumerate() {
        let (sc, m) = scale_min(j, &packed);
        let scale = d.to_f32() * f32::from(sc);
        if scale == 0.0 {
            continue;
        }
        let min = dmin.to_f32() * f32::from(m);
        for (q, &v) in quants.iter_mut().zip(x) {
            *q = nearest_int((v + min) / scale).clamp(0, search.n_max) as u8;
        }
    }
    MinScaled { d, dmin, scales: packed, quants }
}

/// The low nibbles of `quants`, laid out as [`BlockQ4K::qs`].
fn pack_nibbles(quants: &[u8; QK_K]) -> [u8; QK_K / 2] {
    std::array::from_fn(|i| {
        let low = i / 32 * 64 + i % 32;
        (quants[low] & 15) | ((quants[low + 32] & 15) << 4)
    })
}

/// One super-block of 256 floats to `Q4_K`.
pub(crate) fn quantize_q4_k(x: &[f32]) -> BlockQ4K {
    let b = quantize_min_scaled(x, &Search { n_max: 15, r_min: -1.0, r_delta: 0.1, n_step: 20 });
    BlockQ4K { d: b.d, dmin: b.dmin, scales: b.scales, qs: pack_nibbles(&b.quants) }
}

/// One super-block of 256 floats to `Q5_K`.
pub(crate) fn quantize_q5_k(x: &[f32]) -> BlockQ5K {
    let b = quantize_min_scaled(x, &Search { n_max: 31, r_min: -0.5, r_delta: 0.1, n_step: 15 });
    let qh = std::array::from_fn(|l| (0..8).fold(0u8, |bits, j| bits | ((b.quants[32 * j + l] >> 4) << j)));
    BlockQ5K { d: b.d, dmin: b.dmin, scales: b.scales, qh, qs: pack_nibbles(&b.quants) }
}

/// Finds the scale of 16 floats for quants of -32 to 31 by trying 19 inverse scales around the obvious
/// one, weighting by x squared; leaves quants + 32 in `quants`. Answers to `make_qx_quants`, `rmse_type` 1.
fn fit_scale(x: &[f32; 16], quants: &mut [u8; 16]) -> f32 {
    const N_MAX: i32 = 32;
    let (mut max, mut amax) = (0.0f32, 0.0f32);
    for &v in x {
        if v.abs() > amax {
            amax = v.abs();
            max = v;
        }
    }
    if amax < GROUP_MAX_EPS {
        quants.fill(0);
        return 0.0;
    }
    let quantize = |iscale: f32, v: f32| nearest_int(iscale * v).clamp(-N_MAX, N_MAX - 1);
    let sums = |iscale: f32| {
        let (mut sum_lx, mut sum_l2) = (0.0f32, 0.0f32);
        for &v in x {
            let l = quantize(iscale, v) as f32;
            let w = v * v;
            sum_lx += w * v * l;
            sum_l2 += w * l * l;
        }
        (sum_lx, sum_l2)
    };
    let fill = |iscale: f32| std::array::from_fn(|i| (quantize(iscale, x[i]) + N_MAX) as u8);

    let iscale = -(N_MAX as f32) / max;
    let (sum_lx, sum_l2) = sums(iscale);
    *quants = fill(iscale);
    let mut scale = if sum_l2 == 0.0 { 0.0 } else { sum_lx / sum_l2 };
    let mut best = scale * sum_lx;
    for step in (-9..=9).filter(|&s| s != 0) {
        let iscale = -(N_MAX as f32 + 0.1 * step as f32) / max;
        let (sum_lx, sum_l2) = sums(iscale);
        if sum_l2 > 0.0 && sum_lx * sum_lx > best * sum_l2 {
            *quants = fill(iscale);
            scale = sum_lx / sum_l2;
            best = scale * sum_lx;
        }
    }
    scale
}

/// One super-block of 256 floats to `Q6_K`.
pub(crate) fn quantize_q6_k(x: &[f32]) -> BlockQ6K {
    let mut quants = [0u8; QK_K];
    let mut scales = [0.0f32; 16];
    let (mut max_scale, mut max_abs) = (0.0f32, 0.0f32);
    let (x_subs, _) = x.as_chunks::<16>();
    let (q_subs, _) = quants.as_chunks_mut::<16>();
    for ((x, quants), scale) in x_subs.iter().zip(q_subs).zip(&mut scales) {
        *scale = fit_scale(x, quants);
        if scale.abs() > max_abs {
            max_abs = scale.abs();
            max_scale = *scale;
        }
    }
    if max_abs < GROUP_MAX_EPS {
        return bytemuck::Zeroable::zeroed();
    }

    let iscale = -128.0 / max_scale;
    let d = f32_to_f16(1.0 / iscale);
    let scales = scales.map(|s| nearest_int(iscale * s).min(127) as i8);
    for ((x, quants), &sc) in x.chunks_exact(16).zip(quants.chunks_exact_mut(16)).zip(&scales) {
        let scale = d.to_f32() * f32::from(sc);
        if scale == 0.0 {
            continue;
        }
        for (q, &v) in quants.iter_mut().zip(x) {
            *q = (nearest_int(v / scale).clamp(-32, 31) + 32) as u8;
        }
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
