//! The samplers of a generation: made from its options, fed with its prompt.

use std::sync::Arc;

use quipu_sampler::{Candidates, Chain, Sampler, Vocabulary};
use quipu_tokenizer::Tokenizer;

use crate::TokenId;
use crate::error::Error;
use crate::generate::options::GenerateOptions;

/// Chooses the tokens of one generation.
#[derive(Debug)]
pub(crate) struct TokenSampler {
    chain: Chain,
}

impl TokenSampler {
    /// The caller's own chain, or the one that the parameters describe for a context of `n_ctx` tokens.
    pub fn new(options: &GenerateOptions, tokenizer: &Tokenizer, n_ctx: usize) -> Result<TokenSampler, Error> {
        if let Some(chain) = &options.chain {
            return Ok(TokenSampler { chain: chain.clone() });
        }
        let mut sampling = options.sampling.clone();
        if sampling.penalty_last_n < 0 {
            sampling.penalty_last_n = n_ctx as i32;
        }
        let vocabulary: Arc<dyn Vocabulary> = Arc::new(tokenizer.clone());
        if ignores_eog(options, tokenizer) {
            let tokens = 0..vocabulary.n_tokens() as i32;
            let ends = tokens.filter(|token| vocabulary.is_eog(*token));
            sampling.logit_bias.extend(ends.map(|token| (token, f32::NEG_INFINITY)));
        }
        Ok(TokenSampler { chain: Chain::with_vocabulary(&sampling, &vocabulary)? })
    }

    /// Tells the samplers of the prompt, which repetitions are counted in.
    pub fn accept_prompt(&mut self, prompt: &[TokenId]) {
        for token in prompt {
            self.chain.accept(*token as i32);
        }
    }

    /// Chooses a token and accepts it.
    pub fn sample(&mut self, logits: &[f32]) -> Result<TokenId, Error> {
        Ok(self.chain.sample(logits)? as TokenId)
    }

    /// What the samplers left of the last row.
    pub fn candidates(&self) -> &Candidates {
        self.chain.candidates()
    }
}

/// Whether end-of-generation tokens do not end the text. As in the reference, a vocabulary without an end of
/// sequence keeps its ends.
pub(crate) fn ignores_eog(options: &GenerateOptions, tokenizer: &Tokenizer) -> bool {
    options.ignore_eog && tokenizer.special_tokens().eos.is_some()
}
