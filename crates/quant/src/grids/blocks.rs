//! Block layouts of the grid types, byte for byte as `ggml-common.h` lays them out.

use bytemuck::{Pod, Zeroable};
use half::f16;

use crate::blocks::QK_K;

/// 256 weights of 2.06 bits: for every 32, four grid indices and a word of four 7-bit signs and a 4-bit scale.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIq2Xxs {
    /// Scale of all.
    pub d: f16,
    /// Indices, then signs and scale, in 16-bit pieces.
    pub qs: [[u16; 4]; QK_K / 32],
}

/// 256 weights of 2.31 bits: for every 8, a 9-bit grid index and 7 bits of signs; a 4-bit scale for every 16.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIq2Xs {
    /// Scale of all.
    pub d: f16,
    /// Index and signs.
    pub qs: [u16; QK_K / 8],
    /// Scales, the first of a pair in the low bits.
    pub scales: [u8; QK_K / 32],
}

/// 256 weights of 2.56 bits: for every 8, a 10-bit grid index and 8 signs; a 4-bit scale for every 16.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIq2S {
    /// Scale of all.
    pub d: f16,
    /// Low bits of the indices.
    pub qs: [u8; QK_K / 8],
    /// Signs.
    pub signs: [u8; QK_K / 8],
    /// High bits of the indices, two each.
    pub qh: [u8; QK_K / 32],
    /// Scales, the first of a pair in the low bits.
    pub scales: [u8; QK_K / 32],
}

/// 256 weights of 3.06 bits: for every 4, an 8-bit grid index; for every 32, four 7-bit signs and a 4-bit scale.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIq3Xxs {
    /// Scale of all.
    pub d: f16,
    /// Indices.
    pub qs: [u8; QK_K / 4],
    /// Signs and scale of every 32, a little-endian word.
    pub signs_and_scales: [[u8; 4]; QK_K / 32],
}

/// 256 weights of 3.44 bits: for every 4, a 9-bit grid index; for every 8, 8 signs; a 4-bit scale for every 32.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIq3S {
    /// Scale of all.
    pub d: f16,
    /// Low bits of the indices.
    pub qs: [u8; QK_K / 4],
    /// Ninth bits.
    pub qh: [u8; QK_K / 32],
    /// Signs.
    pub signs: [u8; QK_K / 8],
    /// Scales, the first of a pair in the low bits.
    pub scales: [u8; QK_K / 64],
}

/// 256 weights of 1.56 bits: for every 8, an 11-bit grid index; for every 32, a 3-bit scale and the sign of the
/// shift.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIq1S {
    /// Scale of all.
    pub d: f16,
    /// Low bits of the indices.
    pub qs: [u8; QK_K / 8],
    /// Four times three high bits, the scale, the sign.
    pub qh: [u16; QK_K / 32],
}

/// 256 weights of 1.75 bits: for every 8, an 11-bit grid index and the sign of the shift; for every 16, a 3-bit
/// scale. The scale of all lies in the top bits of the others.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIq1M {
    /// Low bits of the indices.
    pub qs: [u8; QK_K / 8],
    /// Two times three high bits and a sign.
    pub qh: [u8; QK_K / 16],
    /// Four times three bits of scale, and four bits of the scale of all; little-endian words.
    pub scales: [[u8; 2]; QK_K / 64],
}

impl BlockIq1M {
    /// The scale words.
    pub fn words(&self) -> [u16; QK_K / 64] {
        self.scales.map(u16::from_le_bytes)
    }

    /// The scale of all.
    pub fn d(&self) -> f16 {
        let [a, b, c, d] = self.words();
        f16::from_bits(a >> 12 | (b >> 8 & 0x00f0) | (c >> 4 & 0x0f00) | (d & 0xf000))
    }
}

const _: () = assert!(
    size_of::<BlockIq2Xxs>() == 66
        && size_of::<BlockIq2Xs>() == 74
        && size_of::<BlockIq2S>() == 82
        && size_of::<BlockIq3Xxs>() == 98
        && size_of::<BlockIq3S>() == 110
        && size_of::<BlockIq1S>() == 50
        && size_of::<BlockIq1M>() == 56
);
