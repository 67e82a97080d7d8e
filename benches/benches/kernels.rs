//! cpu-backend: matrix products per type for one token, a small batch and a prompt.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quipu_cpu_backend::isa::Isa;
use quipu_cpu_backend::matmul::{MatMul, mul_mat_pool};
use quipu_cpu_backend::pool::ThreadPool;
use quipu_quant::DType;

const K: usize = 2048;
const N_ROWS: usize = 2048;

fn products(c: &mut Criterion) {
    let n_threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let pool = ThreadPool::new(n_threads).expect("threads");
    let isa = Isa::detect();
    let mut group = c.benchmark_group("mul_mat 2048x2048");
    group.sample_size(10);
    for dtype in [DType::F32, DType::F16, DType::Q8_0, DType::Q4_0, DType::Q4_K, DType::Q6_K, DType::MXFP4] {
        let weights = quipu_benches::matrix(dtype, N_ROWS, K);
        for n_cols in [1, 8, 512] {
            let x = quipu_benches::normal(3, K * n_cols);
            let mut out = vec![0.0; N_ROWS * n_cols];
            let shape = MatMul::plain(dtype, K, N_ROWS, n_cols).expect("whole blocks");
            group.throughput(Throughput::Elements((2 * K * N_ROWS * n_cols) as u64));
            group.bench_function(format!("{dtype} x {n_cols}"), |b| {
                b.iter(|| mul_mat_pool(&pool, isa, &shape, &weights, &x, &mut out).expect("valid shapes"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, products);
criterion_main!(benches);
