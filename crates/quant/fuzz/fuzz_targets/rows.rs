//! Any bytes as blocks of any type: expanding, multiplying and quantizing return.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quipu_quant::{DType, dequantize_row, quantize_row, quantize_row_q8_0_cpu, quantize_row_q8_k, vec_dot};

fuzz_target!(|bytes: &[u8]| {
    for dtype in DType::ALL {
        let n = bytes.len() / dtype.block_bytes() * dtype.block_len();
        let row = &bytes[..dtype.row_bytes(n).expect("whole blocks")];
        let mut floats = vec![0.0; n];
        assert_eq!(dequantize_row(dtype, row, &mut floats).is_ok(), dtype.is_computed());
        let mut again = vec![0; row.len()];
        assert_eq!(quantize_row(dtype, &floats, &mut again).is_ok(), dtype.is_computed());
        let Some(partner) = dtype.vec_dot_type().filter(|_| dtype.is_computed()) else { continue };
        let mut activations = vec![0; partner.row_bytes(n).expect("partners have the same blocks")];
        match partner {
            DType::Q8_0 => quantize_row_q8_0_cpu(&floats, &mut activations),
            DType::Q8_K => quantize_row_q8_k(&floats, &mut activations),
            _ => quantize_row(partner, &floats, &mut activations),
        }
        .expect("lengths match");
        vec_dot(dtype, n, row, &activations).expect("lengths match");
    }
});
