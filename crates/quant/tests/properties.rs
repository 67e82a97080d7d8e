//! What holds for any input: no panics on any bytes, lengths or floats, and bounded round-trip errors.

use proptest::prelude::*;
use quipu_quant::{
    DType, Error, dequantize_row, quantize_row, quantize_row_cpu, quantize_row_q8_0_cpu, quantize_row_q8_k,
    quantize_rows, validate_rows, vec_dot,
};

/// Relative to the largest magnitude of the row: half a step of each format, with room for the rounding
/// of scales (and, for the formats that search, for trading the worst element for the rest).
const ERROR_BOUNDS: [(DType, f32); 22] = [
    (DType::F32, 0.0),
    (DType::F16, 1.0 / 2048.0),
    (DType::BF16, 1.0 / 256.0),
    (DType::Q8_0, 0.5 / 127.0 + 0.001),
    (DType::Q4_0, 1.0 / 8.0 + 0.001),
    (DType::Q4_1, 1.0 / 15.0 + 0.002),
    (DType::Q5_0, 1.0 / 16.0 + 0.001),
    (DType::Q5_1, 1.0 / 31.0 + 0.002),
    (DType::Q2_K, 0.7),
    (DType::Q3_K, 0.4),
    (DType::Q4_K, 0.2),
    (DType::Q5_K, 0.1),
    (DType::Q6_K, 0.06),
    (DType::IQ4_NL, 0.25),
    (DType::IQ4_XS, 0.25),
    (DType::MXFP4, 0.26),
    // Its scales end at 448, short of the largest magnitudes tried.
    (DType::NVFP4, 0.4),
    (DType::TQ1_0, 0.51),
    (DType::TQ2_0, 0.51),
    (DType::Q2_0, 0.51),
    (DType::Q1_0, 1.01),
    (DType::Q8_K, 0.5 / 127.0 + 0.001),
];

/// Types that quantize without importances.
fn quantizes(dtype: DType) -> bool {
    (dtype.is_computed() && !dtype.requires_imatrix()) || matches!(dtype, DType::Q8_1 | DType::Q8_K)
}

fn dequantizes(dtype: DType) -> bool {
    dtype.is_computed() || dtype == DType::Q8_K
}

fn any_dtype() -> impl Strategy<Value = DType> {
    prop::sample::select(DType::ALL.to_vec())
}

fn any_float() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits)
}

#[test]
fn types_without_arithmetic_say_so() {
    let error = Error::NotComputed { dtype: DType::I32 };
    assert_eq!(dequantize_row(DType::I32, &[0; 4], &mut [0.0; 1]), Err(error.clone()));
    assert_eq!(quantize_row(DType::I32, &[0.0; 1], &mut [0; 4]), Err(error.clone()));
    assert_eq!(vec_dot(DType::I32, 1, &[0; 4], &[0; 4]), Err(error.clone()));
    assert_eq!(error.to_string(), "type i32 is known but has no arithmetic of this kind");
}

#[test]
fn importances_are_asked_for_and_counted() {
    let error = quantize_row(DType::IQ2_XXS, &[0.0; 256], &mut [0; 66]).unwrap_err();
    assert_eq!(error.to_string(), "type iq2_xxs cannot be quantized without an importance matrix");
    let error = quantize_rows(DType::Q4_K, &[0.0; 512], 256, Some(&[1.0; 512]), &mut [0; 288]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the importance matrix has 512 entries, expected one for each of 256 columns"
    );
    let error = quantize_rows(DType::Q8_0, &[0.0; 64], 48, None, &mut [0; 68]).unwrap_err();
    assert_eq!(error.to_string(), "64 floats are not a whole number of rows of 48");
    let error = quantize_rows(DType::Q8_0, &[0.0; 96], 48, None, &mut [0; 102]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a row of 48 elements is not a whole number of q8_0 blocks (expected a multiple of 32)"
    );
    assert_eq!(quantize_rows(DType::Q4_0, &[], 0, Some(&[]), &mut []), Ok(()));
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
            prop_assert_eq!(quantize_row(dtype, &x[..n], &mut bytes).is_ok(), quantizes(dtype));
            prop_assert_eq!(dequantize_row(dtype, &bytes, &mut back).is_ok(), dequantizes(dtype));
            let weights: Vec<f32> = x[..n].iter().rev().copied().collect();
            let weighted = quantize_rows(dtype, &x[..n], n, Some(&weights), &mut bytes);
            prop_assert!(weighted.is_ok() || !quantizes(dtype));
            prop_assert!(quantize_row_cpu(dtype, &x[..n], &mut bytes).is_ok() || !dtype.is_storable());
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
        prop_assert_eq!(dequantize_row(dtype, row, &mut out).is_ok(), dequantizes(dtype));
        let _ = validate_rows(dtype, row);
        if let Some(a_len) = dtype.vec_dot_type().and_then(|t| t.row_bytes(n)) {
            let dot = vec_dot(dtype, n, row, &bytes[odd..][..a_len]);
            prop_assert_eq!(dot.is_ok(), dtype.is_computed());
        }
    }

    #[test]
    fn any_lengths_are_refused_or_right(dtype in any_dtype(), n in 0usize..600, n_bytes in 0usize..2500) {
        let mut bytes = vec![0; n_bytes];
        let fits = dtype.row_bytes(n) == Some(n_bytes);
        prop_assert_eq!(quantize_row(dtype, &vec![1.0; n], &mut bytes).is_ok(), fits && quantizes(dtype));
        prop_assert_eq!(dequantize_row(dtype, &bytes, &mut vec![0.0; n]).is_ok(), fits && dequantizes(dtype));
    }

    #[test]
    fn rows_are_independent_and_finite_input_gives_valid_blocks(
        x in prop::collection::vec(-100.0f32..100.0, 1024),
        w in prop::collection::vec(0.0f32..10.0, 512),
    ) {
        for dtype in DType::ALL.into_iter().filter(|t| quantizes(*t)) {
            let row_bytes = dtype.row_bytes(512).unwrap();
            for imatrix in [None, Some(&w[..])] {
                let mut both = vec![0; 2 * row_bytes];
                quantize_rows(dtype, &x, 512, imatrix, &mut both).unwrap();
                let mut second = vec![0xaa; row_bytes];
                quantize_rows(dtype, &x[512..], 512, imatrix, &mut second).unwrap();
                prop_assert_eq!(&both[row_bytes..], &second[..], "{}", dtype);
                prop_assert!(validate_rows(dtype, &both).is_ok() || dtype == DType::Q8_1, "{}", dtype);
            }
        }
    }
}
