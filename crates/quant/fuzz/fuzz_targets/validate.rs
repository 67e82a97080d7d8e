//! Any bytes as blocks of every type: a verdict without a panic, and for types that expand, an accepted row
//! with a NaN would have to come from a finite scale.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quipu_quant::{DType, Error, dequantize_row, validate_rows};

fuzz_target!(|bytes: &[u8]| {
    for dtype in DType::ALL {
        let whole = bytes.len() / dtype.block_bytes() * dtype.block_bytes();
        let verdict = validate_rows(dtype, &bytes[..whole]);
        if let Err(Error::NotFinite { block, .. }) = &verdict {
            assert!(*block < whole / dtype.block_bytes());
        }
        assert!(bytes.len() == whole || validate_rows(dtype, bytes).is_err());
        let n = whole / dtype.block_bytes() * dtype.block_len();
        let mut floats = vec![0.0; n];
        if verdict.is_ok() && dequantize_row(dtype, &bytes[..whole], &mut floats).is_ok() {
            assert!(!floats.iter().any(|v| v.is_nan()), "{dtype}: NaN from valid blocks");
        }
    }
});
