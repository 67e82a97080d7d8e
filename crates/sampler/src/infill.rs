//! Infill: for fill-in-the-middle models, weighs going on against stopping.

use std::sync::Arc;

use crate::{Candidates, Error, Sampler, TokenData, Vocabulary};

/// Decides between text and end of generation, and merges tokens that begin alike (`llama_sampler_init_infill`).
///
/// Meant to follow top-k and top-p. When the tokens that end generation are likely enough, only they stay.
/// Otherwise each token that is a prefix of another one is merged with it, the probabilities go to the more probable
/// of both, improbable tokens are dropped twice, and if no text remains the end of turn is the only candidate.
pub struct Infill {
    vocabulary: Arc<dyn Vocabulary>,
}

impl std::fmt::Debug for Infill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Infill")
    }
}

impl Infill {
    /// Asks `vocabulary` for pieces and for the tokens that end generation.
    pub fn new(vocabulary: Arc<dyn Vocabulary>) -> Self {
        Self { vocabulary }
    }

    /// Moves the probability of every token that is a prefix of another one to the more probable of the two;
    /// the loser's logit becomes `-inf`.
    fn merge_prefixes(&self, data: &mut [TokenData]) {
        let pieces: Vec<&[u8]> = data.iter().map(|c| self.vocabulary.plain_piece(c.id)).collect();
        let mut by_text: Vec<usize> = (0..data.len()).collect();
        by_text.sort_by_key(|&i| (pieces[i], i));
        let mut continuations = Vec::new();
        for short in 0..data.len() {
            if pieces[short].is_empty() {
                continue;
            }
            // In order of texts, those that begin with this one lie side by side.
            let first = by_text.partition_point(|&i| pieces[i] < pieces[short]);
            let run = by_text[first..].iter().take_while(|&&i| pieces[i].starts_with(pieces[short]));
            continuations.clear();
            continuations.extend(run.copied());
            continuations.sort_unstable();
            for &long in &continuations {
                if data[short].logit == f32::NEG_INFINITY {
                    break;
                }
                if long == short || data[long].logit == f32::NEG_INFINITY {
                    continue;
                }
                let (to, from) = if data[long].p > data[short].p { (long, short) } else { (short, long) };
                data[to].p += data[from].p;
                data[from].logit = f32::NEG_INFINITY;
                data[from].p = 0.0;
            }
        }
    }

    fn is_eog(&self, c: &TokenData) -> bool {
        self.vocabulary.is_eog(c.id)
    }
}

/// Divides by the sum of `p`, taken in order.
fn normalise(data: &mut [TokenData]) {
    let sum = data.iter().fold(0.0_f32, |sum, c| sum + c.p);
    for c in data {
        c.p /= sum;
    }
}

impl Sampler for Infill {
    fn name(&self) -> &'static str {
        "infill"
    }

    /// # Errors
    /// [`Error::EmptyCandidates`]; [`Error::NoEndToken`] where the end of turn is needed and the vocabulary has
    /// none.
    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        candidates.sorted_softmax("infill")?;
        let (mut p_text, mut p_end) = (0.0_f32, 0.0_f32);
        for c in &candidates.data {
            *(if self.is_eog(c) { &mut p_end } else { &mut p_text }) += c.p;
        }
        if 3.0 * p_end * candidates.data.len() as f32 > p_text {
            candidates.data.retain(|c| self.vocabulary.is_eog(c.id));
            normalise(&mut candidates.data);
            return Ok(());
        }

        self.merge_prefixes(&mut candidates.data);
        let first = candidates.data[0];
        candidates.data.retain(|c| c.p >= 0.2 || c.p.is_nan() || self.vocabulary.is_eog(c.id));
        let n_text = candidates.data.iter().filter(|c| !self.is_eog(c)).count();
        if n_text == 0 {
            let id = self.vocabulary.end_of_turn().ok_or(Error::NoEndToken)?;
            let p = candidates.data.first().unwrap_or(&first).p;
            candidates.data.clear();
            candidates.data.push(TokenData { id, logit: 1.0, p });
            return Ok(());
        }
        normalise(&mut candidates.data);
        let least = (1.0 / (n_text as f64 + 1.0)) as f32;
        candidates.data.retain(|c| c.p >= least || c.p.is_nan() || self.vocabulary.is_eog(c.id));
        normalise(&mut candidates.data);
        Ok(())
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(Self::new(Arc::clone(&self.vocabulary)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Texts;

    fn after(probs: &[f32]) -> Vec<(crate::TokenId, f32)> {
        let vocabulary = Texts::new(&["a", "ab", "abc", "x", "</s>"]);
        let logits: Vec<f32> = probs.iter().map(|p| p.ln()).collect();
        let mut c = Candidates::from_logits(&logits);
        Infill::new(Arc::new(vocabulary)).apply(&mut c).unwrap();
        c.data.iter().map(|c| (c.id, c.p)).collect()
    }

    #[test]
    fn a_likely_end_is_all_that_stays() {
        assert_eq!(after(&[0.2, 0.2, 0.2, 0.2, 0.2]), [(4, 1.0)]);
    }

    #[test]
    fn tokens_that_begin_alike_are_merged() {
        let kept = after(&[0.3, 0.2, 0.1, 0.399_999, 0.000_001]);
        assert_eq!(kept.iter().map(|k| k.0).collect::<Vec<_>>(), [3, 0, 4]);
        assert!((kept[1].1 - 0.6).abs() < 1e-4, "{kept:?}");
    }

    #[test]
    fn without_probable_text_the_turn_ends() {
        // Without the end of generation among 40 different texts, none of them reaches the threshold.
        let texts: Vec<String> = (0..40).map(|i| format!("{i:02}")).chain(["</s>".to_owned()]).collect();
        let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut c = Candidates::from_logits(&[0.0; 40]);
        let mut s = Infill::new(Arc::new(Texts::new(&refs)));
        s.apply(&mut c).unwrap();
        assert_eq!((c.data.len(), c.data[0].id, c.data[0].logit), (1, 40, 1.0));
        let mut s = Infill::new(Arc::new(Texts::new(&refs[..40])));
        assert_eq!(s.apply(&mut Candidates::from_logits(&[0.0; 40])), Err(Error::NoEndToken));
        assert!(s.apply(&mut Candidates::new()).is_err());
    }
}
