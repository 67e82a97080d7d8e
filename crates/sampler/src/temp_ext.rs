//! Dynamic temperature: hotter where the model is unsure.

use crate::{Candidates, Error, Sampler, temp};

/// Temperature between `temp - delta` and `temp + delta`, by the entropy (`llama_sampler_init_temp_ext`).
///
/// The normalised entropy to the power of `exponent` chooses the place in that range. The candidates come out
/// sorted, `p` holding the softmax after scaling. With `delta <= 0` it is the plain [`crate::Temp`], with
/// `temp` 1 besides it is disabled. Fewer than two candidates are left alone when `delta > 0`.
#[derive(Debug, Clone, Copy)]
pub struct TempExt {
    temp: f32,
    delta: f32,
    exponent: f32,
}

impl TempExt {
    /// Any values are accepted.
    pub fn new(temp: f32, delta: f32, exponent: f32) -> Self {
        Self { temp, delta, exponent }
    }

    /// The temperature for sorted candidates with softmax in `p`.
    fn dynamic(self, candidates: &Candidates) -> f32 {
        let least = self.temp - self.delta;
        let least = if least > 0.0 { least } else { 0.0 };
        let most = self.temp + self.delta;
        let max_entropy = -(1.0 / candidates.data.len() as f32).ln();
        let mut entropy = 0.0_f32;
        for c in &candidates.data {
            if c.p > 0.0 {
                entropy -= c.p * c.p.ln();
            }
        }
        least + (most - least) * (entropy / max_entropy).powf(self.exponent)
    }
}

impl Sampler for TempExt {
    fn name(&self) -> &'static str {
        if self.temp == 1.0 && self.delta <= 0.0 { "?temp-ext" } else { "temp-ext" }
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        if self.is_disabled() {
            return Ok(());
        }
        if self.delta <= 0.0 || self.delta.is_nan() {
            temp::scale(&mut candidates.data, self.temp);
            return Ok(());
        }
        if candidates.data.len() <= 1 {
            return Ok(());
        }
        candidates.sorted_softmax("temp-ext")?;
        let dynamic = self.dynamic(candidates);
        temp::scale(&mut candidates.data, dynamic);

        let max_logit = f64::from(candidates.data[0].logit);
        let mut sum = 0.0_f64;
        for c in &mut candidates.data {
            let p = (f64::from(c.logit) - max_logit).exp();
            c.p = p as f32;
            sum += p;
        }
        for c in &mut candidates.data {
            c.p = (f64::from(c.p) / sum) as f32;
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

    fn after(temp: f32, delta: f32, logits: &[f32]) -> Vec<f32> {
        let mut c = Candidates::from_logits(logits);
        TempExt::new(temp, delta, 1.0).apply(&mut c).unwrap();
        c.data.iter().map(|c| c.logit).collect()
    }

    #[test]
    fn without_a_range_it_is_the_temperature() {
        assert_eq!(after(0.5, 0.0, &[1.0, 2.0]), [2.0, 4.0]);
        assert_eq!(after(1.0, 0.0, &[1.0, 2.0]), [1.0, 2.0]);
        assert_eq!(TempExt::new(1.0, -1.0, 1.0).name(), "?temp-ext");
    }

    #[test]
    fn a_flat_row_gets_the_hottest_and_one_candidate_is_left_alone() {
        let flat = after(1.0, 0.5, &[3.0; 4]);
        assert!(flat.iter().all(|l| (l - 2.0).abs() < 1e-5), "{flat:?}");
        assert_eq!(after(1.0, 0.5, &[3.0]), [3.0]);
        assert!(after(1.0, 0.5, &[]).is_empty());
    }

    #[test]
    fn a_certain_row_goes_towards_the_coldest() {
        let logits = after(1.0, 1.0, &[0.0, 20.0]);
        assert!(logits[0] > 1000.0, "{logits:?}");
    }
}
