//! Row conversions that matrix products and the KV cache need: f32 to Q8_0, Q8_K, f16, bf16 and back.
//!
//! These answer to the `from_float` entries of ggml-cpu on x86 (not to the `_ref` quantisers that make
//! files: Q8_0 differs in rounding). Every ISA gives the same bytes for finite input. Other formats live
//! in `quipu-quant`.

use half::{bf16, f16};
use quipu_quant::blocks::{BlockQ8_0, BlockQ8K, QK, QK_K};

#[cfg(target_arch = "x86_64")]
use crate::isa::Avx2;
use crate::isa::{Isa, Scalar};

/// Quantises a row to Q8_0 (`quantize_row_q8_0` of ggml-cpu/arch/x86): scale `amax / 127` stored as f16,
/// quants `x * (127 / amax)` rounded to nearest even.
///
/// # Panics
/// If `x.len() != 32 * y.len()`.
pub fn quantize_row_q8_0(isa: Isa, x: &[f32], y: &mut [BlockQ8_0]) {
    assert_eq!(x.len(), y.len() * QK, "row length against blocks");
    #[cfg(target_arch = "x86_64")]
    if isa.avx2().is_some() {
        // SAFETY: the proof is there.
        unsafe { rows_q8_0::<Avx2>(x, y) };
        return;
    }
    let _ = isa;
    // SAFETY: every CPU has the set.
    unsafe { rows_q8_0::<Scalar>(x, y) };
}

unsafe fn rows_q8_0<C: Conversions>(x: &[f32], y: &mut [BlockQ8_0]) {
    for (x, y) in x.as_chunks::<QK>().0.iter().zip(y) {
        // SAFETY: the caller's promise.
        y.d = f16::from_f32(unsafe { C::q8_0_block(x, &mut y.qs) });
    }
}

/// Quantises a row to Q8_K (`quantize_row_q8_K`): `iscale = -127 / max` with the signed value of largest
/// magnitude, quants rounded to nearest even, and the sums of each 16 quants.
///
/// # Panics
/// If `x.len() != 256 * y.len()`.
pub fn quantize_row_q8_k(isa: Isa, x: &[f32], y: &mut [BlockQ8K]) {
    assert_eq!(x.len(), y.len() * QK_K, "row length against blocks");
    #[cfg(target_arch = "x86_64")]
    if isa.avx2().is_some() {
        // SAFETY: the proof is there.
        unsafe { rows_q8_k::<Avx2>(x, y) };
        return;
    }
    let _ = isa;
    // SAFETY: every CPU has the set.
    unsafe { rows_q8_k::<Scalar>(x, y) };
}

unsafe fn rows_q8_k<C: Conversions>(x: &[f32], y: &mut [BlockQ8K]) {
    for (x, y) in x.as_chunks::<QK_K>().0.iter().zip(y) {
        // SAFETY: the caller's promise.
        y.d = unsafe { C::q8_k_block(x, &mut y.qs) };
        for (sum, group) in y.bsums.iter_mut().zip(y.qs.as_chunks::<16>().0) {
            *sum = group.iter().map(|&q| i16::from(q)).sum();
        }
    }
}

/// Rounds a row to f16, to nearest even (`ggml_cpu_fp32_to_fp16`).
///
/// # Panics
/// If the lengths differ.
pub fn f32_to_f16_row(isa: Isa, x: &[f32], y: &mut [f16]) {
    assert_eq!(x.len(), y.len(), "row lengths");
    #[cfg(target_arch = "x86_64")]
    if isa.avx2().is_some() {
        // SAFETY: the proof is there.
        unsafe { Avx2::f32_to_f16(x, y) };
        return;
    }
    let _ = isa;
    // SAFETY: every CPU has the set.
    unsafe { Scalar::f32_to_f16(x, y) };
}

/// Widens a row of f16 (`ggml_cpu_fp16_to_fp32`).
///
/// # Panics
/// If the lengths differ.
pub fn f16_to_f32_row(isa: Isa, x: &[f16], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "row lengths");
    #[cfg(target_arch = "x86_64")]
    if isa.avx2().is_some() {
        // SAFETY: the proof is there.
        unsafe { Avx2::f16_to_f32(x, y) };
        return;
    }
    let _ = isa;
    // SAFETY: every CPU has the set.
    unsafe { Scalar::f16_to_f32(x, y) };
}

/// Rounds a row to bf16, to nearest even, NaN kept quiet (`ggml_cpu_fp32_to_bf16`).
///
/// # Panics
/// If the lengths differ.
pub fn f32_to_bf16_row(x: &[f32], y: &mut [bf16]) {
    assert_eq!(x.len(), y.len(), "row lengths");
    for (x, y) in x.iter().zip(y) {
        *y = bf16::from_bits(bf16_bits(*x));
    }
}

/// Widens a row of bf16 (`ggml_cpu_bf16_to_fp32`).
///
/// # Panics
/// If the lengths differ.
pub fn bf16_to_f32_row(x: &[bf16], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "row lengths");
    for (x, y) in x.iter().zip(y) {
        *y = f32::from_bits(u32::from(x.to_bits()) << 16);
    }
}

/// The bf16 bits nearest to `x`, ties to even (`ggml_compute_fp32_to_bf16`).
pub(crate) fn bf16_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return ((bits >> 16) | 64) as u16;
    }
    ((bits + (0x7fff + ((bits >> 16) & 1))) >> 16) as u16
}

/// The conversions of one instruction set, for loops that choose it once. Every set gives the same bytes for finite
/// input.
///
/// # Safety
/// Of every function: the running CPU has the set.
pub(crate) trait Conversions {
    /// Quantises 32 values; returns the scale before its rounding to f16.
    unsafe fn q8_0_block(x: &[f32; QK], q: &mut [i8; QK]) -> f32;
    /// Quantises 256 values; returns the scale.
    unsafe fn q8_k_block(x: &[f32; QK_K], q: &mut [i8; QK_K]) -> f32;
    /// Rounds a row to f16; the shorter length counts.
    unsafe fn f32_to_f16(x: &[f32], y: &mut [f16]);
    /// Widens a row of f16; the shorter length counts.
    unsafe fn f16_to_f32(x: &[f16], y: &mut [f32]);
}

impl Conversions for Scalar {
    unsafe fn q8_0_block(x: &[f32; QK], q: &mut [i8; QK]) -> f32 {
        scalar_q8_0_block(x, q)
    }

    unsafe fn q8_k_block(x: &[f32; QK_K], q: &mut [i8; QK_K]) -> f32 {
        scalar_q8_k_block(x, q)
    }

    unsafe fn f32_to_f16(x: &[f32], y: &mut [f16]) {
        for (x, y) in x.iter().zip(y) {
            *y = f16::from_f32_const(*x);
        }
    }

    unsafe fn f16_to_f32(x: &[f16], y: &mut [f32]) {
        for (x, y) in x.iter().zip(y) {
            *y = x.to_f32_const();
        }
    }
}

fn scalar_q8_0_block(x: &[f32; QK], q: &mut [i8; QK]) -> f32 {
    let amax = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let id = if amax == 0.0 { 0.0 } else { 127.0 / amax };
    for (x, q) in x.iter().zip(q) {
        let r = (x * id).round_ties_even();
        // Out of i32 the x86 conversion gives the most negative value, which then saturates.
        *q = if r.abs() < 2147483648.0 { (r as i32).clamp(-128, 127) as i8 } else { -128 };
    }
    amax / 127.0
}

fn scalar_q8_k_block(x: &[f32; QK_K], q: &mut [i8; QK_K]) -> f32 {
    let (mut amax, mut max) = (0.0f32, 0.0f32);
    for &v in x {
        if v.abs() > amax {
            (amax, max) = (v.abs(), v);
        }
    }
    if amax == 0.0 {
        q.fill(0);
        return 0.0;
    }
    let iscale = -127.0 / max;
    for (x, q) in x.iter().zip(q) {
        *q = nearest_int(iscale * x).min(127) as i8;
    }
    1.0 / iscale
}

/// 1.5 * 2^23: added to a small float, it leaves the nearest integer in the low mantissa bits.
const ROUND_MAGIC: f32 = 12582912.0;

fn nearest_int(x: f32) -> i32 {
    ((x + ROUND_MAGIC).to_bits() & 0x007f_ffff) as i32 - 0x0040_0000
}

#[cfg(target_arch = "x86_64")]
// The intrinsics of a register width are one vocabulary.
#[allow(clippy::wildcard_imports)]
mod x86 {
    use std::arch::x86_64::*;

    use half::f16;
    use quipu_quant::blocks::{QK, QK_K};

    use super::{Conversions, ROUND_MAGIC};
    use crate::isa::Avx2;

    #[target_feature(enable = "avx2")]
    fn hmax(v: __m256) -> f32 {
        let m = _mm_max_ps(_mm256_extractf128_ps(v, 1), _mm256_castps256_ps128(v));
        let m = _mm_max_ps(m, _mm_movehl_ps(m, m));
        _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)))
    }

    impl Conversions for Avx2 {
        #[target_feature(enable = "avx2")]
        unsafe fn q8_0_block(x: &[f32; QK], q: &mut [i8; QK]) -> f32 {
            let sign = _mm256_set1_ps(-0.0);
            let p = x.as_ptr();
            // SAFETY: 4 loads of 8 floats cover the 32 of `x`.
            let v = unsafe {
                [
                    _mm256_loadu_ps(p),
                    _mm256_loadu_ps(p.add(8)),
                    _mm256_loadu_ps(p.add(16)),
                    _mm256_loadu_ps(p.add(24)),
                ]
            };
            let a = v.map(|v| _mm256_andnot_ps(sign, v));
            let amax = hmax(_mm256_max_ps(_mm256_max_ps(a[0], a[1]), _mm256_max_ps(a[2], a[3])));
            let id = _mm256_set1_ps(if amax == 0.0 { 0.0 } else { 127.0 / amax });
            // The default rounding mode of the conversion is nearest even.
            let i = v.map(|v| _mm256_cvtps_epi32(_mm256_mul_ps(v, id)));
            let i = _mm256_packs_epi16(_mm256_packs_epi32(i[0], i[1]), _mm256_packs_epi32(i[2], i[3]));
            let i = _mm256_permutevar8x32_epi32(i, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
            // SAFETY: 32 bytes into the 32 of `q`.
            unsafe { _mm256_storeu_si256(q.as_mut_ptr().cast(), i) };
            amax / 127.0
        }

        #[target_feature(enable = "avx2")]
        unsafe fn q8_k_block(x: &[f32; QK_K], q: &mut [i8; QK_K]) -> f32 {
            let sign = _mm256_set1_ps(-0.0);
            let groups = x.as_chunks::<8>().0;
            let mut m = _mm256_setzero_ps();
            for g in groups {
                // SAFETY: 8 floats.
                m = _mm256_max_ps(_mm256_andnot_ps(sign, unsafe { _mm256_loadu_ps(g.as_ptr()) }), m);
            }
            let amax = hmax(m);
            if amax == 0.0 {
                q.fill(0);
                return 0.0;
            }
            // The sign is that of the first value of this magnitude.
            let max = x.iter().copied().find(|v| v.abs() == amax).unwrap_or(amax);
            let iscale = -127.0 / max;
            let scale = _mm256_set1_ps(iscale);
            let magic = _mm256_set1_ps(ROUND_MAGIC);
            let round = |g: &[f32; 8]| {
                // SAFETY: 8 floats.
                let v = unsafe { _mm256_loadu_ps(g.as_ptr()) };
                let v = _mm256_castps_si256(_mm256_add_ps(_mm256_mul_ps(v, scale), magic));
                let v = _mm256_and_si256(v, _mm256_set1_epi32(0x007f_ffff));
                let v = _mm256_sub_epi32(v, _mm256_set1_epi32(0x0040_0000));
                let v = _mm256_min_epi32(v, _mm256_set1_epi32(127));
                // Low byte only, as a C cast to int8_t.
                _mm256_and_si256(v, _mm256_set1_epi32(0xff))
            };
            for (g, q) in groups.as_chunks::<4>().0.iter().zip(q.as_chunks_mut::<32>().0) {
                let lo = _mm256_packus_epi32(round(&g[0]), round(&g[1]));
                let hi = _mm256_packus_epi32(round(&g[2]), round(&g[3]));
                let i = _mm256_packus_epi16(lo, hi);
                let i = _mm256_permutevar8x32_epi32(i, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
                // SAFETY: 32 bytes into the 32 of `q`.
                unsafe { _mm256_storeu_si256(q.as_mut_ptr().cast(), i) };
            }
            1.0 / iscale
        }

        #[target_feature(enable = "avx2,f16c")]
        unsafe fn f32_to_f16(x: &[f32], y: &mut [f16]) {
            let (xs, x_tail) = x.as_chunks::<8>();
            let (ys, y_tail) = y.as_chunks_mut::<8>();
            for (x, y) in xs.iter().zip(ys) {
                // SAFETY: 8 floats in, 8 halves out.
                unsafe {
                    let h = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(x.as_ptr()));
                    _mm_storeu_si128(y.as_mut_ptr().cast(), h);
                }
            }
            for (x, y) in x_tail.iter().zip(y_tail) {
                *y = f16::from_f32_const(*x);
            }
        }

        #[target_feature(enable = "avx2,f16c")]
        unsafe fn f16_to_f32(x: &[f16], y: &mut [f32]) {
            let (xs, x_tail) = x.as_chunks::<8>();
            let (ys, y_tail) = y.as_chunks_mut::<8>();
            for (x, y) in xs.iter().zip(ys) {
                // SAFETY: 8 halves in, 8 floats out.
                unsafe {
                    _mm256_storeu_ps(y.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().cast())));
                };
            }
            for (x, y) in x_tail.iter().zip(y_tail) {
                *y = x.to_f32_const();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quipu_testing::SplitMix;

    fn rows() -> Vec<Vec<f32>> {
        let mut rng = SplitMix::new(7);
        let mut rows: Vec<Vec<f32>> = (0..40).map(|i| rng.floats(512, 10f32.powi(i % 9 - 4))).collect();
        rows.push(vec![0.0; 512]);
        rows.push((0..512).map(|i| if i % 2 == 0 { -1.0 } else { 1.0 }).collect());
        // Halves: ties must go to even.
        rows.push(
            (0..512).map(|i| if i % 32 == 0 { 127.0 } else { (i % 200) as f32 * 0.5 - 50.0 }).collect(),
        );
        rows.push(vec![1e-40; 512]);
        rows
    }

    #[test]
    fn every_isa_gives_the_scalar_bytes() {
        for row in rows() {
            let mut want = vec![bytemuck::Zeroable::zeroed(); 16];
            quantize_row_q8_0(Isa::SCALAR, &row, &mut want);
            let mut want_k = vec![bytemuck::Zeroable::zeroed(); 2];
            quantize_row_q8_k(Isa::SCALAR, &row, &mut want_k);
            for isa in Isa::available() {
                let mut got: Vec<BlockQ8_0> = vec![bytemuck::Zeroable::zeroed(); 16];
                quantize_row_q8_0(isa, &row, &mut got);
                assert_eq!(
                    bytemuck::cast_slice::<_, u8>(&got),
                    bytemuck::cast_slice::<_, u8>(&want),
                    "{isa}"
                );
                let mut got: Vec<BlockQ8K> = vec![bytemuck::Zeroable::zeroed(); 2];
                quantize_row_q8_k(isa, &row, &mut got);
                assert_eq!(
                    bytemuck::cast_slice::<_, u8>(&got),
                    bytemuck::cast_slice::<_, u8>(&want_k),
                    "{isa}"
                );
            }
        }
    }

    #[test]
    fn ties_round_to_even_and_the_scale_is_amax_over_127() {
        let mut x = [0.0f32; 32];
        x[..4].copy_from_slice(&[127.0, 0.5, 1.5, -2.5]);
        let mut y = [bytemuck::Zeroable::zeroed()];
        quantize_row_q8_0(Isa::detect(), &x, &mut y);
        assert_eq!(y[0].d.to_f32(), 1.0);
        assert_eq!(&y[0].qs[..4], &[127, 0, 2, -2]);
    }

    #[test]
    fn q8_k_scales_by_the_signed_maximum() {
        let mut x = [0.0f32; 256];
        (x[3], x[4], x[5]) = (-2.0, 2.0, 1.0);
        let mut y: [BlockQ8K; 1] = [bytemuck::Zeroable::zeroed()];
        quantize_row_q8_k(Isa::detect(), &x, &mut y);
        assert_eq!((y[0].qs[3], y[0].qs[4], y[0].qs[5]), (-127, 127, 64));
        assert_eq!(y[0].d, 1.0 / (127.0 / 2.0));
        assert_eq!(y[0].bsums[0], 64);
    }

    #[test]
    fn half_rows_agree_on_every_isa_and_length() {
        let mut rng = SplitMix::new(3);
        for n in [1, 7, 8, 31, 100] {
            let x = rng.floats(n, 3.0);
            for isa in Isa::available() {
                let mut h = vec![f16::ZERO; n];
                f32_to_f16_row(isa, &x, &mut h);
                assert!(x.iter().zip(&h).all(|(x, h)| f16::from_f32(*x) == *h));
                let mut back = vec![0.0; n];
                f16_to_f32_row(isa, &h, &mut back);
                assert!(back.iter().zip(&h).all(|(b, h)| *b == h.to_f32()));
            }
            let mut b = vec![bf16::ZERO; n];
            f32_to_bf16_row(&x, &mut b);
            assert!(x.iter().zip(&b).all(|(x, b)| bf16::from_f32(*x) == *b));
            let mut back = vec![0.0; n];
            bf16_to_f32_row(&b, &mut back);
            assert!(back.iter().zip(&b).all(|(x, b)| *x == b.to_f32()));
        }
    }
}
