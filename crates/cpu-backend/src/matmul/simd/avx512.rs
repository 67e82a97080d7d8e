//! AVX-512 with VNNI. Groups of 32 quants are AVX2's business, but for what one instruction does better.

// The intrinsics of a register width are one vocabulary.
#![allow(clippy::wildcard_imports)]

use std::arch::x86_64::*;

use super::{Simd, Tiles, Work};
use crate::isa::{Avx2, Avx512};

impl Simd for Avx512 {
    type Bytes = __m256i;
    type Scales = __m256i;
    type Scale = __m256i;
    type Ints = __m256i;
    type Floats = __m256;

    #[inline(always)]
    unsafe fn vectorize<W: Work>(work: W) -> W::Out {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        unsafe fn compiled<W: Work>(work: W) -> W::Out {
            // SAFETY: the caller's promise.
            unsafe { work.run() }
        }
        // SAFETY: the caller has the proof of these features, and keeps the work's demands.
        unsafe { compiled(work) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn prefetch(p: *const u8) {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::prefetch(p) };
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn load(p: *const u8) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::load(p) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn store(p: *mut u8, a: __m256i) {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::store(p, a) };
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn splat(byte: u8) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::splat(byte) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn from_words(words: [u64; 4]) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::from_words(words) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn add_bytes(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::add_bytes(a, b) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn and(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::and(a, b) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn or(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::or(a, b) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn xor(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::xor(a, b) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn shr<const N: i32>(a: __m256i) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::shr::<N>(a) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn shl<const N: i32>(a: __m256i) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::shl::<N>(a) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn has(a: __m256i, mask: u8) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::has(a, mask) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn nibbles(p: *const u8) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::nibbles(p) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn bits(bits: u32, value: u8) -> __m256i {
        _mm256_maskz_set1_epi8(bits, value as i8)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn lookup(table: &[u8; 16], indices: __m256i) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::lookup(table, indices) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn transpose8(v: [__m256i; 8]) -> [__m256i; 8] {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::transpose8(v) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn scales8(scales: u64) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::scales8(scales) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn scales16(scales: u128) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::scales16(scales) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn scale(scales: __m256i, j: usize) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::scale(scales, j) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn zero_ints() -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::zero_ints() }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn first_int(first: i32) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::first_int(first) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn first_ints(low: i32, high: i32) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::first_ints(low, high) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn sub_ints(a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::sub_ints(a, b) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn mul_ints(a: __m256i, factor: i32) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::mul_ints(a, factor) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn dot(sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
        _mm256_dpbusd_epi32(sum, w, x)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn dot_flipped(sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
        let w = _mm256_xor_si256(w, _mm256_set1_epi8(i8::MIN));
        // Signs move to the activations, because the instruction wants one unsigned side.
        _mm256_dpbusd_epi32(sum, _mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn dot_scaled(sum: __m256i, w: __m256i, x: __m256i, scale: __m256i) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::dot_scaled(sum, w, x, scale) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn dot_scaled_flipped(sum: __m256i, w: __m256i, x: __m256i, scale: __m256i) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::dot_scaled_flipped(sum, w, x, scale) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn dot_sums8(factors: u64, p: *const i16) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::dot_sums8(factors, p) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn dot_sums16(factors: u128, p: *const i16) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::dot_sums16(factors, p) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn zero() -> __m256 {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::zero() }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn splat_float(x: f32) -> __m256 {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::splat_float(x) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn splat_low(x: f32) -> __m256 {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::splat_low(x) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn splat_halves(low: f32, high: f32) -> __m256 {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::splat_halves(low, high) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn load_floats(p: *const u8) -> __m256 {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::load_floats(p) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn store_floats(p: *mut f32, a: __m256) {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::store_floats(p, a) };
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn load_f16(p: *const u8) -> __m256 {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::load_f16(p) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn load_bf16(p: *const u8) -> __m256 {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::load_bf16(p) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn half(p: *const u8) -> f32 {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::half(p) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn float_bits(a: __m256) -> __m256i {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::float_bits(a) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn to_floats(a: __m256i) -> __m256 {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::to_floats(a) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn floats_of_i8(bytes: u64) -> __m256 {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::floats_of_i8(bytes) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::add(a, b) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::sub(a, b) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::mul(a, b) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::fma(a, b, c) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn sum(a: __m256) -> f32 {
        // SAFETY: this set includes that one; the caller's promise.
        unsafe { Avx2::sum(a) }
    }
}

/// The first `n` lanes.
#[inline]
fn mask(n: usize) -> __mmask16 {
    ((1u32 << n.min(16)) - 1) as u16
}

impl Tiles for Avx512 {
    type I = __m512i;
    type F = __m512;

    const LANES: usize = 16;
    // 12 integer and 12 float accumulators of 32 registers; 24 accumulators.
    const INT_REGISTERS: usize = 2;
    const INT_COLS: usize = 6;
    const FLOAT_COLS: usize = 12;
    const FLIP_STAYS: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn zeros() -> __m512i {
        _mm512_setzero_si512()
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn splat_int(x: i32) -> __m512i {
        _mm512_set1_epi32(x)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn load_quants(p: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_load_si512(p.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn dot4(sum: __m512i, w: __m512i, x: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(sum, w, x)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn dot4_flipped(sum: __m512i, w: __m512i, x: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(sum, w, x)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn zeros_f() -> __m512 {
        _mm512_setzero_ps()
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn splat_f(x: f32) -> __m512 {
        _mm512_set1_ps(x)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn load_f(p: *const f32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_load_ps(p) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn load_first(p: *const f32, n: usize) -> __m512 {
        // SAFETY: the mask touches the first `n` floats.
        unsafe { _mm512_maskz_loadu_ps(mask(n), p) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn store_first(p: *mut f32, n: usize, a: __m512) {
        // SAFETY: the mask touches the first `n` floats.
        unsafe { _mm512_mask_storeu_ps(p, mask(n), a) };
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn convert(a: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(a)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn mul_f(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn fma_f(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn fnma_f(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fnmadd_ps(a, b, c)
    }
}
