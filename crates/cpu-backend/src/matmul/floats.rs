//! The float weight types: how they are read, eight at a time and singly.

use super::simd::Simd;

/// A float type as weights.
pub(super) trait FloatFormat {
    const BYTES: usize;

    /// # Safety
    /// Eight readable elements, any alignment, and see [`Simd`].
    unsafe fn load8<S: Simd>(p: *const u8) -> S::Floats;

    /// # Safety
    /// One readable element, any alignment, and see [`Simd`].
    unsafe fn load1<S: Simd>(p: *const u8) -> f32;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Bf16;

impl FloatFormat for F32 {
    const BYTES: usize = 4;

    #[inline(always)]
    unsafe fn load8<S: Simd>(p: *const u8) -> S::Floats {
        // SAFETY: the caller's promise.
        unsafe { S::load_floats(p) }
    }

    #[inline(always)]
    unsafe fn load1<S: Simd>(p: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<f32>().read_unaligned() }
    }
}

impl FloatFormat for F16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn load8<S: Simd>(p: *const u8) -> S::Floats {
        // SAFETY: the caller's promise.
        unsafe { S::load_f16(p) }
    }

    #[inline(always)]
    unsafe fn load1<S: Simd>(p: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { S::half(p) }
    }
}

impl FloatFormat for Bf16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn load8<S: Simd>(p: *const u8) -> S::Floats {
        // SAFETY: the caller's promise.
        unsafe { S::load_bf16(p) }
    }

    #[inline(always)]
    unsafe fn load1<S: Simd>(p: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        f32::from_bits(u32::from(unsafe { p.cast::<u16>().read_unaligned() }) << 16)
    }
}
