//! Replays blocks, expansions and dot products recorded from the reference (see `goldens/PROVENANCE.md`).

use std::path::PathBuf;

use quipu_quant::{DType, dequantize_row, quantize_row, quantize_row_q8_0_cpu, quantize_row_q8_k, vec_dot};

#[path = "../examples/parity_cases.rs"]
mod parity_cases;

const FILE_TYPES: [DType; 9] = [
    DType::Q8_0,
    DType::Q4_0,
    DType::Q5_0,
    DType::MXFP4,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
    DType::F16,
    DType::BF16,
];

fn golden(name: &str) -> Vec<u8> {
    let dir = std::env::var_os("QUIPU_QUANT_GOLDENS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens")), PathBuf::from);
    let path = dir.join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn golden_lines(name: &str) -> Vec<Vec<String>> {
    let text = String::from_utf8(golden(name)).unwrap();
    text.lines().map(|l| l.split(' ').map(str::to_owned).collect()).collect()
}

fn input() -> Vec<f32> {
    golden("input.f32").as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn type_named(name: &str) -> DType {
    DType::ALL.into_iter().find(|t| t.name() == name).unwrap()
}

fn assert_same_blocks(what: &str, found: &[u8], expected: &[u8], block_bytes: usize) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let differing: Vec<usize> = found
        .chunks(block_bytes)
        .zip(expected.chunks(block_bytes))
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .map(|(i, _)| i)
        .collect();
    assert!(differing.is_empty(), "{what}: {} blocks differ: {differing:?}", differing.len());
}

#[test]
fn file_quantizers_write_the_reference_blocks() {
    let x = input();
    for dtype in FILE_TYPES {
        let mut out = vec![0xaa; dtype.row_bytes(x.len()).unwrap()];
        quantize_row(dtype, &x, &mut out).unwrap();
        let expected = golden(&format!("{dtype}.bin"));
        assert_same_blocks(dtype.name(), &out, &expected, dtype.block_bytes());
    }
}

#[test]
fn activation_quantizers_write_the_reference_blocks() {
    let x = input();
    let mut out = vec![0xaa; DType::Q8_0.row_bytes(x.len()).unwrap()];
    quantize_row_q8_0_cpu(&x, &mut out).unwrap();
    assert_same_blocks("q8_0 of the CPU", &out, &golden("q8_0_cpu.bin"), DType::Q8_0.block_bytes());

    let mut out = vec![0xaa; DType::Q8_K.row_bytes(x.len()).unwrap()];
    quantize_row_q8_k(&x, &mut out).unwrap();
    assert_same_blocks("q8_K", &out, &golden("q8_K.bin"), DType::Q8_K.block_bytes());
}

/// FNV-1a over the bit patterns, one NaN for all.
fn hash(values: &[f32]) -> u64 {
    values.iter().fold(0xcbf2_9ce4_8422_2325, |h, v| {
        let bits = if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() };
        (h ^ u64::from(bits)).wrapping_mul(0x100_0000_01b3)
    })
}

#[test]
fn expansions_equal_the_reference() {
    let random = golden("random.bin");
    let lines = golden_lines("dequantized.txt");
    assert_eq!(lines.len(), FILE_TYPES.len());
    for line in lines {
        let dtype = type_named(&line[0]);
        let blocks = golden(&format!("{dtype}.bin"));
        for (what, bytes, expected) in [("own", &blocks, &line[1]), ("random", &random, &line[2])] {
            let n_blocks = bytes.len() / dtype.block_bytes();
            let mut out = vec![0.0; n_blocks * dtype.block_len()];
            dequantize_row(dtype, &bytes[..n_blocks * dtype.block_bytes()], &mut out).unwrap();
            assert_eq!(format!("{:016x}", hash(&out)), *expected, "{dtype}, {what} blocks");
        }
    }
}

#[test]
fn dot_products_agree_with_the_reference() {
    const ROW: usize = 1024;
    let n_rows = input().len() / ROW;
    let lines = golden_lines("dots.txt");
    assert_eq!(lines.len(), 7 * n_rows);
    for line in lines {
        let dtype = type_named(&line[0]);
        let row: usize = line[1].parse().unwrap();
        let partner = dtype.vec_dot_type().unwrap();
        let weights = golden(&format!("{dtype}.bin"));
        let activations = golden(if partner == DType::Q8_0 { "q8_0_cpu.bin" } else { "q8_K.bin" });
        let (w_len, a_len) = (dtype.row_bytes(ROW).unwrap(), partner.row_bytes(ROW).unwrap());
        let other = (row + 1) % n_rows;
        let w = &weights[w_len * row..][..w_len];
        let a = &activations[a_len * other..][..a_len];
        let found = vec_dot(dtype, ROW, w, a).unwrap();

        // The reference's sums differ among themselves in the order of their lanes, so the bound is
        // relative to the sum of magnitudes rather than to a result that may cancel.
        let mut expanded = vec![0.0; ROW];
        dequantize_row(dtype, w, &mut expanded).unwrap();
        let largest = expanded.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let input = input();
        let weight_of_row: f32 = input[ROW * other..][..ROW].iter().map(|v| v.abs()).sum();
        let bound = 1e-6 * largest * weight_of_row;
        for expected in line[2..].iter().filter(|e| *e != "-") {
            let expected = f32::from_bits(u32::from_str_radix(expected, 16).unwrap());
            // A scale that overflowed f16 leaves infinities, whose order decides between infinity and NaN.
            let equal = if bound.is_finite() { found == expected } else { !found.is_finite() };
            assert!(
                equal || (found - expected).abs() <= bound,
                "{dtype}, row {row}: {found} instead of {expected}, bound {bound}"
            );
        }
    }
}

#[test]
fn seeded_cases_give_the_reference_hashes() {
    const SEED: u64 = 20_261_121;
    let lines = golden_lines("cases.txt");
    // The grid types only with rows of numbers.
    assert_eq!(lines.len(), 23 * 16 + 7 * 12);
    let columns = ["chunk", "input", "plain", "weighted", "cpu", "expanded", "random", "dot", "verdicts"];
    for line in lines {
        let dtype = DType::from_id(line[0].parse().unwrap()).unwrap();
        let hostile = line[1] == "1";
        let found = parity_cases::line(dtype, SEED, line[2].parse().unwrap(), hostile);
        for ((found, expected), column) in found.split(' ').zip(&line[2..]).zip(columns) {
            let chunk = &line[2];
            assert_eq!(found, *expected, "{dtype}, chunk {chunk}, hostile: {hostile}: {column}");
        }
    }
}
