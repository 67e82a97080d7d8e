//! Top-n-sigma: masks what is more than n standard deviations below the best logit.

use crate::{Candidates, Error, Sampler};

/// Sets logits below `max - n * sigma` to `-inf`; nothing is removed (`llama_sampler_init_top_n_sigma`).
///
/// Mean and deviation are taken over the logits that are not `-inf`, in `f32`. `n <= 0` disables it; fewer than
/// two candidates are left alone.
#[derive(Debug, Clone, Copy)]
pub struct TopNSigma {
    n: f32,
}

impl TopNSigma {
    /// Mask below `n` standard deviations from the best.
    pub fn new(n: f32) -> Self {
        Self { n }
    }
}

impl Sampler for TopNSigma {
    fn name(&self) -> &'static str {
        if self.n <= 0.0 { "?top-n-sigma" } else { "top-n-sigma" }
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        let data = candidates.data.as_mut_slice();
        if self.n <= 0.0 || data.len() <= 1 {
            return Ok(());
        }
        let mut max = data[0].logit;
        let mut sum = 0.0_f32;
        let mut n_valid = 0_usize;
        for c in data.iter().filter(|c| c.logit != f32::NEG_INFINITY) {
            if max < c.logit {
                max = c.logit;
            }
            sum += c.logit;
            n_valid += 1;
        }
        let mean = if n_valid > 0 { sum / n_valid as f32 } else { 0.0 };
        let mut squares = 0.0_f32;
        for c in data.iter().filter(|c| c.logit != f32::NEG_INFINITY) {
            // The reference squares in f64 and adds in f64, then rounds: C's pow and its promotions.
            let distance = f64::from(c.logit - mean);
            squares = (f64::from(squares) + distance * distance) as f32;
        }
        let sigma = if n_valid > 0 { (squares / n_valid as f32).sqrt() } else { 0.0 };
        let least = max - self.n * sigma;
        for c in data {
            if c.logit < least {
                c.logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(*self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(n: f32, logits: &[f32]) -> Vec<f32> {
        let mut c = Candidates::from_logits(logits);
        TopNSigma::new(n).apply(&mut c).unwrap();
        c.data.iter().map(|c| c.logit).collect()
    }

    #[test]
    fn masks_below_n_deviations() {
        let inf = f32::NEG_INFINITY;
        // Mean 2, variance 2.
        assert_eq!(after(1.0, &[0.0, 1.0, 2.0, 3.0, 4.0]), [inf, inf, inf, 3.0, 4.0]);
        assert_eq!(after(1.5, &[0.0, 1.0, 2.0, 3.0, 4.0]), [inf, inf, 2.0, 3.0, 4.0]);
        assert_eq!(after(1.0, &[inf, 0.0, 1.0, 2.0, 3.0, 4.0]), [inf, inf, inf, inf, 3.0, 4.0]);
        assert_eq!(after(0.0, &[0.0, 4.0]), [0.0, 4.0]);
    }

    #[test]
    fn edges() {
        assert!(after(1.0, &[]).is_empty());
        assert_eq!(after(1.0, &[f32::NEG_INFINITY; 3]), [f32::NEG_INFINITY; 3]);
        assert_eq!(after(1.0, &[7.0, 7.0]), [7.0, 7.0]);
        assert_eq!(TopNSigma::new(-1.0).name(), "?top-n-sigma");
    }
}
