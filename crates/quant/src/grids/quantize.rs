//! Floats to the two- and three-bit grid types, bit for bit as `quantize_iq2_*` and `quantize_iq3_*`.
//!
//! Signs are taken off, magnitudes are divided by a scale and rounded to levels, and groups of levels to the best
//! point of the grid nearby. Of a handful of scales for every 16 or 32 weights the one with the smallest
//! weighted error is kept.

use half::f16;

use super::blocks::{BlockIq2S, BlockIq2Xs, BlockIq2Xxs, BlockIq3S, BlockIq3Xxs};
use super::grid::{self, Found, Grid};
use crate::blocks::QK_K;
use crate::convert::{f32_to_f16, nearest_int};
use crate::search::{GROUP_MAX_EPS, fit_positive_scale};

/// Sums of squares of all weights, over their number.
pub(super) fn mean_square(x: &[f32]) -> f32 {
    x.iter().fold(0.0f32, |sum, v| sum + v * v) / QK_K as f32
}

/// The mean square as most types take it: the sum is doubled before it is divided.
pub(super) fn double_mean_square(x: &[f32]) -> f32 {
    2.0 * x.iter().fold(0.0f32, |sum, v| sum + v * v) / QK_K as f32
}

/// The weight of an error at each of `N` values.
pub(super) fn weigh<const N: usize>(
    x: &[f32],
    importance: Option<&[f32]>,
    sigma2: f32,
    plain: impl Fn(f32) -> f32,
) -> [f32; N] {
    std::array::from_fn(|i| match importance {
        Some(importance) => importance[i] * (sigma2 + x[i] * x[i]).sqrt(),
        None => plain(x[i]),
    })
}

/// Magnitudes, and the signs of every eight of them.
struct Signed<const N: usize> {
    magnitudes: [f32; N],
    signs: [u8; 4],
}

impl<const N: usize> Signed<N> {
    fn new(x: &[f32]) -> Signed<N> {
        // Written so that NaN counts as negative, as there.
        let magnitudes = std::array::from_fn(|i| if x[i] >= 0.0 { x[i] } else { -x[i] });
        let mut signs = [0; 4];
        for (i, &v) in x[..N].iter().enumerate() {
            let is_positive = v >= 0.0;
            signs[i / 8] |= u8::from(!is_positive) << (i % 8);
        }
        Signed { magnitudes, signs }
    }

    /// With an even number of negative signs in every eight: where it is odd, the value that matters least takes
    /// the other sign.
    fn even(x: &[f32], weights: &[f32; N]) -> Signed<N> {
        let mut signed = Signed::new(x);
        for k in 0..N / 8 {
            if signed.signs[k].count_ones() % 2 == 1 {
                let cost = |i: usize| weights[8 * k + i] * x[8 * k + i] * x[8 * k + i];
                let least = (1..8).fold(0, |least, i| if cost(i) < cost(least) { i } else { least });
                signed.magnitudes[8 * k + least] = -signed.magnitudes[8 * k + least];
                signed.signs[k] ^= 1 << least;
            }
            signed.signs[k] &= 127;
        }
        signed
    }

    /// The largest, compared as the reference's macro does.
    fn max(&self) -> f32 {
        self.magnitudes[1..].iter().fold(self.magnitudes[0], |max, &v| if max > v { max } else { v })
    }
}

/// Levels of `N` values, as points of a grid.
#[derive(Clone, Copy)]
struct Levels<const N: usize> {
    levels: [u8; N],
    /// Which groups were points before they were moved to one.
    on_grid: [bool; 8],
}

/// A grid and the number of levels it has.
struct Rounding<'a, const P: usize> {
    grid: &'a Grid<P>,
    n_levels: i32,
}

impl<const P: usize> Rounding<'_, P> {
    /// Rounds group `k` of the magnitudes, divided by `1 / id`, to a point of the grid; true if they were on one.
    fn group<const N: usize>(
        &self,
        k: usize,
        id: f32,
        scale: f32,
        x: &[f32; N],
        roots: &[f32; N],
        out: &mut [u8; N],
    ) -> bool {
        let x = &x[P * k..][..P];
        let level = |v: f32| nearest_int(0.5 * (id * v - 1.0)).clamp(0, self.n_levels - 1) as u8;
        let levels: [u8; P] = std::array::from_fn(|i| level(x[i]));
        let (point, on_grid) = match self.grid.find(&levels) {
            Found::Point(_) => (levels, true),
            Found::Near(near) => (self.nearest(near, x, &roots[P * k..][..P], scale), false),
        };
        out[P * k..][..P].copy_from_slice(&point);
        on_grid
    }

    /// The point of the smallest weighted error, the first among equals. Answers to
    /// `iq2_find_best_neighbour` and `iq3_find_best_neighbour`, which abort where nothing is comparable.
    fn nearest(&self, near: &[u16], x: &[f32], weights: &[f32], scale: f32) -> [u8; P] {
        let mut best = (f32::MAX, near.first().map_or(0, |&first| usize::from(first)));
        for &number in near {
            let point = &self.grid.levels[usize::from(number)];
            let mut error = 0.0f32;
            for i in 0..P {
                let difference = scale * f32::from(2 * point[i] + 1) - x[i];
                error += weights[i] * difference * difference;
            }
            if error < best.0 {
                best = (error, usize::from(number));
            }
        }
        self.grid.levels[best.1]
    }

    /// Rounds all groups.
    fn all<const N: usize>(&self, id: f32, scale: f32, x: &[f32; N], roots: &[f32; N]) -> Levels<N> {
        let mut rounded = Levels { levels: [0; N], on_grid: [true; 8] };
        for k in 0..N / P {
            rounded.on_grid[k] = self.group(k, id, scale, x, roots, &mut rounded.levels);
        }
        rounded
    }
}

/// The weighted sums of products and squares that decide the scale of some levels.
fn sums<const N: usize>(levels: &[u8; N], x: &[f32; N], weights: &[f32; N]) -> (f32, f32) {
    let (mut sum_qx, mut sum_q2) = (0.0f32, 0.0f32);
    for i in 0..N {
        let q = f32::from(2 * levels[i] + 1);
        sum_qx += weights[i] * x[i] * q;
        sum_q2 += weights[i] * q * q;
    }
    (sum_qx, sum_q2)
}

/// Which groups are rounded once more at the scale found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// Those that were moved to a point.
    Moved,
    /// All, if any was moved.
    AllIfMoved,
    /// All.
    Always,
}

/// How scales are searched.
struct Search {
    /// The first guess of a scale.
    scale: f32,
    /// What the largest level is divided by.
    max: f32,
    /// Guesses on either side, and their distance.
    n_steps: i32,
    step: f32,
    again: Again,
}

impl Search {
    fn run<const P: usize, const N: usize>(
        &self,
        rounding: &Rounding<'_, P>,
        x: &[f32; N],
        weights: &[f32; N],
        roots: &[f32; N],
    ) -> (f32, [u8; N]) {
        let top = (2 * rounding.n_levels - 1) as f32;
        let mut scale = self.scale;
        // Where no guess is better than nothing, the lowest point stays: on the grid for the types that ask.
        let mut found = Levels { levels: [0; N], on_grid: [self.again != Again::AllIfMoved; 8] };
        let mut best = 0.0;
        for step in -self.n_steps..=self.n_steps {
            let id = (top + step as f32 * self.step) / self.max;
            let rounded = rounding.all(id, 1.0 / id, x, roots);
            let (sum_qx, sum_q2) = sums(&rounded.levels, x, weights);
            if sum_q2 > 0.0 && sum_qx * sum_qx > best * sum_q2 {
                scale = sum_qx / sum_q2;
                best = scale * sum_qx;
                found = rounded;
            }
        }
        let moved = found.on_grid[..N / P].contains(&false);
        if scale > 0.0 && (moved || self.again == Again::Always) {
            let id = 1.0 / scale;
            for k in 0..N / P {
                if self.again != Again::Moved || !found.on_grid[k] {
                    rounding.group(k, id, scale, x, roots, &mut found.levels);
                }
            }
            let (sum_qx, sum_q2) = sums(&found.levels, x, weights);
            if sum_q2 > 0.0 {
                scale = sum_qx / sum_q2;
            }
        }
        (scale, found.levels)
    }
}

/// The point numbers of levels.
fn numbers<const P: usize, const N: usize>(grid: &Grid<P>, levels: &[u8; N]) -> [usize; 8] {
    let mut numbers = [0; 8];
    for (number, group) in numbers.iter_mut().zip(levels.as_chunks::<P>().0) {
        *number = grid.number(group);
    }
    numbers
}

/// Scales of the sub-blocks as 4 bits, and what the largest stands for.
struct Scales<const N: usize> {
    max: f32,
    scales: [f32; N],
}

impl<const N: usize> Scales<N> {
    fn new() -> Scales<N> {
        Scales { max: 0.0, scales: [0.0; N] }
    }

    fn set(&mut self, i: usize, scale: f32) {
        self.scales[i] = scale;
        self.max = if self.max > scale { self.max } else { scale };
    }

    /// The scale of all, and every sub-block's level; `None` if nothing is worth a scale.
    fn quantize(&self) -> Option<(f32, [u8; N])> {
        if self.max == 0.0 {
            return None;
        }
        let d = self.max / 31.0;
        let id = 1.0 / d;
        let level = |scale: f32| nearest_int(0.5 * (id * scale - 1.0)).clamp(0, 15) as u8;
        Some((d, self.scales.map(level)))
    }
}

/// Two levels to a byte, the first in the low bits.
fn pack_pairs<const N: usize>(levels: &[u8]) -> [u8; N] {
    std::array::from_fn(|i| levels[2 * i] | levels[2 * i + 1] << 4)
}

fn roots<const N: usize>(weights: &[f32; N]) -> [f32; N] {
    weights.map(f32::sqrt)
}

/// Importances of sub-block `ib` of `n` values.
fn part(importance: Option<&[f32]>, ib: usize, n: usize) -> Option<&[f32]> {
    importance.map(|all| &all[n * ib..][..n])
}

pub(crate) fn quantize_iq2_xxs(x: &[f32], importance: &[f32]) -> BlockIq2Xxs {
    let rounding = Rounding { grid: grid::iq2_xxs(), n_levels: 3 };
    let sigma2 = mean_square(x);
    let mut qs = [[0u32; 2]; 8];
    let mut scales = Scales::<8>::new();
    for (ib, xb) in x.as_chunks::<32>().0.iter().enumerate() {
        let weights: [f32; 32] = weigh(xb, part(Some(importance), ib, 32), sigma2, |_| 0.0);
        let signed = Signed::<32>::even(xb, &weights);
        if signed.max() < GROUP_MAX_EPS {
            continue;
        }
        let scale = fit_positive_scale(&signed.magnitudes, &weights, 4, &mut [0; 32]);
        let max = scale * 3.0;
        if max <= 0.0 {
            continue;
        }
        let search = Search { scale, max, n_steps: 6, step: 0.1, again: Again::Always };
        let (scale, levels) = search.run(&rounding, &signed.magnitudes, &weights, &roots(&weights));
        let flip = if scale < 0.0 { 127 } else { 0 };
        let numbers = numbers(rounding.grid, &levels);
        for (k, (number, signs)) in numbers.into_iter().zip(signed.signs).enumerate() {
            qs[ib][0] |= (number as u32) << (8 * k);
            qs[ib][1] |= u32::from(signs ^ flip) << (7 * k);
        }
        scales.set(ib, scale.abs());
    }
    let Some((d, levels)) = scales.quantize() else {
        return BlockIq2Xxs { d: f16::ZERO, qs: [[0; 4]; 8] };
    };
    let pieces = |[low, high]: [u32; 2]| [low as u16, (low >> 16) as u16, high as u16, (high >> 16) as u16];
    let qs = std::array::from_fn(|ib| pieces([qs[ib][0], qs[ib][1] | u32::from(levels[ib]) << 28]));
    BlockIq2Xxs { d: f32_to_f16(d), qs }
}

pub(crate) fn quantize_iq2_xs(x: &[f32], importance: &[f32]) -> BlockIq2Xs {
    let rounding = Rounding { grid: grid::iq2_xs(), n_levels: 3 };
    let sigma2 = mean_square(x);
    let mut qs = [0u16; QK_K / 8];
    let mut scales = Scales::<16>::new();
    for (ib, xb) in x.as_chunks::<16>().0.iter().enumerate() {
        let weights: [f32; 16] = weigh(xb, part(Some(importance), ib, 16), sigma2, |_| 0.0);
        let signed = Signed::<16>::even(xb, &weights);
        let max = signed.max();
        if max < GROUP_MAX_EPS {
            continue;
        }
        let search = Search { scale: max / 5.0, max, n_steps: 9, step: 0.1, again: Again::Moved };
        let (scale, levels) = search.run(&rounding, &signed.magnitudes, &weights, &roots(&weights));
        let flip = if scale < 0.0 { 127 } else { 0 };
        let numbers = numbers(rounding.grid, &levels);
        for (k, q) in qs[2 * ib..][..2].iter_mut().enumerate() {
            *q = numbers[k] as u16 | u16::from(signed.signs[k] ^ flip) << 9;
        }
        scales.set(ib, scale.abs());
    }
    match scales.quantize() {
        Some((d, levels)) => BlockIq2Xs { d: f32_to_f16(d), qs, scales: pack_pairs(&levels) },
        None => BlockIq2Xs { d: f16::ZERO, qs: [0; QK_K / 8], scales: [0; 8] },
    }
}

pub(crate) fn quantize_iq2_s(x: &[f32], importance: Option<&[f32]>) -> BlockIq2S {
    const EPS: f32 = 1e-8;
    let rounding = Rounding { grid: grid::iq2_s(), n_levels: 3 };
    let sigma2 = double_mean_square(x);
    let mut block =
        BlockIq2S { d: f16::ZERO, qs: [0; QK_K / 8], signs: [0; QK_K / 8], qh: [0; 8], scales: [0; 8] };
    let mut scales = Scales::<16>::new();
    for (ib, xb) in x.as_chunks::<16>().0.iter().enumerate() {
        let weights: [f32; 16] = weigh(xb, part(importance, ib, 16), sigma2, |v| 0.25 * sigma2 + v * v);
        let signed = Signed::<16>::new(xb);
        let max = signed.max();
        if max < EPS {
            continue;
        }
        let search = Search { scale: max / 5.0, max, n_steps: 9, step: 0.1, again: Again::Moved };
        let (scale, levels) = search.run(&rounding, &signed.magnitudes, &weights, &roots(&weights));
        let flip = if scale < 0.0 { 255 } else { 0 };
        let numbers = numbers(rounding.grid, &levels);
        for (k, (number, signs)) in numbers.into_iter().zip(signed.signs).take(2).enumerate() {
            let i = 2 * ib + k;
            block.qs[i] = number as u8;
            block.qh[i / 4] |= ((number >> 8) as u8) << (2 * (i % 4));
            block.signs[i] = signs ^ flip;
        }
        scales.set(ib, scale.abs());
    }
    if let Some((d, levels)) = scales.quantize() {
        block.d = f32_to_f16(d * 0.9875);
        block.scales = pack_pairs(&levels);
    }
    block
}

pub(crate) fn quantize_iq3_xxs(x: &[f32], importance: Option<&[f32]>) -> BlockIq3Xxs {
    const EPS: f32 = 1e-8;
    let rounding = Rounding { grid: grid::iq3_xxs(), n_levels: 8 };
    let sigma2 = double_mean_square(x);
    let mut qs = [0u8; QK_K / 4];
    let mut words = [0u32; 8];
    let mut scales = Scales::<8>::new();
    for (ib, xb) in x.as_chunks::<32>().0.iter().enumerate() {
        let weights: [f32; 32] = weigh(xb, part(importance, ib, 32), sigma2, |v| v * v);
        let signed = Signed::<32>::even(xb, &weights);
        let max = signed.max();
        if max < EPS {
            continue;
        }
        let search = Search { scale: max / 15.0, max, n_steps: 15, step: 0.2, again: Again::Moved };
        let (scale, levels) = search.run(&rounding, &signed.magnitudes, &weights, &roots(&weights));
        let flip = if scale < 0.0 { 127 } else { 0 };
        let numbers = numbers(rounding.grid, &levels);
        for k in 0..8 {
            qs[8 * ib + k] = numbers[k] as u8;
        }
        for k in 0..4 {
            words[ib] |= u32::from(signed.signs[k] ^ flip) << (7 * k);
        }
        scales.set(ib, scale.abs());
    }
    let Some((d, levels)) = scales.quantize() else {
        return BlockIq3Xxs { d: f16::ZERO, qs: [0; QK_K / 4], signs_and_scales: [[0; 4]; 8] };
    };
    let word = |ib: usize| (words[ib] | u32::from(levels[ib]) << 28).to_le_bytes();
    BlockIq3Xxs { d: f32_to_f16(d * 1.0125), qs, signs_and_scales: std::array::from_fn(word) }
}

pub(crate) fn quantize_iq3_s(x: &[f32], importance: Option<&[f32]>) -> BlockIq3S {
    let rounding = Rounding { grid: grid::iq3_s(), n_levels: 8 };
    let sigma2 = double_mean_square(x);
    let mut block = BlockIq3S {
        d: f16::ZERO,
        qs: [0; QK_K / 4],
        qh: [0; 8],
        signs: [0; QK_K / 8],
        scales: [0; QK_K / 64],
    };
    let mut scales = Scales::<8>::new();
    for (ib, xb) in x.as_chunks::<32>().0.iter().enumerate() {
        let weights: [f32; 32] = weigh(xb, part(importance, ib, 32), sigma2, |v| v * v);
        let signed = Signed::<32>::new(xb);
        let max = signed.max();
        if max == 0.0 {
            continue;
        }
        let search = Search { scale: max / 15.0, max, n_steps: 9, step: 0.2, again: Again::AllIfMoved };
        let (scale, levels) = search.run(&rounding, &signed.magnitudes, &weights, &roots(&weights));
        let flip = if scale < 0.0 { 255 } else { 0 };
        let numbers = numbers(rounding.grid, &levels);
        for (k, number) in numbers.into_iter().enumerate() {
            block.qs[8 * ib + k] = number as u8;
            block.qh[ib] |= ((number >> 8) as u8) << k;
        }
        for k in 0..4 {
            block.signs[4 * ib + k] = signed.signs[k] ^ flip;
        }
        scales.set(ib, scale.abs());
    }
    if let Some((d, levels)) = scales.quantize() {
        block.d = f32_to_f16(d * 1.033);
        block.scales = pack_pairs(&levels);
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grids::dequantize_iq3_s;

    /// The reference stores what follows the zeros in their place (docs/parity/deviations.md, QUANT-IQ3S).
    #[test]
    fn weights_after_a_stretch_of_zeros_stay_where_they_are() {
        let x: Vec<f32> = (0..QK_K).map(|i| if i / 32 == 2 { 0.0 } else { (i as f32 * 0.7).sin() }).collect();
        let mut y = vec![0.0; QK_K];
        dequantize_iq3_s(&quantize_iq3_s(&x, None), &mut y);
        let error: f32 = x.iter().zip(&y).map(|(x, y)| (x - y) * (x - y)).sum();
        let square: f32 = x.iter().map(|x| x * x).sum();
        assert!(error < 0.03 * square, "{error} of {square}");
    }
}
