//! f32 to blocks, bit for bit as the reference's deterministic quantizers (`quantize_row_*_ref`), which
//! write model files. The 32-element formats are here, the K formats in `k_quants`, and the faster-rounding
//! forms used for activations in `activations`.

use bytemuck::Pod;
use half::f16;

use crate::blocks::{BlockMxfp4, BlockQ4_0, BlockQ5_0, BlockQ8_0, QK, QK_K};
use crate::convert::{e8m0_to_f32_half, f32_to_bf16, f32_to_f16, trunc_i32};
use crate::dequantize::MXFP4_VALUES;
use crate::error::check_row;
use crate::k_quants::{quantize_q4_k, quantize_q5_k, quantize_q6_k};
use crate::{DType, Error};

/// Quantizes a row of floats to `dtype`. Answers to `ggml_quantize_chunk` without an importance matrix.
///
/// All arithmetic is separate f32 multiplications and additions (no FMA), so blocks equal those of a
/// reference built without `-mfma` in its base library, on every machine. Any input is accepted;
/// NaN and infinity give blocks of no meaning, as in the reference. `out` needs no alignment.
///
/// # Errors
/// [`Error::NotComputed`]; [`Error::PartialBlock`] and [`Error::ByteLength`] if the lengths do not match.
pub fn quantize_row(dtype: DType, src: &[f32], out: &mut [u8]) -> Result<(), Error> {
    if !dtype.is_computed() {
        return Err(Error::NotComputed { dtype });
    }
    check_row(dtype, src.len(), out.len())?;
    match dtype {
        DType::F32 => each(src, out, 1, |x| x[0]),
        DType::F16 => each(src, out, 1, |x| f32_to_f16(x[0])),
        DType::BF16 => each(src, out, 1, |x| f32_to_bf16(x[0])),
        DType::Q8_0 => each(src, out, QK, q8_0),
        DType::Q4_0 => each(src, out, QK, q4_0),
        DType::Q5_0 => each(src, out, QK, q5_0),
        DType::MXFP4 => each(src, out, QK, mxfp4),
        DType::Q4_K => each(src, out, QK_K, quantize_q4_k),
        DType::Q5_K => each(src, out, QK_K, quantize_q5_k),
        DType::Q6_K => each(src, out, QK_K, quantize_q6_k),
        _ => return Err(Error::NotComputed { dtype }),
    }
    Ok(())
}

/// Stores `f` of every `len` floats of `src` as the next block of `out`.
pub(crate) fn each<B: Pod>(src: &[f32], out: &mut [u8], len: usize, f: impl Fn(&[f32]) -> B) {
    for (x, block) in src.chunks_exact(len).zip(out.chunks_exact_mut(size_of::<B>())) {
        block.copy_from_slice(bytemuck::bytes_of(&f(x)));
    }
}

/// The reciprocal of a scale, 0 for 0.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

fn q8_0(x: &[f32]) -> BlockQ8_0 {
    // Written so that a NaN is replaced by its successor, as the reference's MAX does.
    let amax = x.iter().fold(0.0, |m: f32, v| if m > v.abs() { m } else { v.abs() });
    let d = amax / 127.0;
    let id = inverse(d);
    // `round` takes ties away from zero, as roundf.
    BlockQ8_0 { d: f32_to_f16(d), qs: std::array::from_fn(|j| trunc_i32((x[j] * id).round()) as i8) }
}

/// The element of largest magnitude with its sign (the first among equals); 0 if there is none.
fn signed_max(x: &[f32]) -> f32 {
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

/// Quant of `x` in a symmetric format of `2 * half` levels, truncated to 8 bits before it is capped.
fn symmetric_quant(x: f32, half: u8) -> u8 {
    let q = trunc_i32(x + (f32::from(half) + 0.5)) as i8;
    q.min(2 * half as i8 - 1) as u8
}

fn q4_0(x: &[f32]) -> BlockQ4_0 {
    let d = signed_max(x) / -8.0;
    let id = inverse(d);
    let q = |j: usize| symmetric_quant(x[j] * id, 8);
    BlockQ4_0 { d: f32_to_f16(d), qs: std::array::from_fn(|j| q(j) | (q(j + QK / 2) << 4)) }
}

fn q5_0(x: &[f32]) -> BlockQ5_0 {
    let d = signed_max(x) / -16.0;
    let id = inverse(d);
    let q: [u8; QK] = std::array::from_fn(|j| symmetric_quant(x[j] * id, 16));
    let qh = (0..QK).fold(0u32, |bits, j| bits | (u32::from(q[j] >> 4 & 1) << j));
    BlockQ5_0 {
        d: f32_to_f16(d),
        qh: qh.to_le_bytes(),
        qs: std::array::from_fn(|j| (q[j] & 15) | ((q[j + QK / 2] & 15) << 4)),
    }
}

fn mxfp4(x: &[f32]) -> BlockMxfp4 {
    let amax = signed_max(x).abs();
    let e = if amax > 0.0 { mxfp4_exponent(amax) } else { 0 };
    let d = e8m0_to_f32_half(e);
    let q = |j: usize| nearest_mxfp4(x[j], d);
    BlockMxfp4 { e, qs: std::array::from_fn(|j| q(j) | (q(j + QK / 2) << 4)) }
}

/// The E8M0 exponent that puts `amax` in the top octave of E2M1 (4 to 6 and above).
///
/// The logarithm is rounded to f32 before it is floored, as with `log2f`: a value just under a high power
/// of two therefore counts as that power. Below 2^-125 the byte wraps, as the reference's does.
fn mxfp4_exponent(amax: f32) -> u8 {
    let log2 = f64::from(amax).log2() as f32;
    trunc_i32(log2.floor() - 2.0 + 127.0) as u8
}

/// Index of the value nearest to `x` at scale `d`, the lowest among equals.
fn nearest_mxfp4(x: f32, d: f32) -> u8 {
    let mut best = 0;
    let mut best_err = (f32::from(MXFP4_VALUES[0]) * d - x).abs();
    for (i, &value) in MXFP4_VALUES.iter().enumerate().skip(1) {
        let err = (f32::from(value) * d - x).abs();
        if err < best_err {
            best = i;
            best_err = err;
        }
    }
    best as u8
}

// `f16` is stored as its two bytes; on a big-endian machine blocks would differ from the file format.
const _: () = assert!(cfg!(target_endian = "little") && size_of::<f16>() == 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q8_0_ties_go_away_from_zero() {
        let mut x = [0.0; QK];
        x[0] = 127.0;
        x[1] = 2.5;
        x[2] = -2.5;
        let b = q8_0(&x);
        assert_eq!((b.qs[0], b.qs[1], b.qs[2]), (127, 3, -3));
    }

    #[test]
    fn q4_0_scale_takes_the_sign_of_the_largest() {
        let mut x = [0.0; QK];
        x[3] = 8.0;
        x[20] = -7.0;
        let b = q4_0(&x);
        assert_eq!(b.d.to_f32(), -1.0);
        assert_eq!(b.qs[3] & 15, 0);
        assert_eq!(b.qs[4] >> 4, 15);
    }

    #[test]
    fn mxfp4_exponent_follows_the_rounded_logarithm() {
        assert_eq!(mxfp4_exponent(1.0), 125);
        assert_eq!(mxfp4_exponent(1.0f32.next_down()), 124);
        // log2f of the float just below 16 is 4 exactly.
        assert_eq!(mxfp4_exponent(16.0f32.next_down()), 129);
        assert_eq!(mxfp4_exponent(6.0), 127);
    }
}
