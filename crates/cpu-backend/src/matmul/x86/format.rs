//! One weight format per type: how 32 quants come into a register and how the scales read as f32.
//!
//! Everything else (packing, tiles, row dots) is generic over [`Format`].

use std::arch::x86_64::*;
use std::mem::offset_of;

use quipu_quant::blocks::{BlockMxfp4, BlockQ4_0, BlockQ4K, BlockQ5_0, BlockQ5K, BlockQ6K, BlockQ8_0};

use super::super::columns::Column;
use super::super::scalar::{MXFP4_VALUES, e8m0_half};
use super::dot;

/// Scales or minimums of one block, in the order of its sub-blocks; unused entries stay as they are.
pub type BlockScales = [f32; 16];

/// A quantised weight format. All pointers are to the first byte of a block and need no alignment.
pub trait Format {
    /// Elements and bytes of a block.
    const LEN: usize;
    const BYTES: usize;
    /// Elements per scale.
    const SUB: usize;
    /// Whether sub-blocks have minimums.
    const HAS_MIN: bool;
    /// The quants span all 8 bits: `load32` gives them with the top bit flipped (offset 128).
    const FULL_RANGE: bool = false;

    /// Quants `32 j ..` of the block as unsigned bytes (quant plus the format's offset), in element order.
    ///
    /// # Safety
    /// `block` is readable for `BYTES`, `j < LEN / 32`, AVX2 is available.
    unsafe fn load32(block: *const u8, j: usize) -> __m256i;

    /// The f32 scale (and minimum) of every sub-block.
    ///
    /// # Safety
    /// `block` is readable for `BYTES`; AVX2 and F16C are available.
    unsafe fn scales(block: *const u8, scales: &mut BlockScales, mins: &mut BlockScales);

    /// Dot products of one row of `k` elements with `NC` columns.
    ///
    /// # Safety
    /// `row` holds `k` elements, the columns hold `k` elements in this format's layout; AVX2, FMA, F16C.
    unsafe fn dot<const NC: usize>(row: *const u8, k: usize, cols: &[Column; NC]) -> [f32; NC];
}

/// Reads an f16 at any address.
///
/// # Safety
/// Two readable bytes; F16C is available.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub unsafe fn half_at(p: *const u8) -> f32 {
    // SAFETY: the caller's promise.
    let bits = unsafe { p.cast::<u16>().read_unaligned() };
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
}

/// 16 bytes of nibbles to 32 bytes: low halves first, then high halves.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn nibbles(p: *const u8) -> __m256i {
    // SAFETY: the caller reads inside a block that has 16 bytes here.
    let b = unsafe { _mm_loadu_si128(p.cast()) };
    let both = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(b), _mm_srli_epi16::<4>(b));
    _mm256_and_si256(both, _mm256_set1_epi8(15))
}

pub struct Q4_0;
pub struct Q5_0;
pub struct Q8_0;
pub struct Mxfp4;
pub struct Q4K;
pub struct Q5K;
pub struct Q6K;

impl Format for Q4_0 {
    const LEN: usize = 32;
    const BYTES: usize = size_of::<BlockQ4_0>();
    const SUB: usize = 32;
    const HAS_MIN: bool = false;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load32(block: *const u8, _: usize) -> __m256i {
        // SAFETY: the nibbles of the block.
        unsafe { nibbles(block.add(offset_of!(BlockQ4_0, qs))) }
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn scales(block: *const u8, scales: &mut BlockScales, _: &mut BlockScales) {
        // SAFETY: the block's scale.
        scales[0] = unsafe { half_at(block) };
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot<const NC: usize>(row: *const u8, k: usize, cols: &[Column; NC]) -> [f32; NC] {
        // SAFETY: the caller's promise, unchanged.
        unsafe { dot::dot_32::<Self, NC>(row, k, cols) }
    }
}

impl Format for Q5_0 {
    const LEN: usize = 32;
    const BYTES: usize = size_of::<BlockQ5_0>();
    const SUB: usize = 32;
    const HAS_MIN: bool = false;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load32(block: *const u8, _: usize) -> __m256i {
        // SAFETY: fields of the block.
        let (low, bits) = unsafe {
            let bits = block.add(offset_of!(BlockQ5_0, qh)).cast::<i32>().read_unaligned();
            (nibbles(block.add(offset_of!(BlockQ5_0, qs))), bits)
        };
        // Byte i/8 of the mask to byte i, then test bit i%8.
        let spread = _mm256_shuffle_epi8(
            _mm256_set1_epi32(bits),
            _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0),
        );
        let bit = _mm256_set1_epi64x(0x8040201008040201u64 as i64);
        let set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
        _mm256_or_si256(low, _mm256_and_si256(set, _mm256_set1_epi8(16)))
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn scales(block: *const u8, scales: &mut BlockScales, _: &mut BlockScales) {
        // SAFETY: the block's scale.
        scales[0] = unsafe { half_at(block) };
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot<const NC: usize>(row: *const u8, k: usize, cols: &[Column; NC]) -> [f32; NC] {
        // SAFETY: the caller's promise, unchanged.
        unsafe { dot::dot_32::<Self, NC>(row, k, cols) }
    }
}

impl Format for Q8_0 {
    const LEN: usize = 32;
    const BYTES: usize = size_of::<BlockQ8_0>();
    const SUB: usize = 32;
    const HAS_MIN: bool = false;
    const FULL_RANGE: bool = true;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load32(block: *const u8, _: usize) -> __m256i {
        // SAFETY: the quants of the block.
        let q = unsafe { _mm256_loadu_si256(block.add(offset_of!(BlockQ8_0, qs)).cast()) };
        _mm256_xor_si256(q, _mm256_set1_epi8(i8::MIN))
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn scales(block: *const u8, scales: &mut BlockScales, _: &mut BlockScales) {
        // SAFETY: the block's scale.
        scales[0] = unsafe { half_at(block) };
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot<const NC: usize>(row: *const u8, k: usize, cols: &[Column; NC]) -> [f32; NC] {
        // SAFETY: the caller's promise, unchanged.
        unsafe { dot::dot_32::<Self, NC>(row, k, cols) }
    }
}

impl Format for Mxfp4 {
    const LEN: usize = 32;
    const BYTES: usize = size_of::<BlockMxfp4>();
    const SUB: usize = 32;
    const HAS_MIN: bool = false;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load32(block: *const u8, _: usize) -> __m256i {
        // SAFETY: the nibbles of the block, and a table of 16 bytes.
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(MXFP4_VALUES.as_ptr().cast()));
            let values = _mm256_shuffle_epi8(table, nibbles(block.add(offset_of!(BlockMxfp4, qs))));
            _mm256_add_epi8(values, _mm256_set1_epi8(12))
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn scales(block: *const u8, scales: &mut BlockScales, _: &mut BlockScales) {
        // SAFETY: the block's exponent.
        scales[0] = e8m0_half(unsafe { *block });
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot<const NC: usize>(row: *const u8, k: usize, cols: &[Column; NC]) -> [f32; NC] {
        // SAFETY: the caller's promise, unchanged.
        unsafe { dot::dot_32::<Self, NC>(row, k, cols) }
    }
}

/// The 8 scales and 8 minimums of a Q4_K or Q5_K block as bytes, scales in the low half.
///
/// # Safety
/// 12 readable bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub unsafe fn scales_mins_k4(p: *const u8) -> (u64, u64) {
    // SAFETY: the caller's promise.
    let (a, b, c) = unsafe {
        let p = p.cast::<u32>();
        (p.read_unaligned(), p.add(1).read_unaligned(), p.add(2).read_unaligned())
    };
    let scales_hi = (c & 0x0f0f0f0f) | ((a >> 6) & 0x03030303) << 4;
    let mins_hi = (c >> 4) & 0x0f0f0f0f | ((b >> 6) & 0x03030303) << 4;
    let join = |lo: u32, hi: u32| u64::from(lo & 0x3f3f3f3f) | u64::from(hi) << 32;
    (join(a, scales_hi), join(b, mins_hi))
}

/// Eight bytes times a factor, as f32, into the first eight entries of `out`.
#[inline]
#[target_feature(enable = "avx2")]
fn scaled_bytes(bytes: u64, factor: f32, out: &mut BlockScales) {
    let v = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bytes as i64)));
    // SAFETY: 8 floats into an array of 16.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), _mm256_mul_ps(v, _mm256_set1_ps(factor))) };
}

impl Format for Q4K {
    const LEN: usize = 256;
    const BYTES: usize = size_of::<BlockQ4K>();
    const SUB: usize = 32;
    const HAS_MIN: bool = true;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load32(block: *const u8, j: usize) -> __m256i {
        // SAFETY: `j < 8`, so this is inside `qs`.
        let b = unsafe { _mm256_loadu_si256(block.add(offset_of!(BlockQ4K, qs) + j / 2 * 32).cast()) };
        let b = if j.is_multiple_of(2) { b } else { _mm256_srli_epi16::<4>(b) };
        _mm256_and_si256(b, _mm256_set1_epi8(15))
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn scales(block: *const u8, scales: &mut BlockScales, mins: &mut BlockScales) {
        // SAFETY: fields of the block.
        unsafe {
            let (s, m) = scales_mins_k4(block.add(offset_of!(BlockQ4K, scales)));
            scaled_bytes(s, half_at(block.add(offset_of!(BlockQ4K, d))), scales);
            scaled_bytes(m, half_at(block.add(offset_of!(BlockQ4K, dmin))), mins);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot<const NC: usize>(row: *const u8, k: usize, cols: &[Column; NC]) -> [f32; NC] {
        // SAFETY: the caller's promise, unchanged; the heads of Q4_K and Q5_K blocks are alike.
        unsafe { dot::dot_k45::<Self, NC>(row, k, cols) }
    }
}

impl Format for Q5K {
    const LEN: usize = 256;
    const BYTES: usize = size_of::<BlockQ5K>();
    const SUB: usize = 32;
    const HAS_MIN: bool = true;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load32(block: *const u8, j: usize) -> __m256i {
        // SAFETY: `j < 8`, so this is inside `qs`, and `qh` is 32 bytes.
        let (b, h) = unsafe {
            (
                _mm256_loadu_si256(block.add(offset_of!(BlockQ5K, qs) + j / 2 * 32).cast()),
                _mm256_loadu_si256(block.add(offset_of!(BlockQ5K, qh)).cast()),
            )
        };
        let b = if j.is_multiple_of(2) { b } else { _mm256_srli_epi16::<4>(b) };
        let low = _mm256_and_si256(b, _mm256_set1_epi8(15));
        let bit = _mm256_set1_epi8((1u32 << j) as u8 as i8);
        let set = _mm256_cmpeq_epi8(_mm256_and_si256(h, bit), bit);
        _mm256_or_si256(low, _mm256_and_si256(set, _mm256_set1_epi8(16)))
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn scales(block: *const u8, scales: &mut BlockScales, mins: &mut BlockScales) {
        // SAFETY: fields of the block.
        unsafe {
            let (s, m) = scales_mins_k4(block.add(offset_of!(BlockQ5K, scales)));
            scaled_bytes(s, half_at(block.add(offset_of!(BlockQ5K, d))), scales);
            scaled_bytes(m, half_at(block.add(offset_of!(BlockQ5K, dmin))), mins);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot<const NC: usize>(row: *const u8, k: usize, cols: &[Column; NC]) -> [f32; NC] {
        // SAFETY: the caller's promise, unchanged; the heads of Q4_K and Q5_K blocks are alike.
        unsafe { dot::dot_k45::<Self, NC>(row, k, cols) }
    }
}

impl Format for Q6K {
    const LEN: usize = 256;
    const BYTES: usize = size_of::<BlockQ6K>();
    const SUB: usize = 16;
    const HAS_MIN: bool = false;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load32(block: *const u8, j: usize) -> __m256i {
        let (half, quarter) = (j / 4, j % 4);
        // SAFETY: `j < 8`, so both are inside `ql` and `qh`.
        let (l, h) = unsafe {
            (
                _mm256_loadu_si256(block.add(offset_of!(BlockQ6K, ql) + half * 64 + quarter % 2 * 32).cast()),
                _mm256_loadu_si256(block.add(offset_of!(BlockQ6K, qh) + half * 32).cast()),
            )
        };
        let l = if quarter < 2 { l } else { _mm256_srli_epi16::<4>(l) };
        let h = match quarter {
            0 => _mm256_slli_epi16::<4>(h),
            1 => _mm256_slli_epi16::<2>(h),
            2 => h,
            _ => _mm256_srli_epi16::<2>(h),
        };
        let l = _mm256_and_si256(l, _mm256_set1_epi8(15));
        _mm256_or_si256(l, _mm256_and_si256(h, _mm256_set1_epi8(48)))
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn scales(block: *const u8, scales: &mut BlockScales, _: &mut BlockScales) {
        // SAFETY: fields of the block; 16 scales into an array of 16.
        unsafe {
            let d = _mm256_set1_ps(half_at(block.add(offset_of!(BlockQ6K, d))));
            let s = block.add(offset_of!(BlockQ6K, scales));
            for i in [0, 8] {
                let v = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(s.add(i).cast())));
                _mm256_storeu_ps(scales.as_mut_ptr().add(i), _mm256_mul_ps(v, d));
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot<const NC: usize>(row: *const u8, k: usize, cols: &[Column; NC]) -> [f32; NC] {
        // SAFETY: the caller's promise, unchanged.
        unsafe { dot::dot_q6_k::<NC>(row, k, cols) }
    }
}
