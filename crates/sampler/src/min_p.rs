//! Min-p: drops candidates much less probable than the most probable one.

use crate::{Candidates, Error, Sampler};

/// Keeps candidates whose probability is at least `p` times the largest (`llama_sampler_init_min_p`).
///
/// Works on logits: the threshold is the largest logit plus `ln p`. Unsorted candidates stay in their order when
/// at least `min_keep` of them (and at least one) pass; otherwise they are sorted and the best are kept. `p <= 0` disables it.
#[derive(Debug, Clone, Copy)]
pub struct MinP {
    p: f32,
    min_keep: usize,
}

impl MinP {
    /// Threshold `p` relative to the best, keep at least `min_keep`.
    pub fn new(p: f32, min_keep: usize) -> Self {
        Self { p, min_keep }
    }
}

impl Sampler for MinP {
    fn name(&self) -> &'static str {
        if self.p <= 0.0 { "?min-p" } else { "min-p" }
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        if self.p <= 0.0 || candidates.data.is_empty() {
            return Ok(());
        }
        if !candidates.sorted {
            let mut max_logit = f32::MIN;
            for c in &candidates.data {
                if max_logit < c.logit {
                    max_logit = c.logit;
                }
            }
            let min_logit = max_logit + self.p.ln();
            let passing = candidates.data.iter().filter(|c| c.logit >= min_logit).count();
            if passing > 0 && passing >= self.min_keep {
                candidates.data.retain(|c| c.logit >= min_logit);
                return Ok(());
            }
            candidates.keep_largest(candidates.data.len());
        }
        let min_logit = candidates.data[0].logit + self.p.ln();
        let min_keep = self.min_keep.max(1);
        let tail = candidates.data.iter().skip(min_keep).position(|c| c.logit < min_logit);
        if let Some(i) = tail {
            candidates.data.truncate(min_keep + i);
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

    fn ids(p: f32, min_keep: usize, probs: &[f32]) -> Vec<crate::TokenId> {
        let logits: Vec<f32> = probs.iter().map(|p| p.ln()).collect();
        let mut c = Candidates::from_logits(&logits);
        MinP::new(p, min_keep).apply(&mut c).unwrap();
        c.data.iter().map(|c| c.id).collect()
    }

    #[test]
    fn unsorted_survivors_keep_their_order() {
        let probs = [0.1, 0.2, 0.3, 0.4];
        assert_eq!(ids(0.0, 0, &probs), [0, 1, 2, 3]);
        assert_eq!(ids(0.26, 0, &probs), [1, 2, 3]);
        assert_eq!(ids(0.74, 0, &probs), [2, 3]);
        assert_eq!(ids(0.9, 0, &probs), [3]);
    }

    #[test]
    fn min_keep_sorts() {
        let probs = [0.1, 0.2, 0.3, 0.4];
        assert_eq!(ids(0.9, 3, &probs), [3, 2, 1]);
        assert_eq!(ids(1.5, 0, &probs), [3]);
        assert_eq!(ids(0.9, 99, &probs), [3, 2, 1, 0]);
        assert!(ids(0.5, 1, &[]).is_empty());
    }

    #[test]
    fn all_minus_infinity_keeps_all() {
        let mut c = Candidates::from_logits(&[f32::NEG_INFINITY; 3]);
        MinP::new(0.1, 1).apply(&mut c).unwrap();
        assert_eq!(c.data.len(), 3);
    }
}
