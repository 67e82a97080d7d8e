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
    /// A state asked for while keys are not where their positions say.
    #[error("position shifts wait to be applied to the keys, expected none before a state is written")]
    PendingShift,
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
    /// A sequence number outside the cells' range.
    #[error("sequence {0}: expected 0..{MAX_SEQ}")]
    SeqId(SeqId),
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
    #[error("a cache of type {0}: expected F16 or F32")]
    CacheType(DType),
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
    /// A layer the cache was not made for.
    #[error("layer {il} of a cache of {n_layer} layers")]
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
    /// The graph refused an op.
    #[error(transparent)]
    Graph(#[from] quipu_graph::Error),
    /// The memory could not be had.
    #[error(transparent)]
    Backend(#[from] quipu_backend::Error),
}
