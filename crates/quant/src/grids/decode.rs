//! Grid types to floats, and their products with activations.

use half::f16;

use super::blocks::{BlockIq1M, BlockIq1S, BlockIq2S, BlockIq2Xs, BlockIq2Xxs, BlockIq3S, BlockIq3Xxs};
use super::tables;
use crate::blocks::{BlockQ8K, QK_K};

/// How far the levels of the one-bit types are shifted (`IQ1S_DELTA`, `IQ1M_DELTA`).
pub(super) const DELTA: f32 = 0.125;

/// The eighth sign of a group follows from seven: their number is even (`ksigns_iq2xs`).
fn even_signs(bits: u32) -> u8 {
    let seven = (bits & 127) as u8;
    seven | ((seven.count_ones() as u8 & 1) << 7)
}

/// Eight magnitudes of a two-bit grid (`iq2xxs_grid`, `iq2xs_grid`, `iq2s_grid`).
fn two_bits(packed: u16) -> [i8; 8] {
    const MAGNITUDES: [i8; 4] = [8, 25, 43, 0];
    std::array::from_fn(|i| MAGNITUDES[usize::from(packed >> (2 * i) & 3)])
}

/// Eight levels of the one-bit grid (`iq1s_grid`): -1, 0 or 1.
fn one_bit(number: usize) -> [i8; 8] {
    let packed = tables::IQ1[number];
    std::array::from_fn(|i| (packed >> (2 * i) & 3) as i8 - 1)
}

/// Magnitudes of two neighbouring points of a three-bit grid.
fn three_bits(points: [u16; 2], magnitude: impl Fn(u16) -> i8) -> [i8; 8] {
    std::array::from_fn(|i| magnitude(points[i / 4] >> (3 * (i % 4)) & 7))
}

/// A level of `iq3xxs_grid`.
fn iq3_xxs_magnitude(level: u16) -> i8 {
    if level == 7 { 62 } else { 8 * level as i8 + 4 }
}

/// A level of `iq3s_grid`.
fn iq3_s_magnitude(level: u16) -> i8 {
    2 * level as i8 + 1
}

/// Eight weights without their scale: magnitudes and signs.
struct Group {
    magnitudes: [i8; 8],
    signs: u8,
}

impl Group {
    fn expand(&self, scale: f32, y: &mut [f32]) {
        for (i, (y, &m)) in y.iter_mut().zip(&self.magnitudes).enumerate() {
            *y = scale * f32::from(m) * if self.signs >> i & 1 == 1 { -1.0 } else { 1.0 };
        }
    }

    fn dot(&self, a: &[i8]) -> i32 {
        let product = |(i, (&m, &a)): (usize, (&i8, &i8))| {
            let product = i32::from(m) * i32::from(a);
            if self.signs >> i & 1 == 1 { -product } else { product }
        };
        self.magnitudes.iter().zip(a).enumerate().map(product).sum()
    }
}

impl BlockIq2Xxs {
    fn word(&self, ib: usize) -> u32 {
        u32::from(self.qs[ib][2]) | u32::from(self.qs[ib][3]) << 16
    }

    /// Group `l` of the four of sub-block `ib`.
    fn group(&self, ib: usize, l: usize) -> Group {
        let number = self.qs[ib][l / 2] >> (8 * (l % 2)) & 255;
        Group {
            magnitudes: two_bits(tables::IQ2_XXS[usize::from(number)]),
            signs: even_signs(self.word(ib) >> (7 * l)),
        }
    }
}

impl BlockIq2Xs {
    fn group(&self, ib: usize, l: usize) -> Group {
        let q = self.qs[4 * ib + l];
        Group {
            magnitudes: two_bits(tables::IQ2_XS[usize::from(q & 511)]),
            signs: even_signs(u32::from(q >> 9)),
        }
    }
}

impl BlockIq2S {
    fn group(&self, ib: usize, l: usize) -> Group {
        let high = usize::from(self.qh[ib]) << (8 - 2 * l) & 0x300;
        Group {
            magnitudes: two_bits(tables::IQ2_S[usize::from(self.qs[4 * ib + l]) | high]),
            signs: self.signs[4 * ib + l],
        }
    }
}

impl BlockIq3Xxs {
    fn word(&self, ib: usize) -> u32 {
        u32::from_le_bytes(self.signs_and_scales[ib])
    }

    fn group(&self, ib: usize, l: usize) -> Group {
        let point = |i: usize| tables::IQ3_XXS[usize::from(self.qs[8 * ib + 2 * l + i])];
        Group {
            magnitudes: three_bits([point(0), point(1)], iq3_xxs_magnitude),
            signs: even_signs(self.word(ib) >> (7 * l)),
        }
    }
}

impl BlockIq3S {
    fn group(&self, ib: usize, l: usize) -> Group {
        let point = |i: usize| {
            let high = usize::from(self.qh[ib]) << (8 - 2 * l - i) & 256;
            tables::IQ3_S[usize::from(self.qs[8 * ib + 2 * l + i]) | high]
        };
        Group { magnitudes: three_bits([point(0), point(1)], iq3_s_magnitude), signs: self.signs[4 * ib + l] }
    }
}

/// The 4-bit scale number `i` of packed pairs.
fn nibble(scales: &[u8], i: usize) -> u8 {
    scales[i / 2] >> (4 * (i % 2)) & 15
}

/// Expands every group: `scale(ib, l)` is that of group `l` of sub-block `ib`.
fn expand(y: &mut [f32], scale: impl Fn(usize, usize) -> f32, group: impl Fn(usize, usize) -> Group) {
    for (i, y) in y.chunks_exact_mut(8).enumerate() {
        let (ib, l) = (i / 4, i % 4);
        group(ib, l).expand(scale(ib, l), y);
    }
}

pub(crate) fn dequantize_iq2_xxs(b: &BlockIq2Xxs, y: &mut [f32]) {
    let d = b.d.to_f32();
    expand(y, |ib, _| d * (0.5 + (b.word(ib) >> 28) as f32) * 0.25, |ib, l| b.group(ib, l));
}

pub(crate) fn dequantize_iq2_xs(b: &BlockIq2Xs, y: &mut [f32]) {
    let d = b.d.to_f32();
    let scale = |ib, l| d * (0.5 + f32::from(nibble(&b.scales, 2 * ib + l / 2))) * 0.25;
    expand(y, scale, |ib, l| b.group(ib, l));
}

pub(crate) fn dequantize_iq2_s(b: &BlockIq2S, y: &mut [f32]) {
    let d = b.d.to_f32();
    let scale = |ib, l| d * (0.5 + f32::from(nibble(&b.scales, 2 * ib + l / 2))) * 0.25;
    expand(y, scale, |ib, l| b.group(ib, l));
}

pub(crate) fn dequantize_iq3_xxs(b: &BlockIq3Xxs, y: &mut [f32]) {
    let d = b.d.to_f32();
    expand(y, |ib, _| d * (0.5 + (b.word(ib) >> 28) as f32) * 0.5, |ib, l| b.group(ib, l));
}

pub(crate) fn dequantize_iq3_s(b: &BlockIq3S, y: &mut [f32]) {
    let d = b.d.to_f32();
    let scale = |ib, _| d * f32::from(1 + 2 * nibble(&b.scales, ib));
    expand(y, scale, |ib, l| b.group(ib, l));
}

/// The grid number of group `l`, by the high bits in `high`.
fn one_bit_number(low: u8, high: u16) -> usize {
    usize::from(low) | usize::from(high & 7) << 8
}

fn expand_one_bit(levels: [i8; 8], scale: f32, negative: bool, y: &mut [f32]) {
    let delta = if negative { -DELTA } else { DELTA };
    for (y, level) in y.iter_mut().zip(levels) {
        *y = scale * (f32::from(level) + delta);
    }
}

fn dot_one_bit(levels: [i8; 8], a: &[i8]) -> i32 {
    levels.iter().zip(a).map(|(&level, &a)| i32::from(level) * i32::from(a)).sum()
}

impl BlockIq1S {
    fn levels(&self, ib: usize, l: usize) -> [i8; 8] {
        one_bit(one_bit_number(self.qs[4 * ib + l], self.qh[ib] >> (3 * l)))
    }

    fn scale(&self, ib: usize) -> u16 {
        2 * (self.qh[ib] >> 12 & 7) + 1
    }
}

impl BlockIq1M {
    /// The four bits of group `l` of sub-block `ib`: high bits of the index and sign.
    fn high(&self, ib: usize, l: usize) -> u8 {
        self.qh[2 * ib + l / 2] >> (4 * (l % 2))
    }

    fn levels(&self, ib: usize, l: usize) -> [i8; 8] {
        one_bit(one_bit_number(self.qs[4 * ib + l], u16::from(self.high(ib, l))))
    }

    fn is_negative(&self, ib: usize, l: usize) -> bool {
        self.high(ib, l) & 8 != 0
    }

    fn scale(&self, ib: usize, l: usize) -> u16 {
        2 * (self.words()[ib / 2] >> (6 * (ib % 2) + 3 * (l / 2)) & 7) + 1
    }
}

pub(crate) fn dequantize_iq1_s(b: &BlockIq1S, y: &mut [f32]) {
    let d = b.d.to_f32();
    for (i, y) in y.chunks_exact_mut(8).enumerate() {
        let (ib, l) = (i / 4, i % 4);
        expand_one_bit(b.levels(ib, l), d * f32::from(b.scale(ib)), b.qh[ib] & 0x8000 != 0, y);
    }
}

pub(crate) fn dequantize_iq1_m(b: &BlockIq1M, y: &mut [f32]) {
    let d = b.d().to_f32();
    for (i, y) in y.chunks_exact_mut(8).enumerate() {
        let (ib, l) = (i / 4, i % 4);
        expand_one_bit(b.levels(ib, l), d * f32::from(b.scale(ib, l)), b.is_negative(ib, l), y);
    }
}

/// Adds the product of a block of signed magnitudes: `scale(ib, l)` is the integer scale of group `l`.
fn dot(
    sum: f32,
    d: f16,
    a: &BlockQ8K,
    scale: impl Fn(usize, usize) -> i32,
    group: impl Fn(usize, usize) -> Group,
) -> f32 {
    let d = d.to_f32() * a.d;
    let products = (0..QK_K / 8).map(|i| scale(i / 4, i % 4) * group(i / 4, i % 4).dot(&a.qs[8 * i..]));
    sum + d * products.fold(0i32, i32::wrapping_add) as f32
}

pub(crate) fn dot_iq2_xxs(sum: f32, w: &BlockIq2Xxs, a: &BlockQ8K) -> f32 {
    dot(sum, w.d, a, |ib, _| (2 * (w.word(ib) >> 28) + 1) as i32, |ib, l| w.group(ib, l))
}

pub(crate) fn dot_iq2_xs(sum: f32, w: &BlockIq2Xs, a: &BlockQ8K) -> f32 {
    let scale = |ib, l| i32::from(2 * nibble(&w.scales, 2 * ib + l / 2) + 1);
    dot(sum, w.d, a, scale, |ib, l| w.group(ib, l))
}

pub(crate) fn dot_iq2_s(sum: f32, w: &BlockIq2S, a: &BlockQ8K) -> f32 {
    let scale = |ib, l| i32::from(2 * nibble(&w.scales, 2 * ib + l / 2) + 1);
    dot(sum, w.d, a, scale, |ib, l| w.group(ib, l))
}

pub(crate) fn dot_iq3_xxs(sum: f32, w: &BlockIq3Xxs, a: &BlockQ8K) -> f32 {
    dot(sum, w.d, a, |ib, _| (2 * (w.word(ib) >> 28) + 1) as i32, |ib, l| w.group(ib, l))
}

pub(crate) fn dot_iq3_s(sum: f32, w: &BlockIq3S, a: &BlockQ8K) -> f32 {
    let scale = |ib, _| i32::from(2 * nibble(&w.scales, ib) + 1);
    dot(sum, w.d, a, scale, |ib, l| w.group(ib, l))
}

pub(crate) fn dot_iq1_s(sum: f32, w: &BlockIq1S, a: &BlockQ8K) -> f32 {
    let (mut levels, mut shifts) = (0i32, 0i32);
    for ib in 0..QK_K / 32 {
        let scale = i32::from(w.scale(ib));
        let delta = if w.qh[ib] & 0x8000 != 0 { -1 } else { 1 };
        let products: i32 = (0..4).map(|l| dot_one_bit(w.levels(ib, l), &a.qs[32 * ib + 8 * l..])).sum();
        levels += scale * products;
        shifts += scale * delta * (i32::from(a.bsums[2 * ib]) + i32::from(a.bsums[2 * ib + 1]));
    }
    sum + w.d.to_f32() * a.d * (levels as f32 + DELTA * shifts as f32)
}

pub(crate) fn dot_iq1_m(sum: f32, w: &BlockIq1M, a: &BlockQ8K) -> f32 {
    let (mut levels, mut shifts) = (0i32, 0i32);
    for i in 0..QK_K / 8 {
        let (ib, l) = (i / 4, i % 4);
        let (scale, group) = (i32::from(w.scale(ib, l)), &a.qs[8 * i..8 * i + 8]);
        let total: i32 = group.iter().map(|&a| i32::from(a)).sum();
        levels += scale * dot_one_bit(w.levels(ib, l), group);
        shifts += scale * if w.is_negative(ib, l) { -total } else { total };
    }
    sum + w.d().to_f32() * a.d * (levels as f32 + DELTA * shifts as f32)
}
