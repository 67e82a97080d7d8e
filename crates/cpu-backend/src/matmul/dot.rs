//! One weight row against a few columns: the kernels of decoding, bound by memory.
//!
//! Each weight register is unpacked once and used for all columns. Sums inside a block are exact
//! integers; blocks accumulate in f32 lanes, in an order that depends on `k` alone.

use super::columns::Column;
use super::floats::FloatFormat;
use super::formats::{BlockScales, Format, KFormat};
use super::simd::Simd;

/// How far ahead weights are requested. Rows follow each other, so this runs on into the next ones,
/// where the hardware prefetcher stops at every page.
pub(super) const AHEAD: usize = 2048;

/// Requests the cache lines of `bytes` bytes, `ahead` bytes beyond `block`, wherever that is.
///
/// # Safety
/// See [`Simd`]; the addresses may be anything.
#[inline(always)]
pub(super) unsafe fn prefetch<S: Simd>(block: *const u8, ahead: usize, bytes: usize) {
    let mut at = 0;
    while at < bytes {
        // SAFETY: the caller's promise.
        unsafe { S::prefetch(block.wrapping_add(ahead.wrapping_add(at))) };
        at += 64;
    }
}

/// Formats of blocks of 32 elements or a few times as many, with Q8_0 or Q8_1 activations.
///
/// # Safety
/// As [`Format::dot`].
#[inline(always)]
pub(super) unsafe fn dot_32<S: Simd, F: Format, const NC: usize>(
    row: *const u8,
    k: usize,
    cols: &[Column; NC],
) -> [f32; NC] {
    let n = k / 32;
    // SAFETY: blocks `b < n` lie inside the row and the columns.
    unsafe {
        // Two accumulators per column hide the latency of the addition.
        let mut acc = [[S::zero(); 2]; NC];
        let mut mins = [0.0; NC];
        let mut b = 0;
        while b + 2 <= n {
            step_32::<S, F, NC>(row, b, cols, &mut acc, &mut mins, 0);
            step_32::<S, F, NC>(row, b + 1, cols, &mut acc, &mut mins, 1);
            b += 2;
        }
        if b < n {
            step_32::<S, F, NC>(row, b, cols, &mut acc, &mut mins, 0);
        }
        let mut out = [0.0; NC];
        for c in 0..NC {
            out[c] = S::sum(S::add(acc[c][0], acc[c][1]));
            if F::HAS_MIN {
                out[c] -= mins[c];
            }
        }
        out
    }
}

#[inline(always)]
unsafe fn step_32<S: Simd, F: Format, const NC: usize>(
    row: *const u8,
    b: usize,
    cols: &[Column; NC],
    acc: &mut [[S::Floats; 2]; NC],
    mins: &mut [f32; NC],
    lane: usize,
) {
    let per_block = F::LEN / 32;
    let (block, j) = (b / per_block, b % per_block);
    // Scales of a group.
    let n = 32 / F::SUB;
    // SAFETY: group `b` lies inside the row and the columns.
    unsafe {
        let block = row.add(block * F::BYTES);
        if j == 0 {
            prefetch::<S>(block, AHEAD, F::BYTES);
        }
        let (mut d, mut m): (BlockScales, BlockScales) = ([0.0; 16], [0.0; 16]);
        F::scales::<S>(block, &mut d, &mut m);
        let w = F::load32::<S>(block, j);
        for c in 0..NC {
            let x = S::load(cols[c].q.add(b * 32));
            // The offset's correction enters one lane.
            let word = if F::HAS_MIN || F::FULL_RANGE {
                S::zero_ints()
            } else if n == 2 {
                S::first_ints(*cols[c].words.add(2 * b), *cols[c].words.add(2 * b + 1))
            } else {
                S::first_int(*cols[c].words.add(b))
            };
            let sum = if F::FULL_RANGE { S::dot_flipped(word, w, x) } else { S::dot(word, w, x) };
            let scale = if n == 2 {
                let x = cols[c].scales.add(2 * b);
                S::splat_halves(d[2 * j] * *x, d[2 * j + 1] * *x.add(1))
            } else {
                S::splat_float(d[j] * *cols[c].scales.add(b))
            };
            acc[c][lane] = S::fma(S::to_floats(sum), scale, acc[c][lane]);
            if F::HAS_MIN {
                mins[c] += m[j] * *cols[c].words.cast::<f32>().add(b);
            }
        }
    }
}

/// Formats of 256 elements with integer scales, with Q8_K activations.
///
/// # Safety
/// As [`Format::dot`].
#[inline(always)]
pub(super) unsafe fn dot_k<S: Simd, F: KFormat, const NC: usize>(
    row: *const u8,
    k: usize,
    cols: &[Column; NC],
) -> [f32; NC] {
    let n_sub = 256 / F::SUB;
    // SAFETY: block `b` lies inside the row and the columns.
    unsafe {
        let mut acc = [S::zero(); NC];
        let mut acc_min = [S::zero(); NC];
        for b in 0..k / 256 {
            let block = row.add(b * <F as KFormat>::BYTES);
            prefetch::<S>(block, AHEAD, <F as KFormat>::BYTES);
            let f = F::factors::<S>(block);
            let scales = if F::SUB == 16 { S::scales16(f.scales) } else { S::scales8(f.scales as u64) };
            let mut sums = [S::zero_ints(); NC];
            if F::OFFSET != 0 {
                for c in 0..NC {
                    let m = dot_sums::<S, F>(f.scales, cols[c].sums.add(b * n_sub));
                    sums[c] = S::sub_ints(S::zero_ints(), S::mul_ints(m, F::OFFSET));
                }
            }
            for j in 0..8 {
                let w = <F as KFormat>::load32::<S>(block, j);
                let scale = S::scale(scales, j);
                for c in 0..NC {
                    let x = S::load(cols[c].q.add(b * 256 + j * 32));
                    sums[c] = if F::FULL_RANGE {
                        S::dot_scaled_flipped(sums[c], w, x, scale)
                    } else {
                        S::dot_scaled(sums[c], w, x, scale)
                    };
                }
            }
            for c in 0..NC {
                let xd = *cols[c].scales.add(b * n_sub);
                acc[c] = S::fma(S::to_floats(sums[c]), S::splat_float(f.d * xd), acc[c]);
                if F::HAS_MIN {
                    let m = dot_sums::<S, F>(f.mins, cols[c].sums.add(b * n_sub));
                    let scale = f.dmin * xd;
                    let scale = if F::SUB == 16 { S::splat_float(scale) } else { S::splat_low(scale) };
                    acc_min[c] = S::fma(S::to_floats(m), scale, acc_min[c]);
                }
            }
        }
        let mut out = [0.0; NC];
        for c in 0..NC {
            out[c] = S::sum(if F::HAS_MIN { S::sub(acc[c], acc_min[c]) } else { acc[c] });
        }
        out
    }
}

/// The factors of a block (i8) with a column's sums of its sub-blocks.
#[inline(always)]
unsafe fn dot_sums<S: Simd, F: KFormat>(factors: u128, sums: *const i16) -> S::Ints {
    // SAFETY: the caller has 256 / SUB sums here.
    unsafe { if F::SUB == 16 { S::dot_sums16(factors, sums) } else { S::dot_sums8(factors as u64, sums) } }
}

/// One row of floats against `NC` columns.
///
/// # Safety
/// The row and the columns hold `k` elements, and see [`Simd`].
#[inline(always)]
pub(super) unsafe fn dot_float<S: Simd, F: FloatFormat, const NC: usize>(
    row: *const u8,
    k: usize,
    cols: &[Column; NC],
) -> [f32; NC] {
    // SAFETY: all reads are of elements below `k`.
    unsafe {
        let mut acc = [[S::zero(); 4]; NC];
        let mut i = 0;
        while i + 32 <= k {
            for lane in 0..4 {
                let at = i + lane * 8;
                let w = F::load8::<S>(row.add(at * F::BYTES));
                prefetch::<S>(row.add(at * F::BYTES), AHEAD, 1);
                for c in 0..NC {
                    let x = S::load_floats(cols[c].q.add(at * 4));
                    acc[c][lane] = S::fma(w, x, acc[c][lane]);
                }
            }
            i += 32;
        }
        while i + 8 <= k {
            let w = F::load8::<S>(row.add(i * F::BYTES));
            for c in 0..NC {
                acc[c][0] = S::fma(w, S::load_floats(cols[c].q.add(i * 4)), acc[c][0]);
            }
            i += 8;
        }
        let mut tail = [0.0f32; NC];
        for i in i..k {
            let w = F::load1::<S>(row.add(i * F::BYTES));
            for c in 0..NC {
                tail[c] = w.mul_add(*cols[c].q.cast::<f32>().add(i), tail[c]);
            }
        }
        let mut out = [0.0; NC];
        for c in 0..NC {
            let [a, b, d, e] = acc[c];
            out[c] = S::sum(S::add(S::add(a, b), S::add(d, e))) + tail[c];
        }
        out
    }
}
