//! The crate's one error type.

use quipu_quant::DType;

/// What a graph under construction refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Shapes that the op cannot combine.
    #[error("{op} of {a} {a_ne:?} and {b} {b_ne:?}: expected {expected}")]
    Shapes {
        /// The op's name.
        op: &'static str,
        /// Name of the first operand.
        a: String,
        /// Its shape.
        a_ne: [usize; 4],
        /// Name of the second operand.
        b: String,
        /// Its shape.
        b_ne: [usize; 4],
        /// The rule that was broken.
        expected: &'static str,
    },
    /// One operand that the op cannot take.
    #[error("{op} of {name} {ne:?} ({dtype}): expected {expected}")]
    Operand {
        /// The op's name.
        op: &'static str,
        /// Name of the operand.
        name: String,
        /// Its shape.
        ne: [usize; 4],
        /// Its type.
        dtype: DType,
        /// The rule that was broken.
        expected: &'static str,
    },
    /// A node that its op cannot be.
    #[error("{op} of {n_src} operands: expected {expected}")]
    Node {
        /// The op's name.
        op: &'static str,
        /// How many operands there are.
        n_src: usize,
        /// The rule that was broken.
        expected: &'static str,
    },
    /// A row that is not a whole number of blocks.
    #[error("tensor {name} ({dtype}) has rows of {ne0} elements: expected a multiple of {}", dtype.block_len())]
    PartialBlock {
        /// Name of the tensor.
        name: String,
        /// Its type.
        dtype: DType,
        /// Its row length in elements.
        ne0: usize,
    },
    /// A byte size beyond the address space.
    #[error("tensor {name} {ne:?} ({dtype}): its size in bytes does not fit in 64 bits")]
    TooLarge {
        /// Name of the tensor.
        name: String,
        /// Its shape.
        ne: [usize; 4],
        /// Its type.
        dtype: DType,
    },
    /// A descriptor that is not of a graph's tensor.
    #[error("tensor {index} ({name}): {found}, expected {expected}")]
    RawTensor {
        /// Its place among the descriptors.
        index: usize,
        /// Its name (or its op's).
        name: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// An entry in the list of nodes or leafs that does not belong there.
    #[error("{list}[{position}] is tensor {tensor} of {n_tensors}, expected {expected}")]
    RawOrder {
        /// The list.
        list: &'static str,
        /// The entry's place in it.
        position: usize,
        /// The tensor it names.
        tensor: u32,
        /// How many tensors there are.
        n_tensors: usize,
        /// What was expected.
        expected: &'static str,
    },
}
