//! Block layouts (those of the grid types excepted), byte for byte as `ggml-common.h` lays them out.
//!
//! All blocks are plain data: cast a `&[u8]` of whole blocks with `bytemuck::cast_slice`. Every weight
//! block has alignment 2 at most, so any even offset will do; only the activation block `Q8_K` needs 4.

use bytemuck::{Pod, Zeroable};
use half::f16;

/// Elements per block of the 32-element formats (`QK4_0`, `QK5_0`, `QK8_0`, `QK_MXFP4`).
pub const QK: usize = 32;
/// Elements per super-block of the K formats (`QK_K`).
pub const QK_K: usize = 256;

/// Elements per block of `NVFP4`.
pub const QK_NVFP4: usize = 64;
/// Elements per block of `Q1_0`.
pub const QK1_0: usize = 128;
/// Elements per block of `Q2_0`.
pub const QK2_0: usize = 64;

/// 32 weights of 4 bits: `w = d * (q - 8)`; element `i` is the low nibble of byte `i`, `i + 16` the high.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ4_0 {
    /// Scale.
    pub d: f16,
    /// Nibbles.
    pub qs: [u8; QK / 2],
}

/// 32 weights of 4 bits with a minimum: `w = d * q + m`; nibbles as in `Q4_0`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ4_1 {
    /// Scale.
    pub d: f16,
    /// Minimum.
    pub m: f16,
    /// Nibbles.
    pub qs: [u8; QK / 2],
}

/// 32 weights of 5 bits: `w = d * (q - 16)`; low four bits as in `Q4_0`, fifth bits in `qh` (bit `i`).
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ5_0 {
    /// Scale.
    pub d: f16,
    /// Fifth bits, little-endian u32: bit `i` belongs to element `i`.
    pub qh: [u8; 4],
    /// Nibbles.
    pub qs: [u8; QK / 2],
}

/// 32 weights of 5 bits with a minimum: `w = d * q + m`; bits as in `Q5_0`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ5_1 {
    /// Scale.
    pub d: f16,
    /// Minimum.
    pub m: f16,
    /// Fifth bits, as in `Q5_0`.
    pub qh: [u8; 4],
    /// Nibbles.
    pub qs: [u8; QK / 2],
}

/// 32 weights or activations of 8 bits: `w = d * q`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ8_0 {
    /// Scale.
    pub d: f16,
    /// Quants.
    pub qs: [i8; QK],
}

/// 32 activations of 8 bits, `x = d * q`, with their sum for weights that have a minimum.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ8_1 {
    /// Scale.
    pub d: f16,
    /// `d` times the sum of the quants.
    pub s: f16,
    /// Quants.
    pub qs: [i8; QK],
}

/// 256 weights of 2 bits in 16 sub-blocks of 16: `w = d * sc * q - dmin * m`, 4-bit `sc` and `m`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ2K {
    /// Scales (low nibbles) and mins (high nibbles).
    pub scales: [u8; QK_K / 16],
    /// Two bits each: byte `l` of each 32 carries elements `l`, `l + 32`, `l + 64`, `l + 96` of its 128.
    pub qs: [u8; QK_K / 4],
    /// Super-block scale of the scales.
    pub d: f16,
    /// Super-block scale of the mins.
    pub dmin: f16,
}

/// 256 weights of 3 bits in 16 sub-blocks of 16: `w = d * sc * (q - 4)`, 6-bit signed `sc`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ3K {
    /// Third bits: bit `j` of byte `l` belongs to element `32 j + l`.
    pub hmask: [u8; QK_K / 8],
    /// Low two bits, as in `Q2_K`.
    pub qs: [u8; QK_K / 4],
    /// 16 scales + 32: low nibbles in the first 8 bytes, high bits in pairs in the last 4.
    pub scales: [u8; 12],
    /// Super-block scale.
    pub d: f16,
}

/// 256 weights of 4 bits in 8 sub-blocks of 32: `w = d * sc * q - dmin * m`, 6-bit `sc` and `m`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ4K {
    /// Super-block scale of the scales.
    pub d: f16,
    /// Super-block scale of the mins.
    pub dmin: f16,
    /// 8 scales and 8 mins of 6 bits, packed as `get_scale_min_k4` reads them.
    pub scales: [u8; 12],
    /// Nibbles: 32 bytes carry elements `64 j ..` (low) and `64 j + 32 ..` (high).
    pub qs: [u8; QK_K / 2],
}

/// 256 weights of 5 bits in 8 sub-blocks of 32; as `Q4_K` with the fifth bits in `qh`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ5K {
    /// Super-block scale of the scales.
    pub d: f16,
    /// Super-block scale of the mins.
    pub dmin: f16,
    /// Packed 6-bit scales and mins.
    pub scales: [u8; 12],
    /// Fifth bits: bit `j` of byte `l` belongs to element `32 j + l`.
    pub qh: [u8; QK_K / 8],
    /// Nibbles, as in `Q4_K`.
    pub qs: [u8; QK_K / 2],
}

/// 256 weights of 6 bits in 16 sub-blocks of 16: `w = d * sc * (q - 32)`, signed 8-bit `sc`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ6K {
    /// Low four bits.
    pub ql: [u8; QK_K / 2],
    /// High two bits.
    pub qh: [u8; QK_K / 4],
    /// Sub-block scales.
    pub scales: [i8; QK_K / 16],
    /// Super-block scale.
    pub d: f16,
}

/// 256 activations of 8 bits with an f32 scale and the sums of each 16 quants.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ8K {
    /// Scale.
    pub d: f32,
    /// Quants.
    pub qs: [i8; QK_K],
    /// Sums of quants in groups of 16.
    pub bsums: [i16; QK_K / 16],
}

/// 32 weights of 4-bit floats (E2M1) with one power-of-two scale (E8M0).
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockMxfp4 {
    /// E8M0 exponent.
    pub e: u8,
    /// Nibbles: low half of byte `i` is element `i`, high half `i + 16`.
    pub qs: [u8; QK / 2],
}

/// 64 weights of 4-bit floats (E2M1) in 4 sub-blocks of 16, each with an unsigned E4M3 scale.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockNvfp4 {
    /// UE4M3 scales.
    pub d: [u8; 4],
    /// Nibbles: of each 8 bytes, the low half of byte `i` is element `i` of its 16, the high half `i + 8`.
    pub qs: [u8; QK_NVFP4 / 2],
}

/// 32 weights of 4 bits that index a table of 16 unevenly spaced values: `w = d * table[q]`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIq4Nl {
    /// Scale.
    pub d: f16,
    /// Nibbles, as in `Q4_0`.
    pub qs: [u8; QK / 2],
}

/// 256 weights as in `IQ4_NL`, with 6-bit scales for sub-blocks of 32: `w = d * (sc - 32) * table[q]`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIq4Xs {
    /// Super-block scale.
    pub d: f16,
    /// Upper two bits of the 8 scales, little-endian u16.
    pub scales_h: [u8; 2],
    /// Lower four bits of the scales, two a byte.
    pub scales_l: [u8; QK_K / 64],
    /// Nibbles: each 16 bytes as in `Q4_0`.
    pub qs: [u8; QK_K / 2],
}

/// 256 weights of -1, 0 and 1 times a scale, five to a byte.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockTq1_0 {
    /// Base-3 fractions of 256: 32 bytes for the first 160 elements, 16 bytes for the next 80.
    pub qs: [u8; 48],
    /// The last 16 elements, four to a byte.
    pub qh: [u8; 4],
    /// Scale.
    pub d: f16,
}

/// 256 weights of -1, 0 and 1 (and 2) times a scale, two bits each.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockTq2_0 {
    /// Two bits each, as in `Q2_K`.
    pub qs: [u8; QK_K / 4],
    /// Scale.
    pub d: f16,
}

/// 128 weights of one bit: the sign, times a scale.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ1_0 {
    /// Scale.
    pub d: f16,
    /// Bit `i % 8` of byte `i / 8`: set if element `i` is positive.
    pub qs: [u8; QK1_0 / 8],
}

/// 64 weights of two bits: `w = d * (q - 1)`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ2_0 {
    /// Scale.
    pub d: f16,
    /// Four consecutive elements to a byte, the first in the low bits.
    pub qs: [u8; QK2_0 / 4],
}

impl BlockQ5_0 {
    /// The 32 quants in element order, -16 to 15.
    pub fn quants(&self) -> [i8; QK] {
        quants_of_5_bits(&self.qs, self.qh).map(|q| q as i8 - 16)
    }
}

impl BlockQ5_1 {
    /// The 32 quants in element order, 0 to 31.
    pub fn quants(&self) -> [u8; QK] {
        quants_of_5_bits(&self.qs, self.qh)
    }
}

impl BlockQ2K {
    /// The 256 quants in element order, 0 to 3.
    pub fn quants(&self) -> [u8; QK_K] {
        pairs_k(&self.qs)
    }
}

impl BlockQ3K {
    /// The 256 quants in element order, -4 to 3.
    pub fn quants(&self) -> [i8; QK_K] {
        let mut out = pairs_k(&self.qs).map(|q| q as i8 - 4);
        add_high_bits(&self.hmask, |i, bit| out[i] += (bit << 2) as i8);
        out
    }

    /// The scale of sub-block `j` (0..16), -32 to 31.
    pub fn scale(&self, j: usize) -> i8 {
        let low = if j < 8 { self.scales[j] & 15 } else { self.scales[j - 8] >> 4 };
        let high = (self.scales[8 + j % 4] >> (2 * (j / 4))) & 3;
        (low | (high << 4)) as i8 - 32
    }
}

impl BlockTq2_0 {
    /// The 256 quants in element order, -1 to 2.
    pub fn quants(&self) -> [i8; QK_K] {
        pairs_k(&self.qs).map(|q| q as i8 - 1)
    }
}

impl BlockQ4K {
    /// The 256 quants in element order, 0 to 15.
    pub fn quants(&self) -> [u8; QK_K] {
        nibbles_k(&self.qs)
    }
}

impl BlockQ5K {
    /// The 256 quants in element order, 0 to 31.
    pub fn quants(&self) -> [u8; QK_K] {
        let mut out = nibbles_k(&self.qs);
        add_high_bits(&self.qh, |i, bit| out[i] |= bit << 4);
        out
    }
}

impl BlockQ6K {
    /// The 256 quants in element order, -32 to 31.
    ///
    /// Each half of 128 takes 64 bytes of `ql` (32 columns of which serve four groups of 32 elements: the
    /// low nibbles of bytes 0..32 and 32..64, then their high nibbles) and 32 bytes of `qh`.
    pub fn quants(&self) -> [i8; QK_K] {
        let mut out = [0i8; QK_K];
        let halves = self.ql.as_chunks::<64>().0.iter().zip(self.qh.as_chunks::<32>().0);
        for (out, (ql, qh)) in out.as_chunks_mut::<128>().0.iter_mut().zip(halves) {
            for l in 0..32 {
                let quant = |low: u8, group: u8| (low & 15 | (qh[l] >> (2 * group) & 3) << 4) as i8 - 32;
                out[l] = quant(ql[l], 0);
                out[l + 32] = quant(ql[l + 32], 1);
                out[l + 64] = quant(ql[l] >> 4, 2);
                out[l + 96] = quant(ql[l + 32] >> 4, 3);
            }
        }
        out
    }
}

/// Two-bit quants: each 32 bytes hold 128 elements, by quarters from the low bits up.
fn pairs_k(qs: &[u8; QK_K / 4]) -> [u8; QK_K] {
    let mut out = [0; QK_K];
    for (out, qs) in out.as_chunks_mut::<128>().0.iter_mut().zip(qs.as_chunks::<32>().0) {
        for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (out, q) in out.iter_mut().zip(qs) {
                *out = q >> (2 * group) & 3;
            }
        }
    }
    out
}

/// Calls `f` with each element's number and bit: bit `j` of byte `l` belongs to element `32 j + l`.
fn add_high_bits(bits: &[u8; QK_K / 8], mut f: impl FnMut(usize, u8)) {
    for j in 0..8 {
        for (l, byte) in bits.iter().enumerate() {
            f(32 * j + l, byte >> j & 1);
        }
    }
}

fn quants_of_5_bits(qs: &[u8; QK / 2], qh: [u8; 4]) -> [u8; QK] {
    let qh = u32::from_le_bytes(qh);
    std::array::from_fn(|i| {
        let low = if i < QK / 2 { qs[i] & 15 } else { qs[i - QK / 2] >> 4 };
        let high = ((qh >> i) & 1) as u8;
        low | (high << 4)
    })
}

/// The nibbles of `Q4_K` and `Q5_K`: each 32 bytes hold 32 low then 32 high nibbles.
fn nibbles_k(qs: &[u8; QK_K / 2]) -> [u8; QK_K] {
    let mut out = [0; QK_K];
    for (out, qs) in out.as_chunks_mut::<64>().0.iter_mut().zip(qs.as_chunks::<32>().0) {
        let (low, high) = out.split_at_mut(32);
        for ((low, high), q) in low.iter_mut().zip(high).zip(qs) {
            *low = q & 15;
            *high = q >> 4;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn blocks_have_the_sizes_of_the_type_table() {
        let sizes = [
            (DType::Q4_0, size_of::<BlockQ4_0>(), QK),
            (DType::Q4_1, size_of::<BlockQ4_1>(), QK),
            (DType::Q5_0, size_of::<BlockQ5_0>(), QK),
            (DType::Q5_1, size_of::<BlockQ5_1>(), QK),
            (DType::Q8_1, size_of::<BlockQ8_1>(), QK),
            (DType::IQ4_NL, size_of::<BlockIq4Nl>(), QK),
            (DType::IQ4_XS, size_of::<BlockIq4Xs>(), QK_K),
            (DType::Q2_K, size_of::<BlockQ2K>(), QK_K),
            (DType::Q3_K, size_of::<BlockQ3K>(), QK_K),
            (DType::TQ1_0, size_of::<BlockTq1_0>(), QK_K),
            (DType::TQ2_0, size_of::<BlockTq2_0>(), QK_K),
            (DType::NVFP4, size_of::<BlockNvfp4>(), QK_NVFP4),
            (DType::Q1_0, size_of::<BlockQ1_0>(), QK1_0),
            (DType::Q2_0, size_of::<BlockQ2_0>(), QK2_0),
            (DType::Q8_0, size_of::<BlockQ8_0>(), QK),
            (DType::MXFP4, size_of::<BlockMxfp4>(), QK),
            (DType::Q4_K, size_of::<BlockQ4K>(), QK_K),
            (DType::Q5_K, size_of::<BlockQ5K>(), QK_K),
            (DType::Q6_K, size_of::<BlockQ6K>(), QK_K),
            (DType::Q8_K, size_of::<BlockQ8K>(), QK_K),
        ];
        for (dtype, bytes, len) in sizes {
            assert_eq!((dtype.block_bytes(), dtype.block_len()), (bytes, len), "{dtype}");
        }
    }
}
