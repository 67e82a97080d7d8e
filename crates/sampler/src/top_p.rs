//! Top-p (nucleus): the smallest prefix of the sorted candidates with a total probability of at least p.

use crate::{Candidates, Error, Sampler};

/// Above this many unsorted candidates, only the most probable are sorted at first.
const SORT_IN_PLACE_MAX: usize = 1024;
/// How many that is.
const FIRST_GUESS: usize = 256;

/// Keeps the most probable candidates until their probabilities sum to `p` (`llama_sampler_init_top_p`).
///
/// At least `min_keep` candidates survive where there are as many. The result is sorted; `p` holds the softmax
/// over the candidates before the cut. `p >= 1` disables it.
#[derive(Debug, Clone, Copy)]
pub struct TopP {
    p: f32,
    min_keep: usize,
}

impl TopP {
    /// Cut at probability `p`, keep at least `min_keep`.
    pub fn new(p: f32, min_keep: usize) -> Self {
        Self { p, min_keep }
    }

    /// Does the prefix that ends at index `i`, with probability `total`, suffice?
    fn suffices(self, i: usize, total: f32) -> bool {
        total >= self.p && i + 1 >= self.min_keep
    }
}

impl Sampler for TopP {
    fn name(&self) -> &'static str {
        if self.p >= 1.0 { "?top-p" } else { "top-p" }
    }

    /// # Errors
    /// [`Error::EmptyCandidates`]: there is no softmax of nothing.
    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        if self.p >= 1.0 {
            return Ok(());
        }
        if candidates.data.is_empty() {
            return Err(Error::EmptyCandidates { sampler: "top-p" });
        }
        candidates.softmax();

        let size = candidates.data.len();
        if !candidates.sorted && size <= SORT_IN_PLACE_MAX {
            candidates.keep_largest(size);
        }
        if candidates.sorted {
            let mut total = 0.0_f32;
            let last = candidates.data.iter().enumerate().find_map(|(i, c)| {
                total += c.p;
                self.suffices(i, total).then_some(i)
            });
            candidates.data.truncate(last.map_or(size, |i| i + 1));
            return Ok(());
        }

        // Large and unsorted: sort a small head, and everything only when the head does not reach p.
        let mut n_sorted = FIRST_GUESS;
        candidates.sort_copy(n_sorted);
        let mut total = 0.0_f32;
        let mut keep = size;
        for i in 0..size {
            total += candidates.sorted_copy()[i].p;
            if self.suffices(i, total) {
                keep = i + 1;
                break;
            }
            if i + 1 == n_sorted && n_sorted < size {
                n_sorted = size;
                candidates.sort_copy(n_sorted);
            }
        }
        candidates.take_sorted_copy(keep);
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
        TopP::new(p, min_keep).apply(&mut c).unwrap();
        assert!(p >= 1.0 || c.sorted);
        c.data.iter().map(|c| c.id).collect()
    }

    #[test]
    fn cuts_at_p() {
        let probs = [0.1, 0.2, 0.3, 0.4];
        assert_eq!(ids(0.0, 0, &probs), [3]);
        assert_eq!(ids(0.65, 0, &probs), [3, 2]);
        assert_eq!(ids(0.65, 3, &probs), [3, 2, 1]);
        assert_eq!(ids(0.85, 0, &probs), [3, 2, 1]);
        assert_eq!(ids(1.0, 0, &probs), [0, 1, 2, 3]);
        assert_eq!(ids(0.0, 99, &probs), [3, 2, 1, 0]);
    }

    #[test]
    fn the_flat_large_case_needs_the_second_sort() {
        let mut c = Candidates::from_logits(&vec![0.0; 4096]);
        TopP::new(0.5, 0).apply(&mut c).unwrap();
        assert_eq!(c.data.len(), 2048);
        let mut c = Candidates::from_logits(&vec![0.0; 4096]);
        TopP::new(0.01, 0).apply(&mut c).unwrap();
        assert_eq!(c.data.len(), 41);
    }

    #[test]
    fn empty_is_an_error() {
        assert!(TopP::new(0.5, 1).apply(&mut Candidates::new()).is_err());
        assert!(TopP::new(1.0, 1).apply(&mut Candidates::new()).is_ok());
    }
}
