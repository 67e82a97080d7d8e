//! Greedy: the candidate with the largest logit.

use crate::{Candidates, Error, Sampler};

/// Selects the first candidate with the largest logit (`llama_sampler_init_greedy`).
#[derive(Debug, Clone, Copy, Default)]
pub struct Greedy;

impl Sampler for Greedy {
    fn name(&self) -> &'static str {
        "greedy"
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        let data = &candidates.data;
        if data.is_empty() {
            return Err(Error::EmptyCandidates { sampler: "greedy" });
        }
        let mut best = 0;
        for (i, c) in data.iter().enumerate().skip(1) {
            if c.logit > data[best].logit {
                best = i;
            }
        }
        candidates.selected = Some(best);
        Ok(())
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(*self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_first() {
        let mut c = Candidates::from_logits(&[1.0, 5.0, 5.0, 2.0]);
        Greedy.apply(&mut c).unwrap();
        assert_eq!(c.selected_token(), Some(1));
        let mut c = Candidates::from_logits(&[f32::NEG_INFINITY; 3]);
        Greedy.apply(&mut c).unwrap();
        assert_eq!(c.selected_token(), Some(0));
    }

    #[test]
    fn nothing_to_choose_from_is_an_error() {
        assert!(matches!(Greedy.apply(&mut Candidates::new()), Err(Error::EmptyCandidates { .. })));
    }
}
