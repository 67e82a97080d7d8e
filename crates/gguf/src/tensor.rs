//! Tensor descriptors of a file, and the size rules that reader and writer share.

use quipu_quant::DType;

use crate::{Error, Result};

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, shorter than [`crate::MAX_TENSOR_NAME`] bytes.
    pub name: String,
    /// Type of the elements.
    pub dtype: DType,
    /// Elements per dimension, innermost first; 1 beyond `n_dims`.
    pub ne: [u64; 4],
    /// Dimensions as stored in the file, 0 to 4.
    pub n_dims: u32,
    /// Bytes from the start of the data section.
    pub offset: u64,
    /// Bytes of data, without padding.
    pub n_bytes: u64,
}

impl TensorInfo {
    /// Elements in all.
    pub fn n_elements(&self) -> u64 {
        self.ne.iter().product()
    }
}

/// Dimensions worth writing: without trailing ones, at least one. As `ggml_n_dims`, except that an extent of 0
/// is kept: the reference would write the tensor as if it had one element there.
pub(crate) fn n_dims_without_ones(ne: &[u64; 4]) -> u32 {
    let last = ne.iter().skip(1).rposition(|&n| n != 1);
    last.map_or(1, |i| i as u32 + 2)
}

/// Bytes of a tensor, if shape and type fit each other. `offset` locates the shape in the file.
pub(crate) fn tensor_bytes(name: &str, dtype: DType, ne: &[u64; 4], offset: u64) -> Result<u64> {
    let mut n_elements = ne[0];
    for &n in &ne[1..] {
        // The reference's bound, by division, which also refuses products just short of 2^63; where it
        // would divide by zero the tensor is merely empty.
        if n != 0 && i64::MAX as u64 / n <= n_elements {
            return Err(Error::TooManyElements { name: name.to_owned(), offset, ne: *ne });
        }
        n_elements *= n;
    }
    let block_len = dtype.block_len() as u64;
    if !ne[0].is_multiple_of(block_len) {
        return Err(Error::PartialBlock { name: name.to_owned(), dtype, ne0: ne[0] });
    }
    (n_elements / block_len).checked_mul(dtype.block_bytes() as u64).ok_or_else(|| Error::TensorTooLarge {
        name: name.to_owned(),
        dtype,
        ne: *ne,
    })
}

/// `n` rounded up to a multiple of `alignment`, a power of two (`GGML_PAD`); `None` beyond 64 bits.
pub(crate) fn padded(n: u64, alignment: u32) -> Option<u64> {
    n.checked_next_multiple_of(u64::from(alignment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_ones_are_not_dimensions() {
        for (ne, n_dims) in [
            ([1, 1, 1, 1], 1),
            ([5, 1, 1, 1], 1),
            ([1, 2, 1, 1], 2),
            ([3, 1, 4, 1], 3),
            ([1, 1, 1, 2], 4),
            ([7, 0, 1, 1], 2),
        ] {
            assert_eq!(n_dims_without_ones(&ne), n_dims, "{ne:?}");
        }
    }

    #[test]
    fn sizes_follow_the_reference_bounds() {
        let bytes = |dtype, ne| tensor_bytes("t", dtype, &ne, 0);
        assert_eq!(bytes(DType::Q4_0, [64, 3, 1, 1]).unwrap(), 108);
        assert_eq!(bytes(DType::F32, [0, 3, 1, 1]).unwrap(), 0);
        assert_eq!(bytes(DType::F32, [3, 0, u64::MAX >> 1, 9]).unwrap(), 0);
        let just_too_many = [i64::MAX as u64, 1, 1, 1];
        assert!(matches!(bytes(DType::I8, just_too_many), Err(Error::TooManyElements { .. })));
        let at_most = [i64::MAX as u64 - 1, 1, 1, 1];
        assert_eq!(bytes(DType::I8, at_most).unwrap(), i64::MAX as u64 - 1);
        assert!(matches!(bytes(DType::F32, at_most), Err(Error::TensorTooLarge { .. })));
        assert!(matches!(bytes(DType::Q8_0, [33, 1, 1, 1]), Err(Error::PartialBlock { .. })));
    }
}
