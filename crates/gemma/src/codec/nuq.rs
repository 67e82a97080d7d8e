//! NUQ, "non-uniform quantization": 4 bits that choose among the 16 centres of a group of 256 values.
//!
//! Answers to gemma.cpp's `compression/nuq-inl`. A group is 16 centres in SFP, in ascending order, and half a byte for
//! each value, the low half first; the last group has as many as are left. Centres are the best there are: the clusters
//! with the least sum of squared distances, found by dynamic programming over the sorted values
//! (<https://arxiv.org/abs/1701.07204>). The sums are the reference's, in f32, so that equal costs stay equal.

use super::sfp;

/// Centres of a group.
pub const CLUSTERS: usize = 16;
/// Values in a group.
pub const GROUP: usize = 256;

/// Encodes values, whose magnitudes are at most [`sfp::MAX`], into groups.
pub(super) fn encode(values: &[f32], out: &mut [u8]) {
    let mut tables = Tables::new();
    for (values, out) in values.chunks(GROUP).zip(out.chunks_mut(CLUSTERS + GROUP / 2)) {
        let clustering = tables.cluster(values);
        let (centers, nibbles) = out.split_at_mut(CLUSTERS);
        for (code, center) in centers.iter_mut().zip(clustering.centers) {
            *code = sfp::encode_value(center);
        }
        // Behind an odd number of values stands the index of the value that the group was filled up with.
        for (byte, pair) in nibbles.iter_mut().zip(clustering.indices.as_chunks::<2>().0) {
            *byte = pair[0] | (pair[1] << 4);
        }
    }
}

/// Decodes values out of groups.
pub(super) fn decode(bytes: &[u8], out: &mut [f32]) {
    for (bytes, out) in bytes.chunks(CLUSTERS + GROUP / 2).zip(out.chunks_mut(GROUP)) {
        let (centers, nibbles) = bytes.split_at(CLUSTERS);
        for (i, x) in out.iter_mut().enumerate() {
            let index = (nibbles[i / 2] >> (4 * (i % 2))) & 15;
            *x = sfp::decode_value(centers[usize::from(index)]);
        }
    }
}

/// The clusters of a group (`ClusterExactL2`).
struct Clustering {
    /// Means, ascending; those that are not used come first and are 0.
    centers: [f32; CLUSTERS],
    /// For each value, which.
    indices: [u8; GROUP],
}

/// The dynamic program's memory, used again for each group.
struct Tables {
    /// `costs[k][m]`: the least cost of the first `m + 1` values in at most `k + 1` clusters.
    costs: Vec<[f32; GROUP]>,
    /// The first value of the last of those clusters.
    firsts: Vec<[u8; GROUP]>,
    /// Reciprocals of lengths.
    inverse: [f32; GROUP + 1],
}

impl Tables {
    fn new() -> Tables {
        Tables {
            costs: vec![[0.0; GROUP]; CLUSTERS],
            firsts: vec![[0; GROUP]; CLUSTERS],
            inverse: std::array::from_fn(|n| 1.0 / n as f32),
        }
    }

    fn cluster(&mut self, values: &[f32]) -> Clustering {
        let sorted = sorted_with_places(values);
        let sums = Sums::new(&sorted);
        for last in 0..GROUP {
            self.costs[0][last] = sums.cost(0, last, &self.inverse);
            self.firsts[0][last] = 0;
        }
        for k in 1..CLUSTERS {
            let (before, rest) = self.costs.split_at_mut(k);
            let (before, costs) = (&before[k - 1], &mut rest[0]);
            let (firsts_before, firsts) = self.firsts.split_at_mut(k);
            let firsts = &mut firsts[0];
            *costs = *before;
            *firsts = firsts_before[k - 1];
            for first in 1..GROUP {
                for last in first..GROUP {
                    let cost = before[first - 1] + sums.cost(first, last, &self.inverse);
                    if cost < costs[last] {
                        costs[last] = cost;
                        firsts[last] = first as u8;
                    }
                }
            }
        }
        self.trace(&sorted, &sums)
    }

    /// From the last cluster back to the first.
    fn trace(&self, sorted: &[u32; GROUP], sums: &Sums) -> Clustering {
        let mut found = Clustering { centers: [0.0; CLUSTERS], indices: [0; GROUP] };
        let mut last = GROUP - 1;
        for k in (0..CLUSTERS).rev() {
            let first = usize::from(self.firsts[k][last]);
            let sum = sums.exact[last + 1] - sums.exact[first];
            found.centers[k] = (sum / (last - first + 1) as f64) as f32;
            for place in sorted[first..=last].iter().map(|bits| bits & PLACE) {
                found.indices[place as usize] = k as u8;
            }
            if first == 0 {
                break;
            }
            last = first - 1;
        }
        found
    }
}

/// The lowest bits of a value hold its place while values are sorted.
const PLACE: u32 = GROUP as u32 - 1;

/// Values in ascending order, as bits, with their places in the lowest eight. A short group is filled up with its
/// largest value, which costs no cluster.
fn sorted_with_places(values: &[f32]) -> [u32; GROUP] {
    let max = values.iter().copied().fold(-1e38, f32::max);
    let mut sorted: [u32; GROUP] =
        std::array::from_fn(|i| (values.get(i).unwrap_or(&max).to_bits() & !PLACE) | i as u32);
    sorted.sort_unstable_by(|a, b| f32::from_bits(*a).total_cmp(&f32::from_bits(*b)));
    sorted
}

/// Sums of the sorted values and their squares before each place (`ClusterCost`).
struct Sums {
    exact: [f64; GROUP + 1],
    linear: [f32; GROUP + 1],
    squares: [f32; GROUP + 1],
}

impl Sums {
    fn new(sorted: &[u32; GROUP]) -> Sums {
        let mut sums = Sums { exact: [0.0; GROUP + 1], linear: [0.0; GROUP + 1], squares: [0.0; GROUP + 1] };
        let (mut sum, mut sum_of_squares) = (0.0, 0.0);
        for (i, bits) in sorted.iter().enumerate() {
            let x = f64::from(f32::from_bits(bits & !PLACE));
            sum += x;
            sum_of_squares += x * x;
            sums.exact[i + 1] = sum;
            sums.linear[i + 1] = sum as f32;
            sums.squares[i + 1] = sum_of_squares as f32;
        }
        sums
    }

    /// The squared distances of the values `first..=last` from their mean, summed.
    #[inline(always)]
    fn cost(&self, first: usize, last: usize, inverse: &[f32; GROUP + 1]) -> f32 {
        let n = last - first + 1;
        let sum = self.linear[last + 1] - self.linear[first];
        let squares = self.squares[last + 1] - self.squares[first];
        let mean = sum * inverse[n];
        let cost = mean.mul_add(mean.mul_add(n as f32, -(sum + sum)), squares);
        // A mean is rounded, and with it equal values could seem apart by less than nothing.
        if cost.is_sign_negative() { 0.0 } else { cost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distortion::DistortionStats;

    fn distortion(values: &[f32]) -> (Clustering, DistortionStats) {
        let found = Tables::new().cluster(values);
        let mut stats = DistortionStats::default();
        for (x, index) in values.iter().zip(found.indices) {
            stats.notify(*x, found.centers[usize::from(index)]);
        }
        (found, stats)
    }

    /// `TestFlat` of the reference: clusters that are not needed come first, and are zero.
    #[test]
    fn one_value_is_one_cluster() {
        let (found, _) = distortion(&[0.5; GROUP]);
        assert_eq!(found.centers[..15], [0.0; 15]);
        assert_eq!((found.centers[15], found.indices), (0.5, [15; GROUP]));
    }

    /// `TestPlateaus`: sixteen values, in any order.
    #[test]
    fn sixteen_values_are_found() {
        let values: Vec<f32> = (0..GROUP).map(|i| (i * 7 % 16) as f32 / 16.0 - 0.5).collect();
        let (found, stats) = distortion(&values);
        assert!(found.centers.is_sorted());
        assert_eq!((stats.n_exact(), stats.sum_l1()), (GROUP, 0.0));
        assert_eq!((stats.geomean_value_div_l1(), stats.weighted_average_l1()), (0.0, 0.0));
    }

    /// `TestRamp`: equally far values, in any order.
    #[test]
    fn a_ramp_is_cut_into_equal_parts() {
        let values: Vec<f32> = (0..GROUP).map(|i| (i * 77 % GROUP) as f32 / GROUP as f32 - 0.45).collect();
        let (_, stats) = distortion(&values);
        assert_eq!((stats.n_exact(), stats.n_rounded_to_zero()), (0, 0));
        assert!(stats.n_sign_flip() < 10);
        // Places in the lowest bits of values cost a little of their last digits.
        assert!((stats.sum_l1() - 4.0).abs() < 1e-2, "{}", stats.sum_l1());
        assert!((17.0..=18.0).contains(&stats.geomean_value_div_l1()));
        assert!((0.005..=0.010).contains(&stats.weighted_average_l1()));
    }
}
