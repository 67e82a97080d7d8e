//! Tokens that go through the graph together.

use std::ops::Range;

use crate::{MAX_SEQ, Pos, SeqId, SeqSet};

/// Tokens that go through the graph together, as numbers of tokens of the batch with what was worked out about them. Answers to
/// `llama_ubatch`; its memory is reused.
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
    /// Positions per token.
    pub n_pos: usize,
    /// The tokens are embedding rows.
    pub from_embeddings: bool,
    /// Index of each token in the batch: there are its id or its row, and its sequences as given.
    pub idxs: Vec<u32>,
    /// Positions: the first of all tokens, then the second of all tokens, and so on.
    pub pos: Vec<Pos>,
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

    /// Runs of tokens that are neighbours in the batch too, so that they can be copied as they lie there.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let runs = self.idxs.chunk_by(|a, b| a + 1 == *b);
        runs.map(|run| run[0] as usize..run[0] as usize + run.len())
    }

    /// The place of a token in the image it comes from, x and y, if positions tell (`is_pos_2d`).
    pub fn pos_2d(&self, i: usize) -> Option<[Pos; 2]> {
        if self.n_pos < 3 {
            return None;
        }
        Some([self.pos[i + 2 * self.n_tokens], self.pos[i + self.n_tokens]])
    }

    /// Empties it and keeps its memory.
    pub(crate) fn clear(&mut self) {
        (self.equal_seqs, self.from_embeddings) = (false, false);
        (self.n_tokens, self.n_seq_tokens, self.n_seqs, self.n_pos) = (0, 0, 0, 1);
        self.idxs.clear();
        self.pos.clear();
        self.seq_id.clear();
        self.seq_set.clear();
        self.seq_id_unq.clear();
        self.seq_idx.clear();
        self.seq_idx.resize(MAX_SEQ, -1);
        self.outputs.clear();
    }
}
