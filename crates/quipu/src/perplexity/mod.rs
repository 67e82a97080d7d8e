//! Perplexity of a text, and how far a model's predictions are from another's, as llama-perplexity measures them.

mod base;
mod kl_divergence;

use std::io::{Read, Write};
use std::num::NonZeroUsize;

use quipu_tokenizer::Tokenizer;

use crate::TokenId;
use crate::error::Error;
use crate::session::Session;
pub use base::{BaseReader, BaseWriter};
pub use kl_divergence::{Estimate, KlDivergence};

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

/// What to measure over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerplexityOptions {
    /// Tokens of a chunk.
    pub n_ctx: usize,
    /// Most chunks to evaluate; `None` = all there are (`--chunks`).
    pub n_chunks: Option<NonZeroUsize>,
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
        progress: impl FnMut(usize, f64),
    ) -> Result<Perplexity, Error> {
        self.perplexity_with(text, PerplexityOptions { n_ctx, n_chunks: None }, None, progress)
    }

    /// As [`Session::perplexity`], and writes what the model predicts at each place that is scored to `base`, for
    /// [`Session::kl_divergence`] and for llama-perplexity's `--kl-divergence` (its `--kl-divergence-base`).
    ///
    /// # Errors
    /// As [`Session::perplexity`]; the writer's own as [`Error::Base`].
    pub fn perplexity_with(
        &mut self,
        text: &str,
        options: PerplexityOptions,
        base: Option<&mut dyn Write>,
        mut progress: impl FnMut(usize, f64),
    ) -> Result<Perplexity, Error> {
        let PerplexityOptions { n_ctx, n_chunks } = options;
        let tokenizer = self.model().tokenizer()?.clone();
        let tokens = tokenizer.encode(text, true, false)?;
        check_tokens(tokens.len(), n_ctx)?;
        let n_chunks = n_chunks.map_or(usize::MAX, NonZeroUsize::get).min(tokens.len() / n_ctx);
        let bos = bos_of_chunks(&tokenizer);
        let mut score = Score::default();
        let tokens = &tokens[..n_chunks * n_ctx];
        let n_vocab = self.model().hparams().n_vocab;
        let mut base = base.map(|out| BaseWriter::new(out, n_ctx, n_vocab, tokens)).transpose()?;
        for (number, chunk) in tokens.chunks_exact(n_ctx).enumerate() {
            let mut written = Ok(());
            self.predictions(chunk, bos, |logits, next| {
                score.add(negative_log_likelihood(logits, next as usize));
                if let (Some(base), Ok(())) = (&mut base, &written) {
                    written = base.row(logits);
                }
            })?;
            written?;
            progress(number + 1, score.value());
        }
        let (value, error) = (score.value(), score.error());
        Ok(Perplexity { value, error, n_chunks, n_scored: score.n_scored })
    }

    /// How far this model's predictions are from those that a base wrote, at each place that was scored there
    /// (`kl_divergence` of llama-perplexity). `progress` gets the number of each chunk and the sums so far.
    ///
    /// # Errors
    /// A base of another vocabulary, or with chunks that the context does not hold; the reader's own as [`Error::Base`].
    pub fn kl_divergence<R: Read>(
        &mut self,
        base: &mut BaseReader<R>,
        mut progress: impl FnMut(usize, &KlDivergence),
    ) -> Result<KlDivergence, Error> {
        let n_vocab = self.model().hparams().n_vocab;
        if base.n_vocab() != n_vocab {
            let found = format!("a vocabulary of {} tokens", base.n_vocab());
            return Err(base::wrong(found, format!("the model's, {n_vocab}")));
        }
        let n_ctx = base.n_ctx();
        if n_ctx > self.n_ctx() {
            return Err(Error::TooManyTokens { n_tokens: n_ctx, n_ctx: self.n_ctx() });
        }
        let bos = bos_of_chunks(self.model().tokenizer()?);
        let tokens = base.tokens().to_vec();
        let mut found = KlDivergence::default();
        let mut row = Vec::new();
        for (number, chunk) in tokens.chunks_exact(n_ctx).enumerate() {
            let mut read = Ok(());
            self.predictions(chunk, bos, |logits, next| {
                if read.is_ok() {
                    read = base.row(&mut row).map(|()| found.add(logits, &row, next as usize));
                }
            })?;
            read?;
            progress(number + 1, &found);
        }
        found.sort();
        Ok(found)
    }

    /// Evaluates one chunk, with `bos` in place of its first token, and scores its second half.
    pub(crate) fn score_chunk(
        &mut self,
        chunk: &[TokenId],
        bos: Option<TokenId>,
        score: &mut Score,
    ) -> Result<(), Error> {
        self.predictions(chunk, bos, |logits, next| score.add(negative_log_likelihood(logits, next as usize)))
    }

    /// Evaluates one chunk, with `bos` in place of its first token, and hands out the logits at each place of its second
    /// half with the token that follows there.
    fn predictions(
        &mut self,
        chunk: &[TokenId],
        bos: Option<TokenId>,
        mut each: impl FnMut(&[f32], TokenId),
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
                each(row, *next);
            }
            position += 1;
        })
    }
}

/// What the first token of each chunk is replaced by, if it is.
fn bos_of_chunks(tokenizer: &Tokenizer) -> Option<TokenId> {
    tokenizer.special_tokens().bos.filter(|_| tokenizer.add_bos())
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
