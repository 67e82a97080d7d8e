//! The crate's one error type, and the length checks that raise it.

use crate::DType;

/// Why a row could not be converted or multiplied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The type is known (its sizes are) but this crate has no arithmetic for it.
    #[error("type {dtype} is known but has no arithmetic of this kind")]
    NotComputed {
        /// The type asked for.
        dtype: DType,
    },
    /// The row does not divide into the blocks of its type.
    #[error(
        "a row of {n} elements is not a whole number of {dtype} blocks (expected a multiple of {block_len})"
    )]
    PartialBlock {
        /// Type of the row.
        dtype: DType,
        /// Elements in the row.
        n: usize,
        /// Elements in one block of the type.
        block_len: usize,
    },
    /// The byte slice is not as long as the row's elements need.
    #[error("{found} bytes given for a {dtype} row of {n} elements, expected {expected}")]
    ByteLength {
        /// Type of the row.
        dtype: DType,
        /// Elements in the row.
        n: usize,
        /// Length of the slice given.
        found: usize,
        /// Length the row needs.
        expected: usize,
    },
    /// The floats do not divide into rows.
    #[error("{n} floats are not a whole number of rows of {n_per_row}")]
    PartialRow {
        /// Floats given.
        n: usize,
        /// Floats in a row.
        n_per_row: usize,
    },
    /// The type is only usable with an importance matrix, and none was given.
    #[error("type {dtype} cannot be quantized without an importance matrix")]
    MissingImatrix {
        /// The type asked for.
        dtype: DType,
    },
    /// The importance matrix does not have one entry for each column.
    #[error("the importance matrix has {found} entries, expected one for each of {expected} columns")]
    ImatrixLength {
        /// Entries given.
        found: usize,
        /// Floats in a row.
        expected: usize,
    },
    /// The bytes to validate are not a whole number of blocks.
    #[error("{n_bytes} bytes are not a whole number of {dtype} blocks of {block_bytes} bytes")]
    PartialBytes {
        /// Type of the blocks.
        dtype: DType,
        /// Bytes given.
        n_bytes: usize,
        /// Bytes in one block.
        block_bytes: usize,
    },
    /// A value or a block's scale is no finite number.
    #[error("{dtype} block {block}: {field} is {value}, expected a finite number")]
    NotFinite {
        /// Type of the blocks.
        dtype: DType,
        /// Index of the block (of the element, for types without blocks).
        block: usize,
        /// Which number of the block.
        field: &'static str,
        /// What it is: `NaN`, `inf`, `-inf` (or, for an E8M0 exponent, 255).
        value: &'static str,
    },
}

/// Checks that `n_bytes` is exactly what a row of `n` elements of `dtype` takes.
pub(crate) fn check_row(dtype: DType, n: usize, n_bytes: usize) -> Result<(), Error> {
    let Some(expected) = dtype.row_bytes(n) else {
        return Err(Error::PartialBlock { dtype, n, block_len: dtype.block_len() });
    };
    if n_bytes == expected { Ok(()) } else { Err(Error::ByteLength { dtype, n, found: n_bytes, expected }) }
}
