//! Quantizers for activations: what the reference's CPU backend runs on the right-hand side of a product
//! with quantised weights. They need not equal the file quantizers, and for `Q8_0` they do not.

use crate::blocks::{BlockQ8_0, BlockQ8K, QK, QK_K};
use crate::convert::{f32_to_f16, nearest_int};
use crate::error::check_row;
use crate::quantize::each;
use crate::{DType, Error};

/// Quantizes activations to `Q8_0` as ggml's x86 kernels do: inverse scale 127 / amax, ties to even.
///
/// The file quantizer ([`crate::quantize_row`]) takes 1 / d and rounds ties away from zero; the two differ
/// in single quants. Answers to `quantize_row_q8_0` of ggml-cpu.
///
/// # Errors
/// [`Error::PartialBlock`] and [`Error::ByteLength`] if the lengths do not match.
pub fn quantize_row_q8_0_cpu(src: &[f32], out: &mut [u8]) -> Result<(), Error> {
    check_row(DType::Q8_0, src.len(), out.len())?;
    each(src, out, QK, q8_0_cpu);
    Ok(())
}

/// Quantizes activations to `Q8_K`. Answers to `quantize_row_q8_K`.
///
/// All-zero blocks get zero sums (the reference leaves them unwritten, and multiplies them by 0).
///
/// # Errors
/// [`Error::PartialBlock`] and [`Error::ByteLength`] if the lengths do not match.
pub fn quantize_row_q8_k(src: &[f32], out: &mut [u8]) -> Result<(), Error> {
    check_row(DType::Q8_K, src.len(), out.len())?;
    each(src, out, QK_K, q8_k);
    Ok(())
}

fn q8_0_cpu(x: &[f32]) -> BlockQ8_0 {
    let amax = lane_max(x);
    let d = amax / 127.0;
    let id = if amax == 0.0 { 0.0 } else { 127.0 / amax };
    let qs = std::array::from_fn(|j| {
        let v = x[j] * id;
        // On x86 what does not convert becomes the most negative integer, and then saturates to i8.
        if v.is_finite() { v.round_ties_even().clamp(-128.0, 127.0) as i8 } else { i8::MIN }
    });
    BlockQ8_0 { d: f32_to_f16(d), qs }
}

/// Largest magnitude of 32 floats in the order of the SIMD reduction, which only matters for NaN: a
/// comparison with NaN yields its second operand.
fn lane_max(x: &[f32]) -> f32 {
    let max = |a: f32, b: f32| if a > b { a } else { b };
    let lane = |l: usize| (1..4).fold(x[l].abs(), |m, k| max(m, x[8 * k + l].abs()));
    let half = |l: usize| max(lane(l + 4), lane(l));
    max(max(half(0), half(2)), max(half(1), half(3)))
}

fn q8_k(x: &[f32]) -> BlockQ8K {
    let (mut max, mut amax) = (0.0f32, 0.0f32);
    for &v in x {
        if v.abs() > amax {
            amax = v.abs();
            max = v;
        }
    }
    if amax == 0.0 {
        return bytemuck::Zeroable::zeroed();
    }
    let iscale = -127.0 / max;
    let qs: [i8; QK_K] = std::array::from_fn(|j| nearest_int(iscale * x[j]).min(127) as i8);
    let bsums = std::array::from_fn(|j| qs[16 * j..16 * (j + 1)].iter().map(|&q| i16::from(q)).sum());
    BlockQ8K { d: 1.0 / iscale, qs, bsums }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q8_0_cpu_ties_go_to_even() {
        let mut x = [0.0; QK];
        (x[0], x[1], x[2], x[3]) = (127.0, 2.5, -2.5, 3.5);
        assert_eq!(q8_0_cpu(&x).qs[..4], [127, 2, -2, 4]);
    }

    #[test]
    fn q8_0_cpu_of_what_is_not_a_number_is_what_the_hardware_gives() {
        let ramp: [f32; QK] = std::array::from_fn(|i| i as f32 - 5.0);
        // Expected bytes: the reference's x86 kernel on the same values.
        let mut x = ramp;
        x[3] = f32::NAN;
        let b = q8_0_cpu(&x);
        assert_eq!(b.d.to_bits(), 0x328d);
        assert_eq!(b.qs[..6], [-24, -20, -15, -128, -5, 0]);
        let mut x = ramp;
        x[9] = f32::INFINITY;
        let b = q8_0_cpu(&x);
        assert_eq!(b.d.to_bits(), 0x7c00);
        assert_eq!(b.qs, std::array::from_fn(|i| if i == 9 { -128 } else { 0 }));
        // 127 / amax overflows.
        let b = q8_0_cpu(&ramp.map(|v| v * 1e-40));
        assert_eq!((b.d.to_bits(), b.qs), (0, [-128; QK]));
    }

    #[test]
    fn q8_k_of_zeros_has_zero_sums() {
        let b = q8_k(&[0.0; QK_K]);
        assert_eq!((b.d, b.bsums), (0.0, [0; 16]));
    }

    #[test]
    fn q8_k_scale_has_the_opposite_sign_of_the_largest() {
        let mut x = [1.0; QK_K];
        x[7] = 4.0;
        let b = q8_k(&x);
        assert_eq!(b.qs[7], -127);
        assert_eq!(b.bsums[1], -32 * 16);
        assert!(b.d < 0.0);
    }
}
