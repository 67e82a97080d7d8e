//! Sums and products of rows of f32 for kernels that keep states: parts of a [`super::Kernel`], inlined into it.

use super::lanes::{Lanes, N, fma};

/// The sum of `a[i] * b[i]`.
///
/// # Safety
/// Both point to `n` readable floats.
#[inline(always)]
pub(crate) unsafe fn dot<const FMA: bool>(a: *const f32, b: *const f32, n: usize) -> f32 {
    let mut sums = Lanes::ZERO;
    let whole = n / N * N;
    let mut i = 0;
    while i < whole {
        // SAFETY: `i + N <= n`.
        unsafe { sums = Lanes::load(a.add(i)).fma::<FMA>(Lanes::load(b.add(i)), sums) };
        i += N;
    }
    let mut sum = sums.sum();
    while i < n {
        // SAFETY: `i < n`.
        unsafe { sum = fma::<FMA>(*a.add(i), *b.add(i), sum) };
        i += 1;
    }
    sum
}

/// `y[i] = x[i] * by`.
///
/// # Safety
/// Both point to `n` floats, those of `y` writable; `y` may be `x`.
#[inline(always)]
pub(crate) unsafe fn scale(x: *const f32, by: f32, y: *mut f32, n: usize) {
    let mut i = 0;
    while i < n {
        // SAFETY: `i < n`.
        unsafe { *y.add(i) = *x.add(i) * by };
        i += 1;
    }
}

/// `y[i] = x[i] * by[i]`.
///
/// # Safety
/// All point to `n` floats, those of `y` writable; `y` may be `x`.
#[inline(always)]
pub(crate) unsafe fn multiply(x: *const f32, by: *const f32, y: *mut f32, n: usize) {
    let mut i = 0;
    while i < n {
        // SAFETY: `i < n`.
        unsafe { *y.add(i) = *x.add(i) * *by.add(i) };
        i += 1;
    }
}

/// `y[i] += x[i] * by`.
///
/// # Safety
/// Both point to `n` floats, those of `y` writable and apart from `x`.
#[inline(always)]
pub(crate) unsafe fn add_scaled<const FMA: bool>(x: *const f32, by: f32, y: *mut f32, n: usize) {
    let mut i = 0;
    while i < n {
        // SAFETY: `i < n`.
        unsafe { *y.add(i) = fma::<FMA>(*x.add(i), by, *y.add(i)) };
        i += 1;
    }
}
