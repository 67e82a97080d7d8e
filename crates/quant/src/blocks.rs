//! Block layouts of the types Quipu computes with, byte for byte as `ggml-common.h` lays them out.
//!
//! All blocks are plain data: cast a `&[u8]` of whole blocks with `bytemuck::cast_slice`. Every weight
//! block has alignment 2 at most, so any even offset will do; only the activation block `Q8_K` needs 4.

use bytemuck::{Pod, Zeroable};
use half::f16;

/// Elements per block of the 32-element formats (`QK4_0`, `QK5_0`, `QK8_0`, `QK_MXFP4`).
pub const QK: usize = 32;
/// Elements per super-block of the K formats (`QK_K`).
pub const QK_K: usize = 256;

/// 32 weights of 4 bits: `w = d * (q - 8)`; element `i` is the low nibble of byte `i`, `i + 16` the high.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ4_0 {
    /// Scale.
    pub d: f16,
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

/// 32 weights or activations of 8 bits: `w = d * q`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ8_0 {
    /// Scale.
    pub d: f16,
    /// Quants.
    pub qs: [i8; QK],
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

impl BlockQ5_0 {
    /// The 32 quants in element order, -16 to 15.
    pub fn quants(&self) -> [i8; QK] {
        let qh = u32::from_le_bytes(self.qh);
        std::array::from_fn(|i| {
            let low = if i < QK / 2 { self.qs[i] & 15 } else { self.qs[i - QK / 2] >> 4 };
            let high = ((qh >> i) & 1) as u8;
            (low | (high << 4)) as i8 - 16
        })
    }
}

impl BlockQ4K {
    /// The 256 quants in element order, 0 to 15.
    pub fn quants(&self) -> [u8; QK_K] {
        std::array::from_fn(|i| nibble_k(&self.qs, i))
    }
}

impl BlockQ5K {
    /// The 256 quants in element order, 0 to 31.
    pub fn quants(&self) -> [u8; QK_K] {
        std::array::from_fn(|i| {
            let high = (self.qh[i % 32] >> (i / 32)) & 1;
            nibble_k(&self.qs, i) | (high << 4)
        })
    }
}

impl BlockQ6K {
    /// The 256 quants in element order, -32 to 31.
    ///
    /// Each half of 128 takes 64 bytes of `ql` (32 columns of which serve four groups of 32 elements: the
    /// low nibbles of bytes 0..32 and 32..64, then their high nibbles) and 32 bytes of `qh`.
    pub fn quants(&self) -> [i8; QK_K] {
        std::array::from_fn(|i| {
            let (half, group, l) = (i / 128, i % 128 / 32, i % 32);
            let low = self.ql[64 * half + 32 * (group % 2) + l] >> (4 * (group / 2)) & 15;
            let high = self.qh[32 * half + l] >> (2 * group) & 3;
            (low | (high << 4)) as i8 - 32
        })
    }
}

/// Element `i` of the nibbles of `Q4_K` and `Q5_K`: each 32 bytes hold 32 low then 32 high nibbles.
fn nibble_k(qs: &[u8; QK_K / 2], i: usize) -> u8 {
    (qs[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4)) & 15
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn blocks_have_the_sizes_of_the_type_table() {
        let sizes = [
            (DType::Q4_0, size_of::<BlockQ4_0>(), QK),
            (DType::Q5_0, size_of::<BlockQ5_0>(), QK),
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
