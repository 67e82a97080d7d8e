//! BF16: the upper half of an f32, rounded to the nearest and even.

/// The nearest value's bits (`BF16FromF32`). NaN stays NaN, with its payload's upper bits and the quiet one.
pub fn from_f32(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    let odd = (bits >> 16) & 1;
    ((bits + 0x7fff + odd) >> 16) as u16
}

/// The value of such bits.
pub fn to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Values to two bytes each.
pub(super) fn encode(values: &[f32], out: &mut [u8]) {
    for (x, b) in values.iter().zip(out.as_chunks_mut::<2>().0) {
        *b = from_f32(*x).to_le_bytes();
    }
}

/// Two bytes each to values.
pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for (b, x) in bytes.as_chunks::<2>().0.iter().zip(out) {
        *x = to_f32(u16::from_le_bytes(*b));
    }
}
