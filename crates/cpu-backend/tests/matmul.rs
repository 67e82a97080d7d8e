//! Every kernel (type, ISA) against the scalar path, over shapes that cut tiles in the middle.

use quipu_cpu_backend::isa::Isa;
use quipu_cpu_backend::matmul::{MatMul, MatMulError, Operands, mul_mat, mul_mat_pool};
use quipu_cpu_backend::pool::ThreadPool;
use quipu_cpu_backend::quantize::{quantize_row_q8_0, quantize_row_q8_k};
use quipu_quant::DType;
use quipu_quant::blocks::{BlockQ8_0, BlockQ8K};
use quipu_testing::rows::{TYPES, weights};
use quipu_testing::{SplitMix, nmse};

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u8; 64]);

fn product(pool: &ThreadPool, isa: Isa, m: &MatMul, w: &[u8], x: &[f32]) -> Vec<f32> {
    // Poisoned, so that an element nobody wrote is seen.
    let mut dst = vec![f32::NAN; m.n_rows * m.n_cols];
    mul_mat_pool(pool, isa, m, w, x, &mut dst).unwrap();
    dst
}

#[test]
fn every_kernel_agrees_with_the_scalar_twin() {
    let sets: Vec<&str> = Isa::available().map(Isa::name).collect();
    println!("instruction sets tested: {}; chosen: {}", sets.join(", "), Isa::detect());
    let pool = ThreadPool::new(1).unwrap();
    let mut rng = SplitMix::new(1);
    for dtype in TYPES {
        let ks: &[usize] = match dtype.block_len() {
            1 => &[1, 7, 33, 256, 300, 513],
            32 => &[32, 96, 160, 1024, 1056, 2080],
            _ => &[256, 768, 1024, 1280, 2304],
        };
        for &k in ks {
            for n_rows in [1, 5, 16, 31, 32, 33, 50, 79] {
                let w = weights(&mut rng, dtype, k, n_rows);
                for n_cols in (1..=17).chain([25]) {
                    // A third of the shapes, in a fixed pattern that meets every pair.
                    if (k + n_rows + n_cols) % 3 != 0 {
                        continue;
                    }
                    let m = MatMul::plain(dtype, k, n_rows, n_cols).unwrap();
                    let x = rng.floats(k * n_cols, 2.0);
                    let want = product(&pool, Isa::SCALAR, &m, &w, &x);
                    for isa in Isa::available().skip(1) {
                        let got = product(&pool, isa, &m, &w, &x);
                        let error = nmse(&want, &got);
                        // In a handful of elements one may be the small difference of large sums.
                        let limit = if want.len() < 64 { 1e-8 } else { 1e-10 };
                        assert!(
                            error <= limit,
                            "{dtype} {isa} k {k} rows {n_rows} cols {n_cols}: NMSE {error:e}"
                        );
                    }
                }
            }
        }
    }
}

/// Without terms, a sum is zero: on every path, and whatever was in the memory.
#[test]
fn a_product_without_terms_is_zero() {
    let pool = ThreadPool::new(2).unwrap();
    for dtype in TYPES {
        for n_cols in [1, 4, 5, 20] {
            let m = MatMul::plain(dtype, 0, 40, n_cols).unwrap();
            for isa in Isa::available() {
                let got = product(&pool, isa, &m, &[], &[]);
                assert!(got.iter().all(|v| v.to_bits() == 0), "{dtype} {isa}, {n_cols} columns: {got:?}");
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let pools: Vec<ThreadPool> = [1, 2, 4, 7].into_iter().map(|n| ThreadPool::new(n).unwrap()).collect();
    let mut rng = SplitMix::new(2);
    for dtype in TYPES {
        for (n_rows, n_cols) in [(300, 1), (77, 3), (300, 20)] {
            let m = MatMul::plain(dtype, 1280, n_rows, n_cols).unwrap();
            let w = weights(&mut rng, dtype, m.k, n_rows);
            let x = rng.floats(m.k * n_cols, 1.0);
            for isa in Isa::available() {
                let want = product(&pools[0], isa, &m, &w, &x);
                for pool in &pools[1..] {
                    let got = product(pool, isa, &m, &w, &x);
                    assert!(
                        want.iter().zip(&got).all(|(a, b)| a.to_bits() == b.to_bits()),
                        "{dtype} {isa} {n_rows} x {n_cols}, {} threads",
                        pool.n_threads()
                    );
                }
            }
        }
    }
}

/// A row of the scalar path against an f64 product of what the formats mean.
#[test]
fn the_scalar_path_approximates_the_exact_product() {
    let pool = ThreadPool::new(1).unwrap();
    let mut rng = SplitMix::new(3);
    for (dtype, limit) in [(DType::F32, 1e-12), (DType::F16, 1e-6), (DType::BF16, 1e-4)] {
        let m = MatMul::plain(dtype, 200, 9, 4).unwrap();
        let w = weights(&mut rng, dtype, m.k, m.n_rows);
        let x = rng.floats(m.k * m.n_cols, 1.0);
        let got = product(&pool, Isa::SCALAR, &m, &w, &x);
        let value = |i: usize| match dtype {
            DType::F32 => f32::from_le_bytes(w[i * 4..][..4].try_into().unwrap()),
            DType::F16 => half::f16::from_le_bytes(w[i * 2..][..2].try_into().unwrap()).to_f32(),
            _ => half::bf16::from_le_bytes(w[i * 2..][..2].try_into().unwrap()).to_f32(),
        };
        let mut want = Vec::new();
        for c in 0..m.n_cols {
            for r in 0..m.n_rows {
                let terms = (0..m.k).map(|i| f64::from(value(r * m.k + i)) * f64::from(x[c * m.k + i]));
                want.push(terms.sum::<f64>() as f32);
            }
        }
        assert!(nmse(&want, &got) < limit, "{dtype}");
    }
}

/// Attention's shape: strided heads, several query heads per key head, results into a permuted tensor.
#[test]
fn batches_and_strides_meet_the_right_slices() {
    let (k, n_rows, n_cols, n_kv_heads, n_heads) = (24, 37, 6, 2, 4);
    let mut rng = SplitMix::new(4);
    for dtype in [DType::F16, DType::F32] {
        // W: [n_rows][n_kv_heads][k], X: [n_cols][n_heads][k], dst: [n_heads][n_cols][n_rows].
        let element = dtype.block_bytes();
        let w = weights(&mut rng, dtype, k * n_kv_heads, n_rows);
        let x = rng.floats(k * n_heads * n_cols, 1.0);
        let m = MatMul {
            dtype,
            k,
            n_rows,
            n_cols,
            w_batch: [n_kv_heads, 1],
            x_batch: [n_heads, 1],
            w_stride: [k * n_kv_heads * element, k * element, 0],
            x_stride: [k * n_heads * 4, k * 4, 0],
            dst_stride: [n_rows * 4, n_rows * n_cols * 4, 0],
        };
        for isa in Isa::available() {
            for n_threads in [1, 3] {
                let pool = ThreadPool::new(n_threads).unwrap();
                let mut dst = vec![f32::NAN; n_heads * n_cols * n_rows];
                let mut scratch = vec![Line([0; 64]); m.scratch_bytes().unwrap().div_ceil(64)];
                let op = Operands {
                    w: w.as_ptr(),
                    x: x.as_ptr(),
                    dst: dst.as_mut_ptr(),
                    scratch: scratch.as_mut_ptr().cast(),
                };
                // SAFETY: the strides above stay inside the vectors, which outlive the run.
                pool.run(n_threads, |team| unsafe { mul_mat(team, isa, &m, &op) }.unwrap()).unwrap();
                let single = ThreadPool::new(1).unwrap();
                for head in 0..n_heads {
                    let kv = head / (n_heads / n_kv_heads);
                    let w_head: Vec<u8> = (0..n_rows)
                        .flat_map(|r| w[(r * n_kv_heads + kv) * k * element..][..k * element].to_vec())
                        .collect();
                    let x_head: Vec<f32> =
                        (0..n_cols).flat_map(|c| x[(c * n_heads + head) * k..][..k].to_vec()).collect();
                    let plain = MatMul::plain(dtype, k, n_rows, n_cols).unwrap();
                    let want = product(&single, isa, &plain, &w_head, &x_head);
                    assert_eq!(
                        &dst[head * n_cols * n_rows..][..n_cols * n_rows],
                        &want[..],
                        "{dtype} {isa} head {head}"
                    );
                }
            }
        }
    }
}

#[test]
fn bad_shapes_are_errors() {
    let pool = ThreadPool::new(1).unwrap();
    assert!(matches!(MatMul::plain(DType::Q4_K, 100, 1, 1), Err(MatMulError::Unsupported { .. })));
    assert!(matches!(MatMul::plain(DType::I8, 256, 1, 1), Err(MatMulError::Unsupported { .. })));
    assert!(matches!(MatMul::plain(DType::F32, 1 << 40, 1 << 40, 1), Err(MatMulError::Overflow { .. })));
    let m = MatMul::plain(DType::F32, 8, 4, 2).unwrap();
    let err = mul_mat_pool(&pool, Isa::detect(), &m, &[0; 127], &[0.0; 16], &mut [0.0; 8]).unwrap_err();
    assert_eq!(err.to_string(), "w (bytes) holds 127 elements, expected at least 128");
    // Nothing to do is no error.
    let empty = MatMul::plain(DType::F32, 8, 0, 2).unwrap();
    mul_mat_pool(&pool, Isa::detect(), &empty, &[], &[0.0; 16], &mut []).unwrap();
}

/// One row, one column: the scalar path against the reference arithmetic of the quant crate.
#[test]
fn the_scalar_path_is_the_reference_dot() {
    let pool = ThreadPool::new(1).unwrap();
    let mut rng = SplitMix::new(5);
    for dtype in TYPES {
        for k in [256, 2304] {
            let n = 40;
            let m = MatMul::plain(dtype, k, n, 1).unwrap();
            let w = weights(&mut rng, dtype, k, n);
            let x = rng.floats(k, 2.0);
            let got = product(&pool, Isa::SCALAR, &m, &w, &x);
            let activations = activations(dtype, &x);
            let row = dtype.row_bytes(k).unwrap();
            let want: Vec<f32> = w
                .chunks_exact(row)
                .map(|w| quipu_quant::vec_dot(dtype, k, w, &activations).unwrap())
                .collect();
            assert!(nmse(&want, &got) <= 1e-12, "{dtype} k {k}: {:e}", nmse(&want, &got));
        }
    }
}

/// The types with vector kernels and no portable twin: there the portable path is the reference arithmetic itself.
#[test]
fn the_scalar_path_of_other_types_is_the_reference_dot_to_the_bit() {
    const TWINS: usize = 10;
    let mut rng = SplitMix::new(7);
    let (k, n, m) = (512, 37, 3);
    for dtype in TYPES.into_iter().skip(TWINS) {
        let row = dtype.row_bytes(k).unwrap();
        let w = weights(&mut rng, dtype, k, n);
        let x = rng.floats(k * m, 2.0);
        let mut want = Vec::new();
        for x in x.chunks_exact(k) {
            let a = activations(dtype, x);
            want.extend(w.chunks_exact(row).map(|w| quipu_quant::vec_dot(dtype, k, w, &a).unwrap()));
        }
        let matmul = MatMul::plain(dtype, k, n, m).unwrap();
        for threads in [1, 3] {
            let pool = ThreadPool::new(threads).unwrap();
            assert_eq!(product(&pool, Isa::SCALAR, &matmul, &w, &x), want, "{dtype}, {threads} threads");
        }
    }
}

/// Every type that can be weights has vector kernels.
#[test]
fn no_type_is_left_without_kernels() {
    for dtype in DType::ALL.into_iter().filter(|t| t.vec_dot_type().is_some()) {
        assert!(TYPES.contains(&dtype), "{dtype}");
    }
}

/// The bytes that `vec_dot` wants for these activations.
fn activations(dtype: DType, x: &[f32]) -> Vec<u8> {
    let partner = dtype.vec_dot_type().expect("a type with products");
    let mut out = vec![0; partner.row_bytes(x.len()).unwrap()];
    quipu_quant::quantize_row_cpu(partner, x, &mut out).unwrap();
    out
}

/// The fast quantisers against those of the quant crate, byte for byte.
#[test]
fn activation_blocks_equal_the_reference() {
    let mut rng = SplitMix::new(6);
    for i in 0..200 {
        let x = rng.floats(512, 10f32.powi(i % 12 - 6));
        for isa in Isa::available() {
            let mut blocks: Vec<BlockQ8_0> = vec![bytemuck::Zeroable::zeroed(); 16];
            quantize_row_q8_0(isa, &x, &mut blocks);
            assert_eq!(bytemuck::cast_slice::<_, u8>(&blocks), activations(DType::Q8_0, &x), "q8_0 {isa}");
            let mut blocks: Vec<BlockQ8K> = vec![bytemuck::Zeroable::zeroed(); 2];
            quantize_row_q8_k(isa, &x, &mut blocks);
            assert_eq!(bytemuck::cast_slice::<_, u8>(&blocks), activations(DType::Q4_K, &x), "q8_K {isa}");
        }
    }
}
