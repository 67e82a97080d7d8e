//! Temperature: divides the logits.

use crate::{Candidates, Error, Sampler, TokenData};

/// Divides every logit by a temperature (`llama_sampler_init_temp`).
///
/// At or below 0 it keeps the first candidate with the largest logit and sets all others to `-inf`, so that a
/// following [`crate::Dist`] behaves greedily while its generator still advances. At exactly 1 it is disabled.
#[derive(Debug, Clone, Copy)]
pub struct Temp {
    temp: f32,
}

impl Temp {
    /// Any value is accepted; NaN turns every logit into NaN, as in the reference.
    pub fn new(temp: f32) -> Self {
        Self { temp }
    }
}

impl Sampler for Temp {
    fn name(&self) -> &'static str {
        if self.temp == 1.0 { "?temp" } else { "temp" }
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        if self.temp != 1.0 {
            scale(&mut candidates.data, self.temp);
        }
        Ok(())
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(*self)
    }
}

/// Divides the logits, or for `temp <= 0` lets only the first maximum live (`llama_sampler_temp_impl`).
pub(crate) fn scale(data: &mut [TokenData], temp: f32) {
    if temp > 0.0 || temp.is_nan() {
        for c in data {
            c.logit /= temp;
        }
        return;
    }
    let Some(first) = data.first() else {
        return;
    };
    let mut best = 0;
    let mut best_logit = first.logit;
    for i in 1..data.len() {
        let loser = if data[i].logit > best_logit {
            best_logit = data[i].logit;
            std::mem::replace(&mut best, i)
        } else {
            i
        };
        data[loser].logit = f32::NEG_INFINITY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(temp: f32, logits: &[f32]) -> Vec<f32> {
        let mut c = Candidates::from_logits(logits);
        Temp::new(temp).apply(&mut c).unwrap();
        c.data.iter().map(|c| c.logit).collect()
    }

    #[test]
    fn divides() {
        assert_eq!(after(0.5, &[1.0, -2.0]), [2.0, -4.0]);
        assert_eq!(after(1.0, &[1.0, -2.0]), [1.0, -2.0]);
        assert_eq!(Temp::new(1.0).name(), "?temp");
        assert!(after(2.0, &[]).is_empty());
    }

    #[test]
    fn zero_keeps_the_first_maximum() {
        let inf = f32::NEG_INFINITY;
        for t in [0.0, -1.0, f32::NEG_INFINITY] {
            assert_eq!(after(t, &[1.0, 3.0, 3.0, 2.0]), [inf, 3.0, inf, inf]);
        }
    }
}
