//! One format per quantised type: how 32 quants come into a register and what the scales are.
//!
//! Everything else (packing, tiles, row dots) is generic over [`Format`], and every format over [`Simd`]. Which partner
//! a type's activations have is [`super::columns`]' business.

mod grids;
mod k;
mod legacy;
mod low_bit;

use super::columns::Column;
use super::dot::dot_32;
use super::simd::Simd;

pub(super) use grids::{Iq1M, Iq1S, Iq2S, Iq2Xs, Iq2Xxs, Iq3S, Iq3Xxs};
pub(super) use k::{Iq4Xs, KFormat, Q2K, Q3K, Q4K, Q5K, Q6K};
pub(super) use legacy::{Iq4Nl, Mxfp4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
pub(super) use low_bit::{Nvfp4, Q1_0, Q2_0, Tq1_0, Tq2_0};

/// Scales or minimums of one block, in the order of its sub-blocks; unused entries stay as they are.
pub(super) type BlockScales = [f32; 16];

/// A quantised weight format. All pointers are to the first byte of a block and need no alignment.
pub(super) trait Format {
    /// Elements and bytes of a block.
    const LEN: usize;
    const BYTES: usize;
    /// Elements per scale.
    const SUB: usize;
    /// Whether sub-blocks have minimums, which are subtracted.
    const HAS_MIN: bool = false;
    /// The quants span all 8 bits: `load32` gives them with the top bit flipped (offset 128).
    const FULL_RANGE: bool = false;

    /// Quants `32 j ..` of the block as unsigned bytes (quant plus the format's offset), in element order.
    ///
    /// # Safety
    /// `block` is readable for `BYTES`, `j < LEN / 32`, and see [`Simd`].
    unsafe fn load32<S: Simd>(block: *const u8, j: usize) -> S::Bytes;

    /// The f32 scale (and minimum) of every sub-block.
    ///
    /// # Safety
    /// `block` is readable for `BYTES`, and see [`Simd`].
    unsafe fn scales<S: Simd>(block: *const u8, scales: &mut BlockScales, mins: &mut BlockScales);

    /// Dot products of one row of `k` elements with `NC` columns.
    ///
    /// # Safety
    /// `row` holds `k` elements, the columns hold `k` elements in this format's layout, and see [`Simd`].
    #[inline(always)]
    unsafe fn dot<S: Simd, const NC: usize>(row: *const u8, k: usize, cols: &[Column; NC]) -> [f32; NC]
    where
        Self: Sized,
    {
        // SAFETY: the caller's promise, unchanged.
        unsafe { dot_32::<S, Self, NC>(row, k, cols) }
    }
}
