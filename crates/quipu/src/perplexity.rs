//! Perplexity of a text, as llama-perplexity measures it.

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
    /// Fewer than two chunks of tokens, a context shorter than `n_ctx`.
    pub fn perplexity(
        &mut self,
        text: &str,
        n_ctx: usize,
        mut progress: impl FnMut(usize, f64),
    ) -> Result<Perplexity, Error> {
        let tokenizer = self.model.tokenizer()?.clone();
        let tokens = tokenizer.encode(text, true, false)?;
        if n_ctx < 2 || tokens.len() < 2 * n_ctx {
            let n_needed = 2 * n_ctx.max(2);
            return Err(Error::TooFewTokens { n_tokens: tokens.len(), n_needed, n_ctx });
        }
        let bos = tokenizer.special_tokens().bos.filter(|_| tokenizer.add_bos());
        let first = n_ctx / 2;
        let (mut sum, mut sum_of_squares, mut n_scored) = (0.0, 0.0, 0usize);
        let n_chunks = tokens.len() / n_ctx;
        for (number, chunk) in tokens.chunks_exact(n_ctx).enumerate() {
            let mut input = chunk.to_vec();
            if let Some(bos) = bos {
                input[0] = bos;
            }
            let mut position = 0;
            self.logits(&input, |row| {
                if position >= first && position + 1 < n_ctx {
                    let nll = negative_log_likelihood(row, chunk[position + 1] as usize);
                    sum += nll;
                    sum_of_squares += nll * nll;
                    n_scored += 1;
                }
                position += 1;
            })?;
            progress(number + 1, (sum / n_scored as f64).exp());
        }
        let n = n_scored as f64;
        let mean = sum / n;
        let variance = sum_of_squares / n - mean * mean;
        let value = mean.exp();
        let error = if variance > 0.0 { (variance / (n - 1.0)).sqrt() * value } else { 0.0 };
        Ok(Perplexity { value, error, n_chunks, n_scored })
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
