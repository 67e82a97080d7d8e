//! SFP, "switching floating point": 8 bits that are a subset of bf16.
//!
//! Answers to gemma.cpp's `compression/sfp-inl`. The top bit is the sign. Codes from 64 on have three bits of mantissa
//! (exponents -7 to 0), those below two (exponents -23 to -8). 0 is zero, so the smallest value is 1.01 (binary) times
//! 2^-23; 0x80 is not used.

/// Largest magnitude: 1.111 (binary).
pub const MAX: f32 = 1.875;

/// Exponents are larger from here on, and mantissas longer.
const FIRST_LARGE: i32 = -7;
/// Below this a value is zero.
const MIN_EXPONENT: i32 = -23;

/// The code of a value whose magnitude is at most [`MAX`]; of larger ones and NaN, that of [`MAX`].
///
/// The value is cut to bf16 first, not rounded, as it is rounded once more (`Enc4F`); then to the nearest of its
/// mantissa's length, and even.
pub fn encode_value(x: f32) -> u8 {
    let bits = x.to_bits() >> 16;
    let sign = (bits >> 8) as u8 & 0x80;
    let exponent = ((bits >> 7) & 0xff) as i32 - 127;
    let mantissa = bits & 0x7f;
    // Where rounding up reaches the longer mantissas, they are used: from 1.1111 (binary) times 2^-8 on.
    let rounds_large = exponent >= FIRST_LARGE || (exponent == FIRST_LARGE - 1 && mantissa >= 0x78);
    let kept = if rounds_large { 3 } else { 2 };
    // The reference drops the lowest bit of bf16 before it rounds.
    let mut shortened = round_shift(mantissa >> 1, 6 - kept);
    let mut exponent = exponent;
    if shortened >> kept != 0 {
        shortened = 0;
        exponent += 1;
    }
    if exponent < MIN_EXPONENT {
        return 0;
    }
    if exponent > 0 {
        return sign | 0x7f;
    }
    if exponent == MIN_EXPONENT {
        // 1.0 times 2^-23 would be the code of zero.
        shortened = shortened.max(1);
    }
    let code = if exponent >= FIRST_LARGE {
        ((exponent + 15) << 3) as u32 | shortened
    } else {
        ((exponent + 23) << 2) as u32 | shortened
    };
    sign | code as u8
}

/// `x >> n`, rounded to the nearest, and to even between two.
fn round_shift(x: u32, n: u32) -> u32 {
    let odd = (x >> n) & 1;
    (x + (1 << (n - 1)) - 1 + odd) >> n
}

/// The bits of a code's value as f32. Straight-line: 20 or 21 bits to the left, and an offset of the exponent.
pub fn decode_to_bits(code: u8) -> u32 {
    let magnitude = u32::from(code & 0x7f);
    let sign = u32::from(code & 0x80) << 24;
    let small = (magnitude << 21) + 0x3400_0000;
    let large = (magnitude << 20) + 0x3800_0000;
    let bits = if magnitude >= 64 { large } else { small };
    sign | if magnitude == 0 { 0 } else { bits }
}

/// A code's value, which is one of bf16.
pub fn decode_value(code: u8) -> f32 {
    f32::from_bits(decode_to_bits(code))
}

/// The bits of a code's value as bf16.
pub fn decode_to_bf16(code: u8) -> u16 {
    (decode_to_bits(code) >> 16) as u16
}

/// Values to codes.
pub(super) fn encode(values: &[f32], out: &mut [u8]) {
    for (x, code) in values.iter().zip(out) {
        *code = encode_value(*x);
    }
}

/// Codes to values.
pub(super) fn decode(codes: &[u8], out: &mut [f32]) {
    for (code, x) in codes.iter().zip(out) {
        *x = decode_value(*code);
    }
}
