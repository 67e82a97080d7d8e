//! Embeddings: one row of numbers for a text.

use quipu_decoder::{Batch, Pooling};

use crate::error::Error;
use crate::session::Session;

impl Session {
    /// The embedding of `text`, pooled as the session was made to ([`crate::SessionOptions::pooling`]); with
    /// [`Pooling::None`] one row of `n_embd` per token, one after the other. With `normalize` each row is
    /// scaled to Euclidean length 1 (`common_embd_normalize`). Forgets what was decoded.
    ///
    /// # Errors
    /// An empty text, more tokens than fit, a session made without [`crate::SessionOptions::embeddings`].
    pub fn embed(&mut self, text: &str, normalize: bool) -> Result<Vec<f32>, Error> {
        let tokens = self.model.tokenizer()?.encode(text, true, true)?;
        if tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if tokens.len() > self.n_ctx() {
            return Err(Error::PromptTooLong { n_prompt: tokens.len(), n_ctx: self.n_ctx() });
        }
        self.reset();
        let mut batch = Batch::new();
        for (i, token) in tokens.iter().enumerate() {
            batch.add(*token, i as i32, &[0], true);
        }
        self.context.decode(&batch)?;
        let mut out = Vec::new();
        if self.context.params().pooling == Pooling::None {
            for i in 0..tokens.len() {
                out.extend_from_slice(self.context.embeddings(i as i32)?);
            }
        } else {
            out.extend_from_slice(self.context.embeddings_seq(0)?);
        }
        self.reset();
        if normalize {
            let n_embd = self.model.hparams().n_embd;
            out.chunks_mut(n_embd).for_each(normalize_row);
        }
        Ok(out)
    }
}

/// Scales a row to length 1; rows of zeros stay.
fn normalize_row(row: &mut [f32]) {
    let length = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    let scale = if length > 0.0 { (1.0 / length) as f32 } else { 0.0 };
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
        normalize_row(&mut row);
        assert_eq!(row, [0.6, 0.0, -0.8]);
        let mut zeros = [0.0; 3];
        normalize_row(&mut zeros);
        assert_eq!(zeros, [0.0; 3]);
    }
}
