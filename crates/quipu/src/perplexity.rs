//! Perplexity of a text, as llama-perplexity measures it.

use crate::TokenId;
use crate::error::Error;
use crate::session::Session;

/// The result of [`Session::perplexity`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perplexity {
    /// `exp` of the mean negative log-likelihood per token.
    pub value: f64,
    /// One standard error of it; 0 when it cannot be estimated.
    pub error: f64,
    /// Chunks of `n_ctx` tokens evaluated.
    pub n_chunks: usize,
    /// Tokens scored: the second half of each chunk.
    pub n_scored: usize,
}

impl Session {
    /// Perplexity of `text` in chunks of `n_ctx` tokens. The first half of each chunk is context only; a
    /// beginning-of-sequence token replaces the first of each chunk where the vocabulary asks for one
    /// (`perplexity` of llama-perplexity). `progress` gets the chunk number and the value so far.
    ///
    /// # Errors
    /// Chunks of fewer than 3 tokens, fewer than two chunks of tokens, a context shorter than `n_ctx`.
    pub fn perplexity(
        &mut self,
        text: &str,
        n_ctx: usize,
        mut progress: impl FnMut(usize, f64),
    ) -> Result<Perplexity, Error> {
        let tokenizer = self.model().tokenizer()?.clone();
        let tokens = tokenizer.encode(text, true, false)?;
        check_tokens(tokens.len(), n_ctx)?;
        let bos = tokenizer.special_tokens().bos.filter(|_| tokenizer.add_bos());
        let mut score = Score::default();
        for (number, chunk) in tokens.chunks_exact(n_ctx).enumerate() {
            self.score_chunk(chunk, bos, &mut score)?;
            progress(number + 1, score.value());
        }
        let (value, error) = (score.value(), score.error());
        Ok(Perplexity { value, error, n_chunks: tokens.len() / n_ctx, n_scored: score.n_scored })
    }

    /// Evaluates one chunk, with `bos` in place of its first token, and scores its second half.
    pub(crate) fn score_chunk(
        &mut self,
        chunk: &[TokenId],
        bos: Option<TokenId>,
        score: &mut Score,
    ) -> Result<(), Error> {
        let mut input = chunk.to_vec();
        if let (Some(bos), Some(first)) = (bos, input.first_mut()) {
            *first = bos;
        }
        let first = chunk.len() / 2;
        let mut position = 0;
        self.logits(&input, |row| {
            if position >= first
                && let Some(next) = chunk.get(position + 1)
            {
                score.add(negative_log_likelihood(row, *next as usize));
            }
            position += 1;
        })
    }
}

/// Shortest chunk of which a token is scored: the first half is context, and the last token has none after it.
const MIN_CHUNK: usize = 3;

/// Refuses chunks in which nothing is scored, and texts of fewer than two chunks.
pub(crate) fn check_tokens(n_tokens: usize, n_ctx: usize) -> Result<(), Error> {
    if n_ctx < MIN_CHUNK {
        return Err(Error::ChunkTooShort { n_ctx, n_least: MIN_CHUNK });
    }
    let n_needed = n_ctx.saturating_mul(2);
    if n_tokens < n_needed {
        return Err(Error::TooFewTokens { n_tokens, n_needed, n_ctx });
    }
    Ok(())
}

/// Negative log-likelihoods added up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Score {
    sum: f64,
    sum_of_squares: f64,
    n_scored: usize,
}

impl Score {
    fn add(&mut self, nll: f64) {
        self.sum += nll;
        self.sum_of_squares += nll * nll;
        self.n_scored += 1;
    }

    /// `exp` of the mean.
    pub fn value(&self) -> f64 {
        (self.sum / self.n_scored as f64).exp()
    }

    /// One standard error of [`Score::value`].
    fn error(&self) -> f64 {
        let n = self.n_scored as f64;
        let mean = self.sum / n;
        let variance = self.sum_of_squares / n - mean * mean;
        if variance > 0.0 { (variance / (n - 1.0)).sqrt() * self.value() } else { 0.0 }
    }
}

/// `-ln softmax(logits)[token]`, the sum in double precision as the reference takes it.
fn negative_log_likelihood(logits: &[f32], token: usize) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from((l - max).exp())).sum();
    sum.ln() - f64::from(logits[token] - max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_logits_cost_the_log_of_their_number() {
        let nll = negative_log_likelihood(&[3.5; 8], 2);
        assert!((nll - 8f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn certain_token_costs_nothing() {
        assert!(negative_log_likelihood(&[-1000.0, 0.0, -1000.0], 1).abs() < 1e-12);
    }
}
