//! What quantising refuses. An enum of its own: none of it can happen while a model is loaded.

use quipu_quant::DType;

/// Why a file cannot be quantised.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error(transparent)]
    Gguf(#[from] quipu_gguf::Error),
    /// A number of layers outside what the reference loads.
    #[error("metadata {key} is {found}, expected 1 to {max}")]
    BlockCount {
        /// The key.
        key: String,
        /// Its value.
        found: u32,
        /// Most layers.
        max: u32,
    },
    /// A name that does not tell the layer of an expert tensor.
    #[error("tensor {name} does not name its layer, expected blk.N. with N below {n_layer}")]
    LayerOfTensor {
        /// The name.
        name: String,
        /// Layers of the model.
        n_layer: u32,
    },
    /// A row that neither the wanted type nor another can hold.
    #[error(
        "tensor {name} has rows of {ne0} elements, which {dtype} cannot hold, and no type stands in for it"
    )]
    NoFallback {
        /// The tensor.
        name: String,
        /// Elements of a row.
        ne0: u64,
        /// The wanted type.
        dtype: DType,
    },
    /// A tensor whose values cannot be read as floats.
    #[error("tensor {name} has type {dtype}, expected a floating-point or quantised type to convert from")]
    NotConvertible {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: DType,
    },
    /// A tensor that is quantised already.
    #[error(
        "tensor {name} is quantised ({dtype}) already, expected a float type or permission to requantise"
    )]
    Requantize {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: DType,
    },
    /// A type of very few bits without an importance matrix.
    #[error("tensor {name} cannot become {dtype} without an importance matrix for it")]
    ImatrixRequired {
        /// The tensor.
        name: String,
        /// The wanted type.
        dtype: DType,
    },
    /// An importance matrix made with another model.
    #[error("importance matrix of tensor {name} has {found} values, expected {expected}")]
    ImatrixSize {
        /// The tensor.
        name: String,
        /// Values in the matrix.
        found: usize,
        /// Columns of the tensor, over all experts.
        expected: u64,
    },
    /// An importance matrix file that cannot be used.
    #[error("importance matrix {path}: {problem}")]
    Imatrix {
        /// The file.
        path: String,
        /// What was found, and what was expected.
        problem: String,
    },
    /// A pattern for tensor names that is not a regular expression.
    #[error("tensor pattern '{pattern}' is not a regular expression: {problem}")]
    TensorPattern {
        /// The pattern.
        pattern: String,
        /// Why.
        problem: String,
    },
    /// A layer to be left out that the model does not have.
    #[error("layer {layer} is to be left out, but no tensor is of it, expected a layer of the model")]
    NoSuchLayer {
        /// The layer.
        layer: u32,
    },
    /// Values that cannot be converted.
    #[error("tensor {name}: {source}")]
    Quant {
        /// The tensor.
        name: String,
        /// Why.
        source: quipu_quant::Error,
    },
    /// The caller's progress callback asked to stop.
    #[error("quantising cancelled by the caller")]
    Cancelled,
}
