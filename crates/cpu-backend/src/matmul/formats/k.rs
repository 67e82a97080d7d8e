//! Formats of 256 elements with integer scales per sub-block, against Q8_K.

use std::mem::offset_of;

use quipu_quant::blocks::{BlockIq4Xs, BlockQ2K, BlockQ3K, BlockQ4K, BlockQ5K, BlockQ6K, QK_K};

use super::super::columns::Column;
use super::super::dot::dot_k;
use super::super::simd::Simd;
use super::legacy::IQ4_FLIPPED;
use super::{BlockScales, Format};

pub(in super::super) struct Q2K;
pub(in super::super) struct Q3K;
pub(in super::super) struct Q4K;
pub(in super::super) struct Q5K;
pub(in super::super) struct Q6K;
pub(in super::super) struct Iq4Xs;

/// The scales of a block before they are multiplied: bytes (i8), one per sub-block, the first lowest.
pub(in super::super) struct Factors {
    pub d: f32,
    pub dmin: f32,
    pub scales: u128,
    pub mins: u128,
}

/// A format of 256 elements with integer scales: the constants and `load32` of [`Format`], and the scales in parts.
pub(in super::super) trait KFormat {
    const BYTES: usize;
    const SUB: usize;
    const HAS_MIN: bool = false;
    const FULL_RANGE: bool = false;
    /// What quants are too large by when read as unsigned, unless the range is full.
    const OFFSET: i32 = 0;

    /// # Safety
    /// As [`Format::load32`].
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes;

    /// # Safety
    /// As [`Format::scales`].
    unsafe fn factors<S: Simd>(block: *const u8) -> Factors;
}

impl<F: KFormat> Format for F {
    const LEN: usize = QK_K;
    const BYTES: usize = F::BYTES;
    const SUB: usize = F::SUB;
    const HAS_MIN: bool = F::HAS_MIN;
    const FULL_RANGE: bool = F::FULL_RANGE;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        // SAFETY: the caller's promise, unchanged.
        unsafe { F::load32::<S>(block, j) }
    }

    #[inline(always)]
    unsafe fn scales<S: Simd>(block: *const u8, scales: &mut BlockScales, mins: &mut BlockScales) {
        // SAFETY: the caller's promise; eight floats at a time into arrays of 16.
        unsafe {
            let f = F::factors::<S>(block);
            for at in (0..QK_K / F::SUB).step_by(8) {
                let bytes = S::floats_of_i8((f.scales >> (8 * at)) as u64);
                S::store_floats(scales.as_mut_ptr().add(at), S::mul(bytes, S::splat_float(f.d)));
                if F::HAS_MIN {
                    let bytes = S::floats_of_i8((f.mins >> (8 * at)) as u64);
                    S::store_floats(mins.as_mut_ptr().add(at), S::mul(bytes, S::splat_float(f.dmin)));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn dot<S: Simd, const NC: usize>(row: *const u8, k: usize, cols: &[Column; NC]) -> [f32; NC] {
        // SAFETY: the caller's promise, unchanged.
        unsafe { dot_k::<S, F, NC>(row, k, cols) }
    }
}

/// The 8 scales and 8 minimums of a Q4_K or Q5_K block as bytes.
#[inline(always)]
unsafe fn scales_mins_k4(p: *const u8) -> (u128, u128) {
    // SAFETY: the caller has 12 bytes here.
    let [a, b, c] = unsafe { p.cast::<[u32; 3]>().read_unaligned() };
    let scales_hi = (c & 0x0f0f0f0f) | ((a >> 6) & 0x03030303) << 4;
    let mins_hi = (c >> 4) & 0x0f0f0f0f | ((b >> 6) & 0x03030303) << 4;
    let join = |lo: u32, hi: u32| u128::from(u64::from(lo & 0x3f3f3f3f) | u64::from(hi) << 32);
    (join(a, scales_hi), join(b, mins_hi))
}

/// The head that Q4_K and Q5_K blocks have in common.
#[inline(always)]
unsafe fn factors_k45<S: Simd>(block: *const u8) -> Factors {
    // SAFETY: fields of the block.
    unsafe {
        let (scales, mins) = scales_mins_k4(block.add(offset_of!(BlockQ4K, scales)));
        let d = S::half(block.add(offset_of!(BlockQ4K, d)));
        Factors { d, dmin: S::half(block.add(offset_of!(BlockQ4K, dmin))), scales, mins }
    }
}

/// The bytes at `p`, shifted right by `2 * i`.
#[inline(always)]
pub(super) unsafe fn pairs<S: Simd>(p: *const u8, i: usize) -> S::Bytes {
    // SAFETY: the caller has 32 bytes here.
    unsafe {
        let b = S::load(p);
        match i {
            0 => b,
            1 => S::shr::<2>(b),
            2 => S::shr::<4>(b),
            _ => S::shr::<6>(b),
        }
    }
}

/// Nibbles, the first lowest, each to its byte.
#[inline(always)]
pub(super) fn spread_nibbles(nibbles: u64) -> u128 {
    let half = |x: u64| {
        let x = (x | x << 16) & 0x0000ffff_0000ffff;
        let x = (x | x << 8) & 0x00ff00ff_00ff00ff;
        (x | x << 4) & 0x0f0f0f0f_0f0f0f0f
    };
    u128::from(half(nibbles & 0xffff_ffff)) | u128::from(half(nibbles >> 32)) << 64
}

/// Bytes 0 to 63, less 32 each.
#[inline(always)]
fn less_32(bytes: u128) -> u128 {
    const TOPS: u128 = 0x80808080_80808080_80808080_80808080;
    ((bytes | TOPS) - TOPS / 4) ^ TOPS
}

impl KFormat for Q2K {
    const BYTES: usize = size_of::<BlockQ2K>();
    const SUB: usize = 16;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        // SAFETY: `j < 8`, so this is inside `qs`.
        unsafe {
            let qs = block.add(offset_of!(BlockQ2K, qs) + j / 4 * 32);
            S::and(pairs::<S>(qs, j % 4), S::splat(3))
        }
    }

    #[inline(always)]
    unsafe fn factors<S: Simd>(block: *const u8) -> Factors {
        const LOW: u128 = 0x0f0f0f0f_0f0f0f0f_0f0f0f0f_0f0f0f0f;
        // SAFETY: fields of the block.
        unsafe {
            let both = block.add(offset_of!(BlockQ2K, scales)).cast::<u128>().read_unaligned();
            Factors {
                d: S::half(block.add(offset_of!(BlockQ2K, d))),
                dmin: S::half(block.add(offset_of!(BlockQ2K, dmin))),
                scales: both & LOW,
                mins: (both >> 4) & LOW,
            }
        }
    }
}

impl KFormat for Q3K {
    const BYTES: usize = size_of::<BlockQ3K>();
    const SUB: usize = 16;
    const OFFSET: i32 = 4;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        // SAFETY: `j < 8`, so this is inside `qs`, and `hmask` is 32 bytes.
        unsafe {
            let qs = block.add(offset_of!(BlockQ3K, qs) + j / 4 * 32);
            let low = S::and(pairs::<S>(qs, j % 4), S::splat(3));
            let high = S::has(S::load(block.add(offset_of!(BlockQ3K, hmask))), 1 << j);
            S::or(low, S::and(high, S::splat(4)))
        }
    }

    #[inline(always)]
    unsafe fn factors<S: Simd>(block: *const u8) -> Factors {
        // SAFETY: fields of the block.
        unsafe {
            let p = block.add(offset_of!(BlockQ3K, scales));
            let [a, b, c] = p.cast::<[u32; 3]>().read_unaligned();
            let join = |low: u32, high: u32| u128::from((low & 0x0f0f0f0f) | (high & 0x03030303) << 4);
            let all =
                join(a, c) | join(b, c >> 2) << 32 | join(a >> 4, c >> 4) << 64 | join(b >> 4, c >> 6) << 96;
            let d = S::half(block.add(offset_of!(BlockQ3K, d)));
            Factors { d, dmin: 0.0, scales: less_32(all), mins: 0 }
        }
    }
}

impl KFormat for Q4K {
    const BYTES: usize = size_of::<BlockQ4K>();
    const SUB: usize = 32;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        // SAFETY: `j < 8`, so this is inside `qs`.
        unsafe {
            let b = S::load(block.add(offset_of!(BlockQ4K, qs) + j / 2 * 32));
            let b = if j.is_multiple_of(2) { b } else { S::shr::<4>(b) };
            S::and(b, S::splat(15))
        }
    }

    #[inline(always)]
    unsafe fn factors<S: Simd>(block: *const u8) -> Factors {
        // SAFETY: the caller's promise, unchanged.
        unsafe { factors_k45::<S>(block) }
    }
}

impl KFormat for Q5K {
    const BYTES: usize = size_of::<BlockQ5K>();
    const SUB: usize = 32;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        // SAFETY: `j < 8`, so this is inside `qs`, and `qh` is 32 bytes.
        unsafe {
            let b = S::load(block.add(offset_of!(BlockQ5K, qs) + j / 2 * 32));
            let b = if j.is_multiple_of(2) { b } else { S::shr::<4>(b) };
            let high = S::has(S::load(block.add(offset_of!(BlockQ5K, qh))), 1 << j);
            S::or(S::and(b, S::splat(15)), S::and(high, S::splat(16)))
        }
    }

    #[inline(always)]
    unsafe fn factors<S: Simd>(block: *const u8) -> Factors {
        // SAFETY: the caller's promise, unchanged.
        unsafe { factors_k45::<S>(block) }
    }
}

impl KFormat for Q6K {
    const BYTES: usize = size_of::<BlockQ6K>();
    const SUB: usize = 16;
    const OFFSET: i32 = 32;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        let (half, quarter) = (j / 4, j % 4);
        // SAFETY: `j < 8`, so both are inside `ql` and `qh`.
        unsafe {
            let l = S::load(block.add(offset_of!(BlockQ6K, ql) + half * 64 + quarter % 2 * 32));
            let h = S::load(block.add(offset_of!(BlockQ6K, qh) + half * 32));
            let l = if quarter < 2 { l } else { S::shr::<4>(l) };
            let h = match quarter {
                0 => S::shl::<4>(h),
                1 => S::shl::<2>(h),
                2 => h,
                _ => S::shr::<2>(h),
            };
            S::or(S::and(l, S::splat(15)), S::and(h, S::splat(48)))
        }
    }

    #[inline(always)]
    unsafe fn factors<S: Simd>(block: *const u8) -> Factors {
        // SAFETY: fields of the block.
        unsafe {
            let scales = block.add(offset_of!(BlockQ6K, scales)).cast::<u128>().read_unaligned();
            Factors { d: S::half(block.add(offset_of!(BlockQ6K, d))), dmin: 0.0, scales, mins: 0 }
        }
    }
}

impl KFormat for Iq4Xs {
    const BYTES: usize = size_of::<BlockIq4Xs>();
    const SUB: usize = 32;
    const FULL_RANGE: bool = true;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        // SAFETY: `j < 8`, so this is inside `qs`.
        unsafe { S::lookup(&IQ4_FLIPPED, S::nibbles(block.add(offset_of!(BlockIq4Xs, qs) + j * 16))) }
    }

    #[inline(always)]
    unsafe fn factors<S: Simd>(block: *const u8) -> Factors {
        // SAFETY: fields of the block.
        let (d, low, high) = unsafe {
            let low = block.add(offset_of!(BlockIq4Xs, scales_l)).cast::<u32>().read_unaligned();
            let high = block.add(offset_of!(BlockIq4Xs, scales_h)).cast::<u16>().read_unaligned();
            (S::half(block.add(offset_of!(BlockIq4Xs, d))), u64::from(low), u64::from(high))
        };
        // Fields of 2 bits, each to its byte, as nibbles are.
        let high = (high | high << 24) & 0x000000ff_000000ff;
        let high = (high | high << 12) & 0x000f000f_000f000f;
        let high = (high | high << 6) & 0x03030303_03030303;
        Factors { d, dmin: 0.0, scales: less_32(spread_nibbles(low) | u128::from(high << 4)), mins: 0 }
    }
}
