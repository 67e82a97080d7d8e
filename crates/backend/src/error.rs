//! The crate's one error type.

use quipu_graph::Tensor;
use quipu_quant::DType;

/// What memory, devices and the scheduler can refuse.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system has no memory left for a buffer.
    #[error("{buffer_type}: allocating {size} bytes failed")]
    OutOfMemory {
        /// The buffer type's name.
        buffer_type: String,
        /// Bytes asked for.
        size: usize,
    },
    /// A read, write or tensor beyond the end of a buffer.
    #[error("bytes {offset}..{offset}+{len} of a buffer of {size} bytes: expected a range inside it")]
    OutOfBounds {
        /// First byte.
        offset: usize,
        /// Number of bytes.
        len: usize,
        /// The buffer's size.
        size: usize,
    },
    /// A write into memory that several owners share, or that maps a file.
    #[error("{what}: the buffer is read-only")]
    ReadOnly {
        /// What was to be written.
        what: String,
    },
    /// A buffer number nobody registered.
    #[error("buffer {0} is not in the table")]
    UnknownBuffer(u32),
    /// A tensor without memory, or with memory of a kind the backend cannot use.
    #[error("tensor {name}: {found}, expected {expected}")]
    Tensor {
        /// The tensor's name (or its op's).
        name: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// An op or type no backend of the scheduler computes.
    #[error("no backend computes {op} on {dtype} (tensor {name})")]
    Unsupported {
        /// The op's name.
        op: &'static str,
        /// Type of the first operand.
        dtype: DType,
        /// The tensor's name.
        name: String,
    },
    /// An index in a tensor (a token id, a cache cell) that is outside its table.
    #[error("{op}: row {row} of {name}, expected a row below {n_rows}")]
    RowOutOfRange {
        /// The op's name.
        op: &'static str,
        /// Name of the table.
        name: String,
        /// The row asked for.
        row: i64,
        /// Rows the table has.
        n_rows: usize,
    },
    /// The caller's abort callback returned true.
    #[error("computation aborted by the caller")]
    Aborted,
    /// A kernel panicked: a bug in the backend, contained.
    #[error("a worker of {backend} failed: {message}")]
    Worker {
        /// The backend's name.
        backend: String,
        /// The panic's message.
        message: String,
    },
    /// A device's driver refused a call, or work that was queued earlier failed.
    #[error("{device}: {message}")]
    Device {
        /// The device's name.
        device: String,
        /// The call, its answer, and the bytes it was about.
        message: String,
    },
    /// Nodes that the graph does not have.
    #[error("nodes {start}..{end} of a graph of {n_nodes} nodes, expected a range inside it")]
    NodeRange {
        /// First node.
        start: usize,
        /// One past the last.
        end: usize,
        /// Nodes of the graph.
        n_nodes: usize,
    },
    /// What was prepared was to run on other buffers than those it was prepared for.
    #[error(
        "the table's buffers are not those that the graph was prepared for, expected to be prepared anew"
    )]
    Stale,
    /// A scheduler that has memory in one table of buffers was to compute on another one.
    #[error("another table of buffers than the one that memory was planned in, expected that one")]
    OtherTable,
    /// What was prepared was to run on another backend than the one that prepared it.
    #[error("{backend}: expected a graph that this backend prepared")]
    NotPrepared {
        /// The backend's name.
        backend: String,
    },
    /// The planner refused the graph.
    #[error("planning compute memory: {0}")]
    Plan(#[from] quipu_alloc::AllocError),
    /// The backend could not start.
    #[error("{backend}: {message}")]
    Init {
        /// The backend's name.
        backend: String,
        /// Why.
        message: String,
    },
}

impl Error {
    /// About a tensor, by its name or its op's.
    pub fn tensor(tensor: &Tensor, found: String, expected: &'static str) -> Error {
        Error::Tensor { name: tensor.label().to_owned(), found, expected }
    }

    /// About a node that cannot be computed.
    pub fn node(tensor: &Tensor, expected: &'static str) -> Error {
        let found = format!("{} of type {} and shape {:?}", tensor.op.name(), tensor.dtype, tensor.ne);
        Error::tensor(tensor, found, expected)
    }

    /// About a node whose result lies over its operand `i`.
    pub fn overlap(tensor: &Tensor, i: usize, operand: &Tensor) -> Error {
        let found = format!("a result over the bytes of operand {i} ({})", operand.name);
        Error::tensor(tensor, found, "a result apart from what it is computed from")
    }
}
