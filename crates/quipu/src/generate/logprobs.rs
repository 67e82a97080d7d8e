//! Log-probabilities of the chosen token and of the likeliest ones, as the reference's server reports them
//! (`populate_token_probs`).

use quipu_sampler::{Candidates, Error, Sampler, TokenData, TopK};
use quipu_tokenizer::Tokenizer;

use crate::TokenId;
use crate::generate::sampling::TokenSampler;

/// Probabilities at one place of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// Natural logarithm of the chosen token's probability; `f32::MIN` for a probability of 0.
    pub logprob: f32,
    /// The likeliest tokens, the likeliest first; the chosen one need not be among them.
    pub top: Vec<TopToken>,
}

/// One of the likeliest tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct TopToken {
    /// The token.
    pub id: TokenId,
    /// Bytes it stands for; none for control tokens, unless the text shows them.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability; `f32::MIN` for a probability of 0.
    pub logprob: f32,
}

/// Computes them, with memory that is used again for each token.
#[derive(Debug)]
pub(crate) struct Logprobs {
    n_probs: usize,
    /// From what the samplers left, not from the logits.
    post_sampling: bool,
    special: bool,
    candidates: Candidates,
}

impl Logprobs {
    /// `None` if no probabilities are asked for.
    pub fn new(n_probs: usize, post_sampling: bool, special: bool) -> Option<Logprobs> {
        (n_probs > 0).then(|| Logprobs { n_probs, post_sampling, special, candidates: Candidates::new() })
    }

    /// Those of `token`, which `sampler` chose from `logits`.
    pub fn of(
        &mut self,
        token: TokenId,
        logits: &[f32],
        sampler: &mut TokenSampler,
        tokenizer: &Tokenizer,
    ) -> Result<TokenLogprobs, Error> {
        let special = self.special;
        let named = |c: &TokenData, p: f32| {
            let id = c.id;
            let bytes = tokenizer.piece(id, special).unwrap_or_default().to_vec();
            TopToken { id, bytes, logprob: logarithm(p) }
        };
        if self.post_sampling {
            let left = sampler.sorted_candidates();
            // The reference starts from certainty, for samplers that keep no probabilities.
            let chosen = left.data.iter().find(|c| c.id == token).map_or(1.0, |c| c.p);
            let likely = left.data.iter().take(self.n_probs).take_while(|c| c.p != 0.0);
            return Ok(TokenLogprobs {
                logprob: logarithm(chosen),
                top: likely.map(|c| named(c, c.p)).collect(),
            });
        }
        let k = i32::try_from(self.n_probs.min(logits.len())).unwrap_or(i32::MAX);
        // Selects and orders as std::partial_sort, so ties stand as in the reference.
        TopK::new(k).apply_to_row(logits, &mut self.candidates)?;
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // Nearer to the truth than the server's sum in f32, whose error grows with the vocabulary.
        let sum: f64 = logits.iter().map(|l| f64::from((l - max).exp())).sum();
        let probability = |logit: f32| ((logit - max).exp()) / sum as f32;
        let chosen = logits.get(token as usize).map_or(1.0, |logit| probability(*logit));
        Ok(TokenLogprobs {
            logprob: logarithm(chosen),
            top: self.candidates.data.iter().map(|c| named(c, probability(c.logit))).collect(),
        })
    }
}

/// JSON knows no infinity, so a probability of 0 gets the least number (`completion_token_output::logarithm`).
fn logarithm(p: f32) -> f32 {
    if p == 0.0 { f32::MIN } else { p.ln() }
}

#[cfg(all(test, feature = "embedded-model"))]
mod tests {
    use quipu_sampler::{Chain, GenerationSampler, Greedy};

    use super::*;

    #[test]
    fn probability_zero_has_a_logarithm() {
        assert_eq!(logarithm(0.0), f32::MIN);
        assert_eq!(logarithm(1.0), 0.0);
    }

    #[test]
    fn no_probabilities_unless_asked_for() {
        assert!(Logprobs::new(0, true, false).is_none());
    }

    #[test]
    fn softmax_of_the_logits() {
        let model = crate::Model::embedded().expect("the demo model");
        let tokenizer = model.tokenizer().expect("a vocabulary");
        let mut chain = Chain::new();
        chain.add(Greedy);
        let mut sampler = TokenSampler::from(GenerationSampler::from_chain(chain));
        // exp: 1, 2, 4, 1, 0, and a logit too small for any probability.
        let logits = [0.0, 2f32.ln(), 4f32.ln(), 0.0, f32::NEG_INFINITY, -200.0];
        let mut probs = Logprobs::new(4, false, false).expect("asked for");
        let found = probs.of(1, &logits, &mut sampler, tokenizer).expect("probabilities");
        assert_eq!(found.top.iter().map(|t| t.id).collect::<Vec<_>>()[..2], [2, 1]);
        for (top, p) in found.top.iter().zip([0.5f32, 0.25, 0.125, 0.125]) {
            assert!((top.logprob - p.ln()).abs() < 1e-6, "{found:?}");
        }
        assert_eq!(found.logprob, found.top[1].logprob);
        for id in [4, 5] {
            assert_eq!(
                probs.of(id, &logits, &mut sampler, tokenizer).expect("probabilities").logprob,
                f32::MIN
            );
        }
    }

    /// Ids, order and probabilities of `get_token_probabilities` (`tests/goldens/logprobs/PROVENANCE.md`).
    #[test]
    fn the_likeliest_are_those_of_the_server() {
        let model = crate::Model::embedded().expect("the demo model");
        let tokenizer = model.tokenizer().expect("a vocabulary");
        let mut sampler = TokenSampler::from(GenerationSampler::from_chain(Chain::new()));
        let cases: [(&[u8], &str); 2] = [
            (
                include_bytes!("../../tests/goldens/logprobs/plain.f32"),
                include_str!("../../tests/goldens/logprobs/plain.txt"),
            ),
            (
                include_bytes!("../../tests/goldens/logprobs/ties.f32"),
                include_str!("../../tests/goldens/logprobs/ties.txt"),
            ),
        ];
        for (row, expected) in cases {
            let (row, _) = row.as_chunks::<4>();
            let logits: Vec<f32> = row.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            let mut probs = Logprobs::new(20, false, false).expect("asked for");
            let found = probs.of(0, &logits, &mut sampler, tokenizer).expect("probabilities").top;
            assert_eq!(found.len(), expected.lines().count());
            for (found, line) in found.iter().zip(expected.lines()) {
                let (id, p) = line.split_once(' ').expect("an id and a probability");
                assert_eq!(found.id.to_string(), id);
                let p: f32 = p.parse().expect("a number");
                // The server adds up the 1024 probabilities in f32 and is off by that.
                assert!((found.logprob - p.ln()).abs() < 1e-5, "{id}: {} {}", found.logprob, p.ln());
            }
        }
    }
}
