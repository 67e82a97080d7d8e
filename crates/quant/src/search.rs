//! The searches for scales, one group at a time: the definitions that [`crate::lanes`] has fast forms of.
//!
//! The order of every floating-point operation is the reference's; candidates often differ in the last
//! bit only, so another order picks other blocks.

use crate::convert::nearest_int;

/// The element of largest magnitude with its sign (the first among equals); 0 if there is none.
pub(crate) fn signed_max(x: &[f32]) -> f32 {
    let mut amax = 0.0;
    let mut max = 0.0;
    for &v in x {
        if amax < v.abs() {
            amax = v.abs();
            max = v;
        }
    }
    max
}

/// Below this magnitude a group counts as all zero (`GROUP_MAX_EPS`).
pub(crate) const GROUP_MAX_EPS: f32 = 1e-15;

/// Elements of the largest group searched at once.
const MAX_GROUP: usize = 32;

/// The candidates of the scale-and-min search: inverse scales `(n_max + r_min + r_delta * i) / range` for
/// `i` in `0..=n_step`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MinSearch {
    pub n_max: i32,
    pub r_min: f32,
    pub r_delta: f32,
    pub n_step: i32,
    /// Judges by absolute instead of squared differences.
    pub absolute: bool,
}

impl MinSearch {
    /// The candidates the reference tries when importances are given.
    pub fn weighted(n_max: i32) -> MinSearch {
        MinSearch { n_max, r_min: -0.9, r_delta: 0.05, n_step: 36, absolute: false }
    }
}

/// Finds scale and (negated) min of one group, minimising the weighted error, and leaves the quants of
/// 0 to `n_max` in `quants`. Answers to `make_qkx2_quants` and `make_qkx3_quants`, which compute the same.
pub(crate) fn fit_scale_min(x: &[f32], weights: &[f32], search: &MinSearch, quants: &mut [u8]) -> (f32, f32) {
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
    // Apart from the sums, whose order is fixed, so that the compiler can do several at a time.
    let quantize = |iscale: f32, min: f32, levels: &mut [f32]| {
        for (l, v) in levels.iter_mut().zip(x) {
            *l = nearest_int(iscale * (v - min)).clamp(0, n_max) as f32;
        }
    };
    let error = |scale: f32, min: f32, levels: &[f32]| {
        let mut sum = 0.0;
        for ((&l, &v), &w) in levels.iter().zip(x).zip(weights) {
            let diff = scale * l + min - v;
            sum += w * if search.absolute { diff.abs() } else { diff * diff };
        }
        sum
    };

    let first_iscale = n_max as f32 / (max - min);
    let mut scale = 1.0 / first_iscale;
    let (mut best, mut candidate) = ([0.0f32; MAX_GROUP], [0.0f32; MAX_GROUP]);
    let (best, candidate) = (&mut best[..x.len()], &mut candidate[..x.len()]);
    quantize(first_iscale, min, best);
    let mut best_error: f32 = error(scale, min, best);

    for step in 0..=search.n_step {
        // `min` is that of the best candidate so far, not the data's: the reference searches so too.
        let iscale = (search.r_min + search.r_delta * step as f32 + n_max as f32) / (max - min);
        let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0f32, 0.0f32, 0.0f32);
        quantize(iscale, min, candidate);
        for ((&l, &v), &w) in candidate.iter().zip(x).zip(weights) {
            sum_l += w * l;
            sum_l2 += w * l * l;
            sum_xl += w * l * v;
        }
        let det = sum_w * sum_l2 - sum_l * sum_l;
        if det > 0.0 {
            let mut this_scale = (sum_w * sum_xl - sum_x * sum_l) / det;
            let mut this_min = (sum_l2 * sum_x - sum_l * sum_xl) / det;
            if this_min > 0.0 {
                this_min = 0.0;
                this_scale = sum_xl / sum_l2;
            }
            let this_error = error(this_scale, this_min, candidate);
            if this_error < best_error {
                best.copy_from_slice(candidate);
                best_error = this_error;
                scale = this_scale;
                min = this_min;
            }
        }
    }
    for (q, l) in quants.iter_mut().zip(best) {
        *q = *l as u8;
    }
    (scale, -min)
}

/// Finds the scale of one group for quants of `-n_max` to `n_max - 1` by trying 19 inverse scales around the
/// obvious one; leaves quants + `n_max` in `quants`. Answers to `make_qx_quants` with weights.
pub(crate) fn fit_scale(x: &[f32], weights: &[f32], n_max: i32, quants: &mut [u8]) -> f32 {
    let max = signed_max(x);
    if max.abs() < GROUP_MAX_EPS {
        quants.fill(0);
        return 0.0;
    }
    let quantize = |iscale: f32, v: f32| nearest_int(iscale * v).clamp(-n_max, n_max - 1);
    let mut levels = [0.0f32; MAX_GROUP];
    let mut sums = |iscale: f32| {
        for (l, &v) in levels.iter_mut().zip(x) {
            *l = quantize(iscale, v) as f32;
        }
        let (mut sum_lx, mut sum_l2) = (0.0f32, 0.0f32);
        for ((&v, &w), l) in x.iter().zip(weights).zip(levels) {
            sum_lx += w * v * l;
            sum_l2 += w * l * l;
        }
        (sum_lx, sum_l2)
    };

    let mut best_iscale = -(n_max as f32) / max;
    let (sum_lx, sum_l2) = sums(best_iscale);
    let mut scale = if sum_l2 == 0.0 { 0.0 } else { sum_lx / sum_l2 };
    let mut best = scale * sum_lx;
    for step in (-9..=9).filter(|&s| s != 0) {
        let iscale = -(n_max as f32 + 0.1 * step as f32) / max;
        let (sum_lx, sum_l2) = sums(iscale);
        if sum_l2 > 0.0 && sum_lx * sum_lx > best * sum_l2 {
            best_iscale = iscale;
            scale = sum_lx / sum_l2;
            best = scale * sum_lx;
        }
    }
    for (q, &v) in quants.iter_mut().zip(x) {
        *q = (quantize(best_iscale, v) + n_max) as u8;
    }
    scale
}

/// Finds the scale of (mostly positive) values for quants of 0 to `n_max`: nine inverse scales, then single
/// quants moved while that helps. Answers to `make_qp_quants`.
///
/// A negative value wraps to a large quant as the reference's does.
pub(crate) fn fit_positive_scale(x: &[f32], weights: &[f32], n_max: i32, quants: &mut [u8]) -> f32 {
    let max = x.iter().fold(0.0f32, |m, &v| if m > v { m } else { v });
    if max < GROUP_MAX_EPS {
        quants.fill(0);
        return 0.0;
    }
    let mut iscale = n_max as f32 / max;
    let scale = 1.0 / iscale;
    let mut best = 0.0f32;
    for (&v, &w) in x.iter().zip(weights) {
        // Not capped, but truncated to a byte.
        let diff = v - scale * f32::from(nearest_int(iscale * v) as u8);
        best += w * diff * diff;
    }
    for step in (-4..=4).filter(|&s| s != 0) {
        let this_iscale = (0.1 * step as f32 + n_max as f32) / max;
        let this_scale = 1.0 / this_iscale;
        let mut error = 0.0f32;
        for (&v, &w) in x.iter().zip(weights) {
            let diff = v - this_scale * nearest_int(this_iscale * v).min(n_max) as f32;
            error += w * diff * diff;
        }
        if error < best {
            best = error;
            iscale = this_iscale;
        }
    }

    let (mut sum_lx, mut sum_l2) = (0.0f32, 0.0f32);
    for ((q, &v), &w) in quants.iter_mut().zip(x).zip(weights) {
        let l = nearest_int(iscale * v).min(n_max);
        *q = l as u8;
        sum_lx += w * v * l as f32;
        sum_l2 += w * l as f32 * l as f32;
    }
    for _ in 0..5 {
        let mut changed = false;
        for ((q, &v), &w) in quants.iter_mut().zip(x).zip(weights) {
            let l = f32::from(*q);
            let mut this_lx = sum_lx - w * v * l;
            let mut this_l2 = sum_l2 - w * l * l;
            if this_lx > 0.0 && this_l2 > 0.0 {
                let new = nearest_int(v * this_l2 / this_lx).min(n_max);
                if new != i32::from(*q) {
                    this_lx += w * v * new as f32;
                    this_l2 += w * new as f32 * new as f32;
                    if this_lx * this_lx * sum_l2 > sum_lx * sum_lx * this_l2 {
                        *q = new as u8;
                        sum_lx = this_lx;
                        sum_l2 = this_l2;
                        changed = true;
                    }
                }
            }
        }
        if !changed {
            break;
        }
    }
    if sum_l2 > 0.0 { sum_lx / sum_l2 } else { 0.0 }
}

/// Finds the scale of one group for quants of `-n_max` to `n_max - 1`, weighting by x squared: the obvious
/// scale, then single quants moved while that helps. Leaves quants + `n_max` in `quants`. Answers to
/// `make_q3_quants`.
pub(crate) fn fit_scale_by_moves(x: &[f32], n_max: i32, quants: &mut [u8]) -> f32 {
    let max = signed_max(x);
    if max.abs() < GROUP_MAX_EPS {
        quants.fill(0);
        return 0.0;
    }
    let iscale = -(n_max as f32) / max;
    let mut levels = [0i32; 16];
    let (mut sum_lx, mut sum_l2) = (0.0f32, 0.0f32);
    for (l, &v) in levels.iter_mut().zip(x) {
        *l = nearest_int(iscale * v).clamp(-n_max, n_max - 1);
        let w = v * v;
        sum_lx += w * v * *l as f32;
        sum_l2 += w * *l as f32 * *l as f32;
    }
    for _ in 0..5 {
        let mut changed = false;
        for (l, &v) in levels.iter_mut().zip(x) {
            let w = v * v;
            let mut this_lx = sum_lx - w * v * *l as f32;
            if this_lx > 0.0 {
                let mut this_l2 = sum_l2 - w * *l as f32 * *l as f32;
                let new = nearest_int(v * this_l2 / this_lx).clamp(-n_max, n_max - 1);
                if new != *l {
                    this_lx += w * v * new as f32;
                    this_l2 += w * new as f32 * new as f32;
                    if this_l2 > 0.0 && this_lx * this_lx * sum_l2 > sum_lx * sum_lx * this_l2 {
                        *l = new;
                        sum_lx = this_lx;
                        sum_l2 = this_l2;
                        changed = true;
                    }
                }
            }
        }
        if !changed {
            break;
        }
    }
    for (q, &l) in quants.iter_mut().zip(&levels) {
        *q = (l + n_max) as u8;
    }
    if sum_l2 > 0.0 { sum_lx / sum_l2 } else { 0.0 }
}
