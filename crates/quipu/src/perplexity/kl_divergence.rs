//! Statistics of two models' predictions at the same places, in the reference's arithmetic (`kl_divergence_result`).

use super::base::log_sum_exp;

/// Values below which the reference's means have no uncertainty.
const MIN_COUNT: usize = 10;

/// A figure and one standard error of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Its uncertainty; 0 where it cannot be estimated.
    pub error: f64,
}

impl Estimate {
    /// The mean of `count` values from their sum and the sum of their squares (`mean_and_uncertainty`).
    fn mean(sum: f64, sum_of_squares: f64, count: usize) -> Estimate {
        if count == 0 {
            return Estimate { value: 0.0, error: 0.0 };
        }
        let n = count as f64;
        let value = sum / n;
        let variance = sum_of_squares / n - value * value;
        let error = if variance > 0.0 && count > MIN_COUNT { (variance / (n - 1.0)).sqrt() } else { 0.0 };
        Estimate { value, error }
    }

    /// `exp` of it.
    fn exp(self) -> Estimate {
        let value = self.value.exp();
        Estimate { value, error: value * self.error }
    }
}

/// How far a model's predictions (Q) are from a base's, over the places looked at so far.
#[derive(Clone, Debug, Default)]
pub struct KlDivergence {
    nll: Sums,
    nll_base: Sums,
    sum_nll_nll_base: f64,
    kld: Sums,
    p_diff: Sums,
    sum_p_diff4: f64,
    n_same_top: usize,
    /// Of each place; sorted at the end.
    klds: Vec<f32>,
    /// Of each place; sorted at the end.
    p_diffs: Vec<f32>,
}

/// A sum and a sum of squares.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    sum: f64,
    squares: f64,
}

impl Sums {
    fn add(&mut self, value: f64, square: f64) {
        self.sum += value;
        self.squares += square;
    }
}

impl KlDivergence {
    /// One place: this model's logits, the base's logarithms of probabilities, and the token that follows.
    pub(super) fn add(&mut self, logits: &[f32], base: &[f32], next: usize) {
        let (top, max) = largest(logits);
        let log_sum = log_sum_exp(logits, max);
        let nll = max + log_sum - logits[next];
        let nll_base = -base[next];
        self.nll.add(f64::from(nll), f64::from(nll * nll));
        self.nll_base.add(f64::from(nll_base), f64::from(nll_base * nll_base));
        self.sum_nll_nll_base += f64::from(nll * nll_base);
        let max = max + log_sum;
        let terms = base.iter().zip(logits).filter(|(log_p, _)| **log_p > -16.0);
        let kld: f64 = terms.map(|(log_p, logit)| f64::from(log_p.exp() * (log_p - logit + max))).sum();
        self.kld.add(kld, kld * kld);
        self.n_same_top += usize::from(largest(base).0 == top);
        let p_diff = (-nll).exp() - (-nll_base).exp();
        let square = f64::from(p_diff * p_diff);
        self.p_diff.add(f64::from(p_diff), square);
        self.sum_p_diff4 += square * square;
        self.klds.push(kld as f32);
        self.p_diffs.push(p_diff);
    }

    /// All places are there.
    pub(super) fn sort(&mut self) {
        self.klds.sort_by(f32::total_cmp);
        self.p_diffs.sort_by(f32::total_cmp);
    }

    /// Places looked at.
    pub fn count(&self) -> usize {
        self.klds.len()
    }

    fn log_ppl(&self) -> Estimate {
        Estimate::mean(self.nll.sum, self.nll.squares, self.count())
    }

    fn log_ppl_base(&self) -> Estimate {
        Estimate::mean(self.nll_base.sum, self.nll_base.squares, self.count())
    }

    /// The covariance of the two means.
    fn log_ppl_covariance(&self) -> f64 {
        if self.count() < MIN_COUNT {
            return 0.0;
        }
        let n = self.count() as f64;
        (self.sum_nll_nll_base / n - (self.nll.sum / n) * (self.nll_base.sum / n)) / (n - 1.0)
    }

    /// This model's perplexity.
    pub fn ppl(&self) -> Estimate {
        self.log_ppl().exp()
    }

    /// The base's.
    pub fn ppl_base(&self) -> Estimate {
        self.log_ppl_base().exp()
    }

    /// How the logarithms of both perplexities go together, -1 to 1; not a number where one of them has no uncertainty.
    pub fn correlation(&self) -> f64 {
        self.log_ppl_covariance() / (self.log_ppl().error * self.log_ppl_base().error)
    }

    /// The logarithm of their ratio. As in the reference, rounding may leave it without an uncertainty that is a number.
    pub fn log_ratio(&self) -> Estimate {
        let (q, base) = (self.log_ppl(), self.log_ppl_base());
        let variance = q.error * q.error + base.error * base.error - 2.0 * self.log_ppl_covariance();
        Estimate { value: q.value - base.value, error: variance.sqrt() }
    }

    /// Their ratio.
    pub fn ratio(&self) -> Estimate {
        self.log_ratio().exp()
    }

    /// Their difference.
    pub fn difference(&self) -> Estimate {
        let (q, base) = (self.ppl(), self.ppl_base());
        let covariance = q.value * base.value * self.log_ppl_covariance();
        let variance = q.error * q.error + base.error * base.error - 2.0 * covariance;
        Estimate { value: q.value - base.value, error: variance.sqrt() }
    }

    /// The mean Kullback-Leibler divergence from the base.
    pub fn kld(&self) -> Estimate {
        Estimate::mean(self.kld.sum, self.kld.squares, self.count())
    }

    /// The divergence below which this share of all places lies, 0 (smallest) to 1 (largest).
    pub fn kld_percentile(&self, fraction: f32) -> f32 {
        percentile(&self.klds, fraction)
    }

    /// The divergence in the middle.
    pub fn kld_median(&self) -> f32 {
        median(&self.klds)
    }

    /// The mean change of the probability of the token that follows.
    pub fn p_diff(&self) -> Estimate {
        Estimate::mean(self.p_diff.sum, self.p_diff.squares, self.count())
    }

    /// The change below which this share of all places lies, 0 to 1.
    pub fn p_diff_percentile(&self, fraction: f32) -> f32 {
        percentile(&self.p_diffs, fraction)
    }

    /// The change in the middle.
    pub fn p_diff_median(&self) -> f32 {
        median(&self.p_diffs)
    }

    /// The root of the mean square of that change.
    pub fn p_diff_rms(&self) -> Estimate {
        let squares = Estimate::mean(self.p_diff.squares, self.sum_p_diff4, self.count());
        let value = squares.value.sqrt();
        Estimate { value, error: 0.5 / value * squares.error }
    }

    /// The share of places where both models expect the same token most.
    pub fn same_top(&self) -> Estimate {
        let n = self.count() as f64;
        let value = self.n_same_top as f64 / n;
        Estimate { value, error: (value * (1.0 - value) / (n - 1.0)).sqrt() }
    }
}

/// The first of the largest values, and its place.
fn largest(values: &[f32]) -> (usize, f32) {
    let mut best = (0, values.first().copied().unwrap_or(f32::NEG_INFINITY));
    for (i, value) in values.iter().enumerate() {
        if *value > best.1 {
            best = (i, *value);
        }
    }
    best
}

/// Of sorted values, with the place between two in f32 as the reference has it; 0 of none.
fn percentile(values: &[f32], fraction: f32) -> f32 {
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return 0.0 };
    if fraction <= 0.0 {
        return *first;
    }
    if fraction >= 1.0 {
        return *last;
    }
    let place = fraction * (values.len() - 1) as f32;
    let below = (place as usize).min(values.len() - 1);
    let part = place - below as f32;
    (1.0 - part) * values[below] + part * values[(below + 1).min(values.len() - 1)]
}

/// Of sorted values; 0 of none.
fn median(values: &[f32]) -> f32 {
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 0 => 0.5 * (values[middle] + values[middle - 1]),
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_softmax(logits: &[f32]) -> Vec<f32> {
        let sum: f32 = logits.iter().map(|l| l.exp()).sum();
        logits.iter().map(|l| l - sum.ln()).collect()
    }

    #[test]
    fn a_model_does_not_diverge_from_itself() {
        let mut found = KlDivergence::default();
        for i in 0..20 {
            let logits = [0.1 * i as f32, 1.0, -2.0];
            found.add(&logits, &log_softmax(&logits), i % 3);
        }
        found.sort();
        assert!(found.kld().value.abs() < 1e-6 && found.log_ratio().value.abs() < 1e-6);
        assert_eq!((found.count(), found.same_top().value), (20, 1.0));
        assert!((found.correlation() - 1.0).abs() < 1e-4, "{}", found.correlation());
    }

    #[test]
    fn one_place_by_hand() {
        // Base 1/2, 1/4, 1/4; this model 1/4, 1/2, 1/4.
        let (base, logits) = (log_softmax(&[2f32.ln(), 0.0, 0.0]), [0.0, 2f32.ln(), 0.0]);
        let mut found = KlDivergence::default();
        found.add(&logits, &base, 1);
        let expected = 0.5 * 2f64.ln() + 0.25 * 0.5f64.ln();
        assert!((found.kld().value - expected).abs() < 1e-6, "{}", found.kld().value);
        assert!((found.p_diff().value - 0.25).abs() < 1e-6 && (found.p_diff_rms().value - 0.25).abs() < 1e-6);
        assert!((found.ppl().value - 2.0).abs() < 1e-5 && (found.ppl_base().value - 4.0).abs() < 1e-5);
        assert!((found.difference().value + 2.0).abs() < 1e-5 && (found.ratio().value - 0.5).abs() < 1e-5);
        assert_eq!(found.same_top().value, 0.0);
    }

    #[test]
    fn percentiles_lie_between_values() {
        let values = [0.0, 1.0, 2.0, 4.0];
        assert_eq!(
            (percentile(&values, 0.0), percentile(&values, 1.0), percentile(&values, 0.5)),
            (0.0, 4.0, 1.5)
        );
        assert_eq!((median(&values), median(&values[..3]), median(&[])), (1.5, 1.0, 0.0));
    }
}
