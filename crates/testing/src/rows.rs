//! Rows and matrices of any tensor type.

use half::{bf16, f16};
use quipu_quant::{DType, quantize_row};

use crate::SplitMix;

/// `values` as rows of `ne0` elements in the file layout of `dtype`.
///
/// # Panics
/// If a row is no whole number of blocks, or the type has no quantizer.
pub fn encode(dtype: DType, values: &[f32], ne0: usize) -> Vec<u8> {
    match dtype {
        DType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        DType::BF16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
        _ => {
            let row = dtype.row_bytes(ne0).expect("whole blocks");
            let mut out = vec![0; row * (values.len() / ne0)];
            for (values, out) in values.chunks_exact(ne0).zip(out.chunks_exact_mut(row)) {
                quantize_row(dtype, values, out).expect("a type with a quantizer");
            }
            out
        }
    }
}

/// The types that have vector kernels, all of which [`weights`] makes.
pub const TYPES: [DType; 28] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::Q8_0,
    DType::Q4_0,
    DType::Q5_0,
    DType::MXFP4,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
    DType::Q4_1,
    DType::Q5_1,
    DType::IQ4_NL,
    DType::Q2_K,
    DType::Q3_K,
    DType::IQ4_XS,
    DType::IQ1_S,
    DType::IQ1_M,
    DType::IQ2_XXS,
    DType::IQ2_XS,
    DType::IQ2_S,
    DType::IQ3_XXS,
    DType::IQ3_S,
    DType::TQ1_0,
    DType::TQ2_0,
    DType::Q1_0,
    DType::Q2_0,
    DType::NVFP4,
];

/// `n_rows` rows of `k` random weights of `dtype`: random quants, moderate scales.
///
/// # Panics
/// If `k` is no whole number of blocks.
pub fn weights(random: &mut SplitMix, dtype: DType, k: usize, n_rows: usize) -> Vec<u8> {
    let row = dtype.row_bytes(k).expect("whole blocks");
    let mut bytes: Vec<u8> =
        (0..(row * n_rows).div_ceil(8)).flat_map(|_| random.next_u64().to_le_bytes()).collect();
    bytes.truncate(row * n_rows);
    let mut half = |at: &mut [u8]| at.copy_from_slice(&f16::from_f32(random.signed() * 0.1).to_le_bytes());
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        match dtype {
            DType::Q8_0
            | DType::Q4_0
            | DType::Q5_0
            | DType::IQ4_NL
            | DType::IQ4_XS
            | DType::IQ1_S
            | DType::IQ2_XXS
            | DType::IQ2_XS
            | DType::IQ2_S
            | DType::IQ3_XXS
            | DType::IQ3_S
            | DType::Q1_0
            | DType::Q2_0 => half(&mut block[..2]),
            DType::TQ1_0 => half(&mut block[52..]),
            DType::TQ2_0 => half(&mut block[64..]),
            // The scale's bits are the top four of each scale word: 0x2... is moderate.
            DType::IQ1_M => block[55] = block[55] & 15 | 0x20,
            DType::NVFP4 => block[..4].iter_mut().for_each(|d| *d = 32 + *d % 32),
            DType::Q4_K | DType::Q5_K | DType::Q4_1 | DType::Q5_1 => {
                half(&mut block[..2]);
                half(&mut block[2..4]);
            }
            DType::Q6_K => half(&mut block[208..]),
            DType::Q3_K => half(&mut block[108..]),
            DType::Q2_K => {
                half(&mut block[80..82]);
                half(&mut block[82..]);
            }
            DType::MXFP4 => block[0] = 120 + block[0] % 8,
            _ => {}
        }
    }
    let mut floats = || random.signed();
    match dtype {
        DType::F32 => bytes.chunks_exact_mut(4).for_each(|b| b.copy_from_slice(&floats().to_le_bytes())),
        DType::F16 => {
            bytes.chunks_exact_mut(2).for_each(|b| b.copy_from_slice(&f16::from_f32(floats()).to_le_bytes()));
        }
        DType::BF16 => {
            bytes
                .chunks_exact_mut(2)
                .for_each(|b| b.copy_from_slice(&bf16::from_f32(floats()).to_le_bytes()));
        }
        _ => {}
    }
    bytes
}
