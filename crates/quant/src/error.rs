//! The crate's one error type, and the length checks that raise it.

use crate::DType;

/// Why a row could not be converted or multiplied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The type is known (its sizes are) but this crate has no arithmetic for it.
    #[error(
        "type {dtype} is known but not computed (computed: f32, f16, bf16, q8_0, q4_0, q5_0, q4_K, q5_K, q6_K, mxfp4)"
    )]
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
}

/// Checks that `n_bytes` is exactly what a row of `n` elements of `dtype` takes.
pub(crate) fn check_row(dtype: DType, n: usize, n_bytes: usize) -> Result<(), Error> {
    let Some(expected) = dtype.row_bytes(n) else {
        return Err(Error::PartialBlock { dtype, n, block_len: dtype.block_len() });
    };
    if n_bytes == expected { Ok(()) } else { Err(Error::ByteLength { dtype, n, found: n_bytes, expected }) }
}
