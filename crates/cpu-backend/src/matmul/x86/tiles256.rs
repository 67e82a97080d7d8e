//! AVX2 register tiles: eight (integer) or sixteen (float) rows of a panel against a few columns.

use std::arch::x86_64::*;

use super::super::columns::Column;
use super::pack::{FloatPanel, IntPanel, PANEL_ROWS};

/// Most columns of an integer tile: 4 integer and 4 float accumulators of 16 registers.
pub const INT_COLS: usize = 4;
/// Most columns of a float tile: 12 accumulators.
pub const FLOAT_COLS: usize = 6;

/// All ones in the first `n` lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn mask(n: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(8) as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// `dst[c][..n_rows] (+)= panel · cols[c]` over `n_sub` sub-blocks of `4 * STEPS` elements.
/// `FULL` tells a format whose quants span 8 bits ([`super::format::Format::FULL_RANGE`]).
///
/// # Safety
/// The panel and the columns hold that many sub-blocks; `1 <= n_rows <= 32` floats are writable behind each
/// `dst` (and readable unless `first`); AVX2 and FMA are available.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn int_tile<const C: usize, const STEPS: usize, const MIN: bool, const FULL: bool>(
    panel: &IntPanel,
    n_sub: usize,
    cols: &[Column; C],
    dst: &[*mut f32; C],
    n_rows: usize,
    first: bool,
) {
    let ones = _mm256_set1_epi16(1);
    for row in (0..n_rows).step_by(8) {
        let (group, half) = (row / 16, row % 16 / 8);
        let m = mask(n_rows - row);
        let mut acc = [_mm256_setzero_ps(); C];
        // SAFETY: reads stay below `n_sub` sub-blocks; masked accesses touch the first `n_rows` floats.
        unsafe {
            if !first {
                for c in 0..C {
                    acc[c] = _mm256_maskload_ps(dst[c].add(row), m);
                }
            }
            let q = panel.q[group].as_ptr().add(half * 32);
            for s in 0..n_sub {
                let mut sums = [_mm256_setzero_si256(); C];
                if !MIN && !FULL {
                    for c in 0..C {
                        sums[c] = _mm256_set1_epi32(*cols[c].words.add(s));
                    }
                }
                for t in 0..STEPS {
                    let at = s * STEPS + t;
                    let w = _mm256_load_si256(q.add(at * 64).cast());
                    let w = if FULL { _mm256_xor_si256(w, _mm256_set1_epi8(i8::MIN)) } else { w };
                    for c in 0..C {
                        let x = _mm256_set1_epi32(cols[c].q.cast::<i32>().add(at).read_unaligned());
                        let p = if FULL {
                            _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
                        } else {
                            _mm256_maddubs_epi16(w, x)
                        };
                        sums[c] = _mm256_add_epi32(sums[c], _mm256_madd_epi16(p, ones));
                    }
                }
                let d = _mm256_load_ps(panel.scales[group].as_ptr().add(s * 16 + half * 8));
                for c in 0..C {
                    let scale = _mm256_mul_ps(d, _mm256_set1_ps(*cols[c].scales.add(s)));
                    acc[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[c]), scale, acc[c]);
                }
                if MIN {
                    let d = _mm256_load_ps(panel.mins[group].as_ptr().add(s * 16 + half * 8));
                    for c in 0..C {
                        let x = _mm256_set1_ps(*cols[c].words.cast::<f32>().add(s));
                        acc[c] = _mm256_fnmadd_ps(d, x, acc[c]);
                    }
                }
            }
            for c in 0..C {
                _mm256_maskstore_ps(dst[c].add(row), m, acc[c]);
            }
        }
    }
}

/// `dst[c][..n_rows] (+)= panel · cols[c]` over `kc` elements.
///
/// # Safety
/// As [`int_tile`], with `kc` elements.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn float_tile<const C: usize>(
    panel: &FloatPanel,
    kc: usize,
    cols: &[Column; C],
    dst: &[*mut f32; C],
    n_rows: usize,
    first: bool,
) {
    for row in (0..n_rows).step_by(16) {
        let (m0, m1) = (mask(n_rows - row), mask((n_rows - row).saturating_sub(8)));
        let mut acc = [[_mm256_setzero_ps(); 2]; C];
        // SAFETY: reads stay below `kc`; masked accesses touch the first `n_rows` floats.
        unsafe {
            if !first {
                for c in 0..C {
                    let p = dst[c].add(row);
                    acc[c] = [_mm256_maskload_ps(p, m0), _mm256_maskload_ps(p.wrapping_add(8), m1)];
                }
            }
            let w = panel.w.as_ptr().cast::<f32>().add(row);
            for k in 0..kc {
                let w0 = _mm256_load_ps(w.add(k * PANEL_ROWS));
                let w1 = _mm256_load_ps(w.add(k * PANEL_ROWS + 8));
                for c in 0..C {
                    let x = _mm256_set1_ps(*cols[c].q.cast::<f32>().add(k));
                    acc[c][0] = _mm256_fmadd_ps(w0, x, acc[c][0]);
                    acc[c][1] = _mm256_fmadd_ps(w1, x, acc[c][1]);
                }
            }
            for c in 0..C {
                let p = dst[c].add(row);
                _mm256_maskstore_ps(p, m0, acc[c][0]);
                _mm256_maskstore_ps(p.wrapping_add(8), m1, acc[c][1]);
            }
        }
    }
}
