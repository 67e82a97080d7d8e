//! I8: groups of 128 values between their smallest and largest, in 256 steps.
//!
//! Answers to gemma.cpp's `compression/int-inl`. A group is the size of a step (bf16), the code of zero (bf16) and a
//! signed byte for each value; the last one has as many as are left. Groups do not begin anew with rows.

use super::bf16;

/// Values in a group.
pub const GROUP: usize = 128;
/// Step and zero point.
const TABLE: usize = 4;

/// Encodes values into groups.
pub(super) fn encode(values: &[f32], out: &mut [u8]) {
    for (values, out) in values.chunks(GROUP).zip(out.chunks_mut(TABLE + GROUP)) {
        encode_group(values, out);
    }
}

fn encode_group(values: &[f32], out: &mut [u8]) {
    let min = values.iter().copied().fold(f32::MAX, f32::min);
    let max = values.iter().copied().fold(f32::MIN, f32::max);
    let range = if max - min == 0.0 { 1.0 } else { max - min };
    let scale = 255.0 / range;
    // Rounded once, as compilers contract it where there are fused multiply-adds; then towards zero.
    let zero_point = to_i32((-scale).mul_add(min, -128.0)) as f32;
    let step = bf16::from_f32(1.0 / scale);
    let scale = bf16::to_f32(bf16::from_f32(scale));
    let zero = bf16::from_f32(zero_point);
    let (table, codes) = out.split_at_mut(TABLE);
    table[..2].copy_from_slice(&step.to_le_bytes());
    table[2..].copy_from_slice(&zero.to_le_bytes());
    let zero = bf16::to_f32(zero);
    for (x, code) in values.iter().zip(codes) {
        let rounded = scale.mul_add(*x, zero).round_ties_even();
        // Narrowing saturates. What is not a number, in a group whose range is too small for a scale, is the smallest.
        let narrowed = if rounded.is_nan() { -128 } else { (rounded as i32).clamp(-128, 127) };
        *code = (narrowed as i8).cast_unsigned();
    }
}

/// As C++ converts on x86: what does not fit is the smallest number.
fn to_i32(x: f32) -> i32 {
    if x.abs() < 2_147_483_648.0 { x as i32 } else { i32::MIN }
}

/// Decodes values out of groups.
pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for (bytes, out) in bytes.chunks(TABLE + GROUP).zip(out.chunks_mut(GROUP)) {
        let (table, codes) = bytes.split_at(TABLE);
        let step = bf16::to_f32(u16::from_le_bytes([table[0], table[1]]));
        let zero = bf16::to_f32(u16::from_le_bytes([table[2], table[3]]));
        let offset = -zero * step;
        for (code, x) in codes.iter().zip(out) {
            *x = step.mul_add(f32::from(code.cast_signed()), offset);
        }
    }
}
