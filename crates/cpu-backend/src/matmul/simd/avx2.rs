//! AVX2, with FMA and F16C.

// The intrinsics of a register width are one vocabulary.
#![allow(clippy::wildcard_imports)]

use std::arch::x86_64::*;

use super::{Simd, Tiles, Work};
use crate::isa::Avx2;

impl Simd for Avx2 {
    type Bytes = __m256i;
    type Scales = __m256i;
    type Scale = __m256i;
    type Ints = __m256i;
    type Floats = __m256;

    #[inline(always)]
    unsafe fn vectorize<W: Work>(work: W) -> W::Out {
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn compiled<W: Work>(work: W) -> W::Out {
            // SAFETY: the caller's promise.
            unsafe { work.run() }
        }
        // SAFETY: the caller has the proof of these features, and keeps the work's demands.
        unsafe { compiled(work) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn prefetch(p: *const u8) {
        // A hint: an address outside of any object is ignored.
        _mm_prefetch::<_MM_HINT_T0>(p.cast());
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(p: *const u8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_si256(p.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn store(p: *mut u8, a: __m256i) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_store_si256(p.cast(), a) };
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn splat(byte: u8) -> __m256i {
        _mm256_set1_epi8(byte as i8)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn from_words([a, b, c, d]: [u64; 4]) -> __m256i {
        _mm256_set_epi64x(d as i64, c as i64, b as i64, a as i64)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add_bytes(a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi8(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn and(a: __m256i, b: __m256i) -> __m256i {
        _mm256_and_si256(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn or(a: __m256i, b: __m256i) -> __m256i {
        _mm256_or_si256(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn xor(a: __m256i, b: __m256i) -> __m256i {
        _mm256_xor_si256(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn shr<const N: i32>(a: __m256i) -> __m256i {
        _mm256_srli_epi16::<N>(a)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn shl<const N: i32>(a: __m256i) -> __m256i {
        _mm256_slli_epi16::<N>(a)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn has(a: __m256i, mask: u8) -> __m256i {
        let mask = _mm256_set1_epi8(mask as i8);
        _mm256_cmpeq_epi8(_mm256_and_si256(a, mask), mask)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn nibbles(p: *const u8) -> __m256i {
        // SAFETY: the caller's promise.
        let b = unsafe { _mm_loadu_si128(p.cast()) };
        let both = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(b), _mm_srli_epi16::<4>(b));
        _mm256_and_si256(both, _mm256_set1_epi8(15))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn bits(bits: u32, value: u8) -> __m256i {
        // Byte i / 8 of the bits to byte i, then test bit i % 8.
        let spread = _mm256_shuffle_epi8(
            _mm256_set1_epi32(bits as i32),
            _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0),
        );
        let bit = _mm256_set1_epi64x(0x8040201008040201u64 as i64);
        let set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
        _mm256_and_si256(set, _mm256_set1_epi8(value as i8))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn lookup(table: &[u8; 16], indices: __m256i) -> __m256i {
        // SAFETY: the 16 bytes of the table.
        let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
        _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), indices)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn transpose8(v: [__m256i; 8]) -> [__m256i; 8] {
        let mut a = v;
        for i in 0..4 {
            a[2 * i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
            a[2 * i + 1] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
        }
        let mut b = a;
        for i in 0..2 {
            b[4 * i] = _mm256_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
            b[4 * i + 1] = _mm256_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
            b[4 * i + 2] = _mm256_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
            b[4 * i + 3] = _mm256_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
        }
        let mut out = b;
        for i in 0..4 {
            out[i] = _mm256_permute2x128_si256::<0x20>(b[i], b[i + 4]);
            out[i + 4] = _mm256_permute2x128_si256::<0x31>(b[i], b[i + 4]);
        }
        out
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scales8(scales: u64) -> __m256i {
        _mm256_broadcastsi128_si256(_mm_cvtepi8_epi16(_mm_cvtsi64_si128(scales as i64)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scales16(scales: u128) -> __m256i {
        // Even scales to the low half, odd ones to the high half: a group spans one of each.
        let deal = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
        let scales = _mm_set_epi64x((scales >> 64) as i64, scales as i64);
        _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales, deal))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scale(scales: __m256i, j: usize) -> __m256i {
        _mm256_shuffle_epi8(scales, _mm256_set1_epi16((((2 * j + 1) << 8) | (2 * j)) as i16))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn zero_ints() -> __m256i {
        _mm256_setzero_si256()
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn first_int(first: i32) -> __m256i {
        _mm256_zextsi128_si256(_mm_cvtsi32_si128(first))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn first_ints(low: i32, high: i32) -> __m256i {
        _mm256_setr_epi32(low, 0, 0, 0, high, 0, 0, 0)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sub_ints(a: __m256i, b: __m256i) -> __m256i {
        _mm256_sub_epi32(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn mul_ints(a: __m256i, factor: i32) -> __m256i {
        _mm256_mullo_epi32(a, _mm256_set1_epi32(factor))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot(sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
        let products = _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1));
        _mm256_add_epi32(products, sum)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot_flipped(sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
        let w = _mm256_xor_si256(w, _mm256_set1_epi8(i8::MIN));
        // Signs move to the activations, because the instruction wants one unsigned side.
        let products = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
        _mm256_add_epi32(_mm256_madd_epi16(products, _mm256_set1_epi16(1)), sum)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot_scaled(sum: __m256i, w: __m256i, x: __m256i, scale: __m256i) -> __m256i {
        _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), scale))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot_scaled_flipped(sum: __m256i, w: __m256i, x: __m256i, scale: __m256i) -> __m256i {
        let w = _mm256_xor_si256(w, _mm256_set1_epi8(i8::MIN));
        let products = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
        _mm256_add_epi32(sum, _mm256_madd_epi16(products, scale))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot_sums8(factors: u64, p: *const i16) -> __m256i {
        let factors = _mm_cvtepi8_epi16(_mm_cvtsi64_si128(factors as i64));
        // SAFETY: the caller's promise.
        let sums = unsafe { _mm_loadu_si128(p.cast()) };
        _mm256_zextsi128_si256(_mm_madd_epi16(factors, sums))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot_sums16(factors: u128, p: *const i16) -> __m256i {
        let factors = _mm256_cvtepi8_epi16(_mm_set_epi64x((factors >> 64) as i64, factors as i64));
        // SAFETY: the caller's promise.
        _mm256_madd_epi16(factors, unsafe { _mm256_loadu_si256(p.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn zero() -> __m256 {
        _mm256_setzero_ps()
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn splat_float(x: f32) -> __m256 {
        _mm256_set1_ps(x)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn splat_low(x: f32) -> __m256 {
        _mm256_zextps128_ps256(_mm_set1_ps(x))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn splat_halves(low: f32, high: f32) -> __m256 {
        _mm256_set_m128(_mm_set1_ps(high), _mm_set1_ps(low))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_floats(p: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(p.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn store_floats(p: *mut f32, a: __m256) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_ps(p, a) };
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_f16(p: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(p.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_bf16(p: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        let bits = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(p.cast()) });
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn half(p: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        let bits = unsafe { p.cast::<u16>().read_unaligned() };
        _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn float_bits(a: __m256) -> __m256i {
        _mm256_castps_si256(a)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn to_floats(a: __m256i) -> __m256 {
        _mm256_cvtepi32_ps(a)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn floats_of_i8(bytes: u64) -> __m256 {
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(bytes as i64)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        _mm256_add_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        _mm256_sub_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sum(a: __m256) -> f32 {
        let s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let s = _mm_add_ps(s, _mm_movehl_ps(s, s));
        _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)))
    }
}

/// All ones in the first `n` lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn mask(n: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(8) as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

impl Tiles for Avx2 {
    type I = __m256i;
    type F = __m256;

    const LANES: usize = 8;
    // 4 integer and 4 float accumulators of 16 registers; 12 accumulators.
    const INT_REGISTERS: usize = 1;
    const INT_COLS: usize = 4;
    const FLOAT_COLS: usize = 6;
    const FLIP_STAYS: bool = false;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn zeros() -> __m256i {
        _mm256_setzero_si256()
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn splat_int(x: i32) -> __m256i {
        _mm256_set1_epi32(x)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_quants(p: *const u8) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_load_si256(p.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot4(sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
        let products = _mm256_maddubs_epi16(w, x);
        _mm256_add_epi32(sum, _mm256_madd_epi16(products, _mm256_set1_epi16(1)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot4_flipped(sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
        let w = _mm256_xor_si256(w, _mm256_set1_epi8(i8::MIN));
        let products = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
        _mm256_add_epi32(sum, _mm256_madd_epi16(products, _mm256_set1_epi16(1)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn zeros_f() -> __m256 {
        _mm256_setzero_ps()
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn splat_f(x: f32) -> __m256 {
        _mm256_set1_ps(x)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_f(p: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_load_ps(p) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_first(p: *const f32, n: usize) -> __m256 {
        // SAFETY: the mask touches the first `n` floats.
        unsafe { _mm256_maskload_ps(p, mask(n)) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn store_first(p: *mut f32, n: usize, a: __m256) {
        // SAFETY: the mask touches the first `n` floats.
        unsafe { _mm256_maskstore_ps(p, mask(n), a) };
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn convert(a: __m256i) -> __m256 {
        _mm256_cvtepi32_ps(a)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn mul_f(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fma_f(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fnma_f(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fnmadd_ps(a, b, c)
    }
}
