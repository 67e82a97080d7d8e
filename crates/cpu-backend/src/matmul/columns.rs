//! Activation columns as the kernels read them: converted once per product, to the partner type of the weights.
//!
//! A column holds ggml's numbers for that partner (Q8_0, Q8_K, or f32 rounded through f16 / bf16), laid
//! out by field instead of by block so that every kernel reads consecutive memory:
//!
//! - quantised: `k` quants (i8), then per sub-block of 32 (16 for Q6_K) one f32 scale, then one
//!   correction word, then (K formats) the i16 sums;
//! - float: `k` f32 values;
//! - blocks: the partner's blocks as they are, for weight types without kernels of their own.
//!
//! A type that only vector kernels know is blocks on the portable path. The sizes do not depend on the path.
//!
//! The correction word removes a weight format's offset: unsigned quants `q + offset` give dot products
//! too large by `offset * sum(x)`, so the word is the i32 `-offset * sum(x)`. Formats with minimums
//! (Q4_1, Q5_1, Q2_K, Q4_K, Q5_K) have no offset; their word is the f32 `d * sum(x)`, of Q8_1 rounded to f16.

use half::f16;
use quipu_quant::DType;
use quipu_quant::blocks::{QK, QK_K};

use crate::isa::Isa;
use crate::quantize::{Conversions, bf16_bits};

/// How activations are represented against a weight type (`vec_dot_type` of ggml's CPU type traits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Partner {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q8_1,
    Q8K,
    /// Blocks of the partner type, multiplied by the reference arithmetic of `quipu-quant`.
    Blocks,
}

/// How vector kernels read the columns of a weight type.
#[derive(Clone, Copy)]
struct Reading {
    partner: Partner,
    sub: usize,
    offset: i32,
    has_min: bool,
    /// The portable twin reads them too.
    has_twin: bool,
}

impl Reading {
    /// The partner's blocks as they are.
    const BLOCKS: Reading =
        Reading { partner: Partner::Blocks, sub: 1, offset: 0, has_min: false, has_twin: true };

    /// `None` for a type without vector kernels.
    fn of(dtype: DType) -> Option<Reading> {
        let (partner, sub, offset, has_min, has_twin) = match dtype {
            DType::F32 => (Partner::F32, 1, 0, false, true),
            DType::F16 => (Partner::F16, 1, 0, false, true),
            DType::BF16 => (Partner::Bf16, 1, 0, false, true),
            DType::Q8_0 => (Partner::Q8_0, 32, 128, false, true),
            DType::Q4_0 => (Partner::Q8_0, 32, 8, false, true),
            DType::Q5_0 => (Partner::Q8_0, 32, 16, false, true),
            DType::MXFP4 => (Partner::Q8_0, 32, 12, false, true),
            DType::IQ4_NL => (Partner::Q8_0, 32, 128, false, false),
            DType::Q4_1 | DType::Q5_1 => (Partner::Q8_1, 32, 0, true, false),
            DType::Q4_K | DType::Q5_K => (Partner::Q8K, 32, 0, true, true),
            DType::Q6_K => (Partner::Q8K, 16, 32, false, true),
            DType::Q2_K => (Partner::Q8K, 16, 0, true, false),
            DType::Q3_K => (Partner::Q8K, 16, 4, false, false),
            DType::IQ4_XS => (Partner::Q8K, 32, 128, false, false),
            DType::IQ2_XXS | DType::IQ3_XXS | DType::IQ3_S => (Partner::Q8K, 32, 64, false, false),
            DType::IQ2_XS | DType::IQ2_S => (Partner::Q8K, 16, 64, false, false),
            DType::IQ1_S => (Partner::Q8K, 32, 9, false, false),
            DType::IQ1_M => (Partner::Q8K, 16, 9, false, false),
            DType::TQ1_0 | DType::TQ2_0 => (Partner::Q8K, 32, 1, false, false),
            DType::Q1_0 | DType::Q2_0 => (Partner::Q8_0, 32, 1, false, false),
            DType::NVFP4 => (Partner::Q8_0, 16, 12, false, false),
            _ => return None,
        };
        Some(Reading { partner, sub, offset, has_min, has_twin })
    }

    /// Where the scales, the words and the sums begin, and where they end.
    fn fields(&self, k: usize) -> [usize; 4] {
        let line = |n: usize| n.next_multiple_of(64);
        if matches!(self.partner, Partner::F32 | Partner::F16 | Partner::Bf16) {
            return [0, 0, 0, k * 4];
        }
        let n = k / self.sub;
        let scales_at = line(k);
        let words_at = scales_at + line(n * 4);
        let sums_at = words_at + line(n * 4);
        [scales_at, words_at, sums_at, sums_at + n * 2]
    }
}

/// Where things are in a column.
#[derive(Clone, Copy, Debug)]
pub(super) struct ColumnLayout {
    /// Type of the weights.
    pub dtype: DType,
    pub partner: Partner,
    /// Row length.
    pub k: usize,
    /// Elements per scale of the weight format.
    pub sub: usize,
    /// What the weight quants are too large by when read as unsigned.
    pub offset: i32,
    /// The weights have minimums: correction words are f32.
    pub has_min: bool,
    /// Byte offset of the scales, the correction words and the sums.
    pub scales_at: usize,
    pub words_at: usize,
    pub sums_at: usize,
    /// Bytes from column to column ([`column_stride`]).
    pub stride: usize,
}

/// Pointers into one column, advanced to some position of `k`.
#[derive(Clone, Copy)]
pub(super) struct Column {
    /// Quants (i8), or values (f32) of a float partner.
    pub q: *const u8,
    pub scales: *const f32,
    pub words: *const i32,
    pub sums: *const i16,
}

impl ColumnLayout {
    /// The layout for products with weights of `dtype` on an instruction set; `None` for a type without products or a
    /// `k` that is no whole number of blocks, or too large to address.
    pub fn new(isa: Isa, dtype: DType, k: usize) -> Option<ColumnLayout> {
        let reading = Reading::of(dtype).filter(|r| r.has_twin || isa != Isa::SCALAR);
        ColumnLayout::of(reading.unwrap_or(Reading::BLOCKS), dtype, k)
    }

    /// The layout of vector kernels, whatever the CPU has.
    #[cfg(test)]
    pub fn of_vectors(dtype: DType, k: usize) -> Option<ColumnLayout> {
        ColumnLayout::of(Reading::of(dtype)?, dtype, k)
    }

    fn of(reading: Reading, dtype: DType, k: usize) -> Option<ColumnLayout> {
        let stride = column_stride(dtype, k)?;
        let [scales_at, words_at, sums_at, _] = reading.fields(k);
        let Reading { partner, sub, offset, has_min, .. } = reading;
        Some(ColumnLayout { dtype, partner, k, sub, offset, has_min, scales_at, words_at, sums_at, stride })
    }

    /// Elements per unit of conversion work.
    pub fn unit(&self) -> usize {
        match self.partner {
            Partner::Q8_0 | Partner::Q8_1 => QK,
            _ => QK_K,
        }
    }

    /// Units of conversion work in a column.
    pub fn n_units(&self) -> usize {
        self.k.div_ceil(self.unit())
    }

    /// The column at `base`, from element `k0` (a multiple of the block length).
    ///
    /// # Safety
    /// `base` points to a column of this layout and `k0 <= k`.
    pub unsafe fn column(&self, base: *const u8, k0: usize) -> Column {
        let n = k0 / self.sub;
        let q_bytes = if self.is_float() { 4 } else { 1 };
        // SAFETY: all offsets stay inside the column by construction of the layout.
        unsafe {
            Column {
                q: base.add(k0 * q_bytes),
                scales: base.add(self.scales_at).cast::<f32>().add(if self.is_float() { 0 } else { n }),
                words: base.add(self.words_at).cast::<i32>().add(if self.is_float() { 0 } else { n }),
                sums: base.add(self.sums_at).cast::<i16>().add(if self.is_float() { 0 } else { n }),
            }
        }
    }

    pub fn is_float(&self) -> bool {
        matches!(self.partner, Partner::F32 | Partner::F16 | Partner::Bf16)
    }

    /// Converts unit `unit` of the f32 activations at `x` into the column at `col`.
    ///
    /// # Safety
    /// `x` points to `k` readable floats, `col` to a writable column of this layout aligned to 4 bytes,
    /// `unit < n_units()`; nobody else touches that unit meanwhile; the CPU has the conversions' set.
    pub unsafe fn convert<C: Conversions>(&self, x: *const f32, col: *mut u8, unit: usize) {
        let from = unit * self.unit();
        let len = self.unit().min(self.k - from);
        // SAFETY: `from + len <= k` floats are readable.
        let x = unsafe { std::slice::from_raw_parts(x.add(from), len) };
        match self.partner {
            Partner::Blocks => {
                let partner = self.dtype.vec_dot_type().expect("checked with the stride");
                let bytes = |n: usize| partner.row_bytes(n).expect("k and the unit are whole blocks");
                // SAFETY: the column holds the blocks of `k` elements, of which this unit is ours alone.
                let out = unsafe { std::slice::from_raw_parts_mut(col.add(bytes(from)), bytes(len)) };
                quipu_quant::quantize_row_cpu(partner, x, out).expect("lengths match");
            }
            Partner::F32 | Partner::F16 | Partner::Bf16 => {
                // SAFETY: the column holds `k` aligned floats, of which this unit is ours alone.
                let y = unsafe { std::slice::from_raw_parts_mut(col.cast::<f32>().add(from), len) };
                // SAFETY: the caller has the set.
                unsafe { self.convert_float::<C>(x, y) };
            }
            Partner::Q8_0 | Partner::Q8_1 => {
                let x: &[f32; QK] = x.try_into().expect("k is a multiple of the unit");
                // SAFETY: quants, scale, word of this block lie inside the column and are ours alone.
                unsafe {
                    let q = &mut *col.add(from).cast::<[i8; QK]>();
                    let d = C::q8_0_block(x, q);
                    let n = QK / self.sub;
                    let scales = col.add(self.scales_at).cast::<f32>().add(unit * n);
                    let words = col.add(self.words_at).cast::<i32>().add(unit * n);
                    let sums = col.add(self.sums_at).cast::<i16>().add(unit * n);
                    for (i, group) in q.chunks_exact(self.sub).enumerate() {
                        let sum: i32 = group.iter().map(|&q| i32::from(q)).sum();
                        *scales.add(i) = f16::from_f32(d).to_f32();
                        *sums.add(i) = sum as i16;
                        if self.partner == Partner::Q8_1 {
                            *words.cast::<f32>().add(i) = f16::from_f32(d * sum as f32).to_f32();
                        } else {
                            *words.add(i) = -self.offset * sum;
                        }
                    }
                }
            }
            Partner::Q8K => {
                let x: &[f32; QK_K] = x.try_into().expect("k is a multiple of the unit");
                let n = QK_K / self.sub;
                // SAFETY: quants, scales, words and sums of this block lie inside the column and are ours alone.
                unsafe {
                    let q = &mut *col.add(from).cast::<[i8; QK_K]>();
                    let d = C::q8_k_block(x, q);
                    let scales = col.add(self.scales_at).cast::<f32>().add(unit * n);
                    let words = col.add(self.words_at).cast::<i32>().add(unit * n);
                    let sums = col.add(self.sums_at).cast::<i16>().add(unit * n);
                    for (i, group) in q.chunks_exact(self.sub).enumerate() {
                        let sum: i32 = group.iter().map(|&q| i32::from(q)).sum();
                        *scales.add(i) = d;
                        *sums.add(i) = sum as i16;
                        if self.has_min {
                            *words.cast::<f32>().add(i) = d * sum as f32;
                        } else {
                            *words.add(i) = -self.offset * sum;
                        }
                    }
                }
            }
        }
    }

    /// # Safety
    /// The CPU has the conversions' set.
    unsafe fn convert_float<C: Conversions>(&self, x: &[f32], y: &mut [f32]) {
        match self.partner {
            Partner::F16 => {
                let mut h = [f16::ZERO; QK_K];
                let h = &mut h[..x.len()];
                // SAFETY: the caller's promise.
                unsafe {
                    C::f32_to_f16(x, h);
                    C::f16_to_f32(h, y);
                }
            }
            Partner::Bf16 => {
                for (x, y) in x.iter().zip(y) {
                    *y = f32::from_bits(u32::from(bf16_bits(*x)) << 16);
                }
            }
            _ => y.copy_from_slice(x),
        }
    }
}

/// Bytes from column to column: an odd number of cache lines, so that the columns of a tile do not fall into the
/// same cache set. The same on every path, so that a plan can size its scratch before one is chosen.
pub(super) fn column_stride(dtype: DType, k: usize) -> Option<usize> {
    let partner = dtype.vec_dot_type().filter(|_| dtype.is_computed())?;
    if !k.is_multiple_of(dtype.block_len()) || k > usize::MAX / 16 {
        return None;
    }
    let reading = Reading::of(dtype);
    let fields = reading.as_ref().map_or(0, |r| r.fields(k)[3]);
    let blocks = if reading.is_some_and(|r| r.has_twin) { 0 } else { partner.row_bytes(k)? };
    Some((fields.max(blocks).div_ceil(64) | 1) * 64)
}
