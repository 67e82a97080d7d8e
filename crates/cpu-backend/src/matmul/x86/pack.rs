//! Packs 32 weight rows by a slice of `k` into a panel that stays in the first-level cache while all
//! columns pass over it. This is what makes prefill independent of how the weights lie in memory.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::dot::{AHEAD, prefetch};
use super::format::{BlockScales, Format};

/// Rows of a panel, in groups of 16: one lane of a 512-bit register per row.
pub const PANEL_ROWS: usize = 32;
/// Elements of `k` in an integer panel: 32 KiB of quants. A multiple of every block length.
pub const INT_KC: usize = 1024;
/// Elements of `k` in a float panel: 32 KiB.
pub const FLOAT_KC: usize = 256;

/// Quants of 16 rows interleaved by 4 elements, with f32 scales and minimums per sub-block and row.
#[repr(C, align(64))]
pub struct IntPanel {
    /// `[group][k / 4][row][4]`, unsigned with the format's offset.
    pub q: [[u8; 16 * INT_KC]; 2],
    /// `[group][sub-block][row]`.
    pub scales: [[f32; INT_KC]; 2],
    /// `[group][sub-block][row]`; not written for formats without minimums.
    pub mins: [[f32; INT_KC / 2]; 2],
}

/// `[k][row]`.
#[repr(C, align(64))]
pub struct FloatPanel {
    pub w: [[f32; PANEL_ROWS]; FLOAT_KC],
}

/// Eight registers of eight dwords, transposed.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose8(v: [__m256i; 8]) -> [__m256i; 8] {
    let mut a = v;
    for i in 0..4 {
        a[2 * i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
    }
    let mut b = a;
    for i in 0..2 {
        b[4 * i] = _mm256_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm256_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm256_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm256_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
    }
    let mut out = b;
    for i in 0..4 {
        out[i] = _mm256_permute2x128_si256::<0x20>(b[i], b[i + 4]);
        out[i + 4] = _mm256_permute2x128_si256::<0x31>(b[i], b[i + 4]);
    }
    out
}

/// Packs `kc` elements of 32 rows, which lie `stride` bytes apart (a hint for prefetching only). Rows that
/// do not exist are given as a copy of one that does.
///
/// # Safety
/// Every row pointer is readable for `kc` elements; `kc` is a multiple of the block length and at most
/// [`INT_KC`]; AVX2 and F16C are available. On return the first `kc` elements of every used field are written.
#[target_feature(enable = "avx2,f16c")]
pub unsafe fn pack_int<F: Format>(
    rows: &[*const u8; PANEL_ROWS],
    stride: usize,
    kc: usize,
    panel: &mut MaybeUninit<IntPanel>,
) {
    let panel = panel.as_mut_ptr();
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
                    let mut v = [_mm256_setzero_si256(); 8];
                    for (v, row) in v.iter_mut().zip(rows) {
                        *v = F::load32(row.add(at), j);
                    }
                    let out = q.add((b * F::LEN + j * 32) * 16);
                    for (i, v) in transpose8(v).into_iter().enumerate() {
                        _mm256_store_si256(out.add(i * 64).cast(), v);
                    }
                }
                for (r, row) in rows.iter().enumerate() {
                    // The next eight rows.
                    prefetch(row.add(at), 8 * stride, F::BYTES);
                    F::scales(row.add(at), &mut scales, &mut mins);
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

/// How a float type is read, eight at a time and singly.
pub trait FloatFormat {
    const BYTES: usize;

    /// # Safety
    /// Eight readable elements, any alignment; AVX2 and F16C.
    unsafe fn load8(p: *const u8) -> __m256;

    /// # Safety
    /// One readable element, any alignment; F16C.
    unsafe fn load1(p: *const u8) -> f32;
}

pub struct F32;
pub struct F16;
pub struct Bf16;

impl FloatFormat for F32 {
    const BYTES: usize = 4;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load8(p: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(p.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load1(p: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<f32>().read_unaligned() }
    }
}

impl FloatFormat for F16 {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load8(p: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load1(p: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { super::format::half_at(p) }
    }
}

impl FloatFormat for Bf16 {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load8(p: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        let bits = unsafe { _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast())) };
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load1(p: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        f32::from_bits(u32::from(unsafe { p.cast::<u16>().read_unaligned() }) << 16)
    }
}

/// Packs `kc` elements of 32 rows as f32.
///
/// # Safety
/// As [`pack_int`], with `kc <= FLOAT_KC` of any value.
#[target_feature(enable = "avx2,f16c")]
pub unsafe fn pack_float<F: FloatFormat>(
    rows: &[*const u8; PANEL_ROWS],
    stride: usize,
    kc: usize,
    panel: &mut MaybeUninit<FloatPanel>,
) {
    let out = panel.as_mut_ptr().cast::<f32>();
    let whole = kc / 8 * 8;
    for (octet, rows) in rows.as_chunks::<8>().0.iter().enumerate() {
        // SAFETY: stores go to `k < kc <= FLOAT_KC`; loads are of elements inside the rows.
        unsafe {
            let out = out.add(octet * 8);
            for k in (0..whole).step_by(8) {
                let mut v = [_mm256_setzero_si256(); 8];
                for (v, row) in v.iter_mut().zip(rows) {
                    prefetch(row.add(k * F::BYTES), 8 * stride, 1);
                    *v = _mm256_castps_si256(F::load8(row.add(k * F::BYTES)));
                }
                for (i, v) in transpose8(v).into_iter().enumerate() {
                    _mm256_store_si256(out.add((k + i) * PANEL_ROWS).cast(), v);
                }
            }
            for k in whole..kc {
                for (r, row) in rows.iter().enumerate() {
                    *out.add(k * PANEL_ROWS + r) = F::load1(row.add(k * F::BYTES));
                }
            }
        }
    }
}

/// One row against `NC` columns of f32.
///
/// # Safety
/// The row and the columns hold `k` elements; AVX2, FMA, F16C.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn dot_float<F: FloatFormat, const NC: usize>(
    row: *const u8,
    k: usize,
    cols: &[super::super::columns::Column; NC],
) -> [f32; NC] {
    let mut acc = [[_mm256_setzero_ps(); 4]; NC];
    let mut i = 0;
    // SAFETY: all reads are of elements below `k`.
    unsafe {
        while i + 32 <= k {
            #[allow(clippy::needless_range_loop)] // `acc` is by column first
            for lane in 0..4 {
                let at = i + lane * 8;
                let w = F::load8(row.add(at * F::BYTES));
                prefetch(row.add(at * F::BYTES), AHEAD, 1);
                for c in 0..NC {
                    let x = _mm256_loadu_ps(cols[c].q.cast::<f32>().add(at));
                    acc[c][lane] = _mm256_fmadd_ps(w, x, acc[c][lane]);
                }
            }
            i += 32;
        }
        while i + 8 <= k {
            let w = F::load8(row.add(i * F::BYTES));
            for c in 0..NC {
                acc[c][0] = _mm256_fmadd_ps(w, _mm256_loadu_ps(cols[c].q.cast::<f32>().add(i)), acc[c][0]);
            }
            i += 8;
        }
        let mut tail = [0.0f32; NC];
        for i in i..k {
            let w = F::load1(row.add(i * F::BYTES));
            for c in 0..NC {
                tail[c] = w.mul_add(*cols[c].q.cast::<f32>().add(i), tail[c]);
            }
        }
        std::array::from_fn(|c| {
            let [a, b, d, e] = acc[c];
            super::dot::hsum(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(d, e))) + tail[c]
        })
    }
}
