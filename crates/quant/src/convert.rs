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

/// An unsigned E4M3 scale to f32, halved to go with the doubled E2M1 value table; the bit above is ignored,
/// and 127 counts as 0. Answers to `ggml_ue4m3_to_fp32`.
pub fn ue4m3_to_f32_half(x: u8) -> f32 {
    let (exponent, mantissa) = ((x >> 3) & 15, x & 7);
    match (exponent, mantissa) {
        _ if x == 0x7f => 0.0,
        (0, m) => f32::from(m) / 1024.0,
        // The bits of 1.mmm * 2^(e - 8).
        (e, m) => f32::from_bits(((u32::from(e) + 119) << 23) | (u32::from(m) << 20)),
    }
}

/// The unsigned E4M3 scale nearest to `x` (ties away from zero); 0 for what is not above zero, and the
/// largest, 126, for all that would round to 256 or more. Answers to `ggml_fp32_to_ue4m3`.
pub fn f32_to_ue4m3(x: f32) -> u8 {
    if x.is_nan() || x <= 0.0 {
        return 0;
    }
    let bits = x.min(448.0).to_bits();
    let exponent = (bits >> 23) as i32 - 127 + 7;
    if exponent <= 0 {
        return ((x * 512.0 + 0.5) as u8).min(7);
    }
    // Rounding by the bit below may carry into the exponent.
    let rounded = ((exponent as u32) << 3 | (bits >> 20) & 7) + ((bits >> 19) & 1);
    if rounded >= 0x78 { 0x7e } else { rounded as u8 }
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

/// [`round_i64`] is C's `lroundf` on x86-64: ties away from zero; what does not fit, and NaN, is `i64::MIN`.
pub(crate) fn round_i64(x: f32) -> i64 {
    let r = x.round();
    if (-9.223_372e18..9.223_372e18).contains(&r) { r as i64 } else { i64::MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ue4m3_scales_survive_the_round_trip() {
        assert_eq!(ue4m3_to_f32_half(0x38), 0.5);
        assert_eq!(ue4m3_to_f32_half(0x7e), 224.0);
        for x in 1..0x78 {
            assert_eq!(f32_to_ue4m3(2.0 * ue4m3_to_f32_half(x)), x);
        }
        assert_eq!((ue4m3_to_f32_half(0x7f), ue4m3_to_f32_half(0xff)), (0.0, 240.0));
        for (x, byte) in [(0.0, 0), (-1.0, 0), (f32::NAN, 0), (f32::INFINITY, 0x7e), (1e-4, 0)] {
            assert_eq!(f32_to_ue4m3(x), byte, "{x}");
        }
    }

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
