//! A hash of the bits of many products, by type, instruction set and shape: run on two builds, `diff` tells whether
//! a change of the kernels changed a result.
//!
//! `cargo run --release -p quipu-cpu-backend --example matmul_bits [threads]`

use quipu_cpu_backend::isa::Isa;
use quipu_cpu_backend::matmul::{MatMul, mul_mat_pool};
use quipu_cpu_backend::pool::ThreadPool;
use quipu_quant::DType;
use quipu_testing::SplitMix;
use quipu_testing::rows::weights;

fn main() {
    let n_threads = std::env::args().nth(1).map_or(2, |a| a.parse().expect("threads"));
    let pool = ThreadPool::new(n_threads).expect("threads");
    for dtype in DType::ALL.into_iter().filter(|t| t.vec_dot_type().is_some()) {
        let ks: &[usize] = match dtype.block_len() {
            1 => &[1, 7, 33, 256, 300, 513, 1024],
            256 => &[256, 768, 1280, 2304],
            _ => &[128, 384, 1024, 1152, 2176],
        };
        for &k in ks {
            for n_rows in [1, 5, 16, 31, 33, 50, 100] {
                // From here on anew, so that a change of one type's inputs leaves the others'.
                let mut rng = SplitMix::new(u64::from(dtype.id()) << 32 | (k << 8 | n_rows) as u64);
                let w = weights(&mut rng, dtype, k, n_rows);
                for n_cols in (1..=14).chain([25]) {
                    let x = rng.floats(k * n_cols, 2.0);
                    let m = MatMul::plain(dtype, k, n_rows, n_cols).expect("whole blocks");
                    for isa in Isa::available() {
                        let mut dst = vec![0.0f32; n_rows * n_cols];
                        mul_mat_pool(&pool, isa, &m, &w, &x, &mut dst).expect("valid shapes");
                        let hash = dst.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, v| {
                            // All NaNs are one.
                            let bits = if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() };
                            (hash ^ u64::from(bits)).wrapping_mul(0x0100_0000_01b3)
                        });
                        println!("{dtype} {isa} k {k} rows {n_rows} cols {n_cols}: {hash:016x}");
                    }
                }
            }
        }
    }
}
