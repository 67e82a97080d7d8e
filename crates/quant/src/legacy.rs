//! The formats of 32 elements with one scale (and minimum): `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1`, `Q8_0`, `Q8_1`.
//!
//! File quantizers (`quantize_row_*_ref`, `quantize_row_*_impl`), expansions and dot products of a block.

use crate::blocks::{BlockQ4_0, BlockQ4_1, BlockQ5_0, BlockQ5_1, BlockQ8_0, BlockQ8_1, QK};
use crate::convert::{f32_to_f16, trunc_i32};
use crate::search::{MinSearch, fit_scale, fit_scale_min, signed_max};

/// The reciprocal of a scale, 0 for 0.
pub(crate) fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The largest magnitude; a NaN is replaced by its successor, as the reference's MAX does.
pub(crate) fn abs_max(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |m: f32, v| if m > v.abs() { m } else { v.abs() })
}

fn min_max(x: &[f32]) -> (f32, f32) {
    let (mut min, mut max) = (f32::MAX, -f32::MAX);
    for &v in x {
        if v < min {
            min = v;
        }
        if v > max {
            max = v;
        }
    }
    (min, max)
}

/// Element `j` in the low nibbles, `j + 16` in the high ones.
pub(crate) fn pack_nibbles(q: impl Fn(usize) -> u8) -> [u8; QK / 2] {
    std::array::from_fn(|j| q(j) | (q(j + QK / 2) << 4))
}

fn pack_fifth_bits(q: &[u8; QK]) -> [u8; 4] {
    q.iter().enumerate().fold(0u32, |bits, (j, q)| bits | (u32::from(q >> 4 & 1) << j)).to_le_bytes()
}

/// Quant of `x` in a symmetric format of `2 * half` levels, truncated to 8 bits before it is capped.
fn symmetric_quant(x: f32, half: u8) -> u8 {
    let q = trunc_i32(x + (f32::from(half) + 0.5)) as i8;
    q.min(2 * half as i8 - 1) as u8
}

/// Importance times magnitude, where the magnitude is damped by the mean square `sigma2` of the row.
fn damped(x: &[f32], importance: &[f32], sigma2: f32) -> [f32; QK] {
    std::array::from_fn(|j| importance[j] * (sigma2 + x[j] * x[j]).sqrt())
}

/// Least and largest of 32 finite values; `None` if some are not, or if the sign of a zero is in question.
fn extremes(x: &[f32; QK]) -> Option<(f32, f32)> {
    let x = x.as_chunks::<8>().0;
    let (mut min, mut max, mut sum) = (x[0], x[0], [0.0f32; 8]);
    for row in x {
        for l in 0..8 {
            min[l] = if row[l] < min[l] { row[l] } else { min[l] };
            max[l] = if row[l] > max[l] { row[l] } else { max[l] };
            // Not zero as soon as there is a NaN or an infinity.
            sum[l] += row[l] * 0.0;
        }
    }
    let min = min.into_iter().reduce(|m, v| if v < m { v } else { m })?;
    let max = max.into_iter().reduce(|m, v| if v > m { v } else { m })?;
    let finite = sum.into_iter().sum::<f32>() == 0.0;
    (finite && min != 0.0 && max != 0.0).then_some((min, max))
}

/// The integer part of a value from 0 to 2^22 in the low bits, without the checks of a conversion.
#[inline(always)]
fn integer_part(x: f32) -> u32 {
    let nearest = (x + ROUNDING) - ROUNDING;
    let floor = nearest - if nearest > x { 1.0 } else { 0.0 };
    (floor + ROUNDING).to_bits()
}

/// Scale and quants of a symmetric format of `2 * half` levels.
fn symmetric_quants(x: &[f32], half: u8) -> (f32, [u8; QK]) {
    let x = x.first_chunk::<QK>().expect("blocks have 32 elements");
    let extremes = extremes(x);
    // The first of largest magnitude.
    let max = match extremes {
        Some((min, max)) if max > -min => max,
        Some((min, max)) if -min > max => min,
        _ => signed_max(x),
    };
    let d = max / -f32::from(half);
    let id = inverse(d);
    let mut quants = [0; QK];
    // If the largest is in range, so are all.
    if extremes.is_some() && (max * id).abs() < 64.0 {
        for (q, x) in quants.iter_mut().zip(x) {
            *q = (integer_part(x * id + (f32::from(half) + 0.5)) as u8).min(2 * half - 1);
        }
    } else {
        for (q, x) in quants.iter_mut().zip(x) {
            *q = symmetric_quant(x * id, half);
        }
    }
    (d, quants)
}

/// Scale, minimum and quants (not capped, low 8 bits) of a format of `n_max + 1` levels.
fn min_max_quants(x: &[f32], n_max: f32) -> (f32, f32, [u8; QK]) {
    let x = x.first_chunk::<QK>().expect("blocks have 32 elements");
    let extremes = extremes(x);
    let (min, max) = extremes.unwrap_or_else(|| min_max(x));
    let d = (max - min) / n_max;
    let id = inverse(d);
    let mut quants = [0; QK];
    if extremes.is_some() && (max - min) * id < 64.0 {
        for (q, x) in quants.iter_mut().zip(x) {
            *q = integer_part((x - min) * id + 0.5) as u8;
        }
    } else {
        for (q, x) in quants.iter_mut().zip(x) {
            *q = trunc_i32((x - min) * id + 0.5) as u8;
        }
    }
    (d, min, quants)
}

pub(crate) fn quantize_q4_0(x: &[f32]) -> BlockQ4_0 {
    let (d, q) = symmetric_quants(x, 8);
    BlockQ4_0 { d: f32_to_f16(d), qs: pack_nibbles(|j| q[j]) }
}

pub(crate) fn quantize_q4_0_weighted(x: &[f32], importance: &[f32], sigma2: f32) -> BlockQ4_0 {
    let mut q = [0; QK];
    let d = fit_scale(x, &damped(x, importance, sigma2), 8, &mut q);
    BlockQ4_0 { d: f32_to_f16(d), qs: pack_nibbles(|j| q[j]) }
}

pub(crate) fn quantize_q4_1(x: &[f32]) -> BlockQ4_1 {
    let (d, min, q) = min_max_quants(x, 15.0);
    BlockQ4_1 { d: f32_to_f16(d), m: f32_to_f16(min), qs: pack_nibbles(|j| (q[j] as i8).min(15) as u8) }
}

pub(crate) fn quantize_q4_1_weighted(x: &[f32], importance: &[f32], sigma2: f32) -> BlockQ4_1 {
    let mut q = [0; QK];
    let (d, neg_min) = fit_scale_min(x, &damped(x, importance, sigma2), &MinSearch::weighted(15), &mut q);
    BlockQ4_1 { d: f32_to_f16(d), m: f32_to_f16(-neg_min), qs: pack_nibbles(|j| q[j]) }
}

pub(crate) fn quantize_q5_0(x: &[f32]) -> BlockQ5_0 {
    let (d, q) = symmetric_quants(x, 16);
    BlockQ5_0 { d: f32_to_f16(d), qh: pack_fifth_bits(&q), qs: pack_nibbles(|j| q[j] & 15) }
}

pub(crate) fn quantize_q5_0_weighted(x: &[f32], importance: &[f32], sigma2: f32) -> BlockQ5_0 {
    let mut q = [0; QK];
    let d = fit_scale(x, &damped(x, importance, sigma2), 16, &mut q);
    BlockQ5_0 { d: f32_to_f16(d), qh: pack_fifth_bits(&q), qs: pack_nibbles(|j| q[j] & 15) }
}

pub(crate) fn quantize_q5_1(x: &[f32]) -> BlockQ5_1 {
    let (d, min, q) = min_max_quants(x, 31.0);
    let (d, m) = (f32_to_f16(d), f32_to_f16(min));
    BlockQ5_1 { d, m, qh: pack_fifth_bits(&q), qs: pack_nibbles(|j| q[j] & 15) }
}

pub(crate) fn quantize_q5_1_weighted(x: &[f32], importance: &[f32], sigma2: f32) -> BlockQ5_1 {
    let mut q = [0; QK];
    let (d, neg_min) = fit_scale_min(x, &damped(x, importance, sigma2), &MinSearch::weighted(31), &mut q);
    let (d, m) = (f32_to_f16(d), f32_to_f16(-neg_min));
    BlockQ5_1 { d, m, qh: pack_fifth_bits(&q), qs: pack_nibbles(|j| q[j] & 15) }
}

/// Adding this rounds a float of at most 2^22 to an integer (ties to even) in its low bits.
const ROUNDING: f32 = 12_582_912.0;

pub(crate) fn quantize_q8_0(x: &[f32]) -> BlockQ8_0 {
    let Some(x) = x.first_chunk::<QK>() else { return quantize_q8_0_any(x) };
    // Bit patterns of finite magnitudes are in the order of the magnitudes, and integers have no NaN to
    // spoil the vector form.
    let amax = f32::from_bits(x.iter().fold(0, |m, v| m.max(v.abs().to_bits() as i32)) as u32);
    let d = amax / 127.0;
    let id = inverse(d);
    let in_range = amax * id < 128.0;
    if !in_range {
        return quantize_q8_0_any(x);
    }
    // `roundf` without a library call, on magnitudes: the nearest integer, one more where a tie went down.
    let mut rounded = [0.0f32; QK];
    for (r, v) in rounded.iter_mut().zip(x) {
        let v = v * id;
        let nearest = (v.abs() + ROUNDING) - ROUNDING;
        let up = if v.abs() - nearest == 0.5 { 1.0 } else { 0.0 };
        *r = (nearest + up).copysign(v);
    }
    BlockQ8_0 { d: f32_to_f16(d), qs: rounded.map(|r| (r + ROUNDING).to_bits() as i8) }
}

/// The definition that [`quantize_q8_0`] is a fast form of.
fn quantize_q8_0_any(x: &[f32]) -> BlockQ8_0 {
    let d = abs_max(x) / 127.0;
    let id = inverse(d);
    // `round` takes ties away from zero, as roundf.
    BlockQ8_0 { d: f32_to_f16(d), qs: std::array::from_fn(|j| trunc_i32((x[j] * id).round()) as i8) }
}

/// Answers to `quantize_row_q8_1_ref`.
pub(crate) fn quantize_q8_1(x: &[f32]) -> BlockQ8_1 {
    let d = abs_max(x) / 127.0;
    let id = inverse(d);
    let qs: [i8; QK] = std::array::from_fn(|j| trunc_i32((x[j] * id).round()) as i8);
    let sum: i32 = qs.iter().map(|&q| i32::from(q)).sum();
    BlockQ8_1 { d: f32_to_f16(d), s: f32_to_f16(sum as f32 * d), qs }
}

pub(crate) fn dequantize_q4_0(b: &BlockQ4_0, y: &mut [f32]) {
    let d = b.d.to_f32();
    for (j, &q) in b.qs.iter().enumerate() {
        y[j] = (i32::from(q & 15) - 8) as f32 * d;
        y[j + 16] = (i32::from(q >> 4) - 8) as f32 * d;
    }
}

pub(crate) fn dequantize_q4_1(b: &BlockQ4_1, y: &mut [f32]) {
    let (d, m) = (b.d.to_f32(), b.m.to_f32());
    for (j, &q) in b.qs.iter().enumerate() {
        y[j] = f32::from(q & 15) * d + m;
        y[j + 16] = f32::from(q >> 4) * d + m;
    }
}

pub(crate) fn dequantize_q5_0(b: &BlockQ5_0, y: &mut [f32]) {
    let d = b.d.to_f32();
    for (y, q) in y.iter_mut().zip(b.quants()) {
        *y = f32::from(q) * d;
    }
}

pub(crate) fn dequantize_q5_1(b: &BlockQ5_1, y: &mut [f32]) {
    let (d, m) = (b.d.to_f32(), b.m.to_f32());
    for (y, q) in y.iter_mut().zip(b.quants()) {
        *y = f32::from(q) * d + m;
    }
}

pub(crate) fn dequantize_q8_0(b: &BlockQ8_0, y: &mut [f32]) {
    let d = b.d.to_f32();
    for (y, &q) in y.iter_mut().zip(&b.qs) {
        *y = f32::from(q) * d;
    }
}

/// Sum over 16 bytes of two quants each: the low nibbles meet `a[..16]`, the high ones `a[16..]`.
pub(crate) fn nibble_sum(qs: &[u8], a: &[i8], value: impl Fn(u8) -> i32) -> i32 {
    let (low, high) = a.split_at(qs.len());
    qs.iter()
        .zip(low.iter().zip(high))
        .map(|(&q, (&y0, &y1))| value(q & 15) * i32::from(y0) + value(q >> 4) * i32::from(y1))
        .sum()
}

pub(crate) fn dot_q4_0(sum: f32, w: &BlockQ4_0, a: &BlockQ8_0) -> f32 {
    let dot = nibble_sum(&w.qs, &a.qs, |q| i32::from(q) - 8);
    sum + dot as f32 * w.d.to_f32() * a.d.to_f32()
}

pub(crate) fn dot_q4_1(sum: f32, w: &BlockQ4_1, a: &BlockQ8_1) -> f32 {
    let dot = nibble_sum(&w.qs, &a.qs, i32::from);
    sum + ((w.d.to_f32() * a.d.to_f32()) * dot as f32 + w.m.to_f32() * a.s.to_f32())
}

pub(crate) fn dot_q5_0(sum: f32, w: &BlockQ5_0, a: &BlockQ8_0) -> f32 {
    let dot: i32 = w.quants().iter().zip(&a.qs).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum();
    sum + (w.d.to_f32() * a.d.to_f32()) * dot as f32
}

pub(crate) fn dot_q5_1(sum: f32, w: &BlockQ5_1, a: &BlockQ8_1) -> f32 {
    let dot: i32 = w.quants().iter().zip(&a.qs).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum();
    sum + ((w.d.to_f32() * a.d.to_f32()) * dot as f32 + w.m.to_f32() * a.s.to_f32())
}

pub(crate) fn dot_q8_0(sum: f32, w: &BlockQ8_0, a: &BlockQ8_0) -> f32 {
    let dot: i32 = w.qs.iter().zip(&a.qs).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum();
    sum + dot as f32 * (w.d.to_f32() * a.d.to_f32())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q8_0_ties_go_away_from_zero() {
        let mut x = [0.0; QK];
        x[..7].copy_from_slice(&[127.0, 2.5, -2.5, 0.5, -0.5, 126.5, 0.499_999_97]);
        let b = quantize_q8_0(&x);
        assert_eq!(b.qs[..7], [127, 3, -3, 1, -1, 127, 0]);
        assert_eq!(b.qs, quantize_q8_0_any(&x).qs);
    }

    #[test]
    fn q8_0_of_what_is_out_of_range_takes_the_slow_path() {
        for special in [f32::NAN, f32::INFINITY, 1e-44, f32::MAX] {
            let mut x: [f32; QK] = std::array::from_fn(|i| i as f32 * 1e-45);
            x[5] = special;
            let (fast, any) = (quantize_q8_0(&x), quantize_q8_0_any(&x));
            assert_eq!((fast.qs, fast.d.to_bits()), (any.qs, any.d.to_bits()), "{special}");
        }
    }

    #[test]
    fn q4_0_scale_takes_the_sign_of_the_largest() {
        let mut x = [0.0; QK];
        x[3] = 8.0;
        x[20] = -7.0;
        let b = quantize_q4_0(&x);
        assert_eq!(b.d.to_f32(), -1.0);
        assert_eq!(b.qs[3] & 15, 0);
        assert_eq!(b.qs[4] >> 4, 15);
    }

    #[test]
    fn minimums_are_kept_exactly() {
        let x: [f32; QK] = std::array::from_fn(|i| 3.0 + i as f32);
        let b = quantize_q5_1(&x);
        assert_eq!((b.d.to_f32(), b.m.to_f32()), (1.0, 3.0));
        let mut y = [0.0; QK];
        dequantize_q5_1(&b, &mut y);
        assert_eq!(x, y);
    }
}
