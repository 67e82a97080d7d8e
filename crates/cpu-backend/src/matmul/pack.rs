//! Packs 32 weight rows by a slice of `k` into a panel that stays in the first-level cache while all
//! columns pass over it. This is what makes prefill independent of how the weights lie in memory.
//!
//! Panels are written and read through raw pointers: they start uninitialised, and a format without minimums, or
//! a short slice of `k`, leaves parts of them so.

use super::dot::prefetch;
use super::floats::FloatFormat;
use super::formats::{BlockScales, Format};
use super::simd::Simd;

/// Rows of a panel, in groups of 16: one lane of a 512-bit register per row.
pub(super) const PANEL_ROWS: usize = 32;
/// Elements of `k` in an integer panel: 32 KiB of quants. A multiple of every block length.
pub(super) const INT_KC: usize = 1024;
/// Elements of `k` in a float panel: 32 KiB.
pub(super) const FLOAT_KC: usize = 256;

/// Quants of 16 rows interleaved by 4 elements, with f32 scales and minimums per sub-block and row.
#[repr(C, align(64))]
pub(super) struct IntPanel {
    /// `[group][k / 4][row][4]`, unsigned with the format's offset.
    pub q: [[u8; 16 * INT_KC]; 2],
    /// `[group][sub-block][row]`.
    pub scales: [[f32; INT_KC]; 2],
    /// `[group][sub-block][row]`; not written for formats without minimums.
    pub mins: [[f32; INT_KC]; 2],
}

/// `[k][row]`.
#[repr(C, align(64))]
pub(super) struct FloatPanel {
    pub w: [[f32; PANEL_ROWS]; FLOAT_KC],
}

/// How far ahead the next eight rows lie. Where there is one row, its stride was never looked at and may be anything.
fn eight_rows(stride: usize) -> usize {
    stride.wrapping_mul(8)
}

/// Packs `kc` elements of 32 rows, which lie `stride` bytes apart (a hint for prefetching only). Rows that
/// do not exist are given as a copy of one that does.
///
/// # Safety
/// Every row pointer is readable for `kc` elements; `kc` is a multiple of the block length and at most
/// [`INT_KC`]; the panel is writable; see [`Simd`]. On return the first `kc` elements of every used field are written.
#[inline(always)]
pub(super) unsafe fn pack_int<S: Simd, F: Format>(
    rows: &[*const u8; PANEL_ROWS],
    stride: usize,
    kc: usize,
    panel: *mut IntPanel,
) {
    let ahead = eight_rows(stride);
    let subs = F::LEN / F::SUB;
    let (mut scales, mut mins): (BlockScales, BlockScales) = ([0.0; 16], [0.0; 16]);
    for (octet, rows) in rows.as_chunks::<8>().0.iter().enumerate() {
        let (group, half) = (octet / 2, octet % 2);
        // SAFETY: stores go to `k < kc <= INT_KC` of each field; loads are of blocks inside the rows.
        unsafe {
            let q = (&raw mut (*panel).q[group]).cast::<u8>().add(half * 32);
            let scales_out = (&raw mut (*panel).scales[group]).cast::<f32>().add(half * 8);
            let mins_out = (&raw mut (*panel).mins[group]).cast::<f32>().add(half * 8);
            for b in 0..kc / F::LEN {
                let at = b * F::BYTES;
                for j in 0..F::LEN / 32 {
                    let mut v = [S::splat(0); 8];
                    for (v, row) in v.iter_mut().zip(rows) {
                        *v = F::load32::<S>(row.add(at), j);
                    }
                    let out = q.add((b * F::LEN + j * 32) * 16);
                    for (i, v) in S::transpose8(v).into_iter().enumerate() {
                        S::store(out.add(i * 64), v);
                    }
                }
                for (r, row) in rows.iter().enumerate() {
                    // The next eight rows.
                    prefetch::<S>(row.add(at), ahead, F::BYTES);
                    F::scales::<S>(row.add(at), &mut scales, &mut mins);
                    for s in 0..subs {
                        *scales_out.add((b * subs + s) * 16 + r) = scales[s];
                        if F::HAS_MIN {
                            *mins_out.add((b * subs + s) * 16 + r) = mins[s];
                        }
                    }
                }
            }
        }
    }
}

/// Packs `kc` elements of 32 rows as f32.
///
/// # Safety
/// As [`pack_int`], with `kc <= FLOAT_KC` of any value.
#[inline(always)]
pub(super) unsafe fn pack_float<S: Simd, F: FloatFormat>(
    rows: &[*const u8; PANEL_ROWS],
    stride: usize,
    kc: usize,
    panel: *mut FloatPanel,
) {
    let ahead = eight_rows(stride);
    let out = panel.cast::<f32>();
    let whole = kc / 8 * 8;
    for (octet, rows) in rows.as_chunks::<8>().0.iter().enumerate() {
        // SAFETY: stores go to `k < kc <= FLOAT_KC`; loads are of elements inside the rows.
        unsafe {
            let out = out.add(octet * 8);
            for k in (0..whole).step_by(8) {
                let mut v = [S::splat(0); 8];
                for (v, row) in v.iter_mut().zip(rows) {
                    prefetch::<S>(row.add(k * F::BYTES), ahead, 1);
                    *v = S::float_bits(F::load8::<S>(row.add(k * F::BYTES)));
                }
                for (i, v) in S::transpose8(v).into_iter().enumerate() {
                    S::store(out.add((k + i) * PANEL_ROWS).cast(), v);
                }
            }
            for k in whole..kc {
                for (r, row) in rows.iter().enumerate() {
                    *out.add(k * PANEL_ROWS + r) = F::load1::<S>(row.add(k * F::BYTES));
                }
            }
        }
    }
}
