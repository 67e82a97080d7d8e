//! NEON, as every aarch64 CPU has it: without the dot product instructions.

// The intrinsics of a register width are one vocabulary.
#![allow(clippy::wildcard_imports)]

use std::arch::aarch64::*;

use half::f16;

use super::{Simd, Tiles, Work};
use crate::isa::Neon;

/// Products of 16 signed bytes, four to a lane.
#[inline]
#[target_feature(enable = "neon")]
fn products(w: uint8x16_t, x: uint8x16_t) -> int32x4_t {
    let (w, x) = (vreinterpretq_s8_u8(w), vreinterpretq_s8_u8(x));
    let low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x)));
    vpaddq_s32(low, vpaddlq_s16(vmull_high_s8(w, x)))
}

#[inline]
#[target_feature(enable = "neon")]
fn flip(w: uint8x16_t) -> uint8x16_t {
    veorq_u8(w, vdupq_n_u8(0x80))
}

impl Simd for Neon {
    type Bytes = uint8x16x2_t;
    type Scales = [[i8; 8]; 2];
    type Scale = [i32; 2];
    type Ints = int32x4x2_t;
    type Floats = float32x4x2_t;

    #[inline(always)]
    unsafe fn vectorize<W: Work>(work: W) -> W::Out {
        #[target_feature(enable = "neon")]
        unsafe fn compiled<W: Work>(work: W) -> W::Out {
            // SAFETY: the caller's promise.
            unsafe { work.run() }
        }
        // SAFETY: the caller has the proof of these features, and keeps the work's demands.
        unsafe { compiled(work) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn prefetch(_: *const u8) {}

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(p: *const u8) -> uint8x16x2_t {
        // SAFETY: the caller's promise.
        unsafe { uint8x16x2_t(vld1q_u8(p), vld1q_u8(p.add(16))) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn store(p: *mut u8, a: uint8x16x2_t) {
        // SAFETY: the caller's promise.
        unsafe {
            vst1q_u8(p, a.0);
            vst1q_u8(p.add(16), a.1);
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn splat(byte: u8) -> uint8x16x2_t {
        uint8x16x2_t(vdupq_n_u8(byte), vdupq_n_u8(byte))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn from_words([a, b, c, d]: [u64; 4]) -> uint8x16x2_t {
        let two = |a, b| vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(a), vcreate_u64(b)));
        uint8x16x2_t(two(a, b), two(c, d))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn add_bytes(a: uint8x16x2_t, b: uint8x16x2_t) -> uint8x16x2_t {
        uint8x16x2_t(vaddq_u8(a.0, b.0), vaddq_u8(a.1, b.1))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn and(a: uint8x16x2_t, b: uint8x16x2_t) -> uint8x16x2_t {
        uint8x16x2_t(vandq_u8(a.0, b.0), vandq_u8(a.1, b.1))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn or(a: uint8x16x2_t, b: uint8x16x2_t) -> uint8x16x2_t {
        uint8x16x2_t(vorrq_u8(a.0, b.0), vorrq_u8(a.1, b.1))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn xor(a: uint8x16x2_t, b: uint8x16x2_t) -> uint8x16x2_t {
        uint8x16x2_t(veorq_u8(a.0, b.0), veorq_u8(a.1, b.1))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shr<const N: i32>(a: uint8x16x2_t) -> uint8x16x2_t {
        uint8x16x2_t(vshrq_n_u8::<N>(a.0), vshrq_n_u8::<N>(a.1))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn shl<const N: i32>(a: uint8x16x2_t) -> uint8x16x2_t {
        uint8x16x2_t(vshlq_n_u8::<N>(a.0), vshlq_n_u8::<N>(a.1))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn has(a: uint8x16x2_t, mask: u8) -> uint8x16x2_t {
        let mask = vdupq_n_u8(mask);
        uint8x16x2_t(vceqq_u8(vandq_u8(a.0, mask), mask), vceqq_u8(vandq_u8(a.1, mask), mask))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn nibbles(p: *const u8) -> uint8x16x2_t {
        // SAFETY: the caller's promise.
        let b = unsafe { vld1q_u8(p) };
        uint8x16x2_t(vandq_u8(b, vdupq_n_u8(15)), vshrq_n_u8::<4>(b))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn bits(bits: u32, value: u8) -> uint8x16x2_t {
        let [a, b, c, d] = bits.to_le_bytes();
        let bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
        let value = vdupq_n_u8(value);
        let low = vtstq_u8(vcombine_u8(vdup_n_u8(a), vdup_n_u8(b)), bit);
        let high = vtstq_u8(vcombine_u8(vdup_n_u8(c), vdup_n_u8(d)), bit);
        uint8x16x2_t(vandq_u8(low, value), vandq_u8(high, value))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn lookup(table: &[u8; 16], indices: uint8x16x2_t) -> uint8x16x2_t {
        // SAFETY: the 16 bytes of the table.
        let table = unsafe { vld1q_u8(table.as_ptr()) };
        uint8x16x2_t(vqtbl1q_u8(table, indices.0), vqtbl1q_u8(table, indices.1))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn transpose8(v: [uint8x16x2_t; 8]) -> [uint8x16x2_t; 8] {
        let mut out = v;
        for half in 0..2 {
            // Four registers of four pieces each, of the upper and of the lower four rows.
            for quarter in 0..2 {
                let mut rows = [vdupq_n_u32(0); 4];
                for i in 0..4 {
                    let row = v[4 * half + i];
                    rows[i] = vreinterpretq_u32_u8(if quarter == 0 { row.0 } else { row.1 });
                }
                let (a, b) = (vtrn1q_u32(rows[0], rows[1]), vtrn2q_u32(rows[0], rows[1]));
                let (c, d) = (vtrn1q_u32(rows[2], rows[3]), vtrn2q_u32(rows[2], rows[3]));
                let pair = [(a, c), (b, d)];
                for i in 0..4 {
                    let (x, y) = pair[i % 2];
                    let (x, y) = (vreinterpretq_u64_u32(x), vreinterpretq_u64_u32(y));
                    let piece = if i < 2 { vtrn1q_u64(x, y) } else { vtrn2q_u64(x, y) };
                    let piece = vreinterpretq_u8_u64(piece);
                    if half == 0 {
                        out[4 * quarter + i].0 = piece;
                    } else {
                        out[4 * quarter + i].1 = piece;
                    }
                }
            }
        }
        out
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales8(scales: u64) -> [[i8; 8]; 2] {
        [scales.to_le_bytes().map(|b| b as i8); 2]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scales16(scales: u128) -> [[i8; 8]; 2] {
        let (bytes, mut out) = (scales.to_le_bytes(), [[0; 8]; 2]);
        for (i, byte) in bytes.into_iter().enumerate() {
            out[i % 2][i / 2] = byte as i8;
        }
        out
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scale(scales: [[i8; 8]; 2], j: usize) -> [i32; 2] {
        [i32::from(scales[0][j]), i32::from(scales[1][j])]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn zero_ints() -> int32x4x2_t {
        int32x4x2_t(vdupq_n_s32(0), vdupq_n_s32(0))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn first_int(first: i32) -> int32x4x2_t {
        int32x4x2_t(vsetq_lane_s32::<0>(first, vdupq_n_s32(0)), vdupq_n_s32(0))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn first_ints(low: i32, high: i32) -> int32x4x2_t {
        int32x4x2_t(vsetq_lane_s32::<0>(low, vdupq_n_s32(0)), vsetq_lane_s32::<0>(high, vdupq_n_s32(0)))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn sub_ints(a: int32x4x2_t, b: int32x4x2_t) -> int32x4x2_t {
        int32x4x2_t(vsubq_s32(a.0, b.0), vsubq_s32(a.1, b.1))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn mul_ints(a: int32x4x2_t, factor: i32) -> int32x4x2_t {
        int32x4x2_t(vmulq_n_s32(a.0, factor), vmulq_n_s32(a.1, factor))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn dot(sum: int32x4x2_t, w: uint8x16x2_t, x: uint8x16x2_t) -> int32x4x2_t {
        int32x4x2_t(vaddq_s32(sum.0, products(w.0, x.0)), vaddq_s32(sum.1, products(w.1, x.1)))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn dot_flipped(sum: int32x4x2_t, w: uint8x16x2_t, x: uint8x16x2_t) -> int32x4x2_t {
        let (low, high) = (products(flip(w.0), x.0), products(flip(w.1), x.1));
        int32x4x2_t(vaddq_s32(sum.0, low), vaddq_s32(sum.1, high))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn dot_scaled(sum: int32x4x2_t, w: uint8x16x2_t, x: uint8x16x2_t, scale: [i32; 2]) -> int32x4x2_t {
        let (low, high) = (products(w.0, x.0), products(w.1, x.1));
        int32x4x2_t(vmlaq_n_s32(sum.0, low, scale[0]), vmlaq_n_s32(sum.1, high, scale[1]))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn dot_scaled_flipped(
        sum: int32x4x2_t,
        w: uint8x16x2_t,
        x: uint8x16x2_t,
        scale: [i32; 2],
    ) -> int32x4x2_t {
        let (low, high) = (products(flip(w.0), x.0), products(flip(w.1), x.1));
        int32x4x2_t(vmlaq_n_s32(sum.0, low, scale[0]), vmlaq_n_s32(sum.1, high, scale[1]))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn dot_sums8(factors: u64, p: *const i16) -> int32x4x2_t {
        let factors = vmovl_s8(vcreate_s8(factors));
        // SAFETY: the caller's promise.
        let sums = unsafe { vld1q_s16(p) };
        let low = vmull_s16(vget_low_s16(factors), vget_low_s16(sums));
        int32x4x2_t(vpaddq_s32(low, vmull_high_s16(factors, sums)), vdupq_n_s32(0))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn dot_sums16(factors: u128, p: *const i16) -> int32x4x2_t {
        // SAFETY: the caller's promise, by halves.
        unsafe {
            let (low, high) =
                (Neon::dot_sums8(factors as u64, p), Neon::dot_sums8((factors >> 64) as u64, p.add(8)));
            int32x4x2_t(low.0, high.0)
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn zero() -> float32x4x2_t {
        float32x4x2_t(vdupq_n_f32(0.0), vdupq_n_f32(0.0))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn splat_float(x: f32) -> float32x4x2_t {
        float32x4x2_t(vdupq_n_f32(x), vdupq_n_f32(x))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn splat_low(x: f32) -> float32x4x2_t {
        float32x4x2_t(vdupq_n_f32(x), vdupq_n_f32(0.0))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn splat_halves(low: f32, high: f32) -> float32x4x2_t {
        float32x4x2_t(vdupq_n_f32(low), vdupq_n_f32(high))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_floats(p: *const u8) -> float32x4x2_t {
        // SAFETY: the caller's promise.
        unsafe { float32x4x2_t(vld1q_f32(p.cast()), vld1q_f32(p.add(16).cast())) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn store_floats(p: *mut f32, a: float32x4x2_t) {
        // SAFETY: the caller's promise.
        unsafe {
            vst1q_f32(p, a.0);
            vst1q_f32(p.add(4), a.1);
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_f16(p: *const u8) -> float32x4x2_t {
        let mut out = [0.0f32; 8];
        // SAFETY: the caller's promise, and the array.
        unsafe {
            for (i, h) in p.cast::<[u16; 8]>().read_unaligned().into_iter().enumerate() {
                out[i] = f16::from_bits(h).to_f32();
            }
            Neon::load_floats(out.as_ptr().cast())
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_bf16(p: *const u8) -> float32x4x2_t {
        // SAFETY: the caller's promise.
        let h = unsafe { vld1q_u16(p.cast()) };
        let (low, high) = (vshll_n_u16::<16>(vget_low_u16(h)), vshll_high_n_u16::<16>(h));
        float32x4x2_t(vreinterpretq_f32_u32(low), vreinterpretq_f32_u32(high))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half(p: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        f16::from_bits(unsafe { p.cast::<u16>().read_unaligned() }).to_f32()
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn float_bits(a: float32x4x2_t) -> uint8x16x2_t {
        uint8x16x2_t(vreinterpretq_u8_f32(a.0), vreinterpretq_u8_f32(a.1))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn to_floats(a: int32x4x2_t) -> float32x4x2_t {
        float32x4x2_t(vcvtq_f32_s32(a.0), vcvtq_f32_s32(a.1))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn floats_of_i8(bytes: u64) -> float32x4x2_t {
        let h = vmovl_s8(vcreate_s8(bytes));
        let (low, high) = (vmovl_s16(vget_low_s16(h)), vmovl_high_s16(h));
        float32x4x2_t(vcvtq_f32_s32(low), vcvtq_f32_s32(high))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn add(a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
        float32x4x2_t(vaddq_f32(a.0, b.0), vaddq_f32(a.1, b.1))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn sub(a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
        float32x4x2_t(vsubq_f32(a.0, b.0), vsubq_f32(a.1, b.1))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn mul(a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
        float32x4x2_t(vmulq_f32(a.0, b.0), vmulq_f32(a.1, b.1))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn fma(a: float32x4x2_t, b: float32x4x2_t, c: float32x4x2_t) -> float32x4x2_t {
        float32x4x2_t(vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn sum(a: float32x4x2_t) -> f32 {
        let s = vaddq_f32(a.0, a.1);
        let s = vadd_f32(vget_low_f32(s), vget_high_f32(s));
        vget_lane_f32::<0>(s) + vget_lane_f32::<1>(s)
    }
}

impl Tiles for Neon {
    type I = int32x4_t;
    type F = float32x4_t;

    const LANES: usize = 4;
    // 12 integer and 12 float accumulators of 32 registers; 20 accumulators.
    const INT_REGISTERS: usize = 2;
    const INT_COLS: usize = 6;
    const FLOAT_COLS: usize = 10;
    const FLIP_STAYS: bool = false;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn zeros() -> int32x4_t {
        vdupq_n_s32(0)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn splat_int(x: i32) -> int32x4_t {
        vdupq_n_s32(x)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_quants(p: *const u8) -> int32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vld1q_s32(p.cast()) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn dot4(sum: int32x4_t, w: int32x4_t, x: int32x4_t) -> int32x4_t {
        vaddq_s32(sum, products(vreinterpretq_u8_s32(w), vreinterpretq_u8_s32(x)))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn dot4_flipped(sum: int32x4_t, w: int32x4_t, x: int32x4_t) -> int32x4_t {
        vaddq_s32(sum, products(flip(vreinterpretq_u8_s32(w)), vreinterpretq_u8_s32(x)))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn zeros_f() -> float32x4_t {
        vdupq_n_f32(0.0)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn splat_f(x: f32) -> float32x4_t {
        vdupq_n_f32(x)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_f(p: *const f32) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vld1q_f32(p) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_first(p: *const f32, n: usize) -> float32x4_t {
        let mut out = [0.0f32; 4];
        // SAFETY: the caller has the first `n` floats; and the array.
        unsafe {
            std::ptr::copy_nonoverlapping(p, out.as_mut_ptr(), n.min(4));
            vld1q_f32(out.as_ptr())
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn store_first(p: *mut f32, n: usize, a: float32x4_t) {
        let mut out = [0.0f32; 4];
        // SAFETY: the array; and the caller has the first `n` floats.
        unsafe {
            vst1q_f32(out.as_mut_ptr(), a);
            std::ptr::copy_nonoverlapping(out.as_ptr(), p, n.min(4));
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn convert(a: int32x4_t) -> float32x4_t {
        vcvtq_f32_s32(a)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn mul_f(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vmulq_f32(a, b)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn fma_f(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        vfmaq_f32(c, a, b)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn fnma_f(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        vfmsq_f32(c, a, b)
    }
}
