//! How far a codec is from what it was given.
//!
//! Answers to gemma.cpp's `compression/distortion` (`DistortionStats`), figure by figure.

/// Errors of a series of values, collected one by one.
#[derive(Clone, Debug, Default)]
pub struct DistortionStats {
    sum_l1: Cascaded,
    sum_l1_rounded: Cascaded,
    /// Errors that are not zero.
    l1: Vec<f32>,
    n: usize,
    n_sign_flip: usize,
    n_exact: usize,
    n_rounded_to_zero: usize,
    sum_log_snr: f64,
    n_snr: usize,
}

impl DistortionStats {
    /// Takes note of a value and what became of it.
    pub fn notify(&mut self, original: f32, distorted: f32) {
        let rounded_to_zero = original != 0.0 && distorted == 0.0;
        let l1 = (original - distorted).abs();
        if l1 != 0.0 {
            self.l1.push(l1);
            self.sum_log_snr += (1.0 + f64::from(original.abs()) / f64::from(l1)).ln();
            self.n_snr += 1;
        }
        self.sum_l1.add(f64::from(l1));
        if rounded_to_zero {
            self.sum_l1_rounded.add(f64::from(l1));
        }
        self.n += 1;
        // A small value that became zero weighs less in a product than one whose sign has changed.
        self.n_sign_flip += usize::from((original < 0.0) != (distorted < 0.0) && !rounded_to_zero);
        self.n_exact += usize::from(original == distorted);
        self.n_rounded_to_zero += usize::from(rounded_to_zero);
    }

    /// The statistics of two slices of the same length, of the shorter one's otherwise.
    pub fn of(original: &[f32], distorted: &[f32]) -> DistortionStats {
        let mut stats = DistortionStats::default();
        for (x, y) in original.iter().zip(distorted) {
            stats.notify(*x, *y);
        }
        stats
    }

    /// Adds what another has collected.
    pub fn assimilate(&mut self, other: &DistortionStats) {
        self.sum_l1.assimilate(&other.sum_l1);
        self.sum_l1_rounded.assimilate(&other.sum_l1_rounded);
        self.l1.extend_from_slice(&other.l1);
        self.n += other.n;
        self.n_sign_flip += other.n_sign_flip;
        self.n_exact += other.n_exact;
        self.n_rounded_to_zero += other.n_rounded_to_zero;
        self.sum_log_snr += other.sum_log_snr;
        self.n_snr += other.n_snr;
    }

    /// Number of values.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Values that stayed as they were.
    pub fn n_exact(&self) -> usize {
        self.n_exact
    }

    /// Values whose sign changed, those that became zero not counted.
    pub fn n_sign_flip(&self) -> usize {
        self.n_sign_flip
    }

    /// Values that became zero.
    pub fn n_rounded_to_zero(&self) -> usize {
        self.n_rounded_to_zero
    }

    /// Sum of the errors.
    pub fn sum_l1(&self) -> f64 {
        self.sum_l1.total()
    }

    /// Sum of the errors of values that became zero.
    pub fn sum_l1_rounded(&self) -> f64 {
        self.sum_l1_rounded.total()
    }

    /// Geometric mean of 1 + value / error where there is an error: higher is better, 0 if there is none
    /// (`GeomeanValueDivL1`).
    pub fn geomean_value_div_l1(&self) -> f64 {
        if self.n_snr == 0 { 0.0 } else { (self.sum_log_snr / self.n_snr as f64).exp() }
    }

    /// Mean of the errors that are not zero, in which those far from the median weigh up to e^4 times as much as those
    /// near it: lower is better (`WeightedAverageL1`).
    pub fn weighted_average_l1(&self) -> f64 {
        if self.l1.is_empty() {
            return 0.0;
        }
        let mut sorted = self.l1.clone();
        let mid = sorted.len() / 2;
        let (_, &mut median, _) = sorted.select_nth_unstable_by(mid, f32::total_cmp);
        let distance = |l1: &f32| (l1 - median).abs();
        let max = self.l1.iter().map(distance).fold(-1.0, f32::max);
        if max == 0.0 {
            return f64::from(median);
        }
        let inverse = 1.0 / f64::from(max);
        let (mut weights, mut weighted) = (0.0, 0.0);
        for l1 in &self.l1 {
            let normalized = f64::from(distance(l1)) * inverse;
            let weight = (4.0 * normalized * normalized).exp();
            weights += weight;
            // The reference keeps weights as f32, and multiplies in f32.
            weighted += f64::from(l1 * weight as f32);
        }
        weighted / weights
    }
}

/// A sum with the errors of its additions (`CascadedSummation`): about twice the precision.
#[derive(Clone, Copy, Debug, Default)]
struct Cascaded {
    sum: f64,
    error: f64,
}

impl Cascaded {
    fn add(&mut self, x: f64) {
        let sum = self.sum + x;
        let a = sum - x;
        let b = sum - a;
        self.error += (self.sum - a) + (x - b);
        self.sum = sum;
    }

    fn assimilate(&mut self, other: &Cascaded) {
        self.add(other.sum);
        self.error += other.error;
    }

    fn total(self) -> f64 {
        self.sum + self.error
    }
}
