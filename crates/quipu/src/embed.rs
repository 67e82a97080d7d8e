//! Embeddings: one row of numbers for a text.

use quipu_decoder::Pooling;

use crate::TokenId;
use crate::error::Error;
use crate::session::Session;

impl Session {
    /// The embedding of `text`, pooled as the session was made to ([`crate::SessionOptions::pooling`]); with
    /// [`Pooling::None`] one row of `n_embd` per token, one after the other, with [`Pooling::Rank`] its scores. With `normalize` each row is
    /// scaled to Euclidean length 1 (`common_embd_normalize`), and scores stay as they are. Forgets what was decoded.
    ///
    /// # Errors
    /// A session made without [`crate::SessionOptions::embeddings`], an empty text ([`Error::EmptyPrompt`]), more tokens
    /// than the context holds ([`Error::TooManyTokens`]) or than are computed at once where that is needed: for a pooling,
    /// and where tokens see later ones ([`Error::TextTooLong`]). Nothing was forgotten then.
    pub fn embed(&mut self, text: &str, normalize: bool) -> Result<Vec<f32>, Error> {
        let tokens = self.model().tokenizer()?.encode(text, true, true)?;
        let n_embd = self.model().hparams().n_embd;
        let mut rows = self.embed_tokens(&tokens)?;
        if normalize && self.context().params().pooling != Pooling::Rank {
            rows.chunks_mut(n_embd).for_each(|row| normalize_row(row, 2));
        }
        Ok(rows)
    }

    /// As [`Session::embed`], from tokens and not normalized.
    ///
    /// # Errors
    /// As [`Session::embed`]; also token ids outside the vocabulary.
    pub fn embed_tokens(&mut self, tokens: &[TokenId]) -> Result<Vec<f32>, Error> {
        let params = self.context().params();
        let (n_ctx, n_batch, n_ubatch, pooling) =
            (params.n_ctx, params.n_batch, params.n_ubatch, params.pooling);
        let is_whole = pooling != Pooling::None || !params.is_causal(params.kind);
        if !params.embeddings {
            let error = quipu_decoder::Error::NotKept { kind: "embeddings", expected: "embeddings = true" };
            return Err(error.into());
        }
        let n_tokens = tokens.len();
        if tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if n_tokens > n_ctx {
            return Err(Error::TooManyTokens { n_tokens, n_ctx });
        }
        if is_whole && n_tokens > n_ubatch {
            return Err(Error::TextTooLong { n_tokens, n_ubatch, n_ctx });
        }
        let mut rows = Vec::new();
        self.engine.run_apart(tokens, n_batch, |context, n| {
            if pooling != Pooling::None {
                rows.extend_from_slice(context.embeddings_seq(0)?);
                return Ok(());
            }
            (0..n).try_for_each(|i| {
                rows.extend_from_slice(context.embeddings(i as i32)?);
                Ok(())
            })
        })?;
        Ok(rows)
    }
}

/// Scales a row by a norm: below 0 not at all, 0 to a largest value of 32760, 1 to a sum of sizes of 1, 2 to length 1, else to a p-norm of 1
/// (`common_embd_normalize`). Rows of zeros stay.
pub fn normalize_row(row: &mut [f32], norm: i32) {
    let sizes = row.iter().map(|x| f64::from(x.abs()));
    let size = match norm {
        ..0 => return,
        0 => sizes.fold(0.0, f64::max) / 32760.0,
        2 => sizes.map(|x| x * x).sum::<f64>().sqrt(),
        p => sizes.map(|x| x.powi(p)).sum::<f64>().powf(1.0 / f64::from(p)),
    };
    let scale = if size > 0.0 { (1.0 / size) as f32 } else { 0.0 };
    for x in row {
        *x *= scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_get_length_one_and_zeros_stay() {
        let mut row = [3.0, 0.0, -4.0];
        normalize_row(&mut row, 2);
        assert_eq!(row, [0.6, 0.0, -0.8]);
        let mut zeros = [0.0; 3];
        normalize_row(&mut zeros, 2);
        assert_eq!(zeros, [0.0; 3]);
    }

    #[test]
    fn norms() {
        let of = |norm| {
            let mut row = [3.0, 0.0, -4.0];
            normalize_row(&mut row, norm);
            row
        };
        assert_eq!(of(-1), [3.0, 0.0, -4.0]);
        assert!((of(1)[0] - 3.0 / 7.0).abs() < 1e-6);
        assert!((of(0)[2] + 32760.0).abs() < 0.01);
        assert!((of(3)[2] + 4.0 / 91f32.cbrt()).abs() < 1e-6);
    }
}
