//! Register tiles: rows of a panel against a few columns.

use super::columns::Column;
use super::pack::{FloatPanel, IntPanel, PANEL_ROWS};
use super::simd::Tiles;

/// `dst[c][..n_rows] (+)= panel · cols[c]` over `n_sub` sub-blocks of `4 * STEPS` elements, `R` registers of rows at a
/// time. `FULL` tells a format whose quants span 8 bits ([`super::formats::Format::FULL_RANGE`]).
///
/// # Safety
/// The panel and the columns hold that many sub-blocks; `1 <= n_rows <= 32` floats are writable behind each
/// `dst` (and readable unless `first`); see [`super::simd::Simd`].
#[inline(always)]
#[allow(clippy::too_many_arguments)] // they are the shape
pub(super) unsafe fn int_tile<
    S: Tiles,
    const R: usize,
    const C: usize,
    const STEPS: usize,
    const MIN: bool,
    const FULL: bool,
>(
    panel: *const IntPanel,
    n_sub: usize,
    cols: &[Column; C],
    dst: &[*mut f32; C],
    n_rows: usize,
    first: bool,
) {
    let words = !MIN && (!FULL || S::FLIP_STAYS);
    let mut row = 0;
    while row < n_rows {
        // SAFETY: reads stay below `n_sub` sub-blocks, which were packed; stores touch the first `n_rows` floats.
        unsafe {
            let mut q = [std::ptr::null::<u8>(); R];
            let mut scales = [std::ptr::null::<f32>(); R];
            let mut mins = [std::ptr::null::<f32>(); R];
            for r in 0..R {
                let (group, lane) = ((row + r * S::LANES) / 16, (row + r * S::LANES) % 16);
                q[r] = (&raw const (*panel).q[group]).cast::<u8>().add(lane * 4);
                scales[r] = (&raw const (*panel).scales[group]).cast::<f32>().add(lane);
                mins[r] = (&raw const (*panel).mins[group]).cast::<f32>().add(lane);
            }
            let mut acc = [[S::zeros_f(); R]; C];
            if !first {
                for c in 0..C {
                    for r in 0..R {
                        let at = row + r * S::LANES;
                        acc[c][r] = S::load_first(dst[c].wrapping_add(at), n_rows.saturating_sub(at));
                    }
                }
            }
            for s in 0..n_sub {
                let mut sums = [[S::zeros(); R]; C];
                if words {
                    for c in 0..C {
                        sums[c] = [S::splat_int(*cols[c].words.add(s)); R];
                    }
                }
                for t in 0..STEPS {
                    let at = s * STEPS + t;
                    let mut w = [S::zeros(); R];
                    for r in 0..R {
                        w[r] = S::load_quants(q[r].add(at * 64));
                    }
                    for c in 0..C {
                        let x = S::splat_int(cols[c].q.cast::<i32>().add(at).read_unaligned());
                        for r in 0..R {
                            sums[c][r] = if FULL {
                                S::dot4_flipped(sums[c][r], w[r], x)
                            } else {
                                S::dot4(sums[c][r], w[r], x)
                            };
                        }
                    }
                }
                let mut d = [S::zeros_f(); R];
                for r in 0..R {
                    d[r] = S::load_f(scales[r].add(s * 16));
                }
                for c in 0..C {
                    let x = S::splat_f(*cols[c].scales.add(s));
                    for r in 0..R {
                        acc[c][r] = S::fma_f(S::convert(sums[c][r]), S::mul_f(d[r], x), acc[c][r]);
                    }
                }
                if MIN {
                    for r in 0..R {
                        d[r] = S::load_f(mins[r].add(s * 16));
                    }
                    for c in 0..C {
                        let x = S::splat_f(*cols[c].words.cast::<f32>().add(s));
                        for r in 0..R {
                            acc[c][r] = S::fnma_f(d[r], x, acc[c][r]);
                        }
                    }
                }
            }
            for c in 0..C {
                for r in 0..R {
                    let at = row + r * S::LANES;
                    S::store_first(dst[c].wrapping_add(at), n_rows.saturating_sub(at), acc[c][r]);
                }
            }
        }
        row += R * S::LANES;
    }
}

/// `dst[c][..n_rows] (+)= panel · cols[c]` over `kc` elements.
///
/// # Safety
/// As [`int_tile`], with `kc` elements.
#[inline(always)]
pub(super) unsafe fn float_tile<S: Tiles, const C: usize>(
    panel: *const FloatPanel,
    kc: usize,
    cols: &[Column; C],
    dst: &[*mut f32; C],
    n_rows: usize,
    first: bool,
) {
    let mut row = 0;
    while row < n_rows {
        let (p1, n0, n1) = (row + S::LANES, n_rows - row, n_rows.saturating_sub(row + S::LANES));
        // SAFETY: reads stay below `kc`, which were packed; stores touch the first `n_rows` floats.
        unsafe {
            let mut acc = [[S::zeros_f(); 2]; C];
            if !first {
                for c in 0..C {
                    acc[c] = [S::load_first(dst[c].add(row), n0), S::load_first(dst[c].wrapping_add(p1), n1)];
                }
            }
            let w = panel.cast::<f32>().add(row);
            for k in 0..kc {
                let w0 = S::load_f(w.add(k * PANEL_ROWS));
                let w1 = S::load_f(w.add(k * PANEL_ROWS + S::LANES));
                for c in 0..C {
                    let x = S::splat_f(*cols[c].q.cast::<f32>().add(k));
                    acc[c][0] = S::fma_f(w0, x, acc[c][0]);
                    acc[c][1] = S::fma_f(w1, x, acc[c][1]);
                }
            }
            for c in 0..C {
                S::store_first(dst[c].add(row), n0, acc[c][0]);
                S::store_first(dst[c].wrapping_add(p1), n1, acc[c][1]);
            }
        }
        row += 2 * S::LANES;
    }
}
