//! get_rows, set_rows, copies and argmax, in the host emulation against the CPU backend.

mod common;

use common::{Arg, Case, Memory, assert_near, bytes, floats, kernel, skipped};
use quipu_graph::{DType, TensorId};

const TYPES: [(DType, &str); 9] = [
    (DType::F16, "f16"),
    (DType::BF16, "bf16"),
    (DType::Q4_0, "q4_0"),
    (DType::Q5_0, "q5_0"),
    (DType::Q8_0, "q8_0"),
    (DType::Q4_K, "q4_k"),
    (DType::Q5_K, "q5_k"),
    (DType::Q6_K, "q6_k"),
    (DType::MXFP4, "mxfp4"),
];

fn grid(name: &str, case: &Case, id: TensorId) -> [u32; 3] {
    let kernel = kernel(name);
    kernel.grid.blocks(kernel.block, case.graph[id].ne, 0)
}

/// A status word that starts as 0.
fn with_status(run: impl FnOnce(Arg)) -> i32 {
    let mut status = 0i32;
    run(Arg::P(std::ptr::from_mut(&mut status) as u64));
    // SAFETY: kernels wrote through the address; the read must not be taken for a constant.
    unsafe { std::ptr::read_volatile(&raw const status) }
}

fn check_get_rows(dtype: DType, name: &str, width: usize, n_rows: usize, ids: &[i32]) {
    let mut case = Case::new(1);
    let table = case.noise(dtype, [width, n_rows, 1, 1], 2.0);
    let picks = case.leaf(DType::I32, [ids.len(), 1, 1, 1], bytes(ids));
    let out = case.graph.get_rows(table, picks).unwrap();
    let expected = case.expected(out);
    let mut memory = case.memory();
    let status = with_status(|status| {
        let args = [Arg::T(out), Arg::T(table), Arg::T(picks), status];
        memory.launch(&case, name, grid(name, &case, out), &args, Some(out));
    });
    assert_eq!(status, 0);
    assert_near(name, &memory.read(&case, out), &expected, 1e-13);
}

#[test]
fn rows_of_all_types_are_picked() {
    if skipped() {
        return;
    }
    for (width, ids) in [(1, &[0][..]), (7, &[2, 0, 2]), (1300, &[1, 4])] {
        check_get_rows(DType::F32, "get_rows_32", width, 5, ids);
        check_get_rows(DType::F16, "get_rows_f16", width, 5, ids);
        check_get_rows(DType::BF16, "get_rows_bf16", width, 5, ids);
    }
    for (dtype, short) in TYPES.iter().skip(2) {
        let name = format!("get_rows_{short}");
        let block = dtype.block_len();
        for (blocks, ids) in [(1, &[3][..]), (3, &[4, 0, 4, 1]), (7, &[1, 2])] {
            check_get_rows(*dtype, &name, blocks * block, 5, ids);
        }
    }
}

#[test]
fn rows_out_of_range_are_counted_and_left_alone() {
    if skipped() {
        return;
    }
    let mut case = Case::new(2);
    let table = case.noise(DType::F32, [40, 3, 1, 1], 1.0);
    let picks = case.leaf(DType::I32, [4, 1, 1, 1], bytes(&[1i32, 3, -1, 0]));
    let out = case.graph.get_rows(table, picks).unwrap();
    let mut memory = case.memory();
    let status = with_status(|status| {
        let args = [Arg::T(out), Arg::T(table), Arg::T(picks), status];
        memory.launch(&case, "get_rows_32", [4, 2, 1], &args, Some(out));
    });
    // Two rows, counted in both launches.
    assert_eq!(status, 4);
    let got = floats(&memory.read(&case, out));
    let table = floats(case.bytes_of(table));
    assert_eq!(got[..40], table[40..80]);
    assert!(got[40..120].iter().all(|v| v.is_nan()), "rows that do not exist were written");
    assert_eq!(got[120..], table[..40]);
}

fn check_set_rows(dtype: DType, short: &str, ids: &[i64]) {
    let mut case = Case::new(3);
    let width = 70;
    let table = case.noise(dtype, [width, 9, 1, 1], 1.0);
    let rows = case.strided([width, ids.len(), 1, 1], 6, 3.0);
    let at = case.leaf(DType::I64, [ids.len(), 1, 1, 1], bytes(ids));
    let narrow: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let at_i32 = case.leaf(DType::I32, [ids.len(), 1, 1, 1], bytes(&narrow));
    let out = case.graph.set_rows(table, rows, at).unwrap();
    let expected = case.expected(out);
    for (kind, at) in [("i64", at), ("i32", at_i32)] {
        let name = format!("set_rows_{short}_{kind}");
        let mut memory = case.memory();
        let status = with_status(|status| {
            let args = [Arg::T(out), Arg::T(rows), Arg::T(at), status];
            memory.launch(&case, &name, [ids.len() as u32, 1, 1], &args, Some(out));
        });
        assert_eq!(status, 0);
        assert_eq!(memory.read(&case, out), expected, "{name}");
    }
}

#[test]
fn rows_are_put_and_the_last_of_equal_numbers_counts() {
    if skipped() {
        return;
    }
    for ids in [&[4i64][..], &[8, 0, 3], &[2, 5, 2, 2, 7]] {
        check_set_rows(DType::F32, "f32", ids);
        check_set_rows(DType::F16, "f16", ids);
        check_set_rows(DType::BF16, "bf16", ids);
    }
}

#[test]
fn put_rows_out_of_range_are_counted() {
    if skipped() {
        return;
    }
    let mut case = Case::new(4);
    let table = case.noise(DType::F16, [33, 4, 1, 1], 1.0);
    let rows = case.noise(DType::F32, [33, 3, 1, 1], 1.0);
    let at = case.leaf(DType::I64, [3, 1, 1, 1], bytes(&[4i64, -7, 1 << 40]));
    let mut memory = case.memory();
    let status = with_status(|status| {
        let args = [Arg::T(table), Arg::T(rows), Arg::T(at), status];
        memory.launch(&case, "set_rows_f16_i64", [3, 1, 1], &args, None);
    });
    // Three rows, counted in both launches.
    assert_eq!(status, 6);
}

fn check_copy(name: &str, from: DType, to: DType, dense: bool, reshape: bool) {
    let mut case = Case::new(5);
    let x = case.noise(from, [5, 7, 3, 2], 100.0);
    let x = if dense { x } else { case.graph.permute(x, [2, 0, 1, 3]).unwrap() };
    let ne = case.graph[x].ne;
    let shape = if reshape { [ne.iter().product::<usize>() / 6, 6, 1, 1] } else { ne };
    let target = case.noise(to, shape, 1.0);
    let out = case.graph.cpy(x, target).unwrap();
    let expected = case.expected(out);
    let mut memory = case.memory();
    memory.launch(&case, name, grid(name, &case, out), &[Arg::T(out), Arg::T(x)], Some(out));
    assert_eq!(memory.read(&case, out), expected, "{name}");
}

#[test]
fn copies_convert_between_any_layouts() {
    if skipped() {
        return;
    }
    for (dense, reshape) in [(false, false), (false, true), (true, false), (true, true)] {
        check_copy("copy_32", DType::F32, DType::F32, dense, reshape);
        check_copy("copy_16", DType::F16, DType::F16, dense, reshape);
        check_copy("copy_f32_f16", DType::F32, DType::F16, dense, reshape);
        check_copy("copy_f16_f32", DType::F16, DType::F32, dense, reshape);
    }
}

#[test]
fn bf16_copies_equal_the_conversions() {
    if skipped() {
        return;
    }
    let mut case = Case::new(6);
    let x = case.noise(DType::F32, [77, 3, 1, 1], 10.0);
    let narrow = case.noise(DType::BF16, [77, 3, 1, 1], 0.0);
    let wide = case.noise(DType::F32, [77, 3, 1, 1], 0.0);
    let mut memory = case.memory();
    memory.launch(&case, "copy_f32_bf16", [1, 1, 1], &[Arg::T(narrow), Arg::T(x)], Some(narrow));
    memory.launch(&case, "copy_bf16_f32", [1, 1, 1], &[Arg::T(wide), Arg::T(narrow)], Some(wide));
    let rounded: Vec<f32> =
        floats(case.bytes_of(x)).iter().map(|v| half::bf16::from_f32(*v).to_f32()).collect();
    assert_eq!(floats(&memory.read(&case, wide)), rounded);
}

fn argmax_of(values: &[f32], ne: [usize; 4]) -> Vec<i32> {
    let mut case = Case::new(7);
    let x = case.leaf(DType::F32, ne, bytes(values));
    let n_rows = ne[1] * ne[2] * ne[3];
    let out = case.leaf(DType::I32, [n_rows, 1, 1, 1], bytes(&vec![-1i32; n_rows]));
    let mut memory: Memory = case.memory();
    memory.launch(&case, "argmax", [2, 1, 1], &[Arg::T(out), Arg::T(x)], Some(out));
    memory.read(&case, out).as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect()
}

#[test]
fn argmax_takes_the_first_of_the_largest() {
    if skipped() {
        return;
    }
    let mut values = quipu_testing::SplitMix::new(8).floats(1000 * 3, 1.0);
    values[700] = 2.0;
    values[701] = 2.0;
    values[1000] = 5.0;
    values[2999] = 9.0;
    values[2500] = f32::NAN;
    assert_eq!(argmax_of(&values, [1000, 3, 1, 1]), [700, 0, 999]);
    assert_eq!(argmax_of(&[f32::NEG_INFINITY; 5], [5, 1, 1, 1]), [0]);
    assert_eq!(argmax_of(&[-3.0], [1, 1, 1, 1]), [0]);
}
