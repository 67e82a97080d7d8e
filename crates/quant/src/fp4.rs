//! 4-bit floats (E2M1) with scales of 8 bits: `MXFP4` (E8M0) and `NVFP4` (unsigned E4M3).

use crate::blocks::{BlockMxfp4, BlockNvfp4, BlockQ8_0, QK};
use crate::convert::{e8m0_to_f32_half, f32_to_ue4m3, trunc_i32, ue4m3_to_f32_half};
use crate::legacy::{nibble_sum, pack_nibbles};
use crate::search::signed_max;

/// Twice the sixteen E2M1 values, indexed by nibble (`kvalues_mxfp4`).
pub const MXFP4_VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

fn value(nibble: u8) -> i8 {
    MXFP4_VALUES[usize::from(nibble)]
}

pub(crate) fn quantize_mxfp4(x: &[f32]) -> BlockMxfp4 {
    let amax = signed_max(x).abs();
    let e = if amax > 0.0 { mxfp4_exponent(amax) } else { 0 };
    let d = e8m0_to_f32_half(e);
    let q = nearest::<QK>(x, d);
    BlockMxfp4 { e, qs: pack_nibbles(|j| q[j]) }
}

/// The E8M0 exponent that puts `amax` in the top octave of E2M1 (4 to 6 and above).
///
/// The logarithm is rounded to f32 before it is floored, as with `log2f`: a value just under a high power
/// of two therefore counts as that power. Below 2^-125 the byte wraps, as the reference's does.
fn mxfp4_exponent(amax: f32) -> u8 {
    let log2 = f64::from(amax).log2() as f32;
    trunc_i32(log2.floor() - 2.0 + 127.0) as u8
}

/// Indices of the values nearest to `x` at scale `d`, the lowest among equals.
fn nearest<const N: usize>(x: &[f32], d: f32) -> [u8; N] {
    let mut out = [0; N];
    for (out, x) in out.as_chunks_mut::<8>().0.iter_mut().zip(x.as_chunks::<8>().0) {
        *out = nearest_of_eight(x, d);
    }
    out
}

/// Value by value, so that the compiler can take several elements at a time.
fn nearest_of_eight(x: &[f32; 8], d: f32) -> [u8; 8] {
    // Indices as floats, which is what the masks of comparisons select among.
    let mut best = [0.0f32; 8];
    let mut best_err = [0.0f32; 8];
    for l in 0..8 {
        best_err[l] = (f32::from(MXFP4_VALUES[0]) * d - x[l]).abs();
    }
    for (i, &value) in MXFP4_VALUES.iter().enumerate().skip(1) {
        let value = f32::from(value) * d;
        for l in 0..8 {
            let err = (value - x[l]).abs();
            let better = err < best_err[l];
            best[l] = if better { i as f32 } else { best[l] };
            best_err[l] = if better { err } else { best_err[l] };
        }
    }
    best.map(|i| i as u8)
}

pub(crate) fn quantize_nvfp4(x: &[f32]) -> BlockNvfp4 {
    let mut b = BlockNvfp4 { d: [0; 4], qs: [0; 32] };
    for ((x, d), qs) in x.chunks_exact(16).zip(&mut b.d).zip(b.qs.chunks_exact_mut(8)) {
        *d = f32_to_ue4m3(signed_max(x).abs() / 6.0);
        let scale = ue4m3_to_f32_half(*d);
        let nearest = nearest::<16>(x, scale);
        for (j, q) in qs.iter_mut().enumerate() {
            *q = nearest[j] | (nearest[j + 8] << 4);
        }
    }
    b
}

pub(crate) fn dequantize_mxfp4(b: &BlockMxfp4, y: &mut [f32]) {
    let d = e8m0_to_f32_half(b.e);
    for (j, &q) in b.qs.iter().enumerate() {
        y[j] = f32::from(value(q & 15)) * d;
        y[j + 16] = f32::from(value(q >> 4)) * d;
    }
}

pub(crate) fn dequantize_nvfp4(b: &BlockNvfp4, y: &mut [f32]) {
    for ((y, &d), qs) in y.chunks_exact_mut(16).zip(&b.d).zip(b.qs.chunks_exact(8)) {
        let d = ue4m3_to_f32_half(d);
        for (j, &q) in qs.iter().enumerate() {
            y[j] = f32::from(value(q & 15)) * d;
            y[j + 8] = f32::from(value(q >> 4)) * d;
        }
    }
}

pub(crate) fn dot_mxfp4(sum: f32, w: &BlockMxfp4, a: &BlockQ8_0) -> f32 {
    let dot = nibble_sum(&w.qs, &a.qs, |q| i32::from(value(q)));
    sum + (a.d.to_f32() * e8m0_to_f32_half(w.e)) * dot as f32
}

pub(crate) fn dot_nvfp4(sum: f32, w: &BlockNvfp4, a: &[BlockQ8_0; 2]) -> f32 {
    (0..4).fold(sum, |sum, s| {
        let block = &a[s / 2];
        let at = s % 2 * 16;
        let dot = nibble_sum(&w.qs[8 * s..8 * (s + 1)], &block.qs[at..at + 16], |q| i32::from(value(q)));
        sum + block.d.to_f32() * ue4m3_to_f32_half(w.d[s]) * dot as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mxfp4_exponent_follows_the_rounded_logarithm() {
        assert_eq!(mxfp4_exponent(1.0), 125);
        assert_eq!(mxfp4_exponent(1.0f32.next_down()), 124);
        // log2f of the float just below 16 is 4 exactly.
        assert_eq!(mxfp4_exponent(16.0f32.next_down()), 129);
        assert_eq!(mxfp4_exponent(6.0), 127);
    }
}
