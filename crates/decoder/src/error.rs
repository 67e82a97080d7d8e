//! The crate's one error type.

use std::path::PathBuf;

use quipu_batch::SeqId;
use quipu_graph::DType;

/// Why a context cannot be made or a batch not be decoded.
///
/// After any of them the context is usable, and its memory is as it was before the call; only [`Error::ShiftFailed`] empties it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A context parameter that cannot be.
    #[error("context parameter {name} is {found}, expected {expected}")]
    Param {
        /// The parameter.
        name: &'static str,
        /// Its value.
        found: usize,
        /// The rule.
        expected: String,
    },
    /// Quantised values in a cache that keeps them element by element.
    #[error(
        "cached values of type {0} with flash attention off, expected F32, F16 or BF16, or flash attention"
    )]
    QuantizedValues(DType),
    /// A context on other devices than its model.
    #[error("{found} devices beside the model's own, expected the {expected} that the model was loaded on")]
    Devices {
        /// Devices given.
        found: usize,
        /// Devices of the model.
        expected: usize,
    },
    /// A batch that breaks a rule.
    #[error(transparent)]
    Batch(#[from] quipu_batch::Error),
    /// More than one call takes.
    #[error("the batch has {n_tokens} tokens, expected at most n_batch = {n_batch}")]
    BatchTooLarge {
        /// Tokens found.
        n_tokens: usize,
        /// The context's limit.
        n_batch: usize,
    },
    /// More tokens than a ubatch takes, where all of them must be computed together: without a memory, or if tokens see what is after
    /// them.
    #[error("the batch has {n_tokens} tokens that see each other, expected at most n_ubatch = {n_ubatch}")]
    UbatchTooSmall {
        /// Tokens found.
        n_tokens: usize,
        /// The context's limit.
        n_ubatch: usize,
    },
    /// Host memory for outputs.
    #[error("no memory for {n_rows} rows of outputs, {n_bytes} bytes")]
    OutputMemory {
        /// Rows wanted.
        n_rows: usize,
        /// Bytes asked for.
        n_bytes: usize,
    },
    /// Cached keys could not be moved to shifted positions and are neither here nor there: the memory was cleared.
    #[error("applying position shifts to cached keys failed, and the memory was cleared: {0}")]
    ShiftFailed(#[source] quipu_backend::Error),
    /// A state of another kind of model.
    #[error("the state is of architecture '{found}', expected '{expected}'")]
    StateArchitecture {
        /// The state's.
        found: String,
        /// The model's.
        expected: String,
    },
    /// The memory has no room for the batch; removing sequences or a smaller batch may help.
    #[error("no room in the KV cache: {0}")]
    NoSlot(#[source] quipu_kv_cache::Error),
    /// The abort callback returned true.
    #[error("decoding aborted by the caller")]
    Aborted,
    /// Logits or embeddings of a token that was not marked as output, or of a batch without outputs.
    #[error(
        "output {index} is not available: expected one of {n_outputs} outputs of the last batch of {n_tokens} tokens"
    )]
    NoOutput {
        /// The index asked for.
        index: i32,
        /// Outputs of the last batch.
        n_outputs: usize,
        /// Its tokens.
        n_tokens: usize,
    },
    /// A decoder that attends over what an encoder left, and nothing was encoded.
    #[error(
        "nothing was encoded: the model's decoder attends over an encoder's rows, expected a call of encode first"
    )]
    NotEncoded,
    /// Results of a kind the context was not made to keep.
    #[error("the context keeps no {kind}: expected {expected}")]
    NotKept {
        /// The kind of result.
        kind: &'static str,
        /// The parameter that would have kept them.
        expected: &'static str,
    },
    /// A pooled embedding of a sequence that was not in the last batch.
    #[error("sequence {0} has no pooled embedding: it was not in the last batch")]
    NoSequenceOutput(SeqId),
    /// A file that holds no state of the kind asked for, or cannot be written.
    #[error("{}: {found}, expected {expected}", path.display())]
    StateFile {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The model could not build a graph.
    #[error(transparent)]
    Model(#[from] quipu_model::Error),
    /// The memory refused.
    #[error(transparent)]
    Memory(#[from] quipu_kv_cache::Error),
    /// Computing failed.
    #[error(transparent)]
    Backend(quipu_backend::Error),
}

impl From<quipu_backend::Error> for Error {
    fn from(error: quipu_backend::Error) -> Error {
        match error {
            quipu_backend::Error::Aborted => Error::Aborted,
            other => Error::Backend(other),
        }
    }
}
