//! In steady state neither a run of the pool nor a product touches the heap.

use quipu_cpu_backend::isa::Isa;
use quipu_cpu_backend::matmul::{MatMul, Operands, mul_mat};
use quipu_cpu_backend::pool::ThreadPool;
use quipu_testing::SplitMix;
use quipu_testing::alloc::{Counting, allocations};
use quipu_testing::rows::{TYPES, weights};

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u8; 64]);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn products_do_not_allocate() {
    let pool = ThreadPool::new(3).unwrap();
    let mut rng = SplitMix::new(1);
    for dtype in TYPES {
        for n_cols in [1, 9] {
            let m = MatMul::plain(dtype, 512, 100, n_cols).unwrap();
            let w = weights(&mut rng, dtype, m.k, m.n_rows);
            let x = rng.floats(m.k * n_cols, 1.0);
            let mut dst = vec![0.0f32; m.n_rows * n_cols];
            let mut scratch = vec![Line([0; 64]); m.scratch_bytes().unwrap().div_ceil(64)];
            let op = Operands {
                w: w.as_ptr(),
                x: x.as_ptr(),
                dst: dst.as_mut_ptr(),
                scratch: scratch.as_mut_ptr().cast(),
            };
            // SAFETY: the vectors have the sizes of `m` and outlive the runs.
            let run =
                || pool.run(3, |team| unsafe { mul_mat(team, Isa::detect(), &m, &op) }.unwrap()).unwrap();
            run();
            let before = allocations();
            (0..10).for_each(|_| run());
            assert_eq!(allocations(), before, "{dtype}, {n_cols} columns");
        }
    }
}
