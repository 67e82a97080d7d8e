//! Any bytes as blocks of a type: expanding, multiplying and quantizing (plainly, with importances, as the CPU
//! backend does) return, and what they make of small floats is valid. The first byte picks type and operation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quipu_quant::{
    DType, dequantize_row, quantize_row, quantize_row_cpu, quantize_rows, validate_rows, vec_dot,
};

/// Elements at most: every type's blocks divide it, and the searches cost more than the fuzzing.
const MOST: usize = 256;

fuzz_target!(|bytes: &[u8]| {
    let Some((pick, bytes)) = bytes.split_first() else { return };
    let pick = usize::from(*pick);
    let dtype = DType::ALL[pick % DType::ALL.len()];
    let n = (bytes.len() / dtype.block_bytes() * dtype.block_len()).min(MOST);
    let row = &bytes[..dtype.row_bytes(n).expect("whole blocks")];
    let mut floats = vec![0.0; n];
    if dequantize_row(dtype, row, &mut floats).is_err() {
        // Without an expansion, the bytes are the floats.
        for (x, b) in floats.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *x = f32::from_le_bytes(*b);
        }
    }
    let mut again = vec![0; row.len()];
    match pick / DType::ALL.len() {
        0 | 1 => {
            // Scales of small floats fit their f16. The exponent of MXFP4 wraps to an invalid one below
            // 2^-125, as the reference's does.
            let small = floats.iter().all(|v| v.abs() < 1e4) && dtype != DType::MXFP4;
            if quantize_row(dtype, &floats, &mut again).is_ok() && small && dtype != DType::Q8_1 {
                validate_rows(dtype, &again).expect("small floats give valid blocks");
            }
        }
        2 | 3 => {
            let importances: Vec<f32> = floats.iter().rev().copied().collect();
            let _ = quantize_rows(dtype, &floats, n, Some(&importances), &mut again);
        }
        4 => drop(quantize_row_cpu(dtype, &floats, &mut again)),
        _ => {
            let Some(partner) = dtype.vec_dot_type().filter(|_| dtype.is_computed()) else { return };
            let mut activations = vec![0; partner.row_bytes(n).expect("partners have the same blocks")];
            quantize_row_cpu(partner, &floats, &mut activations).expect("lengths match");
            vec_dot(dtype, n, row, &activations).expect("lengths match");
        }
    }
});
