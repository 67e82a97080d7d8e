//! Formats of 256 elements whose groups are points of a grid (IQ1, IQ2, IQ3), against Q8_K.
//!
//! Points come from tables, eight or four bytes each, unpacked from the packed ones at compile time.

use std::mem::offset_of;

use quipu_quant::blocks::QK_K;
use quipu_quant::grids::blocks::{
    BlockIq1M, BlockIq1S, BlockIq2S, BlockIq2Xs, BlockIq2Xxs, BlockIq3S, BlockIq3Xxs,
};
use quipu_quant::grids::tables;

use super::super::simd::Simd;
use super::k::{Factors, KFormat, spread_nibbles};

pub(in super::super) struct Iq1S;
pub(in super::super) struct Iq1M;
pub(in super::super) struct Iq2Xxs;
pub(in super::super) struct Iq2Xs;
pub(in super::super) struct Iq2S;
pub(in super::super) struct Iq3Xxs;
pub(in super::super) struct Iq3S;

/// What signed magnitudes, at most 62, are moved by to be unsigned.
const MIDDLE: u8 = 64;

/// Points of eight bytes: byte `i` is `values[level i]`, where levels have two bits.
const fn eights<const N: usize>(packed: &[u16; N], values: [u8; 4]) -> [u64; N] {
    let mut out = [0; N];
    let mut n = 0;
    while n < N {
        let mut i = 0;
        while i < 8 {
            out[n] |= (values[(packed[n] >> (2 * i) & 3) as usize] as u64) << (8 * i);
            i += 1;
        }
        n += 1;
    }
    out
}

/// Points of four bytes: byte `i` is `values[level i]`, where levels have three bits.
const fn fours<const N: usize>(packed: &[u16; N], values: [u8; 8]) -> [u32; N] {
    let mut out = [0; N];
    let mut n = 0;
    while n < N {
        let mut i = 0;
        while i < 4 {
            out[n] |= (values[(packed[n] >> (3 * i) & 7) as usize] as u32) << (8 * i);
            i += 1;
        }
        n += 1;
    }
    out
}

const IQ2_MAGNITUDES: [u8; 4] = [8, 25, 43, 0];
static IQ2_XXS: [u64; 256] = eights(&tables::IQ2_XXS, IQ2_MAGNITUDES);
static IQ2_XS: [u64; 512] = eights(&tables::IQ2_XS, IQ2_MAGNITUDES);
static IQ2_S: [u64; 1024] = eights(&tables::IQ2_S, IQ2_MAGNITUDES);
static IQ3_XXS: [u32; 256] = fours(&tables::IQ3_XXS, [4, 12, 20, 28, 36, 44, 52, 62]);
static IQ3_S: [u32; 512] = fours(&tables::IQ3_S, [1, 3, 5, 7, 9, 11, 13, 15]);
/// Eight times the levels -1, 0 and 1, plus [`IQ1_OFFSET`].
static IQ1: [u64; 2048] = eights(&tables::IQ1, [1, 9, 17, 25]);
/// Levels are shifted by an eighth up or down: in eighths, from -9 to 9.
const IQ1_OFFSET: i32 = 9;

/// The eighth sign follows from seven: their number is even.
static EVEN_SIGNS: [u8; 128] = {
    let mut out = [0; 128];
    let mut i = 0;
    while i < 128 {
        out[i] = i as u8 | ((i.count_ones() as u8 & 1) << 7);
        i += 1;
    }
    out
};

/// The signs of 32 elements from four times seven bits.
#[inline(always)]
fn even_signs(word: u32) -> u32 {
    let mut out = 0;
    for l in 0..4 {
        out |= u32::from(EVEN_SIGNS[(word >> (7 * l) & 127) as usize]) << (8 * l);
    }
    out
}

/// Magnitudes with signs (a set bit is minus), plus [`MIDDLE`].
#[inline(always)]
unsafe fn with_signs<S: Simd>(magnitudes: [u64; 4], signs: u32) -> S::Bytes {
    // SAFETY: the caller's promise.
    unsafe {
        // All ones and one more are what makes a byte its negative.
        let flipped = S::xor(S::from_words(magnitudes), S::bits(signs, 0xff));
        S::add_bytes(flipped, S::or(S::splat(MIDDLE), S::bits(signs, 1)))
    }
}

/// `2 s + 1` for bytes `s`.
#[inline(always)]
fn odd(bytes: u128) -> u128 {
    bytes << 1 | 0x01010101_01010101_01010101_01010101
}

/// Points of four, two to a word.
#[inline(always)]
fn pair(a: u32, b: u32) -> u64 {
    u64::from(a) | u64::from(b) << 32
}

/// The scales on top of eight words of signs, which lie `apart` bytes from each other.
#[inline(always)]
unsafe fn scales_of_words(words: *const u8, apart: usize) -> u128 {
    let mut out = 0;
    for ib in 0..QK_K / 32 {
        // SAFETY: the caller has eight such words.
        let word = unsafe { words.add(ib * apart).cast::<u32>().read_unaligned() };
        out |= u128::from(word >> 28) << (8 * ib);
    }
    odd(out)
}

impl KFormat for Iq2Xxs {
    const BYTES: usize = size_of::<BlockIq2Xxs>();
    const SUB: usize = 32;
    const OFFSET: i32 = MIDDLE as i32;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        // SAFETY: `j < 8`, so this is inside `qs`.
        unsafe {
            let p = block.add(offset_of!(BlockIq2Xxs, qs) + 8 * j);
            let (numbers, [_, word]) =
                (p.cast::<[u8; 4]>().read_unaligned(), p.cast::<[u32; 2]>().read_unaligned());
            let mut points = [0; 4];
            for l in 0..4 {
                points[l] = IQ2_XXS[usize::from(numbers[l])];
            }
            with_signs::<S>(points, even_signs(word))
        }
    }

    #[inline(always)]
    unsafe fn factors<S: Simd>(block: *const u8) -> Factors {
        // SAFETY: fields of the block.
        unsafe {
            let words = block.add(offset_of!(BlockIq2Xxs, qs) + 4);
            Factors { d: 0.125 * S::half(block), dmin: 0.0, scales: scales_of_words(words, 8), mins: 0 }
        }
    }
}

impl KFormat for Iq2Xs {
    const BYTES: usize = size_of::<BlockIq2Xs>();
    const SUB: usize = 16;
    const OFFSET: i32 = MIDDLE as i32;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        // SAFETY: `j < 8`, so this is inside `qs`.
        unsafe {
            let q = block.add(offset_of!(BlockIq2Xs, qs) + 8 * j).cast::<[u16; 4]>().read_unaligned();
            let (mut points, mut signs) = ([0; 4], 0);
            for l in 0..4 {
                points[l] = IQ2_XS[usize::from(q[l] & 511)];
                signs |= u32::from(EVEN_SIGNS[usize::from(q[l] >> 9)]) << (8 * l);
            }
            with_signs::<S>(points, signs)
        }
    }

    #[inline(always)]
    unsafe fn factors<S: Simd>(block: *const u8) -> Factors {
        // SAFETY: fields of the block.
        unsafe {
            let scales = block.add(offset_of!(BlockIq2Xs, scales)).cast::<u64>().read_unaligned();
            Factors { d: 0.125 * S::half(block), dmin: 0.0, scales: odd(spread_nibbles(scales)), mins: 0 }
        }
    }
}

impl KFormat for Iq2S {
    const BYTES: usize = size_of::<BlockIq2S>();
    const SUB: usize = 16;
    const OFFSET: i32 = MIDDLE as i32;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        // SAFETY: `j < 8`, so all are inside their fields.
        unsafe {
            let q = block.add(offset_of!(BlockIq2S, qs) + 4 * j).cast::<[u8; 4]>().read_unaligned();
            let signs = block.add(offset_of!(BlockIq2S, signs) + 4 * j).cast::<u32>().read_unaligned();
            let high = usize::from(*block.add(offset_of!(BlockIq2S, qh) + j));
            let mut points = [0; 4];
            for l in 0..4 {
                points[l] = IQ2_S[usize::from(q[l]) | (high << (8 - 2 * l) & 0x300)];
            }
            with_signs::<S>(points, signs)
        }
    }

    #[inline(always)]
    unsafe fn factors<S: Simd>(block: *const u8) -> Factors {
        // SAFETY: fields of the block.
        unsafe {
            let scales = block.add(offset_of!(BlockIq2S, scales)).cast::<u64>().read_unaligned();
            Factors { d: 0.125 * S::half(block), dmin: 0.0, scales: odd(spread_nibbles(scales)), mins: 0 }
        }
    }
}

impl KFormat for Iq3Xxs {
    const BYTES: usize = size_of::<BlockIq3Xxs>();
    const SUB: usize = 32;
    const OFFSET: i32 = MIDDLE as i32;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        // SAFETY: `j < 8`, so both are inside their fields.
        unsafe {
            let q = block.add(offset_of!(BlockIq3Xxs, qs) + 8 * j).cast::<[u8; 8]>().read_unaligned();
            let word =
                block.add(offset_of!(BlockIq3Xxs, signs_and_scales) + 4 * j).cast::<u32>().read_unaligned();
            let mut points = [0; 4];
            for l in 0..4 {
                points[l] = pair(IQ3_XXS[usize::from(q[2 * l])], IQ3_XXS[usize::from(q[2 * l + 1])]);
            }
            with_signs::<S>(points, even_signs(word))
        }
    }

    #[inline(always)]
    unsafe fn factors<S: Simd>(block: *const u8) -> Factors {
        // SAFETY: fields of the block.
        unsafe {
            let words = block.add(offset_of!(BlockIq3Xxs, signs_and_scales));
            Factors { d: 0.25 * S::half(block), dmin: 0.0, scales: scales_of_words(words, 4), mins: 0 }
        }
    }
}

impl KFormat for Iq3S {
    const BYTES: usize = size_of::<BlockIq3S>();
    const SUB: usize = 32;
    const OFFSET: i32 = MIDDLE as i32;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        // SAFETY: `j < 8`, so all are inside their fields.
        unsafe {
            let q = block.add(offset_of!(BlockIq3S, qs) + 8 * j).cast::<[u8; 8]>().read_unaligned();
            let signs = block.add(offset_of!(BlockIq3S, signs) + 4 * j).cast::<u32>().read_unaligned();
            let high = usize::from(*block.add(offset_of!(BlockIq3S, qh) + j));
            let mut points = [0; 4];
            for l in 0..4 {
                let (a, b) = (2 * l, 2 * l + 1);
                let first = IQ3_S[usize::from(q[a]) | (high << (8 - a) & 256)];
                points[l] = pair(first, IQ3_S[usize::from(q[b]) | (high << (8 - b) & 256)]);
            }
            with_signs::<S>(points, signs)
        }
    }

    #[inline(always)]
    unsafe fn factors<S: Simd>(block: *const u8) -> Factors {
        // SAFETY: fields of the block.
        unsafe {
            let scales = block.add(offset_of!(BlockIq3S, scales)).cast::<u32>().read_unaligned();
            Factors { d: S::half(block), dmin: 0.0, scales: odd(spread_nibbles(u64::from(scales))), mins: 0 }
        }
    }
}

impl KFormat for Iq1S {
    const BYTES: usize = size_of::<BlockIq1S>();
    const SUB: usize = 32;
    const OFFSET: i32 = IQ1_OFFSET;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        // SAFETY: `j < 8`, so both are inside their fields.
        unsafe {
            let q = block.add(offset_of!(BlockIq1S, qs) + 4 * j).cast::<[u8; 4]>().read_unaligned();
            let high =
                usize::from(block.add(offset_of!(BlockIq1S, qh) + 2 * j).cast::<u16>().read_unaligned());
            let mut points = [0; 4];
            for l in 0..4 {
                points[l] = IQ1[usize::from(q[l]) | (high >> (3 * l) & 7) << 8];
            }
            let shift = if high & 0x8000 == 0 { 1 } else { 0xff };
            S::add_bytes(S::from_words(points), S::splat(shift))
        }
    }

    #[inline(always)]
    unsafe fn factors<S: Simd>(block: *const u8) -> Factors {
        // SAFETY: fields of the block.
        unsafe {
            let high = block.add(offset_of!(BlockIq1S, qh)).cast::<[u16; 8]>().read_unaligned();
            let mut scales = 0;
            for (ib, high) in high.into_iter().enumerate() {
                scales |= u128::from(high >> 12 & 7) << (8 * ib);
            }
            Factors { d: 0.125 * S::half(block), dmin: 0.0, scales: odd(scales), mins: 0 }
        }
    }
}

impl KFormat for Iq1M {
    const BYTES: usize = size_of::<BlockIq1M>();
    const SUB: usize = 16;
    const OFFSET: i32 = IQ1_OFFSET;

    #[inline(always)]
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes {
        // SAFETY: `j < 8`, so both are inside their fields.
        unsafe {
            let q = block.add(offset_of!(BlockIq1M, qs) + 4 * j).cast::<[u8; 4]>().read_unaligned();
            let high =
                usize::from(block.add(offset_of!(BlockIq1M, qh) + 2 * j).cast::<u16>().read_unaligned());
            let (mut points, mut shifts) = ([0; 4], 0u32);
            for l in 0..4 {
                points[l] = IQ1[usize::from(q[l]) | (high >> (4 * l) & 7) << 8];
                shifts |= if high >> (4 * l) & 8 == 0 { 0 } else { 0xff << (8 * l) };
            }
            // One, or with its other bits set minus one.
            let shifts = S::or(S::splat(1), S::bits(shifts, 0xff));
            S::add_bytes(S::from_words(points), shifts)
        }
    }

    #[inline(always)]
    unsafe fn factors<S: Simd>(block: *const u8) -> Factors {
        // SAFETY: fields of the block.
        let [a, b, c, d] =
            unsafe { block.add(offset_of!(BlockIq1M, scales)).cast::<[u16; 4]>().read_unaligned() };
        let mut scales = 0;
        for (n, word) in [a, b, c, d].into_iter().enumerate() {
            for i in 0..4 {
                scales |= u128::from(word >> (3 * i) & 7) << (8 * (4 * n + i));
            }
        }
        let d = (a >> 12 | (b >> 8 & 0x00f0) | (c >> 4 & 0x0f00) | (d & 0xf000)).to_le_bytes();
        // SAFETY: the two bytes of the scale of all.
        Factors { d: 0.125 * unsafe { S::half(d.as_ptr()) }, dmin: 0.0, scales: odd(scales), mins: 0 }
    }
}
