//! What a recorder is told of a generation, so that it can be replayed: prompt, parameters and ids.

use quipu_sampler::ReasoningParams;

use crate::TokenId;
use crate::generate::{GenerateOptions, Outcome, TokenSampler};

/// The beginning of the event `transcript`; the ids come at the end.
#[derive(Debug)]
pub(super) struct Told {
    prompt: String,
    /// JSON in llama-server's names; nothing if the parameters do not say how the tokens are chosen.
    sampling: String,
}

impl Told {
    /// `None` if nobody listens.
    pub fn new(
        prompt: &[TokenId],
        options: &GenerateOptions,
        sampler: &TokenSampler,
        n_ctx: usize,
    ) -> Option<Told> {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return None;
        }
        let is_known = options.chain.is_none() && options.sampling.reasoning == ReasoningParams::default();
        let sampling = is_known.then(|| {
            let mut sampling = TokenSampler::params(options, n_ctx);
            // One that was drawn is worth knowing.
            sampling.seed = sampler.seed().unwrap_or(sampling.seed);
            sampling.to_json().to_string()
        });
        Some(Told { prompt: words(prompt), sampling: sampling.unwrap_or_default() })
    }

    /// Says it all.
    pub fn tell(&self, outcome: &Outcome) {
        let Told { prompt, sampling } = self;
        let (tokens, n_shifts) = (words(&outcome.tokens), outcome.n_shifts);
        tracing::debug!(name: "transcript", prompt, sampling, tokens, n_shifts);
    }
}

fn words(ids: &[TokenId]) -> String {
    ids.iter().map(TokenId::to_string).collect::<Vec<_>>().join(" ")
}
