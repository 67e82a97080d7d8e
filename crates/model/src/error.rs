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
    /// A weight the architecture needs.
    #[error("tensor {name} is missing, expected shape {expected:?}")]
    MissingTensor {
        /// The name.
        name: String,
        /// The shape it should have.
        expected: [usize; 4],
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
    /// The caller's progress callback asked to stop.
    #[error("loading cancelled by the caller")]
    Cancelled,
}
