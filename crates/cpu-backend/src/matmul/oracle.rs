//! Vector kernels against the same kernels on arrays, bit for bit.

use quipu_quant::DType;
use quipu_testing::SplitMix;
use quipu_testing::rows::{TYPES, weights};

use super::columns::ColumnLayout;
use super::kernels::{Kernels, vector_rows};
use super::simd::Portable;
use super::{MatMul, Operands, Product, SCRATCH_ALIGN};
use crate::isa::{InstructionSet, Isa, Scalar};
use crate::pool::ThreadPool;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u8; SCRATCH_ALIGN]);

fn run(pool: &ThreadPool, product: &Product, w: &[u8], x: &[f32]) -> Vec<u32> {
    let m = &product.m;
    let mut dst = vec![f32::NAN; m.n_rows * m.n_cols];
    let mut scratch = vec![Line([0xff; 64]); m.scratch_bytes().unwrap().div_ceil(64)];
    let op = Operands {
        w: w.as_ptr(),
        x: x.as_ptr(),
        dst: dst.as_mut_ptr(),
        scratch: scratch.as_mut_ptr().cast(),
    };
    // SAFETY: the vectors have the sizes of the product and outlive the run.
    pool.run(pool.n_threads(), |team| unsafe { product.run(team, &op) }).unwrap();
    dst.into_iter().map(f32::to_bits).collect()
}

/// The product on arrays.
fn on_arrays(m: &MatMul) -> Product {
    let kernels = Kernels {
        convert: ColumnLayout::convert::<Scalar>,
        rows: vector_rows::<Portable>(m.dtype).expect("a type of the list"),
    };
    let layout = ColumnLayout::of_vectors(m.dtype, m.k).unwrap();
    Product { m: *m, layout, kernels, total_cols: m.n_cols }
}

#[test]
fn every_set_gives_the_bits_of_the_arrays() {
    let pool = ThreadPool::new(1).unwrap();
    let mut rng = SplitMix::new(21);
    let sets: Vec<Isa> = Isa::available().filter(|isa| isa.name() != Scalar::NAME).collect();
    println!("instruction sets compared with arrays: {}", names(&sets));
    for dtype in TYPES {
        let ks: &[usize] = match dtype.block_len() {
            1 => &[1, 45, 300],
            32 => &[32, 96, 1056],
            _ => &[256, 1280],
        };
        for &k in ks {
            for n_rows in [1, 19, 41] {
                let w = weights(&mut rng, dtype, k, n_rows);
                for n_cols in [1, 2, 3, 4, 5, 13] {
                    let m = MatMul::plain(dtype, k, n_rows, n_cols).unwrap();
                    let x = rng.floats(k * n_cols, 2.0);
                    let want = run(&pool, &on_arrays(&m), &w, &x);
                    for &isa in &sets {
                        let got = run(&pool, &Product::new(isa, &m).unwrap(), &w, &x);
                        assert_eq!(got, want, "{dtype} {isa} k {k} rows {n_rows} cols {n_cols}");
                    }
                }
            }
        }
    }
}

fn names(sets: &[Isa]) -> String {
    sets.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ")
}

/// Quants at the ends of their ranges against activations at theirs: nothing saturates on the way.
#[test]
fn extreme_quants_do_not_saturate() {
    let pool = ThreadPool::new(1).unwrap();
    for dtype in TYPES.into_iter().filter(|t| t.is_quantized() && *t != DType::MXFP4) {
        let (k, n_rows) = (512, 3);
        for fill in [0x00, 0x7f, 0x80, 0xff] {
            let mut w = weights(&mut SplitMix::new(5), dtype, k, n_rows);
            // All but what may be a scale as f16, which stays a number.
            let block = dtype.block_bytes();
            for (i, byte) in w.iter_mut().enumerate() {
                let at = i % block;
                if (16..80).contains(&at) {
                    *byte = fill;
                }
            }
            for n_cols in [1, 6] {
                let m = MatMul::plain(dtype, k, n_rows, n_cols).unwrap();
                for sign in [1.0, -1.0] {
                    let x = vec![sign * 3.0; k * n_cols];
                    let want = run(&pool, &on_arrays(&m), &w, &x);
                    for isa in Isa::available().filter(|isa| *isa != Isa::SCALAR) {
                        let got = run(&pool, &Product::new(isa, &m).unwrap(), &w, &x);
                        assert_eq!(got, want, "{dtype} {isa} {fill:x} {sign} {n_cols}");
                    }
                }
            }
        }
    }
}
