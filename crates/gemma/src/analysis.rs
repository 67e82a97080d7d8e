//! What weights are like: ranges of groups, outliers, exponents and mantissas. It tells which type could hold them.
//!
//! Answers to gemma.cpp's `compression/analyze`, of a tensor in place of all layers of one.

use crate::codec::nuq::GROUP;
use crate::moments::Moments;

/// Statistics of a tensor, in two passes: [`Analysis::add`] for all of it, then [`Analysis::add_outliers`].
#[derive(Clone, Debug)]
pub struct Analysis {
    /// All values but zeros.
    pub nonzero: Moments,
    /// Values below a thousandth in magnitude, zeros not counted.
    pub n_tiny: u64,
    /// Largest less smallest of each group of 256.
    pub group_ranges: Moments,
    /// Largest value of each group divided by its nearest to zero, in magnitude.
    pub group_ratios: Moments,
    /// The 16th largest step between neighbours of each group's sorted values, in proportion: above it sixteen clusters
    /// lose nothing.
    pub cuts: Moments,
    /// Values by their exponent's bits, zeros not counted.
    pub exponents: [u64; 256],
    /// Values by the first four bits of their mantissa, zeros not counted.
    pub mantissas: [u64; 16],
    /// All values.
    pub all: Moments,
    /// Values whose magnitude is three deviations or more from the mean.
    pub n_outliers: u64,
}

impl Default for Analysis {
    fn default() -> Analysis {
        let none = Moments::default();
        Analysis {
            nonzero: none,
            n_tiny: 0,
            group_ranges: none,
            group_ratios: none,
            cuts: none,
            exponents: [0; 256],
            mantissas: [0; 16],
            all: none,
            n_outliers: 0,
        }
    }
}

impl Analysis {
    /// Takes note of whole groups; values behind the last one are passed over, as in the reference.
    pub fn add(&mut self, values: &[f32]) {
        for group in values.chunks_exact(GROUP) {
            self.add_group(group);
        }
    }

    fn add_group(&mut self, group: &[f32]) {
        let mut of_group = Moments::default();
        for x in group {
            self.all.notify(*x);
            if *x == 0.0 {
                continue;
            }
            self.nonzero.notify(*x);
            of_group.notify(*x);
            self.n_tiny += u64::from(x.abs() < 1e-3);
            let bits = x.abs().to_bits();
            self.exponents[(bits >> 23) as usize] += 1;
            self.mantissas[((bits >> 19) & 15) as usize] += 1;
        }
        let mut sorted = group.to_vec();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        if of_group.n() > 0 {
            self.group_ranges.notify(of_group.max() - of_group.min());
        }
        let ratios = sorted.iter().filter(|x| **x != 0.0).map(|x| (sorted[0] / x).abs());
        self.group_ratios.notify(ratios.fold(0.0, f32::max));
        let mut steps: Vec<f32> = sorted
            .windows(2)
            .map(|pair| if pair[0].abs() < 1e-5 { 0.0 } else { ((pair[0] - pair[1]) / pair[0]).abs() })
            .collect();
        steps.sort_unstable_by(|a, b| b.total_cmp(a));
        self.cuts.notify(steps[15]);
    }

    /// Counts outliers of values, once all of them have been added.
    pub fn add_outliers(&mut self, values: &[f32]) {
        let (mean, deviation) = (self.all.mean(), self.all.standard_deviation());
        let is_far = |x: &&f32| (f64::from(x.abs()) - mean).abs() >= 3.0 * deviation;
        self.n_outliers += values.iter().filter(is_far).count() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_what_it_is_made_of() {
        // 0, 1/256, ..., 255/256, in another order, and a rest that nobody looks at.
        let mut values: Vec<f32> = (0..GROUP).map(|i| (i * 77 % GROUP) as f32 / 256.0).collect();
        values.extend([9.0; 10]);
        let mut found = Analysis::default();
        found.add(&values);
        assert_eq!((found.all.n(), found.nonzero.n(), found.n_tiny), (256, 255, 0));
        assert_eq!(found.group_ranges.max(), 254.0 / 256.0);
        assert_eq!(found.group_ratios.max(), 255.0);
        // Steps of 1/k for the k-th value: the largest are 1, 1/2, ..., the 16th 1/16.
        assert_eq!(found.cuts.max(), 1.0 / 16.0);
        // Half of them are a half or more.
        assert_eq!(
            (found.exponents[126], found.exponents[125], found.exponents.iter().sum()),
            (128, 64, 255)
        );
        assert_eq!(found.mantissas.iter().sum::<u64>(), 255);
        // Of each octave those from one and a half times its begin on.
        assert_eq!(found.mantissas[8], 8 + 4 + 2 + 1 + 1 + 1 + 1);
    }

    #[test]
    fn outliers_are_far_from_the_mean() {
        let mut values: Vec<f32> = (0..GROUP).map(|i| if i % 2 == 0 { 0.01 } else { -0.01 }).collect();
        (values[3], values[4]) = (1.0, -1.0);
        let mut found = Analysis::default();
        found.add(&values);
        found.add_outliers(&values);
        assert_eq!(found.n_outliers, 2);
    }

    #[test]
    fn zeros_have_no_exponent() {
        let mut found = Analysis::default();
        found.add(&[0.0; GROUP]);
        found.add_outliers(&[0.0; GROUP]);
        assert_eq!((found.nonzero.n(), found.group_ranges.n(), found.group_ratios.max()), (0, 0, 0.0));
        assert_eq!(found.exponents.iter().sum::<u64>(), 0);
    }
}
