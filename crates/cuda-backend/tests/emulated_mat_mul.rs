//! Matrix products in the host emulation against the CPU backend, and the preparation of activations.

mod common;

use common::{
    Arg, Case, FLOAT, QUANTISED, Scratch, Value, assert_near, bytes, floats, kernel, launch, skipped,
};
use quipu_cuda_backend::kernels::{
    self, Grid, MAT_VEC_COLUMNS, TensorArg, k_padded, q8_1_bytes, rounded_bytes,
};
use quipu_graph::{DType, TensorId};

const QUANTISED_TYPES: [(DType, &str); 7] = [
    (DType::Q4_0, "q4_0"),
    (DType::Q5_0, "q5_0"),
    (DType::Q8_0, "q8_0"),
    (DType::Q4_K, "q4_k"),
    (DType::Q5_K, "q5_k"),
    (DType::Q6_K, "q6_k"),
    (DType::MXFP4, "mxfp4"),
];
const FLOAT_TYPES: [(DType, &str); 3] = [(DType::F32, "f32"), (DType::F16, "f16"), (DType::BF16, "bf16")];

/// `[k, n]` weights times `[k, m]` activations, repeated over `outer`.
#[derive(Clone, Copy, Debug)]
struct Shape {
    k: usize,
    n: usize,
    m: usize,
    /// Outer dimensions of w and x.
    outer: [[usize; 2]; 2],
    /// Floats between rows of x.
    gap: usize,
}

const fn flat(k: usize, n: usize, m: usize) -> Shape {
    Shape { k, n, m, outer: [[1, 1], [1, 1]], gap: 0 }
}

struct Product {
    case: Case,
    w: TensorId,
    x: TensorId,
    out: TensorId,
    expected: Vec<u8>,
}

fn product(dtype: DType, s: Shape) -> Product {
    let mut case = Case::new((s.k + 31 * s.n + 1009 * s.m) as u64);
    let w = case.noise(dtype, [s.k, s.n, s.outer[0][0], s.outer[0][1]], 0.5);
    let ne = [s.k, s.m, s.outer[1][0], s.outer[1][1]];
    let x = if s.gap == 0 { case.noise(DType::F32, ne, 2.0) } else { case.strided(ne, s.gap, 2.0) };
    let out = case.graph.mul_mat(w, x).unwrap();
    let expected = case.expected(out);
    Product { case, w, x, out, expected }
}

fn prepare(name: &str, x: TensorArg, ne: [usize; 4], bytes: usize) -> Scratch {
    let padded = k_padded(ne[0]);
    let scratch = Scratch::new(bytes);
    let grid = kernel(name).grid.blocks(256, ne, padded);
    launch(name, grid, &[Value::Tensor(x), Value::Ptr(scratch.address()), Value::I64(padded as i64)]);
    assert!(scratch.read().len() == bytes);
    scratch
}

fn prepare_for(p: &Product, name: &str) -> (common::Memory, Scratch) {
    let memory = p.case.memory();
    let ne = p.case.graph[p.x].ne;
    let rows = ne[1] * ne[2] * ne[3];
    let len = if name == "quantize_q8_1" { q8_1_bytes(ne[0], rows) } else { rounded_bytes(ne[0], rows) };
    let scratch = prepare(name, memory.arg(&p.case, p.x), ne, len);
    (memory, scratch)
}

fn check_mmvq(dtype: DType, short: &str, s: Shape, columns: usize, split: usize) {
    let p = product(dtype, s);
    let name = format!("mmvq_{short}_{columns}");
    let (mut memory, scratch) = prepare_for(&p, "quantize_q8_1");
    let grid = kernel(&name).grid.blocks(128, p.case.graph[p.out].ne, split);
    let padded = Arg::I64(k_padded(s.k) as i64);
    let args = [Arg::T(p.out), Arg::T(p.w), Arg::P(scratch.address()), padded, Arg::I32(split as i32)];
    memory.launch(&p.case, &name, grid, &args, Some(p.out));
    let got = memory.read(&p.case, p.out);
    assert_near(&format!("{name} {s:?} split {split}"), &got, &p.expected, QUANTISED);
    // Of the product of what was quantised, nothing but roundings of f32 is lost.
    let exact = exact_product(&p, s, dtype, scratch.read());
    assert_near(&format!("{name} {s:?} exactly"), &got, &bytes(&exact), 1e-11);
}

/// The product of dequantised weights and activations, in f64.
fn exact_product(p: &Product, s: Shape, dtype: DType, prepared: &[u8]) -> Vec<f32> {
    let row_bytes = dtype.row_bytes(s.k).unwrap();
    let padded = k_padded(s.k);
    let ([w2, _], [x2, x3]) = (s.outer[0], s.outer[1]);
    let w3 = s.outer[0][1];
    let mut out = Vec::new();
    for i3 in 0..x3 {
        for i2 in 0..x2 {
            for m in 0..s.m {
                let row = m + s.m * (i2 + x2 * i3);
                let x = &prepared[row * padded / 4 * 5..][..padded / 4 * 5];
                let scales = floats(&x[padded..]);
                for n in 0..s.n {
                    let w_row = n + s.n * (i2 / (x2 / w2) + w2 * (i3 / (x3 / w3)));
                    let w = &p.case.bytes_of(p.w)[w_row * row_bytes..][..row_bytes];
                    let mut values = vec![0f32; s.k];
                    quipu_quant::dequantize_row(dtype, w, &mut values).unwrap();
                    let sum: f64 = values
                        .iter()
                        .enumerate()
                        .map(|(i, w)| f64::from(*w) * f64::from(x[i] as i8) * f64::from(scales[i / 32 * 2]))
                        .sum();
                    out.push(sum as f32);
                }
            }
        }
    }
    out
}

#[test]
fn activations_are_quantised_as_the_cpu_does() {
    if skipped() {
        return;
    }
    for (k, rows) in [(32, 1), (31, 3), (300, 2), (2080, 1)] {
        let mut case = Case::new(k as u64);
        let x = case.strided([k, rows, 1, 1], 5, 3.0);
        let memory = case.memory();
        let scratch = prepare("quantize_q8_1", memory.arg(&case, x), [k, rows, 1, 1], q8_1_bytes(k, rows));
        let root = case.graph[x].view.unwrap().root;
        let values = floats(case.bytes_of(root));
        let (padded, width) = (k_padded(k), k + 5);
        for row in 0..rows {
            let mut x = values[row * width + 2..][..k].to_vec();
            x.resize(padded, 0.0);
            let mut blocks = vec![0u8; padded / 32 * 34];
            quipu_quant::quantize_row_q8_0_cpu(&x, &mut blocks).unwrap();
            let got = &scratch.read()[row * q8_1_bytes(k, 1)..][..q8_1_bytes(k, 1)];
            let scales = floats(&got[padded..]);
            for (b, block) in blocks.chunks(34).enumerate() {
                let quants = &got[32 * b..32 * b + 32];
                assert_eq!(quants, &block[2..], "k {k} row {row} block {b}");
                let d = half::f16::from_le_bytes([block[0], block[1]]).to_f32();
                let sum: i32 = quants.iter().map(|q| i32::from(*q as i8)).sum();
                assert_eq!(scales[2 * b..2 * b + 2], [d, d * sum as f32]);
            }
        }
    }
}

#[test]
fn activations_are_rounded() {
    if skipped() {
        return;
    }
    let mut values = quipu_testing::SplitMix::new(3).floats(100, 1.0);
    values[3] = 1e6;
    values[4] = -7e4;
    values[5] = f32::INFINITY;
    values[6] = 6e-8;
    values[7] = -1e-30;
    values[8] = 65504.0;
    let mut case = Case::new(0);
    let x = case.leaf(DType::F32, [100, 1, 1, 1], bytes(&values));
    let memory = case.memory();
    for (name, is_f16) in [("round_f16", true), ("round_bf16", false)] {
        let scratch = prepare(name, memory.arg(&case, x), [100, 1, 1, 1], rounded_bytes(100, 1));
        let got: Vec<u16> =
            scratch.read().as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b)).collect();
        assert_eq!(got.len(), 256);
        for (i, got) in got.iter().enumerate() {
            let v = values.get(i).copied().unwrap_or(0.0);
            let clamped = if v.is_finite() { v.clamp(-65504.0, 65504.0) } else { v };
            let expected = if is_f16 {
                half::f16::from_f32(clamped).to_bits()
            } else {
                half::bf16::from_f32(v).to_bits()
            };
            assert_eq!(*got, expected, "{name} {v}");
        }
    }
}

#[test]
fn quantised_vectors_of_all_types() {
    if skipped() {
        return;
    }
    for (dtype, short) in QUANTISED_TYPES {
        let block = dtype.block_len();
        // One block; an odd number of them; more than a warp's pieces.
        for (blocks, n, split) in [(1, 1, 1), (3, 7, 1), (3, 6, 2), (if block == 32 { 37 } else { 5 }, 9, 4)]
        {
            check_mmvq(dtype, short, flat(blocks * block, n, 1), 1, split);
        }
    }
}

#[test]
fn quantised_vectors_of_one_to_nine_columns() {
    if skipped() {
        return;
    }
    for (dtype, short) in QUANTISED_TYPES {
        for m in 1..=9 {
            let columns = MAT_VEC_COLUMNS.into_iter().find(|c| *c >= m).unwrap_or(8);
            check_mmvq(
                dtype,
                short,
                flat(3 * dtype.block_len(), 5, m),
                columns,
                if m % 2 == 0 { 2 } else { 1 },
            );
        }
    }
    check_mmvq(DType::Q8_0, "q8_0", flat(96, 11, 7), 2, 4);
}

#[test]
fn quantised_vectors_of_batches() {
    if skipped() {
        return;
    }
    let s = Shape { k: 256, n: 3, m: 2, outer: [[2, 1], [4, 3]], gap: 3 };
    check_mmvq(DType::Q4_0, "q4_0", s, 2, 1);
    check_mmvq(DType::Q6_K, "q6_k", s, 4, 2);
}

fn check_mmvf(dtype: DType, short: &str, s: Shape, columns: usize, split: usize) {
    let p = product(dtype, s);
    let name = format!("mmvf_{short}_{columns}");
    let mut memory = p.case.memory();
    let grid = kernel(&name).grid.blocks(128, p.case.graph[p.out].ne, split);
    let args = [Arg::T(p.out), Arg::T(p.w), Arg::T(p.x), Arg::I32(split as i32)];
    memory.launch(&p.case, &name, grid, &args, Some(p.out));
    assert_near(&format!("{name} {s:?} split {split}"), &memory.read(&p.case, p.out), &p.expected, FLOAT);
}

#[test]
fn float_vectors() {
    if skipped() {
        return;
    }
    for (dtype, short) in FLOAT_TYPES {
        for (k, n, split) in [(1, 1, 1), (7, 5, 2), (33, 3, 1), (264, 9, 4), (1024, 2, 2), (130, 4, 1)] {
            check_mmvf(dtype, short, flat(k, n, 1), 1, split);
        }
        for m in 2..=9 {
            let columns = MAT_VEC_COLUMNS.into_iter().find(|c| *c >= m).unwrap_or(8);
            check_mmvf(dtype, short, flat(72, 5, m), columns, 1 + m % 2);
        }
        let s = Shape { k: 48, n: 3, m: 3, outer: [[1, 2], [3, 2]], gap: 4 };
        check_mmvf(dtype, short, s, 4, 1);
        check_mmvf(dtype, short, Shape { gap: 3, ..s }, 2, 4);
    }
}

fn check_mat_mul(dtype: DType, short: &str, s: Shape) {
    let p = product(dtype, s);
    let name = format!("mat_mul_{short}");
    let bf16 = matches!(dtype, DType::BF16 | DType::MXFP4);
    let (mut memory, scratch) = prepare_for(&p, if bf16 { "round_bf16" } else { "round_f16" });
    let grid = kernel(&name).grid.blocks(256, p.case.graph[p.out].ne, 0);
    let args = [Arg::T(p.out), Arg::T(p.w), Arg::P(scratch.address()), Arg::I64(k_padded(s.k) as i64)];
    memory.launch(&p.case, &name, grid, &args, Some(p.out));
    let bound = if dtype.block_len() == 1 { FLOAT } else { QUANTISED };
    assert_near(&format!("{name} {s:?}"), &memory.read(&p.case, p.out), &p.expected, bound);
}

#[test]
fn tensor_core_products_of_floats() {
    if skipped() {
        return;
    }
    for (dtype, short) in [(DType::F16, "f16"), (DType::BF16, "bf16")] {
        for s in [flat(64, 130, 9), flat(37, 5, 131), flat(8, 1, 1), flat(200, 70, 20)] {
            check_mat_mul(dtype, short, s);
        }
        check_mat_mul(dtype, short, Shape { k: 40, n: 9, m: 10, outer: [[2, 1], [4, 2]], gap: 1 });
    }
}

#[test]
fn tensor_core_products_of_quantised_weights() {
    if skipped() {
        return;
    }
    for (dtype, short) in QUANTISED_TYPES {
        let block = dtype.block_len();
        check_mat_mul(dtype, short, flat(block, 3, 2));
        check_mat_mul(dtype, short, flat(if block == 32 { 224 } else { 512 }, 131, 17));
    }
    check_mat_mul(DType::Q4_K, "q4_k", Shape { k: 256, n: 9, m: 10, outer: [[1, 2], [2, 2]], gap: 0 });
}

#[test]
fn products_of_f32() {
    if skipped() {
        return;
    }
    let batch = Shape { k: 20, n: 66, m: 3, outer: [[2, 1], [4, 2]], gap: 3 };
    for s in [flat(1, 1, 1), flat(33, 65, 70), flat(128, 7, 9), batch] {
        let p = product(DType::F32, s);
        let mut memory = p.case.memory();
        let grid = kernel("mat_mul_f32").grid.blocks(256, p.case.graph[p.out].ne, 0);
        let args = [Arg::T(p.out), Arg::T(p.w), Arg::T(p.x)];
        memory.launch(&p.case, "mat_mul_f32", grid, &args, Some(p.out));
        assert_near(&format!("{s:?}"), &memory.read(&p.case, p.out), &p.expected, FLOAT);
    }
}

#[test]
fn the_table_knows_the_tiles() {
    for (_, short) in QUANTISED_TYPES {
        for columns in MAT_VEC_COLUMNS {
            let found = kernels::find(&format!("mmvq_{short}_{columns}")).unwrap();
            let rows = if columns == 1 { 1 } else { 2 };
            assert_eq!(found.grid, Grid::MatVec { rows, columns: columns as u32 });
        }
    }
}
