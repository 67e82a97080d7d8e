//! 4-bit indices into a table of 16 unevenly spaced values: `IQ4_NL` and, with scales per 32, `IQ4_XS`.

use crate::blocks::{BlockIq4Nl, BlockIq4Xs, BlockQ8_0, BlockQ8K, QK, QK_K};
use crate::convert::{f32_to_f16, nearest_int};
use crate::legacy::{inverse, nibble_sum, pack_nibbles};
use crate::search::{GROUP_MAX_EPS, signed_max};

/// The values behind the indices (`kvalues_iq4nl`).
pub const IQ4_VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

fn value(index: u8) -> i8 {
    IQ4_VALUES[usize::from(index)]
}

/// Index of the value nearest to `x`, the upper one halfway between two. Answers to `best_index_int8`.
fn nearest(x: f32) -> u8 {
    let v = |i: usize| f32::from(IQ4_VALUES[i]);
    if x <= v(0) {
        return 0;
    }
    if x >= v(15) {
        return 15;
    }
    // Not below any value, NaN counts as above all but the last.
    let upper = (1..15).find(|&i| x < v(i)).unwrap_or(15);
    if x - v(upper - 1) < v(upper) - x { upper as u8 - 1 } else { upper as u8 }
}

/// The values that [`nearest`] finds for numbers: steps from the least, one for each midpoint not above `x`.
///
/// Equal to comparing distances as `nearest` does: near a midpoint both distances are exact.
fn nearest_values(x: &[f32; QK]) -> [f32; QK] {
    let mut values = [f32::from(IQ4_VALUES[0]); QK];
    for pair in IQ4_VALUES.windows(2) {
        let (low, high) = (f32::from(pair[0]), f32::from(pair[1]));
        let (middle, step) = (f32::midpoint(low, high), high - low);
        for (value, &x) in values.iter_mut().zip(x) {
            *value += if x >= middle { step } else { 0.0 };
        }
    }
    values
}

/// How many inverse scales on either side of the obvious one the file quantizer tries.
const N_TRY: i32 = 7;

/// Finds the scale of 32 values. Without candidates (`n_try` of 0), the first guess has the other sign.
fn fit(x: &[f32], weights: &[f32; QK], n_try: i32) -> f32 {
    let max = signed_max(x);
    if max.abs() < GROUP_MAX_EPS {
        return 0.0;
    }
    let finite = max.is_finite() && !x.iter().any(|v| v.is_nan());
    let sums = |id: f32| {
        let scaled: [f32; QK] = std::array::from_fn(|j| id * x[j]);
        let quants =
            if finite { nearest_values(&scaled) } else { scaled.map(|v| f32::from(value(nearest(v)))) };
        let (mut sum_qx, mut sum_q2) = (0.0f32, 0.0f32);
        for ((&v, &w), q) in x.iter().zip(weights).zip(quants) {
            sum_qx += w * q * v;
            sum_q2 += w * q * q;
        }
        (sum_qx, sum_q2)
    };
    let least = f32::from(IQ4_VALUES[0]);
    let (sum_qx, sum_q2) = sums(1.0 / first_guess(max, n_try));
    let mut d = if sum_q2 > 0.0 { sum_qx / sum_q2 } else { 0.0 };
    let mut best = d * sum_qx;
    if n_try > 0 {
        for step in -n_try..=n_try {
            let (sum_qx, sum_q2) = sums((step as f32 + least) / max);
            if sum_q2 > 0.0 && sum_qx * sum_qx > best * sum_q2 {
                d = sum_qx / sum_q2;
                best = d * sum_qx;
            }
        }
    }
    d
}

fn first_guess(max: f32, n_try: i32) -> f32 {
    let least = f32::from(IQ4_VALUES[0]);
    if n_try > 0 { -max / least } else { max / least }
}

/// Squares, or importances times damped magnitudes.
fn weights(x: &[f32], importance: Option<&[f32]>, sigma2: f32) -> [f32; QK] {
    match importance {
        Some(qw) => std::array::from_fn(|j| qw[j] * (sigma2 + x[j] * x[j]).sqrt()),
        None => std::array::from_fn(|j| x[j] * x[j]),
    }
}

fn sigma2(x: &[f32]) -> f32 {
    x.iter().fold(0.0f32, |sum, v| sum + v * v) * (2.0 / x.len() as f32)
}

/// Answers to `quantize_iq4_nl`.
pub(crate) fn quantize_iq4_nl(x: &[f32], importance: Option<&[f32]>) -> BlockIq4Nl {
    let d = fit(x, &weights(x, importance, sigma2(x)), N_TRY);
    let id = inverse(d);
    BlockIq4Nl { d: f32_to_f16(d), qs: pack_nibbles(|j| nearest(id * x[j])) }
}

/// Answers to `quantize_row_iq4_nl_ref`, which the CPU backend stores rows with: no search, and the quants of
/// the first guess. (A block of zeros has whatever quants in the reference; here those of zero.)
pub(crate) fn quantize_iq4_nl_unsearched(x: &[f32]) -> BlockIq4Nl {
    let d = fit(x, &weights(x, None, 0.0), 0);
    let max = signed_max(x);
    let id = if max.abs() < GROUP_MAX_EPS { 0.0 } else { 1.0 / first_guess(max, 0) };
    BlockIq4Nl { d: f32_to_f16(d), qs: pack_nibbles(|j| nearest(id * x[j])) }
}

/// Answers to `quantize_iq4_xs`.
pub(crate) fn quantize_iq4_xs(x: &[f32], importance: Option<&[f32]>) -> BlockIq4Xs {
    let sigma2 = sigma2(x);
    let mut scales = [0.0f32; 8];
    for (ib, (x, scale)) in x.chunks_exact(QK).zip(&mut scales).enumerate() {
        let importance = importance.map(|qw| &qw[QK * ib..QK * (ib + 1)]);
        *scale = fit(x, &weights(x, importance, sigma2), N_TRY);
    }

    let d = -signed_max(&scales) / 32.0;
    let id = inverse(d);
    let (mut scales_h, mut scales_l) = (0u16, [0u8; 4]);
    let mut qs = [0u8; QK_K / 2];
    for (ib, (x, qs)) in x.chunks_exact(QK).zip(qs.chunks_exact_mut(QK / 2)).enumerate() {
        let l = nearest_int(id * scales[ib]).clamp(-32, 31);
        let idl = inverse(d * l as f32);
        qs.copy_from_slice(&pack_nibbles(|j| nearest(idl * x[j])));
        let l = (l + 32) as u8;
        scales_l[ib / 2] |= (l & 15) << (ib % 2 * 4);
        scales_h |= u16::from(l >> 4) << (2 * ib);
    }
    BlockIq4Xs { d: f32_to_f16(d), scales_h: scales_h.to_le_bytes(), scales_l, qs }
}

/// The scale of sub-block `ib` (0..8), -32 to 31.
fn scale(b: &BlockIq4Xs, ib: usize) -> i8 {
    let low = b.scales_l[ib / 2] >> (ib % 2 * 4) & 15;
    let high = (u16::from_le_bytes(b.scales_h) >> (2 * ib)) as u8 & 3;
    (low | (high << 4)) as i8 - 32
}

pub(crate) fn dequantize_iq4_nl(b: &BlockIq4Nl, y: &mut [f32]) {
    scaled(b.d.to_f32(), &b.qs, y);
}

pub(crate) fn dequantize_iq4_xs(b: &BlockIq4Xs, y: &mut [f32]) {
    let d = b.d.to_f32();
    for (ib, (y, qs)) in y.chunks_exact_mut(QK).zip(b.qs.chunks_exact(QK / 2)).enumerate() {
        scaled(d * f32::from(scale(b, ib)), qs, y);
    }
}

fn scaled(d: f32, qs: &[u8], y: &mut [f32]) {
    let (low, high) = y.split_at_mut(QK / 2);
    for ((low, high), &q) in low.iter_mut().zip(high).zip(qs) {
        *low = d * f32::from(value(q & 15));
        *high = d * f32::from(value(q >> 4));
    }
}

pub(crate) fn dot_iq4_nl(sum: f32, w: &BlockIq4Nl, a: &BlockQ8_0) -> f32 {
    let dot = nibble_sum(&w.qs, &a.qs, |q| i32::from(value(q)));
    sum + (a.d.to_f32() * w.d.to_f32()) * dot as f32
}

pub(crate) fn dot_iq4_xs(sum: f32, w: &BlockIq4Xs, a: &BlockQ8K) -> f32 {
    let d = w.d.to_f32() * a.d;
    w.qs.chunks_exact(QK / 2).zip(a.qs.chunks_exact(QK)).enumerate().fold(sum, |sum, (ib, (qs, y))| {
        let dot = nibble_sum(qs, y, |q| i32::from(value(q)));
        sum + (d * f32::from(scale(w, ib))) * dot as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_value_is_found_and_halfway_goes_up() {
        for (i, v) in IQ4_VALUES.iter().enumerate() {
            assert_eq!(usize::from(nearest(f32::from(*v))), i);
        }
        assert_eq!(nearest(7.0), 9);
        assert_eq!(nearest(6.9), 8);
        // Both forms, at and beside every midpoint, and all along the range.
        let middles = IQ4_VALUES.windows(2).map(|w| f32::midpoint(f32::from(w[0]), f32::from(w[1])));
        let around = middles.flat_map(|m| [m.next_down(), m, m.next_up()]);
        let all: Vec<f32> = around.chain((-14_000..14_000).map(|i| i as f32 * 0.01)).collect();
        for x in all.chunks_exact(QK).map(|x| x.first_chunk::<QK>().unwrap()) {
            assert_eq!(nearest_values(x), x.map(|x| f32::from(value(nearest(x)))));
        }
        assert_eq!((nearest(-200.0), nearest(1e9), nearest(f32::NAN)), (0, 15, 15));
    }
}
