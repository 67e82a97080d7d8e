//! What the benchmarks share: seeded data. The benchmarks themselves are in `benches/`, one file per module.
#![forbid(unsafe_code)]

use quipu_quant::{DType, quantize_row};
use quipu_testing::SplitMix;

/// `n` seeded values, nearly normal with variance 1.
pub fn normal(seed: u64, n: usize) -> Vec<f32> {
    let mut random = SplitMix::new(seed);
    (0..n).map(|_| random.normal()).collect()
}

/// A matrix of `n_rows` rows of `k` weights in the file layout of `dtype`; empty if `k` is not whole blocks.
///
/// To be quick, the rows repeat after the sixteenth.
pub fn matrix(dtype: DType, n_rows: usize, k: usize) -> Vec<u8> {
    let Some(row_bytes) = dtype.row_bytes(k) else { return Vec::new() };
    let mut rows = vec![0; row_bytes * n_rows.min(16)];
    for (i, row) in rows.chunks_exact_mut(row_bytes).enumerate() {
        if quantize_row(dtype, &normal(i as u64, k), row).is_err() {
            return Vec::new();
        }
    }
    rows.iter().copied().cycle().take(row_bytes * n_rows).collect()
}
