//! The searches of [`crate::search`] for eight groups side by side, one in each lane of plain arrays.
//!
//! Every lane does the scalar form's operations in the scalar form's order, so results are equal to the bit;
//! that the lanes are independent lets the compiler use vector registers. Quants are kept as floats, and
//! rounded by adding and subtracting 1.5 * 2^23: exact below 2^22. Where a value could leave that range
//! (NaN, infinity, degenerate groups) the functions decline and the caller takes the scalar form.

use crate::search::{GROUP_MAX_EPS, MinSearch};

/// Groups searched at once.
pub(crate) const LANES: usize = 8;
/// One number of each group.
type Lanes = [f32; LANES];

/// Rounds to the nearest integer, ties to even, if added and subtracted again.
const ROUNDING: f32 = 12_582_912.0;
/// Rounding is exact below this magnitude, with room for the error of the bound itself.
const ROUNDABLE: f32 = 4_000_000.0;

/// Element `i` of group `l`, at `[i][l]`.
fn transpose<const N: usize>(groups: &[f32]) -> [Lanes; N] {
    let mut out = [[0.0; LANES]; N];
    for (l, group) in groups.chunks_exact(N).enumerate() {
        for (row, &v) in out.iter_mut().zip(group) {
            row[l] = v;
        }
    }
    out
}

/// Quants as floats, by element and lane, to bytes in element order.
fn store<const N: usize>(quants: &[Lanes; N], keep: [bool; LANES], out: &mut [u8]) {
    for (l, group) in out.chunks_exact_mut(N).enumerate() {
        for (q, row) in group.iter_mut().zip(quants) {
            // Exact: the lane holds an integer of at most 63.
            *q = if keep[l] { (row[l] + ROUNDING).to_bits() as u8 } else { 0 };
        }
    }
}

fn select(mask: [bool; LANES], yes: Lanes, no: Lanes) -> Lanes {
    std::array::from_fn(|l| if mask[l] { yes[l] } else { no[l] })
}

/// Quant of `v` among 0 to `n_max` and its offset from zero as a float. NaN becomes 0.
#[inline(always)]
fn round_clamped(v: f32, low: f32, high: f32) -> f32 {
    let v = if v > low { v } else { low };
    let v = if v < high { v } else { high };
    (v + ROUNDING) - ROUNDING
}

/// Eight groups of `N` through [`crate::search::fit_scale_min`]: scales, negated mins, and quants in
/// element order. `None` if a group needs the scalar form.
pub(crate) fn fit_scale_min<const N: usize>(
    x: &[f32],
    weights: &[f32],
    search: &MinSearch,
    quants: &mut [u8],
) -> Option<(Lanes, Lanes)> {
    if search.absolute {
        fit_scale_min_by::<N, true>(x, weights, search, quants)
    } else {
        fit_scale_min_by::<N, false>(x, weights, search, quants)
    }
}

fn fit_scale_min_by<const N: usize, const ABSOLUTE: bool>(
    x: &[f32],
    weights: &[f32],
    search: &MinSearch,
    quants: &mut [u8],
) -> Option<(Lanes, Lanes)> {
    let (x, weights) = (&transpose::<N>(x), &transpose::<N>(weights));
    let (mut data_min, mut data_max) = (x[0], x[0]);
    let mut sum_w = weights[0];
    let mut sum_x: Lanes = std::array::from_fn(|l| weights[0][l] * x[0][l]);
    for i in 1..N {
        for l in 0..LANES {
            let (v, w) = (x[i][l], weights[i][l]);
            data_min[l] = if v < data_min[l] { v } else { data_min[l] };
            data_max[l] = if v > data_max[l] { v } else { data_max[l] };
            sum_w[l] += w;
            sum_x[l] += w * v;
        }
    }
    // Also finds NaN and infinity among the values.
    if !sum_x.iter().all(|s| s.is_finite()) {
        return None;
    }
    let max = data_max;
    let mut min: Lanes = std::array::from_fn(|l| if data_min[l] > 0.0 { 0.0 } else { data_min[l] });
    let first_min = min;
    let regular: [bool; LANES] = std::array::from_fn(|l| max[l] != min[l]);
    // Lanes of equal values take part with a harmless range and are overruled in the end.
    let range =
        |min: &Lanes| -> Lanes { std::array::from_fn(|l| if regular[l] { max[l] - min[l] } else { 1.0 }) };

    let n_max = search.n_max as f32;
    let in_range = |iscale: &Lanes, min: &Lanes| {
        (0..LANES).all(|l| {
            let farthest = (data_max[l] - min[l]).abs().max((data_min[l] - min[l]).abs());
            iscale[l].abs() * farthest < ROUNDABLE
        })
    };
    let error = |scale: &Lanes, min: &Lanes, quants: &[Lanes; N]| {
        let mut sum = [0.0f32; LANES];
        for i in 0..N {
            for l in 0..LANES {
                let diff = scale[l] * quants[i][l] + min[l] - x[i][l];
                sum[l] += weights[i][l] * if ABSOLUTE { diff.abs() } else { diff * diff };
            }
        }
        sum
    };

    let mut candidate = [[0.0f32; LANES]; N];
    let first_range = range(&min);
    let first_iscale: Lanes = std::array::from_fn(|l| n_max / first_range[l]);
    if !in_range(&first_iscale, &min) {
        return None;
    }
    for i in 0..N {
        for l in 0..LANES {
            candidate[i][l] = round_clamped(first_iscale[l] * (x[i][l] - min[l]), 0.0, n_max);
        }
    }
    let mut scale = first_iscale.map(|s| 1.0 / s);
    let mut best_error = error(&scale, &min, &candidate);
    // The best quants are found again in the end from what made them.
    let (mut best_iscale, mut best_from) = (first_iscale, min);

    for step in 0..=search.n_step {
        let numerator = search.r_min + search.r_delta * step as f32 + n_max;
        let this_range = range(&min);
        let iscale: Lanes = std::array::from_fn(|l| numerator / this_range[l]);
        if !in_range(&iscale, &min) {
            return None;
        }
        let (mut sum_l, mut sum_l2, mut sum_xl) = ([0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
        for i in 0..N {
            for l in 0..LANES {
                let q = round_clamped(iscale[l] * (x[i][l] - min[l]), 0.0, n_max);
                candidate[i][l] = q;
                let wq = weights[i][l] * q;
                sum_l[l] += wq;
                sum_l2[l] += wq * q;
                sum_xl[l] += wq * x[i][l];
            }
        }
        let (mut solvable, mut this_scale, mut this_min) = ([false; LANES], [0.0f32; LANES], [0.0f32; LANES]);
        for l in 0..LANES {
            let det = sum_w[l] * sum_l2[l] - sum_l[l] * sum_l[l];
            solvable[l] = det > 0.0;
            let s = (sum_w[l] * sum_xl[l] - sum_x[l] * sum_l[l]) / det;
            let m = (sum_l2[l] * sum_x[l] - sum_l[l] * sum_xl[l]) / det;
            this_scale[l] = if m > 0.0 { sum_xl[l] / sum_l2[l] } else { s };
            this_min[l] = if m > 0.0 { 0.0 } else { m };
        }
        let this_error = error(&this_scale, &this_min, &candidate);
        let better: [bool; LANES] = std::array::from_fn(|l| solvable[l] && this_error[l] < best_error[l]);
        best_iscale = select(better, iscale, best_iscale);
        best_from = select(better, min, best_from);
        best_error = select(better, this_error, best_error);
        scale = select(better, this_scale, scale);
        min = select(better, this_min, min);
    }

    for i in 0..N {
        for l in 0..LANES {
            candidate[i][l] = round_clamped(best_iscale[l] * (x[i][l] - best_from[l]), 0.0, n_max);
        }
    }
    store(&candidate, regular, quants);
    Some((select(regular, scale, [0.0; LANES]), select(regular, min, first_min).map(|m| -m)))
}

/// Eight groups of `N` through [`crate::search::fit_scale`]: scales, and quants + `n_max` in element order.
/// `None` if a group needs the scalar form.
pub(crate) fn fit_scale<const N: usize>(
    x: &[f32],
    weights: &[f32],
    n_max: i32,
    quants: &mut [u8],
) -> Option<Lanes> {
    let (x, weights) = (&transpose::<N>(x), &transpose::<N>(weights));
    let n_max = n_max as f32;
    let (mut max, mut amax) = ([0.0f32; LANES], [0.0f32; LANES]);
    for row in x {
        for l in 0..LANES {
            let larger = row[l].abs() > amax[l];
            max[l] = if larger { row[l] } else { max[l] };
            amax[l] = if larger { row[l].abs() } else { amax[l] };
        }
    }
    let regular = amax.map(|a| a >= GROUP_MAX_EPS);
    let max = select(regular, max, [1.0; LANES]);
    let sums = |iscale: &Lanes| {
        let (mut sum_lx, mut sum_l2) = ([0.0f32; LANES], [0.0f32; LANES]);
        for i in 0..N {
            for l in 0..LANES {
                let q = round_clamped(iscale[l] * x[i][l], -n_max, n_max - 1.0);
                let w = weights[i][l];
                sum_lx[l] += w * x[i][l] * q;
                sum_l2[l] += w * q * q;
            }
        }
        (sum_lx, sum_l2)
    };

    let mut best_iscale = max.map(|m| -n_max / m);
    let (sum_lx, sum_l2) = sums(&best_iscale);
    // Finds NaN and infinity among the values; all else is at most `n_max` + 1 before it is rounded.
    if !sum_lx.iter().all(|s| s.is_finite()) {
        return None;
    }
    let mut scale: Lanes =
        std::array::from_fn(|l| if sum_l2[l] == 0.0 { 0.0 } else { sum_lx[l] / sum_l2[l] });
    let mut best: Lanes = std::array::from_fn(|l| scale[l] * sum_lx[l]);
    for step in (-9..=9).filter(|&s| s != 0) {
        let numerator = -(n_max + 0.1 * step as f32);
        let iscale = max.map(|m| numerator / m);
        let (sum_lx, sum_l2) = sums(&iscale);
        let better: [bool; LANES] =
            std::array::from_fn(|l| sum_l2[l] > 0.0 && sum_lx[l] * sum_lx[l] > best[l] * sum_l2[l]);
        let this_scale: Lanes = std::array::from_fn(|l| sum_lx[l] / sum_l2[l]);
        best_iscale = select(better, iscale, best_iscale);
        best = select(better, std::array::from_fn(|l| this_scale[l] * sum_lx[l]), best);
        scale = select(better, this_scale, scale);
    }

    let mut levels = [[0.0f32; LANES]; N];
    for i in 0..N {
        for l in 0..LANES {
            levels[i][l] = round_clamped(best_iscale[l] * x[i][l], -n_max, n_max - 1.0) + n_max;
        }
    }
    store(&levels, regular, quants);
    Some(select(regular, scale, [0.0; LANES]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search;
    use proptest::prelude::*;

    /// Values of the kinds that make the searches turn: spread, equal, one-sided, tiny, or not finite.
    fn values(n: usize) -> impl Strategy<Value = Vec<f32>> {
        let one = prop_oneof![
            40 => -1.0f32..1.0,
            4 => Just(0.0f32),
            2 => Just(0.75f32),
            2 => -1e-3f32..1e-3,
            1 => any::<u32>().prop_map(f32::from_bits),
        ];
        let shift = prop_oneof![3 => Just(0.0f32), 1 => Just(-1.5f32), 1 => Just(2.0f32)];
        let spread =
            prop_oneof![4 => Just(1.0f32), 1 => Just(1e-6f32), 1 => Just(1e-20f32), 1 => Just(0.0f32)];
        (prop::collection::vec(one, n), shift, spread)
            .prop_map(|(x, shift, spread)| x.iter().map(|v| v * spread + shift).collect())
    }

    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|v| v.to_bits()).collect()
    }

    fn check_min<const N: usize>(x: &[f32], weights: &[f32], s: &MinSearch) -> Result<(), TestCaseError> {
        let mut quants = vec![0xaa; x.len()];
        let Some((scales, mins)) = fit_scale_min::<N>(x, weights, s, &mut quants) else { return Ok(()) };
        let mut expected = vec![0xaa; x.len()];
        for (l, q) in expected.chunks_exact_mut(N).enumerate() {
            let (scale, min) = search::fit_scale_min(&x[N * l..][..N], &weights[N * l..][..N], s, q);
            prop_assert_eq!(bits(&[scale, min]), bits(&[scales[l], mins[l]]));
        }
        prop_assert_eq!(quants, expected);
        Ok(())
    }

    proptest! {
        #[test]
        fn lanes_compute_what_the_scalar_searches_compute(x in values(256), w in values(256)) {
            let weights: Vec<f32> = w.iter().map(|v| v.abs()).collect();
            check_min::<32>(&x, &weights, &MinSearch::weighted(15))?;
            let plain = MinSearch { n_max: 31, r_min: -0.5, r_delta: 0.1, n_step: 15, absolute: false };
            check_min::<32>(&x, &weights, &plain)?;
            let coarse = MinSearch { n_max: 3, r_min: -0.5, r_delta: 0.1, n_step: 15, absolute: true };
            check_min::<16>(&x[..128], &weights[..128], &coarse)?;

            for n_max in [4, 32] {
                let (x, weights) = (&x[..128], &weights[..128]);
                let mut quants = [0xaa; 128];
                let Some(scales) = fit_scale::<16>(x, weights, n_max, &mut quants) else { continue };
                let mut expected = [0xaa; 128];
                for (l, q) in expected.chunks_exact_mut(16).enumerate() {
                    let scale = search::fit_scale(&x[16 * l..][..16], &weights[16 * l..][..16], n_max, q);
                    prop_assert_eq!(scale.to_bits(), scales[l].to_bits());
                }
                prop_assert_eq!(quants, expected);
            }
        }
    }
}
