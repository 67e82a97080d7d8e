//! Formats of 32 elements with one scale, against Q8_0 and Q8_1.

use std::mem::offset_of;

use quipu_quant::IQ4_VALUES;
use quipu_quant::blocks::{
    BlockIq4Nl, BlockMxfp4, BlockQ4_0, BlockQ4_1, BlockQ5_0, BlockQ5_1, BlockQ8_0, QK,
};

use super::super::scalar::{MXFP4_VALUES, e8m0_half};
use super::super::simd::Simd;
use super::{BlockScales, Format};

pub(in super::super) struct Q4_0;
pub(in super::super) struct Q4_1;
pub(in super::super) struct Q5_0;
pub(in super::super) struct Q5_1;
pub(in super::super) struct Q8_0;
pub(in super::super) struct Mxfp4;
pub(in super::super) struct Iq4Nl;

/// The values of MXFP4 plus 12.
pub(super) const MXFP4_PLUS_12: [u8; 16] = {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        table[i] = (MXFP4_VALUES[i] + 12) as u8;
        i += 1;
    }
    table
};

/// The values of IQ4_NL and IQ4_XS with the top bit flipped.
pub(super) const IQ4_FLIPPED: [u8; 16] = {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        table[i] = IQ4_VALUES[i] as u8 ^ 0x80;
        i += 1;
    }
    table
};

impl Format for Q4_0 {
    const LEN: usize = QK;
    const BYTES: usize = size_of::<BlockQ4_0>();
    const SUB: usize = QK;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, _: usize) -> S::Bytes {
        // SAFETY: the nibbles of the block.
        unsafe { S::nibbles(block.add(offset_of!(BlockQ4_0, qs))) }
    }

    #[inline(always)]
    unsafe fn scales<S: Simd>(block: *const u8, scales: &mut BlockScales, _: &mut BlockScales) {
        // SAFETY: the block's scale.
        scales[0] = unsafe { S::half(block) };
    }
}

impl Format for Q4_1 {
    const LEN: usize = QK;
    const BYTES: usize = size_of::<BlockQ4_1>();
    const SUB: usize = QK;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, _: usize) -> S::Bytes {
        // SAFETY: the nibbles of the block.
        unsafe { S::nibbles(block.add(offset_of!(BlockQ4_1, qs))) }
    }

    #[inline(always)]
    unsafe fn scales<S: Simd>(block: *const u8, scales: &mut BlockScales, mins: &mut BlockScales) {
        // SAFETY: the block's scale and minimum, which this format adds.
        unsafe {
            scales[0] = S::half(block);
            mins[0] = -S::half(block.add(offset_of!(BlockQ4_1, m)));
        }
    }
}

/// Nibbles at `qs` with the fifth bits at `qh`.
#[inline(always)]
unsafe fn five_bits<S: Simd>(qs: *const u8, qh: *const u8) -> S::Bytes {
    // SAFETY: the caller names fields of a block.
    unsafe { S::or(S::nibbles(qs), S::bits(qh.cast::<u32>().read_unaligned(), 16)) }
}

impl Format for Q5_0 {
    const LEN: usize = QK;
    const BYTES: usize = size_of::<BlockQ5_0>();
    const SUB: usize = QK;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, _: usize) -> S::Bytes {
        // SAFETY: fields of the block.
        unsafe { five_bits::<S>(block.add(offset_of!(BlockQ5_0, qs)), block.add(offset_of!(BlockQ5_0, qh))) }
    }

    #[inline(always)]
    unsafe fn scales<S: Simd>(block: *const u8, scales: &mut BlockScales, _: &mut BlockScales) {
        // SAFETY: the block's scale.
        scales[0] = unsafe { S::half(block) };
    }
}

impl Format for Q5_1 {
    const LEN: usize = QK;
    const BYTES: usize = size_of::<BlockQ5_1>();
    const SUB: usize = QK;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, _: usize) -> S::Bytes {
        // SAFETY: fields of the block.
        unsafe { five_bits::<S>(block.add(offset_of!(BlockQ5_1, qs)), block.add(offset_of!(BlockQ5_1, qh))) }
    }

    #[inline(always)]
    unsafe fn scales<S: Simd>(block: *const u8, scales: &mut BlockScales, mins: &mut BlockScales) {
        // SAFETY: the block's scale and minimum, which this format adds.
        unsafe {
            scales[0] = S::half(block);
            mins[0] = -S::half(block.add(offset_of!(BlockQ5_1, m)));
        }
    }
}

impl Format for Q8_0 {
    const LEN: usize = QK;
    const BYTES: usize = size_of::<BlockQ8_0>();
    const SUB: usize = QK;
    const FULL_RANGE: bool = true;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, _: usize) -> S::Bytes {
        // SAFETY: the quants of the block.
        unsafe { S::xor(S::load(block.add(offset_of!(BlockQ8_0, qs))), S::splat(0x80)) }
    }

    #[inline(always)]
    unsafe fn scales<S: Simd>(block: *const u8, scales: &mut BlockScales, _: &mut BlockScales) {
        // SAFETY: the block's scale.
        scales[0] = unsafe { S::half(block) };
    }
}

impl Format for Mxfp4 {
    const LEN: usize = QK;
    const BYTES: usize = size_of::<BlockMxfp4>();
    const SUB: usize = QK;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, _: usize) -> S::Bytes {
        // SAFETY: the nibbles of the block.
        unsafe { S::lookup(&MXFP4_PLUS_12, S::nibbles(block.add(offset_of!(BlockMxfp4, qs)))) }
    }

    #[inline(always)]
    unsafe fn scales<S: Simd>(block: *const u8, scales: &mut BlockScales, _: &mut BlockScales) {
        // SAFETY: the block's exponent.
        scales[0] = e8m0_half(unsafe { *block });
    }
}

impl Format for Iq4Nl {
    const LEN: usize = QK;
    const BYTES: usize = size_of::<BlockIq4Nl>();
    const SUB: usize = QK;
    const FULL_RANGE: bool = true;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, _: usize) -> S::Bytes {
        // SAFETY: the nibbles of the block.
        unsafe { S::lookup(&IQ4_FLIPPED, S::nibbles(block.add(offset_of!(BlockIq4Nl, qs)))) }
    }

    #[inline(always)]
    unsafe fn scales<S: Simd>(block: *const u8, scales: &mut BlockScales, _: &mut BlockScales) {
        // SAFETY: the block's scale.
        scales[0] = unsafe { S::half(block) };
    }
}
