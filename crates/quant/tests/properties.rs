//! What holds for any input: no panics on any bytes, lengths or floats, and bounded round-trip errors.

use proptest::prelude::*;
use quipu_quant::{
    DType, Error, dequantize_row, quantize_row, quantize_row_q8_0_cpu, quantize_row_q8_k, vec_dot,
};

/// Relative to the largest magnitude of the row: half a step of each format, with room for the rounding
/// of scales (and, for the K formats, for a search that trades the worst element for the rest).
const ERROR_BOUNDS: [(DType, f32); 10] = [
    (DType::F32, 0.0),
    (DType::F16, 1.0 / 2048.0),
    (DType::BF16, 1.0 / 256.0),
    (DType::Q8_0, 0.5 / 127.0 + 0.001),
    (DType::Q4_0, 1.0 / 8.0 + 0.001),
    (DType::Q5_0, 1.0 / 16.0 + 0.001),
    (DType::Q4_K, 0.2),
    (DType::Q5_K, 0.1),
    (DType::Q6_K, 0.06),
    (DType::MXFP4, 0.26),
];

fn any_dtype() -> impl Strategy<Value = DType> {
    prop::sample::select(DType::ALL.to_vec())
}

fn any_float() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits)
}

#[test]
fn the_bounds_cover_every_computed_type() {
    for dtype in DType::ALL {
        assert_eq!(dtype.is_computed(), ERROR_BOUNDS.iter().any(|(t, _)| *t == dtype), "{dtype}");
    }
}

#[test]
fn types_without_arithmetic_say_so() {
    let error = Error::NotComputed { dtype: DType::IQ2_XXS };
    assert_eq!(dequantize_row(DType::IQ2_XXS, &[0; 66], &mut [0.0; 256]), Err(error.clone()));
    assert_eq!(quantize_row(DType::IQ2_XXS, &[0.0; 256], &mut [0; 66]), Err(error.clone()));
    assert_eq!(vec_dot(DType::IQ2_XXS, 256, &[0; 66], &[0; 292]), Err(error.clone()));
    assert_eq!(
        error.to_string(),
        "type iq2_xxs is known but not computed (computed: f32, f16, bf16, q8_0, q4_0, q5_0, q4_K, q5_K, \
         q6_K, mxfp4)"
    );
}

#[test]
fn wrong_lengths_say_what_was_expected() {
    let error = quantize_row(DType::Q4_K, &[0.0; 100], &mut [0; 144]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a row of 100 elements is not a whole number of q4_K blocks (expected a multiple of 256)"
    );
    let error = vec_dot(DType::Q4_0, 32, &[0; 18], &[0; 33]).unwrap_err();
    assert_eq!(error.to_string(), "33 bytes given for a q8_0 row of 32 elements, expected 34");
}

proptest! {
    #[test]
    fn round_trips_stay_within_the_step(
        x in prop::collection::vec(-1.0f32..1.0, 512),
        // Scales stay in f16's normal range: 2^-2 / 63 / 31 and above.
        exponent in -2i32..12,
    ) {
        let x: Vec<f32> = x.iter().map(|v| v * 2f32.powi(exponent)).collect();
        for (dtype, bound) in ERROR_BOUNDS {
            let mut bytes = vec![0; dtype.row_bytes(x.len()).unwrap()];
            quantize_row(dtype, &x, &mut bytes).unwrap();
            let mut back = vec![0.0; x.len()];
            dequantize_row(dtype, &bytes, &mut back).unwrap();
            for (xs, ys) in x.chunks(dtype.block_len().max(32)).zip(back.chunks(dtype.block_len().max(32))) {
                let largest = xs.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                for (x, y) in xs.iter().zip(ys) {
                    let allowed = bound * largest + 1e-4;
                    prop_assert!((x - y).abs() <= allowed, "{dtype}: {x} became {y} of {largest}");
                }
            }
        }
    }

    #[test]
    fn any_floats_quantize_without_panic(x in prop::collection::vec(any_float(), 0..600)) {
        for dtype in DType::ALL {
            let n = x.len() / dtype.block_len() * dtype.block_len();
            let mut bytes = vec![0; dtype.row_bytes(n).unwrap()];
            let mut back = vec![0.0; n];
            prop_assert_eq!(quantize_row(dtype, &x[..n], &mut bytes).is_ok(), dtype.is_computed());
            prop_assert_eq!(dequantize_row(dtype, &bytes, &mut back).is_ok(), dtype.is_computed());
        }
        let n = x.len() / 256 * 256;
        quantize_row_q8_0_cpu(&x[..n], &mut vec![0; n / 32 * 34]).unwrap();
        quantize_row_q8_k(&x[..n], &mut vec![0; n / 256 * 292]).unwrap();
    }

    #[test]
    fn any_bytes_expand_and_multiply_without_panic(
        dtype in any_dtype(),
        n_blocks in 0usize..4,
        // One byte more than is needed, to start at an odd address as well.
        bytes in prop::collection::vec(any::<u8>(), 1200),
        odd in 0usize..2,
    ) {
        let n = n_blocks * dtype.block_len();
        let row = &bytes[odd..][..dtype.row_bytes(n).unwrap()];
        let mut out = vec![0.0; n];
        prop_assert_eq!(dequantize_row(dtype, row, &mut out).is_ok(), dtype.is_computed());
        if let Some(a_len) = dtype.vec_dot_type().and_then(|t| t.row_bytes(n)) {
            let dot = vec_dot(dtype, n, row, &bytes[odd..][..a_len]);
            prop_assert_eq!(dot.is_ok(), dtype.is_computed());
        }
    }

    #[test]
    fn any_lengths_are_refused_or_right(dtype in any_dtype(), n in 0usize..600, n_bytes in 0usize..2500) {
        let mut bytes = vec![0; n_bytes];
        let fits = dtype.is_computed() && dtype.row_bytes(n) == Some(n_bytes);
        prop_assert_eq!(quantize_row(dtype, &vec![1.0; n], &mut bytes).is_ok(), fits);
        prop_assert_eq!(dequantize_row(dtype, &bytes, &mut vec![0.0; n]).is_ok(), fits);
    }
}
