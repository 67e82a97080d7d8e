//! AVX-512 register tiles: a panel of 32 rows against a few columns.

use std::arch::x86_64::*;

use super::super::columns::Column;
use super::pack::{FloatPanel, IntPanel};

/// Most columns of an integer tile: 12 integer and 12 float accumulators of 32 registers.
pub const INT_COLS: usize = 6;
/// Most columns of a float tile: 24 accumulators.
pub const FLOAT_COLS: usize = 12;

#[inline]
fn masks(n_rows: usize) -> [__mmask16; 2] {
    [((1u32 << n_rows.min(16)) - 1) as u16, ((1u32 << n_rows.saturating_sub(16)) - 1) as u16]
}

/// `dst[c][..n_rows] (+)= panel · cols[c]` over `n_sub` sub-blocks of `4 * STEPS` elements.
///
/// # Safety
/// The panel and the columns hold that many sub-blocks; `1 <= n_rows <= 32` floats are writable behind each
/// `dst` (and readable unless `first`); the CPU has every feature below.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
pub unsafe fn int_tile<const C: usize, const STEPS: usize, const MIN: bool>(
    panel: &IntPanel,
    n_sub: usize,
    cols: &[Column; C],
    dst: &[*mut f32; C],
    n_rows: usize,
    first: bool,
) {
    let [m0, m1] = masks(n_rows);
    let mut acc = [[_mm512_setzero_ps(); 2]; C];
    // SAFETY: reads stay below `n_sub` sub-blocks; masked accesses touch the first `n_rows` of 32 floats.
    unsafe {
        if !first {
            for c in 0..C {
                acc[c] =
                    [_mm512_maskz_loadu_ps(m0, dst[c]), _mm512_maskz_loadu_ps(m1, dst[c].wrapping_add(16))];
            }
        }
        let (q0, q1) = (panel.q[0].as_ptr(), panel.q[1].as_ptr());
        for s in 0..n_sub {
            let mut sums = [[_mm512_setzero_si512(); 2]; C];
            if !MIN {
                for c in 0..C {
                    sums[c] = [_mm512_set1_epi32(*cols[c].words.add(s)); 2];
                }
            }
            for t in 0..STEPS {
                let at = s * STEPS + t;
                let w0 = _mm512_load_si512(q0.add(at * 64).cast());
                let w1 = _mm512_load_si512(q1.add(at * 64).cast());
                for c in 0..C {
                    let x = _mm512_set1_epi32(cols[c].q.cast::<i32>().add(at).read_unaligned());
                    sums[c][0] = _mm512_dpbusd_epi32(sums[c][0], w0, x);
                    sums[c][1] = _mm512_dpbusd_epi32(sums[c][1], w1, x);
                }
            }
            let d0 = _mm512_load_ps(panel.scales[0].as_ptr().add(s * 16));
            let d1 = _mm512_load_ps(panel.scales[1].as_ptr().add(s * 16));
            for c in 0..C {
                let x = _mm512_set1_ps(*cols[c].scales.add(s));
                acc[c][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[c][0]), _mm512_mul_ps(d0, x), acc[c][0]);
                acc[c][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[c][1]), _mm512_mul_ps(d1, x), acc[c][1]);
            }
            if MIN {
                let d0 = _mm512_load_ps(panel.mins[0].as_ptr().add(s * 16));
                let d1 = _mm512_load_ps(panel.mins[1].as_ptr().add(s * 16));
                for c in 0..C {
                    let x = _mm512_set1_ps(*cols[c].words.cast::<f32>().add(s));
                    acc[c][0] = _mm512_fnmadd_ps(d0, x, acc[c][0]);
                    acc[c][1] = _mm512_fnmadd_ps(d1, x, acc[c][1]);
                }
            }
        }
        for c in 0..C {
            _mm512_mask_storeu_ps(dst[c], m0, acc[c][0]);
            _mm512_mask_storeu_ps(dst[c].wrapping_add(16), m1, acc[c][1]);
        }
    }
}

/// `dst[c][..n_rows] (+)= panel · cols[c]` over `kc` elements.
///
/// # Safety
/// As [`int_tile`], with `kc` elements.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub unsafe fn float_tile<const C: usize>(
    panel: &FloatPanel,
    kc: usize,
    cols: &[Column; C],
    dst: &[*mut f32; C],
    n_rows: usize,
    first: bool,
) {
    let [m0, m1] = masks(n_rows);
    let mut acc = [[_mm512_setzero_ps(); 2]; C];
    // SAFETY: reads stay below `kc`; masked accesses touch the first `n_rows` of 32 floats.
    unsafe {
        if !first {
            for c in 0..C {
                acc[c] =
                    [_mm512_maskz_loadu_ps(m0, dst[c]), _mm512_maskz_loadu_ps(m1, dst[c].wrapping_add(16))];
            }
        }
        let w = panel.w.as_ptr().cast::<f32>();
        for k in 0..kc {
            let w0 = _mm512_load_ps(w.add(k * 32));
            let w1 = _mm512_load_ps(w.add(k * 32 + 16));
            for c in 0..C {
                let x = _mm512_set1_ps(*cols[c].q.cast::<f32>().add(k));
                acc[c][0] = _mm512_fmadd_ps(w0, x, acc[c][0]);
                acc[c][1] = _mm512_fmadd_ps(w1, x, acc[c][1]);
            }
        }
        for c in 0..C {
            _mm512_mask_storeu_ps(dst[c], m0, acc[c][0]);
            _mm512_mask_storeu_ps(dst[c].wrapping_add(16), m1, acc[c][1]);
        }
    }
}
