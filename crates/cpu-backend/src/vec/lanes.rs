//! Sixteen f32 lanes as a plain array, and the exponential.
//!
//! No closures and no iterators here: a closure that the compiler does not inline is compiled without the
//! instruction set of the kernel that calls it.
#![allow(clippy::needless_range_loop)]

/// Lanes of [`Lanes`].
pub(crate) const N: usize = 16;

/// Sixteen f32: one AVX-512 register, two of AVX2.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Lanes(pub [f32; N]);

#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

impl Lanes {
    pub const ZERO: Lanes = Lanes([0.0; N]);

    #[inline(always)]
    pub fn splat(x: f32) -> Lanes {
        Lanes([x; N])
    }

    /// Sixteen floats from anywhere.
    ///
    /// # Safety
    /// `p` points to 16 readable floats (aligned or not).
    #[inline(always)]
    pub unsafe fn load(p: *const f32) -> Lanes {
        // SAFETY: promised by the caller.
        Lanes(unsafe { p.cast::<[f32; N]>().read_unaligned() })
    }

    /// The first `n <= 16` floats, `pad` in the other lanes.
    ///
    /// # Safety
    /// `p` points to `n` readable floats.
    #[inline(always)]
    pub unsafe fn load_part(p: *const f32, n: usize, pad: f32) -> Lanes {
        let mut lanes = [pad; N];
        // SAFETY: promised by the caller; `n <= 16`.
        unsafe { std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), n.min(N)) };
        Lanes(lanes)
    }

    /// Stores all lanes.
    ///
    /// # Safety
    /// `p` points to 16 writable floats.
    #[inline(always)]
    pub unsafe fn store(self, p: *mut f32) {
        // SAFETY: promised by the caller.
        unsafe { p.cast::<[f32; N]>().write_unaligned(self.0) }
    }

    /// Stores the first `n <= 16` lanes.
    ///
    /// # Safety
    /// `p` points to `n` writable floats.
    #[inline(always)]
    pub unsafe fn store_part(self, p: *mut f32, n: usize) {
        // SAFETY: promised by the caller; `n <= 16`.
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), p, n.min(N)) }
    }

    #[inline(always)]
    pub fn add(self, b: Lanes) -> Lanes {
        let mut out = self.0;
        for i in 0..N {
            out[i] += b.0[i];
        }
        Lanes(out)
    }

    #[inline(always)]
    pub fn sub(self, b: Lanes) -> Lanes {
        let mut out = self.0;
        for i in 0..N {
            out[i] -= b.0[i];
        }
        Lanes(out)
    }

    #[inline(always)]
    pub fn mul(self, b: Lanes) -> Lanes {
        let mut out = self.0;
        for i in 0..N {
            out[i] *= b.0[i];
        }
        Lanes(out)
    }

    /// `self * b + c` per lane.
    #[inline(always)]
    pub fn fma<const FMA: bool>(self, b: Lanes, c: Lanes) -> Lanes {
        let mut out = c.0;
        for i in 0..N {
            out[i] = fma::<FMA>(self.0[i], b.0[i], out[i]);
        }
        Lanes(out)
    }

    /// The larger lanes; see [`larger`].
    #[inline(always)]
    pub fn larger(self, b: Lanes) -> Lanes {
        let mut out = self.0;
        for i in 0..N {
            out[i] = larger(out[i], b.0[i]);
        }
        Lanes(out)
    }

    /// `x * sigmoid(x)` per lane.
    #[inline(always)]
    pub fn silu<const FMA: bool>(self) -> Lanes {
        let mut out = self.0;
        for i in 0..N {
            out[i] /= 1.0 + exp::<FMA>(-out[i]);
        }
        Lanes(out)
    }

    /// `e^x` per lane.
    #[inline(always)]
    pub fn exp<const FMA: bool>(self) -> Lanes {
        let mut out = self.0;
        for i in 0..N {
            out[i] = exp::<FMA>(out[i]);
        }
        Lanes(out)
    }

    /// Sum of the lanes, halves folded onto each other.
    #[inline(always)]
    pub fn sum(self) -> f32 {
        let a = self.0;
        let mut b = [0.0; 8];
        for i in 0..8 {
            b[i] = a[i] + a[i + 8];
        }
        let mut c = [0.0; 4];
        for i in 0..4 {
            c[i] = b[i] + b[i + 4];
        }
        (c[0] + c[2]) + (c[1] + c[3])
    }

    /// Largest lane; NaN lanes are ignored.
    #[inline(always)]
    pub fn max(self) -> f32 {
        let mut a = self.0;
        for i in 0..8 {
            a[i] = larger(a[i], a[i + 8]);
        }
        for i in 0..4 {
            a[i] = larger(a[i], a[i + 4]);
        }
        larger(larger(a[0], a[2]), larger(a[1], a[3]))
    }
}

/// The larger of two, in the one-instruction form: `b` wins ties and comparisons with a NaN `a`.
#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// `e^x`, within 2 ulp, gradual underflow and overflow to infinity included; NaN stays NaN.
///
/// Argument reduction to `x = n ln 2 + r` and a degree-5 polynomial, the accuracy class of `ggml_v_expf`.
/// Branch-free, so that sixteen of these become vector code; the same code serves tails and scalars.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer, which then sits in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 split so that n * LN2_HI is exact.
    const LN2_HI: f32 = 0.693_145_75;
    const LN2_LO: f32 = 1.428_606_8e-6;
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let z = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = z - ROUND;
    let r = fma::<FMA>(-n, LN2_LO, fma::<FMA>(-n, LN2_HI, x));
    let r2 = r * r;
    let high = fma::<FMA>(8.247_39e-3, r, 4.189_976_8e-2);
    let low = fma::<FMA>(1.666_839_6e-1, r, 4.999_912_6e-1);
    // The 1 comes last: that is one rounding at its magnitude instead of two.
    let p = 1.0 + fma::<FMA>(fma::<FMA>(high, r2, low), r2, 0.999_999_4 * r);
    // 2^n in two factors: n may be as low as -150, where one factor would underflow.
    let n = (z.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let a = f32::from_bits((half.wrapping_add(127) as u32) << 23);
    let b = f32::from_bits((n.wrapping_sub(half).wrapping_add(127) as u32) << 23);
    p * a * b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst_ulp<const FMA: bool>() -> f64 {
        let mut worst = 0f64;
        let mut x = -87.0f32;
        while x < 88.0 {
            let exact = f64::from(x).exp();
            let ulp = f64::from(f32::from_bits((exact as f32).to_bits() + 1)) - f64::from(exact as f32);
            worst = worst.max((f64::from(exp::<FMA>(x)) - exact).abs() / ulp);
            x += 0.000_731;
        }
        worst
    }

    #[test]
    fn exp_is_within_two_ulp_and_exact_at_the_edges() {
        assert!(worst_ulp::<true>() < 2.0, "{}", worst_ulp::<true>());
        assert!(worst_ulp::<false>() < 2.0, "{}", worst_ulp::<false>());
        assert_eq!(exp::<true>(0.0), 1.0);
        assert_eq!(exp::<true>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp::<true>(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp::<true>(-1e30), 0.0);
        assert!(exp::<true>(f32::NAN).is_nan());
        assert!((exp::<true>(-100.0) - (-100.0f32).exp()).abs() < 1e-44);
    }

    #[test]
    fn reductions_see_every_lane() {
        let lanes = Lanes(std::array::from_fn(|i| (1u32 << i) as f32));
        assert_eq!(lanes.sum(), 65535.0);
        assert_eq!(lanes.max(), 32768.0);
    }
}
