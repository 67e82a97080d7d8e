//! The sampler of a generation: made from its options, fed with its prompt.

use quipu_sampler::{Candidates, GenerationSampler, SamplerParams};
use quipu_tokenizer::Tokenizer;

use crate::TokenId;
use crate::error::Error;
use crate::generate::options::GenerateOptions;
use crate::model::Model;

/// Chooses the tokens of one generation.
#[derive(Debug)]
pub(crate) struct TokenSampler(GenerationSampler);

impl TokenSampler {
    /// The caller's own chain, or what the parameters describe for a context of `n_ctx` tokens.
    pub fn new(options: &GenerateOptions, model: &Model, n_ctx: usize) -> Result<TokenSampler, Error> {
        if let Some(chain) = &options.chain {
            return Ok(GenerationSampler::from_chain(chain.clone()).into());
        }
        Ok(TokenSampler(generation_sampler(&TokenSampler::params(options, n_ctx), model)?))
    }

    /// The parameters as they hold in a context of `n_ctx` tokens.
    pub fn params(options: &GenerateOptions, n_ctx: usize) -> SamplerParams {
        let mut sampling = options.sampling.clone();
        if sampling.penalty_last_n < 0 {
            sampling.penalty_last_n = n_ctx as i32;
        }
        sampling.ignore_eos |= options.ignore_eog;
        sampling
    }

    /// The seed of the draws.
    pub fn seed(&self) -> Option<u32> {
        self.0.seed()
    }

    /// Tells the chain of the prompt, in which repetitions count; a grammar is not asked.
    pub fn accept_prompt(&mut self, prompt: &[TokenId]) -> Result<(), Error> {
        prompt.iter().try_for_each(|token| Ok(self.0.accept(*token, false)?))
    }

    /// Chooses a token and accepts it.
    pub fn sample(&mut self, logits: &[f32]) -> Result<TokenId, Error> {
        let token = self.0.sample(logits)?;
        self.0.accept(token, true)?;
        Ok(token)
    }

    /// What the samplers left of the last row, by descending probability.
    pub fn sorted_candidates(&mut self) -> &Candidates {
        self.0.sorted_candidates()
    }
}

impl From<GenerationSampler> for TokenSampler {
    fn from(sampler: GenerationSampler) -> TokenSampler {
        TokenSampler(sampler)
    }
}

/// What the parameters describe for a model's vocabulary.
pub(crate) fn generation_sampler(params: &SamplerParams, model: &Model) -> Result<GenerationSampler, Error> {
    let sampler = if params.grammar.is_some() {
        GenerationSampler::with_pieces(params, model.pieces()?)
    } else {
        GenerationSampler::new(params, &model.vocabulary()?)
    };
    Ok(sampler?)
}

/// Whether end-of-generation tokens do not end the text. As in the reference, a vocabulary without an end of
/// sequence keeps its ends.
pub(crate) fn ignores_eog(options: &GenerateOptions, tokenizer: &Tokenizer) -> bool {
    (options.ignore_eog || options.sampling.ignore_eos) && tokenizer.special_tokens().eos.is_some()
}
