//! Locally typical: keeps candidates whose surprise is close to the expected one.

use crate::{Candidates, Error, Sampler, TokenData};

/// Keeps the most typical candidates until their probabilities exceed `p` (`llama_sampler_init_typical`).
///
/// Typical is a candidate whose `-ln p` is near the entropy of all. The survivors come out in order of
/// typicality, so the array no longer counts as sorted; `p` holds the softmax before the cut. At least `min_keep`
/// survive. `p >= 1` disables it.
#[derive(Debug, Clone)]
pub struct Typical {
    p: f32,
    min_keep: usize,
    /// Distance from the entropy and the candidate it belongs to.
    scored: Vec<(f32, TokenData)>,
}

impl Typical {
    /// Cut at probability `p`, keep at least `min_keep`.
    pub fn new(p: f32, min_keep: usize) -> Self {
        Self { p, min_keep, scored: Vec::new() }
    }
}

impl Sampler for Typical {
    fn name(&self) -> &'static str {
        if self.p >= 1.0 { "?typical" } else { "typical" }
    }

    /// # Errors
    /// [`Error::EmptyCandidates`]: there is no softmax of nothing.
    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        if self.p >= 1.0 {
            return Ok(());
        }
        candidates.sorted_softmax("typical")?;
        let mut entropy = 0.0_f32;
        for c in &candidates.data {
            entropy += -c.p * c.p.ln();
        }
        self.scored.clear();
        self.scored.extend(candidates.data.iter().map(|&c| ((-c.p.ln() - entropy).abs(), c)));
        quipu_std_sort::sort_by(&mut self.scored, |a, b| a.0 < b.0);

        let mut total = 0.0_f32;
        let mut keep = self.scored.len();
        for (i, (_, c)) in self.scored.iter().enumerate() {
            total += c.p;
            if total > self.p && i + 1 >= self.min_keep {
                keep = i + 1;
                break;
            }
        }
        candidates.data.clear();
        candidates.data.extend(self.scored[..keep].iter().map(|(_, c)| *c));
        candidates.sorted = false;
        Ok(())
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(Self::new(self.p, self.min_keep))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(p: f32, min_keep: usize, probs: &[f32]) -> Vec<crate::TokenId> {
        let logits: Vec<f32> = probs.iter().map(|p| p.ln()).collect();
        let mut c = Candidates::from_logits(&logits);
        Typical::new(p, min_keep).apply(&mut c).unwrap();
        c.data.iter().map(|c| c.id).collect()
    }

    #[test]
    fn the_most_typical_come_first() {
        assert_eq!(ids(0.5, 1, &[0.97, 0.01, 0.01, 0.01]), [0]);
        // The entropy is 1.32, the surprises are 0.92, 1.39, 1.61 and 1.90.
        assert_eq!(ids(0.5, 1, &[0.4, 0.25, 0.2, 0.15]), [1, 2, 0]);
        assert_eq!(ids(0.5, 4, &[0.4, 0.25, 0.2, 0.15]), [1, 2, 0, 3]);
        assert_eq!(ids(1.0, 0, &[0.1, 0.9]), [0, 1]);
    }

    #[test]
    fn empty_is_an_error_and_minus_infinity_is_not() {
        assert!(Typical::new(0.5, 1).apply(&mut Candidates::new()).is_err());
        assert_eq!(ids(0.5, 1, &[0.0, 0.5, 0.5]).len(), 2);
        assert_eq!(Typical::new(1.0, 1).name(), "?typical");
    }
}
