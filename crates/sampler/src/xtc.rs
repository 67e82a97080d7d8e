//! XTC (exclude top choices): sometimes removes all but the least probable of the probable candidates.

use crate::{Candidates, Error, Mt19937, Sampler, resolve_seed};

/// With probability `probability`, removes every candidate above `threshold` except the last of them
/// (`llama_sampler_init_xtc`).
///
/// Nothing is removed when fewer than `min_keep` would stay. One float is drawn per apply with at least two
/// candidates, whether it acts or not; when it acts the array comes out sorted, `p` holding the softmax before the
/// removal. `probability <= 0` or `threshold > 0.5` disable it.
#[derive(Debug, Clone)]
pub struct Xtc {
    probability: f32,
    threshold: f32,
    min_keep: usize,
    /// The seed asked for, perhaps the default one.
    requested: u32,
    rng: Mt19937,
}

impl Xtc {
    /// `seed` as for [`crate::Dist::new`].
    pub fn new(probability: f32, threshold: f32, min_keep: usize, seed: u32) -> Self {
        Self { probability, threshold, min_keep, requested: seed, rng: Mt19937::new(resolve_seed(seed)) }
    }
}

impl Sampler for Xtc {
    fn name(&self) -> &'static str {
        if self.probability <= 0.0 || self.threshold > 0.5 { "?xtc" } else { "xtc" }
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        if self.is_disabled() || candidates.data.len() < 2 {
            return Ok(());
        }
        if self.rng.next_f32() > self.probability {
            return Ok(());
        }
        candidates.sorted_softmax("xtc")?;
        let n_above = candidates.data.iter().take_while(|c| c.p >= self.threshold).count();
        let n_removed = n_above.saturating_sub(1);
        if n_removed > 0 && candidates.data.len() - n_removed >= self.min_keep {
            candidates.data.drain(..n_removed);
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.rng = Mt19937::new(resolve_seed(self.requested));
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(probability: f32, threshold: f32, min_keep: usize, probs: &[f32]) -> Vec<crate::TokenId> {
        let logits: Vec<f32> = probs.iter().map(|p| p.ln()).collect();
        let mut c = Candidates::from_logits(&logits);
        Xtc::new(probability, threshold, min_keep, 1).apply(&mut c).unwrap();
        c.data.iter().map(|c| c.id).collect()
    }

    #[test]
    fn all_but_the_last_above_the_threshold_go() {
        let probs = [0.4, 0.3, 0.2, 0.1];
        assert_eq!(ids(0.99, 0.09, 0, &probs), [3]);
        assert_eq!(ids(0.99, 0.19, 0, &probs), [2, 3]);
        assert_eq!(ids(0.99, 0.39, 0, &probs), [0, 1, 2, 3]);
        assert_eq!(ids(0.99, 0.09, 2, &probs), [0, 1, 2, 3]);
        assert_eq!(ids(0.0, 0.09, 0, &probs), [0, 1, 2, 3]);
        assert_eq!(ids(0.99, 0.51, 0, &probs), [0, 1, 2, 3]);
    }

    #[test]
    fn it_acts_as_often_as_asked_and_reset_starts_over() {
        let mut s = Xtc::new(0.3, 0.1, 0, 9);
        let run = |s: &mut Xtc| -> Vec<bool> {
            (0..2000)
                .map(|_| {
                    let mut c = Candidates::from_logits(&[0.0, 0.0]);
                    s.apply(&mut c).unwrap();
                    c.data.len() == 1
                })
                .collect()
        };
        let first = run(&mut s);
        let n = first.iter().filter(|acted| **acted).count();
        assert!((500..700).contains(&n), "{n}");
        s.reset();
        assert_eq!(run(&mut s), first);
    }

    #[test]
    fn small_arrays_are_left_alone() {
        assert!(ids(1.0, 0.1, 0, &[]).is_empty());
        assert_eq!(ids(1.0, 0.1, 0, &[1.0]), [0]);
    }
}
