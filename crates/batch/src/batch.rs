//! What a caller hands in: tokens with positions, sequences and output marks.

use crate::{Pos, SeqId, SeqLists, TokenId};

/// Input of one decode call. Answers to `llama_batch`.
///
/// Either `tokens` or `embd` is filled, the other fields have one entry per token or are empty, which means:
/// continue sequence 0 where the memory ends, output the last token.
///
/// Token ids and rows stay here: whoever needs them reads them by the numbers in [`crate::Ubatch::idxs`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Token ids.
    pub tokens: Vec<TokenId>,
    /// Instead of tokens: rows of the model's width, one after the other.
    pub embd: Vec<f32>,
    /// Length of a row of `embd`.
    pub n_embd: usize,
    /// Positions; empty: continue after the last position of the token's first sequence. Rows of a model with several positions per token
    /// (M-RoPE) may have all of them: those of the first kind for all rows, then those of the second, and so on.
    pub pos: Vec<Pos>,
    /// Sequences; empty: sequence 0.
    pub seq_ids: SeqLists,
    /// Which tokens' logits are wanted; empty: the last.
    pub outputs: Vec<bool>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Tokens that continue sequence 0, with output for the last (`llama_batch_get_one`).
    pub fn single(tokens: &[TokenId]) -> Batch {
        Batch { tokens: tokens.to_vec(), ..Batch::default() }
    }

    /// Adds a token (`common_batch_add`).
    pub fn add(&mut self, token: TokenId, pos: Pos, seq_ids: &[SeqId], output: bool) {
        self.tokens.push(token);
        self.mark(pos, seq_ids, output);
    }

    /// Adds a row of embeddings; all rows of a batch have the same length.
    pub fn add_embd(&mut self, row: &[f32], pos: Pos, seq_ids: &[SeqId], output: bool) {
        self.embd.extend_from_slice(row);
        self.n_embd = row.len();
        self.mark(pos, seq_ids, output);
    }

    /// Empties the batch and keeps its memory (`common_batch_clear`).
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.embd.clear();
        self.pos.clear();
        self.seq_ids.clear();
        self.outputs.clear();
    }

    /// Number of tokens or embedding rows.
    pub fn n_tokens(&self) -> usize {
        if self.embd.is_empty() { self.tokens.len() } else { self.embd.len() / self.n_embd.max(1) }
    }

    fn mark(&mut self, pos: Pos, seq_ids: &[SeqId], output: bool) {
        self.pos.push(pos);
        self.seq_ids.push(seq_ids);
        self.outputs.push(output);
    }
}
