//! The types a conversion writes, and how a row of weights becomes one of them.

use half::f16;
use quipu_quant::convert::f32_to_bf16;
use quipu_quant::{DType, quantize_row};

/// What the weights become (`--outtype`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutType {
    /// Everything in F32.
    F32,
    /// Matrices in F16.
    F16,
    /// Matrices in BF16.
    Bf16,
    /// Matrices in Q8_0; those whose rows are no multiple of 32 in F16.
    Q8_0,
    /// BF16 or F16, as the first matrix of the checkpoint; F16 where it is neither.
    #[default]
    Auto,
    /// Experts in MXFP4 as they were, everything else in a float type: what a file is called that keeps them. Not to be asked for.
    Mxfp4Moe,
}

impl OutType {
    /// The type with the name `name`, as the command line has it.
    pub fn from_name(name: &str) -> Option<OutType> {
        Some(match name {
            "f32" => OutType::F32,
            "f16" => OutType::F16,
            "bf16" => OutType::Bf16,
            "q8_0" => OutType::Q8_0,
            "auto" => OutType::Auto,
            _ => return None,
        })
    }

    /// The type's name, in capitals as file names have it.
    pub const fn name(self) -> &'static str {
        match self {
            OutType::F32 => "F32",
            OutType::F16 => "F16",
            OutType::Bf16 => "BF16",
            OutType::Q8_0 => "Q8_0",
            OutType::Auto => "AUTO",
            OutType::Mxfp4Moe => "MXFP4_MOE",
        }
    }

    /// `general.file_type` (`llama_ftype`).
    pub(super) const fn file_type(self) -> u32 {
        match self {
            OutType::F32 => 0,
            OutType::F16 | OutType::Auto => 1,
            OutType::Q8_0 => 7,
            OutType::Bf16 => 32,
            OutType::Mxfp4Moe => 38,
        }
    }

    /// The type of a matrix whose rows have `row_len` elements.
    pub(super) const fn of_matrix(self, row_len: usize) -> DType {
        match self {
            OutType::F32 => DType::F32,
            OutType::Bf16 => DType::BF16,
            OutType::Q8_0 if row_len.is_multiple_of(32) => DType::Q8_0,
            OutType::F16 | OutType::Auto | OutType::Q8_0 | OutType::Mxfp4Moe => DType::F16,
        }
    }
}

/// Appends `row` as `dtype`: F32, F16, BF16 or Q8_0. Answers to gguf-py's `quantize`.
///
/// # Errors
/// As [`quantize_row`]: a row that is no whole number of blocks.
pub(super) fn encode(dtype: DType, row: &[f32], out: &mut Vec<u8>) -> Result<(), quipu_quant::Error> {
    match dtype {
        DType::F32 => out.extend(row.iter().flat_map(|x| x.to_le_bytes())),
        DType::F16 => out.extend(row.iter().flat_map(|&x| f16_bits(x).to_le_bytes())),
        DType::BF16 => out.extend(row.iter().flat_map(|&x| f32_to_bf16(x).to_le_bytes())),
        _ => {
            let start = out.len();
            let n_bytes = row.len() / dtype.block_len() * dtype.block_bytes();
            out.resize(start + n_bytes, 0);
            quantize_row(dtype, row, &mut out[start..])?;
        }
    }
    Ok(())
}

/// f32 to f16 as numpy does it: ties to even, NaNs keep their upper payload.
fn f16_bits(x: f32) -> u16 {
    if !x.is_nan() {
        return f16::from_f32(x).to_bits();
    }
    let bits = x.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    match (bits >> 13) as u16 & 0x3ff {
        // A payload that would be lost is replaced: the value must stay a NaN.
        0 => sign | 0x7c01,
        payload => sign | 0x7c00 | payload,
    }
}

/// f16 to f32 as numpy does it: exact, NaNs keep their payload.
pub(super) fn f16_to_f32(bits: u16) -> f32 {
    let value = f16::from_bits(bits);
    if !value.is_nan() {
        return value.to_f32();
    }
    let sign = u32::from(bits & 0x8000) << 16;
    f32::from_bits(sign | 0x7f80_0000 | u32::from(bits & 0x3ff) << 13)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_to_even_and_keep_nan_payloads() {
        assert_eq!(f16_bits(1.0 + 1.0 / 2048.0), 0x3c00);
        assert_eq!(f16_bits(1.0 + 3.0 / 2048.0), 0x3c02);
        assert_eq!(f16_bits(65520.0), 0x7c00);
        assert_eq!(f16_bits(f32::from_bits(0x7fc0_2000)), 0x7e01);
        assert_eq!(f16_bits(f32::from_bits(0xff80_0001)), 0xfc01);
        for bits in 0..=u16::MAX {
            let wide = f16_to_f32(bits);
            assert_eq!(f16_bits(wide), bits, "{bits:#06x}");
        }
    }

    #[test]
    fn only_whole_blocks_become_q8_0() {
        assert_eq!(OutType::Q8_0.of_matrix(64), DType::Q8_0);
        assert_eq!(OutType::Q8_0.of_matrix(48), DType::F16);
        let mut out = Vec::new();
        encode(DType::Q8_0, &[1.0; 32], &mut out).expect("one block");
        assert_eq!(out.len(), 34);
        assert!(encode(DType::Q8_0, &[1.0; 33], &mut out).is_err());
    }
}
