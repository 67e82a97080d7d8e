//! The crate's one error type.

use quipu_quant::DType;

use crate::{MAX_SEQ, Pos, SeqId};

/// What a cache refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The batch does not fit into the free cells.
    #[error("no slot for {n_tokens} tokens: {n_free} of {n_cells} cells are free")]
    NoSlot {
        /// Tokens of the ubatch that did not fit.
        n_tokens: usize,
        /// Cells that were free for it.
        n_free: usize,
        /// Cells in all.
        n_cells: usize,
    },
    /// A batch that this kind of memory cannot split.
    #[error("{n_used} of {n_tokens} tokens fit into ubatches of this memory, expected all of them")]
    Split {
        /// Tokens that found a ubatch.
        n_used: usize,
        /// Tokens of the batch.
        n_tokens: usize,
    },
    /// More tokens than a ubatch takes, where those that are not in it would not be seen.
    #[error(
        "{n_tokens} tokens without a cache, expected at most n_ubatch = {n_ubatch}: they must be computed together"
    )]
    OneUbatch {
        /// Tokens of the batch.
        n_tokens: usize,
        /// Tokens a ubatch takes.
        n_ubatch: usize,
    },
    /// Host memory whose size follows from a parameter or a state.
    #[error("{n_bytes} bytes of host memory for the cache's bookkeeping are not to be had")]
    HostMemory {
        /// Bytes asked for.
        n_bytes: usize,
    },
    /// Inputs of a graph that was built over a cache, filled from a memory without one.
    #[error("the graph attends over a cache, but the memory has none")]
    NoCache,
    /// A state asked for while bytes are not what cells say.
    #[error("shifts or copies of keys wait to be made, expected none before a state is written")]
    PendingUpdate,
    /// A state that ends too early.
    #[error("the state ends {left} bytes after byte {at}, expected {wanted} more")]
    StateCut {
        /// Where the read began.
        at: usize,
        /// Bytes wanted.
        wanted: usize,
        /// Bytes there are.
        left: usize,
    },
    /// A state that contradicts itself or this memory.
    #[error("state, byte {at}: {what} is {found}, expected {expected}")]
    State {
        /// Where it was read.
        at: usize,
        /// What was read.
        what: &'static str,
        /// Its value.
        found: i64,
        /// The rule.
        expected: String,
    },
    /// A sequence number that the memory has no room for.
    #[error("sequence {seq_id}: expected 0..{n_seq}")]
    SeqId {
        /// The number.
        seq_id: SeqId,
        /// Sequences of the memory.
        n_seq: usize,
    },
    /// A part of a sequence copied to where the keys of another stream are.
    #[error(
        "copying positions {p0}..{p1} of sequence {src} to {dst}, which has cells of its own: expected all positions"
    )]
    PartialCopy {
        /// The sequence.
        src: SeqId,
        /// Where it was to be copied.
        dst: SeqId,
        /// First position.
        p0: Pos,
        /// One past the last.
        p1: Pos,
    },
    /// Positions moved in a model with several per token.
    #[error("{what} on tokens with {n_pos} positions each, expected one")]
    SeveralPositions {
        /// The operation.
        what: &'static str,
        /// Positions per token.
        n_pos: usize,
    },
    /// More streams than sequences can be told apart.
    #[error("a cache of {0} streams, expected at most {MAX_SEQ}")]
    Streams(usize),
    /// A shift that leaves the range of positions.
    #[error(
        "shifting positions of sequence {seq_id} up to {pos_max} by {delta}: expected positions below 2^31"
    )]
    Shift {
        /// The sequence.
        seq_id: SeqId,
        /// Its highest position.
        pos_max: Pos,
        /// The shift.
        delta: Pos,
    },
    /// Positions divided by something that is not positive.
    #[error("dividing the positions of sequence {seq_id} by {divisor}: expected a positive divisor")]
    Divisor {
        /// The sequence.
        seq_id: SeqId,
        /// The divisor.
        divisor: i32,
    },
    /// A cache without cells or layers, or with more than can be numbered.
    #[error(
        "a cache of {n_cells} cells and {n_layer} layers: expected at least one and at most 2^31 - 1 cells"
    )]
    Shape {
        /// Cells asked for.
        n_cells: usize,
        /// Layers asked for.
        n_layer: usize,
    },
    /// A type the cache cannot store.
    #[error("a cache of type {0}: expected F32, F16, BF16, Q8_0, Q5_1, Q5_0, Q4_1, Q4_0 or IQ4_NL")]
    CacheType(DType),
    /// Values that cannot be stored element by element.
    #[error(
        "a cache of transposed values of type {0}: expected F32, F16 or BF16; others need flash attention"
    )]
    TransposedBlocks(DType),
    /// Rows or heads that are no whole blocks.
    #[error("layer {il}: {n} elements in blocks of {dtype}, expected a multiple of {}", dtype.block_len())]
    RowBlocks {
        /// The layer.
        il: usize,
        /// The cache's type.
        dtype: DType,
        /// Elements of the row or head.
        n: usize,
    },
    /// More memory than a buffer can have.
    #[error("a cache of {n_cells} cells and {n_layer} layers does not fit into one buffer of {buffer_type}")]
    TooLarge {
        /// Cells asked for.
        n_cells: usize,
        /// Layers asked for.
        n_layer: usize,
        /// The buffer type's name.
        buffer_type: String,
    },
    /// Values for an input that has another size.
    #[error("{found} bytes for an input of {n_bytes}")]
    InputSize {
        /// Bytes that were to be written.
        found: usize,
        /// Bytes of the input.
        n_bytes: usize,
    },
    /// A layer the cache was not made for.
    #[error("layer {il} of a cache of {n_layer} layers has no cells in it")]
    Layer {
        /// The layer asked for.
        il: usize,
        /// Layers of the cache.
        n_layer: usize,
    },
    /// Keys or values that do not fit the layer's rows.
    #[error("layer {il}: a tensor {ne:?} for cache rows of {n_embd_gqa} elements")]
    RowShape {
        /// The layer.
        il: usize,
        /// Shape found.
        ne: [usize; 4],
        /// Row length expected.
        n_embd_gqa: usize,
    },
    /// A state's file could not be read or written.
    #[error("the state's file: {0}")]
    Io(#[from] std::io::Error),
    /// The graph refused an op.
    #[error(transparent)]
    Graph(#[from] quipu_graph::Error),
    /// The memory could not be had.
    #[error(transparent)]
    Backend(#[from] quipu_backend::Error),
}
