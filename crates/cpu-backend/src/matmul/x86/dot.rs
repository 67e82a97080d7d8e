//! One weight row against a few columns (AVX2): the kernels of decoding, bound by memory.
//!
//! Each weight register is unpacked once and used for all columns. Sums inside a block are exact
//! integers; blocks accumulate in f32 lanes, in an order that depends on `k` alone.

use std::arch::x86_64::*;
use std::mem::offset_of;

use quipu_quant::blocks::{BlockQ4K, BlockQ6K};

use super::super::columns::Column;
use super::format::{BlockScales, Format, Q6K, half_at, scales_mins_k4};

/// Sum of 8 lanes.
#[inline]
#[target_feature(enable = "avx2")]
pub fn hsum(v: __m256) -> f32 {
    let s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    let s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)))
}

/// How far ahead weights are requested. Rows follow each other, so this runs on into the next ones,
/// where the hardware prefetcher stops at every page.
pub const AHEAD: usize = 2048;

/// Requests the cache lines of `bytes` bytes, `ahead` bytes beyond `block`.
#[inline(always)]
pub fn prefetch(block: *const u8, ahead: usize, bytes: usize) {
    for at in (0..bytes).step_by(64) {
        // SAFETY: a prefetch is a hint; an address outside of the matrix is ignored.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(block.wrapping_add(ahead + at).cast()) };
    }
}

/// Formats of 32-element blocks with Q8_0 activations.
///
/// # Safety
/// As [`Format::dot`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn dot_32<F: Format, const NC: usize>(row: *const u8, k: usize, cols: &[Column; NC]) -> [f32; NC] {
    let n = k / 32;
    // Two accumulators per column hide the latency of the addition.
    let mut acc = [[_mm256_setzero_ps(); 2]; NC];
    let mut b = 0;
    // SAFETY: blocks `b < n` lie inside the row and the columns.
    unsafe {
        while b + 2 <= n {
            step_32::<F, NC>(row, b, cols, &mut acc, 0);
            step_32::<F, NC>(row, b + 1, cols, &mut acc, 1);
            b += 2;
        }
        if b < n {
            step_32::<F, NC>(row, b, cols, &mut acc, 0);
        }
    }
    acc.map(|[a, b]| hsum(_mm256_add_ps(a, b)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn step_32<F: Format, const NC: usize>(
    row: *const u8,
    b: usize,
    cols: &[Column; NC],
    acc: &mut [[__m256; 2]; NC],
    lane: usize,
) {
    // SAFETY: block `b` lies inside the row and the columns.
    unsafe {
        let block = row.add(b * F::BYTES);
        prefetch(block, AHEAD, F::BYTES);
        let mut d: BlockScales = [0.0; 16];
        F::scales(block, &mut d, &mut [0.0; 16]);
        let mut w = F::load32(block, 0);
        if F::FULL_RANGE {
            w = _mm256_xor_si256(w, _mm256_set1_epi8(i8::MIN));
        }
        for c in 0..NC {
            let x = _mm256_loadu_si256(cols[c].q.add(b * 32).cast());
            let sum = if F::FULL_RANGE {
                // Signs move to the activations, because the instruction wants one unsigned side.
                _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
            } else {
                _mm256_maddubs_epi16(w, x)
            };
            let mut sum = _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
            if !F::FULL_RANGE {
                // The offset's correction enters one lane.
                let word = _mm256_zextsi128_si256(_mm_cvtsi32_si128(*cols[c].words.add(b)));
                sum = _mm256_add_epi32(sum, word);
            }
            let scale = _mm256_set1_ps(d[0] * *cols[c].scales.add(b));
            acc[c][lane] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, acc[c][lane]);
        }
    }
}

/// Q4_K and Q5_K, whose blocks start alike: `d`, `dmin`, 12 bytes of scales.
///
/// # Safety
/// As [`Format::dot`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn dot_k45<F: Format, const NC: usize>(
    row: *const u8,
    k: usize,
    cols: &[Column; NC],
) -> [f32; NC] {
    let mut acc = [_mm256_setzero_ps(); NC];
    let mut acc_min = [_mm_setzero_ps(); NC];
    for b in 0..k / 256 {
        // SAFETY: block `b` lies inside the row and the columns.
        unsafe {
            let block = row.add(b * F::BYTES);
            prefetch(block, AHEAD, F::BYTES);
            let d = half_at(block.add(offset_of!(BlockQ4K, d)));
            let dmin = half_at(block.add(offset_of!(BlockQ4K, dmin)));
            let (scales, mins) = scales_mins_k4(block.add(offset_of!(BlockQ4K, scales)));
            let mins = _mm_cvtepu8_epi16(_mm_cvtsi64_si128(mins as i64));
            let scales = _mm256_broadcastsi128_si256(_mm_cvtepu8_epi16(_mm_cvtsi64_si128(scales as i64)));
            let mut sums = [_mm256_setzero_si256(); NC];
            for j in 0..8 {
                let w = F::load32(block, j);
                let pick = _mm256_set1_epi16((((2 * j + 1) << 8) | (2 * j)) as i16);
                let scale = _mm256_shuffle_epi8(scales, pick);
                for c in 0..NC {
                    let x = _mm256_loadu_si256(cols[c].q.add(b * 256 + j * 32).cast());
                    let p = _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), scale);
                    sums[c] = _mm256_add_epi32(sums[c], p);
                }
            }
            for c in 0..NC {
                let xd = *cols[c].scales.add(b * 8);
                acc[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[c]), _mm256_set1_ps(d * xd), acc[c]);
                let m = _mm_madd_epi16(mins, _mm_loadu_si128(cols[c].sums.add(b * 8).cast()));
                acc_min[c] = _mm_fmadd_ps(_mm_cvtepi32_ps(m), _mm_set1_ps(dmin * xd), acc_min[c]);
            }
        }
    }
    std::array::from_fn(|c| hsum(_mm256_sub_ps(acc[c], _mm256_zextps128_ps256(acc_min[c]))))
}

/// Q6_K: 16 signed scales per block, quants with an offset of 32.
///
/// # Safety
/// As [`Format::dot`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn dot_q6_k<const NC: usize>(row: *const u8, k: usize, cols: &[Column; NC]) -> [f32; NC] {
    let mut acc = [_mm256_setzero_ps(); NC];
    // Even scales to the low half, odd ones to the high half: 32 quants span one of each.
    let deal = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    for b in 0..k / 256 {
        // SAFETY: block `b` lies inside the row and the columns.
        unsafe {
            let block = row.add(b * Q6K::BYTES);
            prefetch(block, AHEAD, Q6K::BYTES);
            let d = half_at(block.add(offset_of!(BlockQ6K, d)));
            let scales8 = _mm_loadu_si128(block.add(offset_of!(BlockQ6K, scales)).cast());
            let scales = _mm256_cvtepi8_epi16(scales8);
            let dealt = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales8, deal));
            let mut sums = [_mm256_setzero_si256(); NC];
            for c in 0..NC {
                let m = _mm256_madd_epi16(scales, _mm256_loadu_si256(cols[c].sums.add(b * 16).cast()));
                sums[c] = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32::<5>(m));
            }
            for j in 0..8 {
                let w = Q6K::load32(block, j);
                let pick = _mm256_set1_epi16((((2 * j + 1) << 8) | (2 * j)) as i16);
                let scale = _mm256_shuffle_epi8(dealt, pick);
                for c in 0..NC {
                    let x = _mm256_loadu_si256(cols[c].q.add(b * 256 + j * 32).cast());
                    let p = _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), scale);
                    sums[c] = _mm256_add_epi32(sums[c], p);
                }
            }
            for c in 0..NC {
                let scale = _mm256_set1_ps(d * *cols[c].scales.add(b * 16));
                acc[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[c]), scale, acc[c]);
            }
        }
    }
    // A closure, because a function with target features is no plain `Fn`.
    acc.map(|a| hsum(a))
}
