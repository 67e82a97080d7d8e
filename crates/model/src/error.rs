//! The crate's one error type.

use quipu_quant::DType;

/// Why a model cannot be loaded or its graph not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read.
    #[error(transparent)]
    Gguf(#[from] quipu_gguf::Error),
    /// Memory or the device refused.
    #[error(transparent)]
    Backend(#[from] quipu_backend::Error),
    /// A graph could not be built: shapes of the file contradict each other.
    #[error(transparent)]
    Graph(#[from] quipu_graph::Error),
    /// The cache refused.
    #[error(transparent)]
    KvCache(#[from] quipu_kv_cache::Error),
    /// An architecture this crate has no file for.
    #[error("architecture '{found}' is not supported, expected one of: {expected}")]
    UnknownArchitecture {
        /// `general.architecture` of the file.
        found: String,
        /// Known names.
        expected: String,
    },
    /// A hyper-parameter outside what can be computed with.
    #[error("metadata {key} is {found}, expected {expected}")]
    Hparam {
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// The rule.
        expected: String,
    },
    /// Scores of texts were asked of a model without a classification head.
    #[error(
        "pooling is rank and the model has no classification head (cls, cls.output), expected none, mean, cls or last"
    )]
    NoHead,
    /// A weight the architecture needs.
    #[error("tensor {name} is missing, expected shape {expected:?}{}", or(instead))]
    MissingTensor {
        /// The name.
        name: String,
        /// The shape it should have.
        expected: [usize; 4],
        /// Tensors that would have stood in for it and are missing too.
        instead: Vec<String>,
    },
    /// A weight of another shape.
    #[error("tensor {name} has shape {found:?}, expected {expected:?}")]
    TensorShape {
        /// The name.
        name: String,
        /// The shape in the file.
        found: [usize; 4],
        /// The shape it should have.
        expected: [usize; 4],
    },
    /// A weight of a type that no kernel computes.
    #[error("tensor {name} has type {dtype}, expected one of {expected}")]
    TensorType {
        /// The name.
        name: String,
        /// The type in the file.
        dtype: DType,
        /// Types that would do.
        expected: String,
    },
    /// Weights beyond the address space.
    #[error("tensor {name} {shape:?}: all weights together exceed the address space")]
    TooLarge {
        /// The tensor that went over.
        name: String,
        /// Its shape.
        shape: [usize; 4],
    },
    /// Tensors the architecture does not know.
    #[error("{count} tensors are not used by architecture '{architecture}', the first is {name}")]
    UnusedTensors {
        /// How many.
        count: usize,
        /// The architecture.
        architecture: &'static str,
        /// The first of them.
        name: String,
    },
    /// A tensor of an adapter that does not belong there.
    #[error("adapter tensor {name}: expected {expected}")]
    AdapterTensor {
        /// The tensor.
        name: String,
        /// The rule.
        expected: String,
    },
    /// Rows that an adapter for some sequences cannot tell the tokens of.
    #[error(
        "an adapter for some sequences: {found} rows, expected one for each of {expected} tokens or outputs"
    )]
    AdapterRows {
        /// Rows.
        found: usize,
        /// Tokens of the ubatch.
        expected: usize,
    },
    /// The data of a weight could not be read.
    #[error("tensor {name}: {source}")]
    Data {
        /// The tensor.
        name: String,
        /// Why.
        source: quipu_gguf::Error,
    },
    /// A weight that is not finite numbers.
    #[error("tensor {name} has invalid data: {source}")]
    BadTensor {
        /// The tensor.
        name: String,
        /// Block, field and value; blocks are counted from the tensor's start.
        source: quipu_quant::Error,
    },
    /// A device refused a part of a weight.
    #[error("tensor {name}: uploading from byte {from} on failed: {source}")]
    Upload {
        /// The tensor.
        name: String,
        /// First byte of the refused chunk.
        from: usize,
        /// Why.
        source: quipu_backend::Error,
    },
    /// An override that names no memory of the device.
    #[error("buffer type '{found}' is unknown, expected one of: {expected}")]
    UnknownBufferType {
        /// The name.
        found: String,
        /// Known names.
        expected: String,
    },
    /// An override to memory that cannot keep such a weight.
    #[error("tensor {name} of type {dtype} cannot be kept in {buffer_type}, expected another buffer type")]
    BufferRefuses {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: DType,
        /// The memory.
        buffer_type: String,
    },
    /// A device's share of the layers that cannot be.
    #[error("a share of {found} in the split of layers over devices, expected 0 or more")]
    TensorSplit {
        /// The share.
        found: f32,
    },
    /// An override whose pattern is no regular expression.
    #[error("tensor pattern '{pattern}' is not a regular expression: {message}")]
    OverridePattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// An override that is not `PATTERN=TYPE`.
    #[error("tensor override '{found}', expected PATTERN=BUFFER_TYPE")]
    OverrideSyntax {
        /// The text.
        found: String,
    },
    /// A graph asked of a model that was opened without weights.
    #[error("the model was opened with vocab_only, expected one with weights")]
    NoWeights,
    /// The caller's progress callback asked to stop.
    #[error("loading cancelled by the caller")]
    Cancelled,
}

/// The steps of loading, in order. Each kind of error belongs to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LoadPhase {
    /// Opening files and mapping them.
    Open,
    /// Reading headers: metadata, tensor tables, pieces.
    Parse,
    /// Finding the architecture and its hyper-parameters.
    Architecture,
    /// Matching the file's tensors with what the architecture needs.
    Tensors,
    /// Choosing memory and getting it.
    Allocate,
    /// Reading weights, checking them and handing them to the device.
    Data,
    /// After loading: building graphs.
    Use,
}

impl Error {
    /// The step of loading this error comes from.
    pub fn phase(&self) -> LoadPhase {
        use quipu_gguf::Error as Gguf;
        match self {
            Error::Gguf(Gguf::Open { .. } | Gguf::NotAFile { .. } | Gguf::UnknownLoadMode { .. }) => {
                LoadPhase::Open
            }
            Error::Gguf(_) => LoadPhase::Parse,
            Error::UnknownArchitecture { .. } | Error::Hparam { .. } => LoadPhase::Architecture,
            Error::MissingTensor { .. }
            | Error::TensorShape { .. }
            | Error::TensorType { .. }
            | Error::AdapterTensor { .. }
            | Error::UnusedTensors { .. } => LoadPhase::Tensors,
            Error::Backend(_)
            | Error::TooLarge { .. }
            | Error::UnknownBufferType { .. }
            | Error::BufferRefuses { .. }
            | Error::TensorSplit { .. }
            | Error::OverridePattern { .. }
            | Error::OverrideSyntax { .. } => LoadPhase::Allocate,
            Error::Data { .. } | Error::BadTensor { .. } | Error::Upload { .. } | Error::Cancelled => {
                LoadPhase::Data
            }
            Error::Graph(_)
            | Error::KvCache(_)
            | Error::NoWeights
            | Error::NoHead
            | Error::AdapterRows { .. } => LoadPhase::Use,
        }
    }
}

/// The end of a message about a missing tensor.
fn or(instead: &[String]) -> String {
    if instead.is_empty() { String::new() } else { format!(", or instead: {}", instead.join(", ")) }
}
