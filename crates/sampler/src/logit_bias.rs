//! Logit bias: adds a number to the logits of chosen tokens.

use std::collections::HashMap;

use crate::{Candidates, Error, Sampler, TokenId};

/// Adds to the logit of each listed token (`llama_sampler_init_logit_bias`). An empty list disables it.
///
/// A token listed twice gets both biases while the candidates lie in the vocabulary's order, and the first one
/// only once they were shuffled, as in the reference. The `sorted` flag is left as it was.
#[derive(Debug, Clone)]
pub struct LogitBias {
    biases: Vec<(TokenId, f32)>,
    /// Biases of tokens that do not lie where their id says.
    elsewhere: HashMap<TokenId, f32>,
}

impl LogitBias {
    /// `-inf` forbids a token.
    pub fn new(biases: &[(TokenId, f32)]) -> Self {
        Self { biases: biases.to_vec(), elsewhere: HashMap::new() }
    }
}

impl Sampler for LogitBias {
    fn name(&self) -> &'static str {
        if self.biases.is_empty() { "?logit-bias" } else { "logit-bias" }
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        self.elsewhere.clear();
        for &(token, bias) in &self.biases {
            match candidates.data.get_mut(token as usize) {
                Some(c) if c.id == token => c.logit += bias,
                _ => {
                    self.elsewhere.entry(token).or_insert(bias);
                }
            }
        }
        if !self.elsewhere.is_empty() {
            for c in &mut candidates.data {
                if let Some(bias) = self.elsewhere.get(&c.id) {
                    c.logit += bias;
                }
            }
        }
        Ok(())
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_place_and_shuffled() {
        let mut s = LogitBias::new(&[(1, 10.0), (1, 5.0), (TokenId::MAX, 3.0), (7, 1.0)]);
        let mut c = Candidates::from_logits(&[0.0, 1.0, 2.0]);
        s.apply(&mut c).unwrap();
        assert_eq!(c.data.iter().map(|c| c.logit).collect::<Vec<_>>(), [0.0, 16.0, 2.0]);
        let mut c = Candidates::from_logits(&[0.0, 1.0, 2.0]);
        c.data.reverse();
        c.data[0].id = 1;
        c.data[1].id = 0;
        s.apply(&mut c).unwrap();
        assert_eq!(c.data.iter().map(|c| c.logit).collect::<Vec<_>>(), [12.0, 1.0, 0.0]);
        assert_eq!(LogitBias::new(&[]).name(), "?logit-bias");
        assert!(s.apply(&mut Candidates::new()).is_ok());
    }
}
