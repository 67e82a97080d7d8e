//! Floats to the one-bit grid types, bit for bit as `quantize_iq1_s` and `quantize_iq1_m`.
//!
//! Three levels only: sorted, the values fall into three runs, and every pair of borders between them is tried,
//! with the levels shifted up and down.

use half::f16;

use super::blocks::{BlockIq1M, BlockIq1S};
use super::decode::DELTA;
use super::grid::{self, Found, Grid};
use super::quantize::{double_mean_square, weigh};
use crate::blocks::QK_K;
use crate::convert::{f32_to_f16, nearest_int};

/// The values of the levels when shifted up and when shifted down.
const UP: [f32; 3] = [-1.0 + DELTA, DELTA, 1.0 + DELTA];
const DOWN: [f32; 3] = [-1.0 - DELTA, -DELTA, 1.0 - DELTA];

/// Order of the values from smallest to largest, equal ones as they come. Sorted by insertion, so that values that
/// compare with nothing do no harm.
fn sorted<const N: usize>(x: &[f32]) -> [usize; N] {
    let mut order = std::array::from_fn(|i| i);
    for end in 1..N {
        let mut at = end;
        while at > 0 && x[order[at]] < x[order[at - 1]] {
            order.swap(at, at - 1);
            at -= 1;
        }
    }
    order
}

fn largest(x: &[f32]) -> f32 {
    x[1..].iter().fold(x[0].abs(), |max, v| if max > v.abs() { max } else { v.abs() })
}

/// The levels of the runs that end at the borders, in the order of the values.
fn levels_of<const N: usize>(order: &[usize; N], borders: (usize, usize)) -> [u8; N] {
    let mut levels = [2; N];
    for (position, &i) in order.iter().enumerate() {
        if position < borders.0 {
            levels[i] = 0;
        } else if position < borders.1 {
            levels[i] = 1;
        }
    }
    levels
}

/// The number of the point for eight levels; where they are none, of the point nearby with the smallest weighted
/// error. Answers to `iq1_find_best_neighbour2`, which aborts where nothing is comparable.
fn point(
    grid: &Grid<8>,
    levels: [u8; 8],
    x: &[f32],
    weights: &[f32],
    scale: f32,
    values: &[f32; 3],
) -> (usize, bool) {
    let near = match grid.find(&levels) {
        Found::Point(number) => return (number, true),
        Found::Near(near) => near,
    };
    let mut best = (f32::MAX, near.first().map_or(0, |&first| usize::from(first)));
    for &number in near {
        let mut error = 0.0f32;
        for (i, &level) in grid.levels[usize::from(number)].iter().enumerate() {
            let difference = scale * values[usize::from(level)] - x[i];
            error += weights[i] * difference * difference;
        }
        if error < best.0 {
            best = (error, usize::from(number));
        }
    }
    (best.1, false)
}

/// Adds the weighted products and squares of a point's values.
fn add_point(
    sums: &mut (f32, f32),
    levels: [u8; 8],
    values: [f32; 3],
    factor: f32,
    x: &[f32],
    weights: &[f32],
) {
    for (i, level) in levels.into_iter().enumerate() {
        let q = values[usize::from(level)] * factor;
        sums.0 += weights[i] * q * x[i];
        sums.1 += weights[i] * q * q;
    }
}

/// A scale as 3 bits.
fn scale_level(id: f32, scale: f32) -> u16 {
    nearest_int(0.5 * (id * scale - 1.0)).clamp(0, 7) as u16
}

fn max_of(max: f32, scale: f32) -> f32 {
    if max > scale { max } else { scale }
}

pub(crate) fn quantize_iq1_s(x: &[f32], importance: &[f32]) -> BlockIq1S {
    const EPS: f32 = 1e-12;
    let grid = grid::iq1();
    let sigma2 = double_mean_square(x);
    let mut block = BlockIq1S { d: f16::ZERO, qs: [0; QK_K / 8], qh: [0; QK_K / 32] };
    let mut scales = [0.0f32; 8];
    let mut shifted_down = [false; 8];
    let mut max_scale = 0.0f32;
    for (ib, xb) in x.as_chunks::<32>().0.iter().enumerate() {
        let weights: [f32; 32] = weigh(xb, Some(&importance[32 * ib..][..32]), sigma2, |_| 0.0);
        if largest(xb) < EPS {
            continue;
        }
        let order = sorted::<32>(xb);
        let Some(mut best) = best_split(&order, xb, &weights) else { continue };
        let mut levels = levels_of(&order, best.borders);
        if best.scale < 0.0 {
            levels = levels.map(|level| 2 - level);
            best.scale = -best.scale;
            best.down = !best.down;
        }
        let values = if best.down { DOWN } else { UP };
        let mut numbers = [0; 4];
        let mut all_on_grid = true;
        for (k, group) in levels.as_chunks::<8>().0.iter().enumerate() {
            let (number, on_grid) = point(grid, *group, &xb[8 * k..], &weights[8 * k..], best.scale, &values);
            numbers[k] = number;
            all_on_grid &= on_grid;
        }
        if !all_on_grid {
            let mut sums = (0.0, 0.0);
            for (k, &number) in numbers.iter().enumerate() {
                add_point(&mut sums, grid.levels[number], values, 1.0, &xb[8 * k..], &weights[8 * k..]);
            }
            if sums.0 > 0.0 && sums.1 > 0.0 {
                best.scale = sums.0 / sums.1;
            }
        }
        for (k, &number) in numbers.iter().enumerate() {
            block.qs[4 * ib + k] = number as u8;
            block.qh[ib] |= ((number >> 8) as u16) << (3 * k);
        }
        scales[ib] = best.scale;
        shifted_down[ib] = best.down;
        max_scale = max_of(max_scale, best.scale);
    }
    if max_scale == 0.0 {
        return block;
    }
    let d = max_scale / 15.0;
    block.d = f32_to_f16(d * 1.125);
    let id = 1.0 / d;
    for ib in 0..8 {
        block.qh[ib] |= (scale_level(id, scales[ib]) | u16::from(shifted_down[ib]) << 3) << 12;
    }
    block
}

struct Split {
    borders: (usize, usize),
    scale: f32,
    down: bool,
}

/// The pair of borders, and the shift, with the smallest error.
fn best_split(order: &[usize; 32], x: &[f32; 32], weights: &[f32; 32]) -> Option<Split> {
    let (mut sum_x, mut sum_w) = ([0.0f32; 33], [0.0f32; 33]);
    for (j, &i) in order.iter().enumerate() {
        sum_x[j + 1] = sum_x[j] + weights[i] * x[i];
        sum_w[j + 1] = sum_w[j] + weights[i];
    }
    let mut best = None;
    let mut best_score = f32::MIN;
    for i1 in 0..=32 {
        for i2 in i1..=32 {
            let runs = |sum: &[f32; 33]| [sum[i1] - sum[0], sum[i2] - sum[i1], sum[32] - sum[i2]];
            let (xs, ws) = (runs(&sum_x), runs(&sum_w));
            for (down, v) in [(false, UP), (true, DOWN)] {
                let sum_qx = xs[0] * v[0] + xs[1] * v[1] + xs[2] * v[2];
                let sum_q2 = ws[0] * v[0] * v[0] + ws[1] * v[1] * v[1] + ws[2] * v[2] * v[2];
                if sum_q2 > 0.0 && sum_qx * sum_qx > best_score * sum_q2 {
                    let scale = sum_qx / sum_q2;
                    best_score = scale * sum_qx;
                    best = Some(Split { borders: (i1, i2), scale, down });
                }
            }
        }
    }
    best
}

/// The shifts of the two halves of 16 values: bit 1 set where the first is shifted down, bit 0 the second.
fn half_values(shifts: usize, half: usize) -> [f32; 3] {
    if shifts >> (1 - half) & 1 == 1 { DOWN } else { UP }
}

/// Sums of products and of squares, for each of the four pairs of shifts.
type FourSums = [(f32, f32); 4];

/// What each value adds to the sums at each level.
struct Terms {
    /// By value, level, and whether shifted down.
    terms: [[[(f32, f32); 2]; 3]; 16],
}

impl Terms {
    fn new(x: &[f32; 16], weights: &[f32; 16]) -> Terms {
        let term = |i: usize, v: f32| (weights[i] * v * x[i], weights[i] * v * v);
        let of = |i: usize| std::array::from_fn(|level| [term(i, UP[level]), term(i, DOWN[level])]);
        Terms { terms: std::array::from_fn(of) }
    }

    fn add(&self, sums: &mut FourSums, i: usize, level: usize) {
        for (shifts, sum) in sums.iter_mut().enumerate() {
            let down = shifts >> (1 - i / 8) & 1;
            let (qx, q2) = self.terms[i][level][down];
            sum.0 += qx;
            sum.1 += q2;
        }
    }
}

pub(crate) fn quantize_iq1_m(x: &[f32], importance: Option<&[f32]>) -> BlockIq1M {
    const EPS: f32 = 1e-7;
    const SIGNS: [u8; 4] = [0x00, 0x80, 0x08, 0x88];
    let grid = grid::iq1();
    let sigma2 = double_mean_square(x);
    let mut block = BlockIq1M { qs: [0; QK_K / 8], qh: [0; QK_K / 16], scales: [[0; 2]; 4] };
    let mut scales = [0.0f32; 16];
    let mut shifts = [0usize; 16];
    let mut max_scale = 0.0f32;
    let weights_of = |ib: usize, xb: &[f32; 16]| -> [f32; 16] {
        weigh(xb, importance.map(|all| &all[16 * ib..][..16]), sigma2, |v| v * v)
    };
    let (blocks, _) = x.as_chunks::<16>();
    for (ib, xb) in blocks.iter().enumerate() {
        if largest(xb) < EPS {
            continue;
        }
        let weights = weights_of(ib, xb);
        let order = sorted::<16>(xb);
        let Some((borders, mut scale, mut shift)) = best_split_of_halves(&order, xb, &weights) else {
            continue;
        };
        let mut levels = levels_of(&order, borders);
        if scale < 0.0 {
            levels = levels.map(|level| 2 - level);
            scale = -scale;
            shift = 3 - shift;
        }
        let mut numbers = [0; 2];
        let mut all_on_grid = true;
        for (k, group) in levels.as_chunks::<8>().0.iter().enumerate() {
            let (number, on_grid) =
                point(grid, *group, &xb[8 * k..], &weights[8 * k..], scale, &half_values(shift, k));
            numbers[k] = number;
            all_on_grid &= on_grid;
        }
        if !all_on_grid {
            let mut sums = (0.0, 0.0);
            for (k, &number) in numbers.iter().enumerate() {
                let values = half_values(shift, k);
                add_point(&mut sums, grid.levels[number], values, 1.0, &xb[8 * k..], &weights[8 * k..]);
            }
            if sums.0 > 0.0 && sums.1 > 0.0 {
                scale = sums.0 / sums.1;
            }
        }
        block.qs[2 * ib] = numbers[0] as u8;
        block.qs[2 * ib + 1] = numbers[1] as u8;
        block.qh[ib] = (numbers[0] >> 8) as u8 | ((numbers[1] >> 8) as u8) << 4;
        scales[ib] = scale;
        shifts[ib] = shift;
        max_scale = max_of(max_scale, scale);
    }
    if max_scale == 0.0 {
        return block;
    }
    let mut d = max_scale / 15.0;
    let id = 1.0 / d;
    let mut words = [0u16; 4];
    let mut sums = (0.0, 0.0);
    // The scale of all is fitted once more, to the blocks as they are with their scales rounded.
    for (ib, xb) in blocks.iter().enumerate() {
        let level = scale_level(id, scales[ib]);
        words[ib / 4] |= level << (3 * (ib % 4));
        block.qh[ib] |= SIGNS[shifts[ib]];
        let weights = weights_of(ib, xb);
        for k in 0..2 {
            let high = usize::from(block.qh[ib]) << (8 - 4 * k) & 0x700;
            let point = grid.levels[usize::from(block.qs[2 * ib + k]) + high];
            let (values, factor) = (half_values(shifts[ib], k), f32::from(2 * level + 1));
            add_point(&mut sums, point, values, factor, &xb[8 * k..], &weights[8 * k..]);
        }
    }
    if sums.1 > 0.0 {
        d = sums.0 / sums.1;
    }
    let bits = f32_to_f16(d * 1.1125).to_bits();
    for (i, word) in words.iter_mut().enumerate() {
        *word |= (bits >> (4 * i) & 15) << 12;
    }
    block.scales = words.map(u16::to_le_bytes);
    block
}

/// As [`best_split`], with a shift for either half: the borders, the scale, and the pair of shifts.
fn best_split_of_halves(
    order: &[usize; 16],
    x: &[f32; 16],
    weights: &[f32; 16],
) -> Option<((usize, usize), f32, usize)> {
    let terms = Terms::new(x, weights);
    let mut best = None;
    let mut best_score = f32::MIN;
    // Sums go over the values in order, so what lies before a border is shared by all pairs that have it.
    let mut lowest: FourSums = [(0.0, 0.0); 4];
    for i1 in 0..=16 {
        let mut middle = lowest;
        for i2 in i1..=16 {
            let mut sums = middle;
            for &i in &order[i2..] {
                terms.add(&mut sums, i, 2);
            }
            for (shift, &(sum_qx, sum_q2)) in sums.iter().enumerate() {
                if sum_q2 > 0.0 && sum_qx * sum_qx > best_score * sum_q2 {
                    let scale = sum_qx / sum_q2;
                    best_score = scale * sum_qx;
                    best = Some(((i1, i2), scale, shift));
                }
            }
            if let Some(&i) = order.get(i2) {
                terms.add(&mut middle, i, 1);
            }
        }
        if let Some(&i) = order.get(i1) {
            terms.add(&mut lowest, i, 0);
        }
    }
    best
}
