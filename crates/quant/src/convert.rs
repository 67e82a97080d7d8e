//! Scalar conversions between f32 and the small float formats, and the integer roundings of the reference.

use half::f16;

/// f32 to f16, ties to even; every NaN becomes the quiet NaN of its sign.
///
/// Answers to `ggml_fp32_to_fp16` (the portable path, which file quantisation always takes).
pub fn f32_to_f16(x: f32) -> f16 {
    if x.is_nan() {
        let sign = (x.to_bits() >> 16) as u16 & 0x8000;
        return f16::from_bits(sign | 0x7e00);
    }
    f16::from_f32(x)
}

/// f32 to the bits of bf16, ties to even; NaNs keep their upper payload and become quiet.
///
/// Answers to `ggml_fp32_to_bf16`.
pub fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let upper = (bits >> 16) as u16;
    if x.is_nan() {
        return upper | 0x40;
    }
    let round = 0x7fff + u32::from(upper & 1);
    // No overflow: the largest non-NaN pattern is 0xff80_0000.
    ((bits + round) >> 16) as u16
}

/// The bits of bf16 to f32; exact. Answers to `ggml_bf16_to_fp32`.
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Half of an E8M0 scale, `2^(e - 128)`, which goes with the doubled `MXFP4` value table; 255 is not
/// treated as NaN. Answers to `ggml_e8m0_to_fp32_half`.
pub fn e8m0_to_f32_half(e: u8) -> f32 {
    let bits = match e {
        // Below the normal range the power is a single bit of the mantissa.
        0 | 1 => 0x0020_0000 << e,
        _ => (u32::from(e) - 1) << 23,
    };
    f32::from_bits(bits)
}

/// Rounds to the nearest integer, ties to even, valid for `|x| <= 4194303`; beyond that, or for NaN, some
/// integer of 23 bits. Answers to `nearest_int` of ggml-quants.c, whose adding of 1.5 * 2^23 is kept so
/// that out-of-range values land where the reference's do.
pub(crate) fn nearest_int(x: f32) -> i32 {
    let bits = (x + 12_582_912.0).to_bits();
    (bits & 0x007f_ffff) as i32 - 0x0040_0000
}

/// Float to int as x86's truncating conversion does it: what does not fit, and NaN, is `i32::MIN`.
///
/// In C such a conversion is undefined; following the hardware keeps blocks equal on hostile values too.
pub(crate) fn trunc_i32(x: f32) -> i32 {
    if (-2_147_483_648.0..2_147_483_648.0).contains(&x) { x as i32 } else { i32::MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f16_ties_go_to_even() {
        // 1 + 2^-11 lies halfway between 1 and the next f16; 1 + 3 * 2^-11 halfway above it.
        assert_eq!(f32_to_f16(1.0 + 1.0 / 2048.0).to_bits(), 0x3c00);
        assert_eq!(f32_to_f16(1.0 + 3.0 / 2048.0).to_bits(), 0x3c02);
        assert_eq!(f32_to_f16(65520.0).to_bits(), 0x7c00);
        assert_eq!(f32_to_f16(65519.0).to_bits(), 0x7bff);
        assert_eq!(f32_to_f16(f32::from_bits(0xffc0_1234)).to_bits(), 0xfe00);
    }

    #[test]
    fn bf16_ties_go_to_even_and_nans_stay_nan() {
        assert_eq!(f32_to_bf16(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(f32_to_bf16(f32::from_bits(0x3f81_8000)), 0x3f82);
        // A NaN whose payload sits in the lower half only would round to infinity unless quieted.
        assert_eq!(f32_to_bf16(f32::from_bits(0x7f80_0001)), 0x7fc0);
        assert_eq!(f32_to_bf16(f32::MAX), 0x7f80);
        assert_eq!(bf16_to_f32(0xc000), -2.0);
    }

    #[test]
    fn e8m0_half_is_a_power_of_two() {
        for e in 0..=254u8 {
            let expected = 2f64.powi(i32::from(e) - 128);
            assert_eq!(f64::from(e8m0_to_f32_half(e)), expected, "e = {e}");
        }
    }

    #[test]
    fn nearest_int_rounds_ties_to_even() {
        for (x, n) in [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (-3.4, -3), (4e6, 4_000_000)] {
            assert_eq!(nearest_int(x), n, "{x}");
        }
    }

    #[test]
    fn truncation_of_what_does_not_fit_is_the_hardware_value() {
        assert_eq!(trunc_i32(-3.9), -3);
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2_147_483_648.0, -3e9] {
            assert_eq!(trunc_i32(x), i32::MIN, "{x}");
        }
    }
}
