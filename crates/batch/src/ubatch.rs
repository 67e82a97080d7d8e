//! Tokens that go through the graph together.

use crate::{MAX_SEQ, Pos, SeqId, SeqIds, SeqSet, TokenId};

/// Tokens that go through the graph together. Answers to `llama_ubatch`; its memory is reused.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ubatch {
    /// All sequence sets have the same number of tokens, which lie side by side.
    pub equal_seqs: bool,
    /// Tokens in all.
    pub n_tokens: usize,
    /// Tokens per sequence set.
    pub n_seq_tokens: usize,
    /// Sequence sets.
    pub n_seqs: usize,
    /// Token ids; empty for embeddings.
    pub tokens: Vec<TokenId>,
    /// Embedding rows; empty for tokens.
    pub embd: Vec<f32>,
    /// Positions.
    pub pos: Vec<Pos>,
    /// Sequences of each token, as given.
    pub seq_ids: Vec<SeqIds>,
    /// First sequence of each token.
    pub seq_id: Vec<SeqId>,
    /// Sequences of each token as a set.
    pub seq_set: Vec<SeqSet>,
    /// All sequences, ascending.
    pub seq_id_unq: Vec<SeqId>,
    /// Index of each sequence in `seq_id_unq`, -1 if it is not in the ubatch; [`MAX_SEQ`] entries.
    pub seq_idx: Vec<i32>,
    /// Which tokens' output is wanted.
    pub outputs: Vec<bool>,
}

impl Ubatch {
    /// An empty one.
    pub fn new() -> Ubatch {
        Ubatch::default()
    }

    /// Tokens whose output is wanted.
    pub fn n_outputs(&self) -> usize {
        self.outputs.iter().filter(|output| **output).count()
    }

    /// Empties it and keeps its memory.
    pub(crate) fn clear(&mut self) {
        (self.equal_seqs, self.n_tokens, self.n_seq_tokens, self.n_seqs) = (false, 0, 0, 0);
        self.tokens.clear();
        self.embd.clear();
        self.pos.clear();
        self.seq_ids.clear();
        self.seq_id.clear();
        self.seq_set.clear();
        self.seq_id_unq.clear();
        self.seq_idx.clear();
        self.seq_idx.resize(MAX_SEQ, -1);
        self.outputs.clear();
    }
}
