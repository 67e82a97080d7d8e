//! Speed of matrix products per type: billions of operations and bytes of weights per second.
//!
//! `cargo run --release -p quipu-cpu-backend --example matmul_speed [threads] [type or columns ...]`

use std::time::Instant;

use quipu_cpu_backend::isa::Isa;
use quipu_cpu_backend::matmul::{MatMul, Operands, mul_mat};
use quipu_cpu_backend::pool::ThreadPool;
use quipu_testing::SplitMix;
use quipu_testing::rows::{TYPES, weights};

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u8; 64]);

fn main() {
    let mut args = std::env::args().skip(1);
    let n_threads = args.next().map_or(2, |a| a.parse().expect("threads"));
    let (cols, only): (Vec<String>, Vec<String>) = args.partition(|a| a.parse::<usize>().is_ok());
    let cols: Vec<usize> = cols.iter().filter_map(|c| c.parse().ok()).collect();
    let cols = if cols.is_empty() { vec![1, 4, 8, 512] } else { cols };
    let isa = Isa::detect();
    let pool = ThreadPool::new(n_threads).expect("threads");
    println!("{isa}, {n_threads} threads, best of several runs");
    println!("{:>6} {:>6} {:>6} {:>5} {:>9} {:>8} {:>8}", "type", "rows", "k", "cols", "us", "Gop/s", "GB/s");
    let mut rng = SplitMix::new(1);
    for dtype in TYPES.into_iter().filter(|t| only.is_empty() || only.iter().any(|o| o == t.name())) {
        for k in [2048, 8192] {
            let n_rows = 2048;
            let row = dtype.row_bytes(k).expect("whole blocks");
            // Enough copies that a decode step finds none of them in the cache.
            let one = weights(&mut rng, dtype, k, n_rows);
            let copies = (600usize << 20) / one.len() + 1;
            let all: Vec<u8> = one.iter().copied().cycle().take(one.len() * copies).collect();
            for &n_cols in &cols {
                let m = MatMul::plain(dtype, k, n_rows, n_cols).expect("shape");
                let x = rng.floats(k * n_cols, 1.0);
                let mut dst = vec![0.0f32; n_rows * n_cols];
                let mut scratch = vec![Line([0; 64]); m.scratch_bytes().expect("size").div_ceil(64)];
                let runs = if n_cols > 100 { 12 } else { copies };
                let mut best = f64::MAX;
                for _ in 0..3 {
                    for run in 0..runs {
                        let start = Instant::now();
                        let op = Operands {
                            w: all[run % copies * one.len()..].as_ptr(),
                            x: x.as_ptr(),
                            dst: dst.as_mut_ptr(),
                            scratch: scratch.as_mut_ptr().cast(),
                        };
                        // SAFETY: all vectors have the sizes of `m` and outlive the run.
                        pool.run(n_threads, |team| unsafe { mul_mat(team, isa, &m, &op) }.expect("shape"))
                            .expect("run");
                        best = best.min(start.elapsed().as_secs_f64());
                    }
                }
                let ops = 2.0 * (k * n_rows * n_cols) as f64;
                println!(
                    "{:>6} {n_rows:>6} {k:>6} {n_cols:>5} {:>9.1} {:>8.1} {:>8.2}",
                    dtype.name(),
                    best * 1e6,
                    ops / best / 1e9,
                    (row * n_rows) as f64 / best / 1e9
                );
            }
        }
    }
}
