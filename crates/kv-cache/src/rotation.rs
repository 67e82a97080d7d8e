//! Rotation of keys and values before they are quantised.
//!
//! Quantised rows lose less if no element stands out. A Walsh-Hadamard matrix spreads each over its neighbours; it is orthonormal and its own
//! inverse, so queries are rotated as keys are, and what attention makes of values is rotated back. Which heads are rotated, and in which
//! pieces, is said here; the matrix in a graph is `rotation_input`'s.

use quipu_graph::DType;

/// Elements that are rotated together, at least.
const SMALLEST: usize = 64;

/// Elements of heads of keys that are rotated together: the largest power of two that divides the head; `None` for heads that are not rotated.
pub(crate) fn of_keys(dtype: DType, n_embd_head: usize) -> Option<usize> {
    of_values(dtype, n_embd_head).map(|_| 1 << n_embd_head.trailing_zeros())
}

/// As [`of_keys`], for values, where small pieces do better.
pub(crate) fn of_values(dtype: DType, n_embd_head: usize) -> Option<usize> {
    let rotated = dtype.is_quantized() && n_embd_head > 0 && n_embd_head.is_multiple_of(SMALLEST);
    rotated.then_some(SMALLEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_rotated_in_pieces() {
        assert_eq!(
            [64, 96, 128, 192, 256].map(|d| of_keys(DType::Q8_0, d)),
            [Some(64), None, Some(128), Some(64), Some(256)]
        );
        assert_eq!([64, 96, 128].map(|d| of_values(DType::Q4_0, d)), [Some(64), None, Some(64)]);
        assert_eq!(
            (of_keys(DType::F16, 64), of_values(DType::BF16, 64), of_keys(DType::Q8_0, 0)),
            (None, None, None)
        );
    }
}
