//! The traits of memory: kinds of it, and pieces.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use quipu_graph::DType;

use crate::error::Error;

/// Bytes in host memory that outlive whoever maps them: a file mapping or an embedded model.
pub type HostBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// How a graph will use a weight, which decides in what layout it is best kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightUse {
    /// First operand of a matrix product.
    MulMat,
    /// Table that rows are picked from.
    GetRows,
    /// Anything else: norms, biases, factors.
    Elementwise,
}

/// A weight as the loader knows it before it has memory.
#[derive(Clone, Copy, Debug)]
pub struct WeightSpec {
    /// Type.
    pub dtype: DType,
    /// Shape.
    pub ne: [usize; 4],
    /// Use.
    pub usage: WeightUse,
}

/// A kind of memory. Answers to `ggml_backend_buffer_type_i`.
pub trait BufferType: Send + Sync + Debug {
    /// Name for logs and errors (`CPU`, `CPU_REPACK`, `CUDA0`, ...).
    fn name(&self) -> &str;

    /// Alignment in bytes of every tensor; a power of two.
    fn alignment(&self) -> usize;

    /// Largest buffer in bytes.
    fn max_size(&self) -> usize {
        usize::MAX / 2
    }

    /// Bytes a tensor of this type and shape needs; `None` if they do not fit in an address space.
    fn alloc_size(&self, dtype: DType, ne: [usize; 4]) -> Option<usize> {
        ne[1..].iter().try_fold(dtype.row_bytes(ne[0])?, |n, e| n.checked_mul(*e))
    }

    /// Whether weights of this kind may be kept here (a type with a layout of its own takes only what fits it).
    fn accepts_weight(&self, weight: &WeightSpec) -> bool;

    /// Whether the host can read the memory directly.
    fn is_host(&self) -> bool;

    /// Allocates zeroed memory of `size` bytes.
    fn allocate(&self, size: usize) -> Result<Box<dyn Buffer>, Error>;
}

/// A piece of memory. Answers to `ggml_backend_buffer_i`.
pub trait Buffer: Send + Sync + Debug {
    /// Bytes.
    fn size(&self) -> usize;

    /// Name of the buffer type it came from.
    fn type_name(&self) -> &str;

    /// Copies bytes out.
    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), Error>;

    /// Copies bytes in.
    fn write(&mut self, offset: usize, data: &[u8]) -> Result<(), Error>;

    /// Copies a whole weight in, into whatever layout this memory keeps weights in.
    fn write_weight(&mut self, offset: usize, dtype: DType, ne: [usize; 4], data: &[u8])
    -> Result<(), Error>;

    /// Sets every byte to zero.
    fn clear(&mut self);

    /// For the backend that owns this kind of buffer.
    fn as_any(&self) -> &dyn Any;

    /// For the backend that owns this kind of buffer.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}
