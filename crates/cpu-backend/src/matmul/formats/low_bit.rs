//! One and two bits with a scale and nothing else, and NVFP4: formats of neither 32 elements nor integer scales.

use std::mem::offset_of;

use quipu_quant::blocks::{BlockNvfp4, BlockQ1_0, BlockQ2_0, BlockTq1_0, BlockTq2_0, QK1_0, QK2_0};
use quipu_quant::convert::ue4m3_to_f32_half;

use super::super::simd::Simd;
use super::k::{Factors, KFormat, pairs};
use super::legacy::MXFP4_PLUS_12;
use super::{BlockScales, Format};

pub(in super::super) struct Tq1_0;
pub(in super::super) struct Tq2_0;
pub(in super::super) struct Q1_0;
pub(in super::super) struct Q2_0;
pub(in super::super) struct Nvfp4;

/// A scale for all: integer scales of one.
const ONES: u128 = 0x01010101_01010101;

impl KFormat for Tq2_0 {
    const BYTES: usize = size_of::<BlockTq2_0>();
    const SUB: usize = 32;
    const OFFSET: i32 = 1;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        // SAFETY: `j < 8`, so this is inside `qs`.
        unsafe {
            let qs = block.add(offset_of!(BlockTq2_0, qs) + j / 4 * 32);
            S::and(pairs::<S>(qs, j % 4), S::splat(3))
        }
    }

    #[inline(always)]
    unsafe fn factors<S: Simd>(block: *const u8) -> Factors {
        // SAFETY: the block's scale.
        let d = unsafe { S::half(block.add(offset_of!(BlockTq2_0, d))) };
        Factors { d, dmin: 0.0, scales: ONES, mins: 0 }
    }
}

impl KFormat for Tq1_0 {
    const BYTES: usize = size_of::<BlockTq1_0>();
    const SUB: usize = 32;
    const OFFSET: i32 = 1;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        const POW3: [u8; 5] = [1, 3, 9, 27, 81];
        // Runs of 32, 16 and 4 bytes, whose digits lie a run apart.
        let mut out = [0; 32];
        for (i, out) in out.iter_mut().enumerate() {
            let (at, power) = match (j, i) {
                (0..5, _) => (i, j),
                (5..7, _) => (32 + i % 16, 2 * (j - 5) + i / 16),
                (_, 0..16) => (32 + i, 4),
                _ => (48 + i % 4, (i - 16) / 4),
            };
            // SAFETY: `at` is below 52, the bytes of `qs` and `qh`.
            let fraction = unsafe { *block.add(at) }.wrapping_mul(POW3[power]);
            *out = ((u16::from(fraction) * 3) >> 8) as u8;
        }
        // SAFETY: the array.
        unsafe { S::load(out.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn factors<S: Simd>(block: *const u8) -> Factors {
        // SAFETY: the block's scale.
        let d = unsafe { S::half(block.add(offset_of!(BlockTq1_0, d))) };
        Factors { d, dmin: 0.0, scales: ONES, mins: 0 }
    }
}

const _: () = assert!(offset_of!(BlockTq1_0, qs) == 0 && offset_of!(BlockTq1_0, qh) == 48);

impl Format for Q1_0 {
    const LEN: usize = QK1_0;
    const BYTES: usize = size_of::<BlockQ1_0>();
    const SUB: usize = 32;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        // SAFETY: `j < 4`, so this is inside `qs`. A set bit is 1, another -1, plus 1.
        unsafe {
            let bits = block.add(offset_of!(BlockQ1_0, qs) + 4 * j).cast::<u32>().read_unaligned();
            S::bits(bits, 2)
        }
    }

    #[inline(always)]
    unsafe fn scales<S: Simd>(block: *const u8, scales: &mut BlockScales, _: &mut BlockScales) {
        // SAFETY: the block's scale.
        scales[..4].fill(unsafe { S::half(block) });
    }
}

/// The four quants of a byte, a byte each.
static QUARTERS: [u32; 256] = {
    let mut out = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u32;
        out[byte] = (b & 3) | (b >> 2 & 3) << 8 | (b >> 4 & 3) << 16 | (b >> 6) << 24;
        byte += 1;
    }
    out
};

impl Format for Q2_0 {
    const LEN: usize = QK2_0;
    const BYTES: usize = size_of::<BlockQ2_0>();
    const SUB: usize = 32;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        // SAFETY: `j < 2`, so this is inside `qs`.
        unsafe {
            let qs = block.add(offset_of!(BlockQ2_0, qs) + 8 * j).cast::<[u8; 8]>().read_unaligned();
            let mut words = [0; 4];
            for i in 0..4 {
                let (low, high) = (QUARTERS[usize::from(qs[2 * i])], QUARTERS[usize::from(qs[2 * i + 1])]);
                words[i] = u64::from(low) | u64::from(high) << 32;
            }
            S::from_words(words)
        }
    }

    #[inline(always)]
    unsafe fn scales<S: Simd>(block: *const u8, scales: &mut BlockScales, _: &mut BlockScales) {
        // SAFETY: the block's scale.
        scales[..2].fill(unsafe { S::half(block) });
    }
}

impl Format for Nvfp4 {
    const LEN: usize = 64;
    const BYTES: usize = size_of::<BlockNvfp4>();
    const SUB: usize = 16;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        const LOW: u64 = 0x0f0f0f0f_0f0f0f0f;
        // SAFETY: `j < 2`, so this is inside `qs`: for each 16 elements eight bytes, low halves first.
        unsafe {
            let qs = block.add(offset_of!(BlockNvfp4, qs) + 16 * j);
            let [a, b] = qs.cast::<[u64; 2]>().read_unaligned();
            S::lookup(&MXFP4_PLUS_12, S::from_words([a & LOW, a >> 4 & LOW, b & LOW, b >> 4 & LOW]))
        }
    }

    #[inline(always)]
    unsafe fn scales<S: Simd>(block: *const u8, scales: &mut BlockScales, _: &mut BlockScales) {
        for s in 0..4 {
            // SAFETY: the block's scales.
            scales[s] = ue4m3_to_f32_half(unsafe { *block.add(offset_of!(BlockNvfp4, d) + s) });
        }
    }
}
