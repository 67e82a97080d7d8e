//! The crate's one error type.

use crate::{MAX_SEQ, Pos, SeqId, TokenId};

/// What is wrong with a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing to decode.
    #[error("the batch is empty, expected at least one token")]
    EmptyBatch,
    /// A field with another number of entries than the batch has tokens.
    #[error("the batch has {found} {field} for {n_tokens} tokens, expected one each or none")]
    FieldLength {
        /// The field.
        field: &'static str,
        /// Entries found.
        found: usize,
        /// Tokens.
        n_tokens: usize,
    },
    /// Tokens and embeddings at once.
    #[error("the batch has both tokens and embeddings, expected one of them")]
    TokensAndEmbeddings,
    /// Embedding rows of another width than the model's.
    #[error(
        "the batch has {n_values} embedding values in rows of {found}, expected whole rows of {expected}"
    )]
    EmbeddingWidth {
        /// Row length found.
        found: usize,
        /// Values in all.
        n_values: usize,
        /// The model's width.
        expected: usize,
    },
    /// More sequences than a cell can tell apart.
    #[error("n_seq_max is {0}, expected at most {MAX_SEQ}")]
    TooManySequences(usize),
    /// A token outside the vocabulary.
    #[error("token[{index}] is {token}, expected an id below {n_vocab}")]
    InvalidToken {
        /// Index in the batch.
        index: usize,
        /// The id.
        token: TokenId,
        /// Tokens of the vocabulary.
        n_vocab: usize,
    },
    /// A sequence number the context does not have.
    #[error("seq_id[{index}][{entry}] is {seq_id}, expected 0..{n_seq_max}")]
    InvalidSeqId {
        /// Index in the batch.
        index: usize,
        /// Index in the token's sequences.
        entry: usize,
        /// The number.
        seq_id: SeqId,
        /// Sequences of the context.
        n_seq_max: usize,
    },
    /// A token that belongs to no sequence.
    #[error("token {index} has no sequence, expected at least one")]
    NoSequence {
        /// Index in the batch.
        index: usize,
    },
    /// A position that is negative or has no successor.
    #[error("pos[{index}] is {pos}, expected 0 to 2^31 - 2")]
    InvalidPosition {
        /// Index in the batch.
        index: usize,
        /// The position.
        pos: Pos,
    },
    /// A gap or an overlap between memory and batch.
    #[error(
        "pos[{index}] is where sequence {seq_id} starts in the batch: {pos_min}, expected {}: its last position in memory is {memory_max}",
        i64::from(*memory_max) + 1
    )]
    NotConsecutive {
        /// Index in the batch.
        index: usize,
        /// The sequence.
        seq_id: SeqId,
        /// Its first position in the batch.
        pos_min: Pos,
        /// Its last position in memory.
        memory_max: Pos,
    },
    /// A sequence that goes back before what is in memory, in a model with several positions per token.
    #[error(
        "pos[{index}] is where sequence {seq_id} starts in the batch: {pos_min}, expected at least {}: its last position in memory is {memory_max}",
        i64::from(*memory_max) + i64::from(*is_text)
    )]
    NotForward {
        /// Index in the batch.
        index: usize,
        /// The sequence.
        seq_id: SeqId,
        /// Its first position in the batch.
        pos_min: Pos,
        /// Its last position in memory.
        memory_max: Pos,
        /// Token ids go beyond that position; rows may share it.
        is_text: bool,
    },
    /// A gap inside the batch.
    #[error(
        "pos[{index}] of sequence {seq_id} comes after a gap: there are {n_distinct} positions between {pos_min} and {pos_max}, expected all"
    )]
    NotContinuous {
        /// Index in the batch.
        index: usize,
        /// The sequence.
        seq_id: SeqId,
        /// Its first position in the batch.
        pos_min: Pos,
        /// Its last position in the batch.
        pos_max: Pos,
        /// Distinct positions between them.
        n_distinct: usize,
    },
    /// Sequences that share a token but not what is in memory.
    #[error("token {index} belongs to sequences {first} and {second}, which differ in memory")]
    Diverged {
        /// Index in the batch.
        index: usize,
        /// A sequence.
        first: SeqId,
        /// Another.
        second: SeqId,
    },
    /// A position below an earlier one of the same sequence.
    #[error("pos[{index}] of sequence {seq_id} is {pos} after {previous}: expected no decrease")]
    DecreasingPositions {
        /// Index in the batch.
        index: usize,
        /// The sequence.
        seq_id: SeqId,
        /// The position.
        pos: Pos,
        /// The one before it.
        previous: Pos,
    },
}
