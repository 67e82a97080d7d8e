//! Whether bytes can be weights: values and block scales that are not finite, block by block.

use crate::{DType, Error};

/// Checks that no value and no block scale of `bytes`, read as whole blocks of `dtype`, is NaN or infinite.
///
/// Answers to `ggml_validate_row_data`: the same bytes are accepted. The quants themselves can have any
/// value; so can the `UE4M3` scales of `NVFP4`. A double is judged as the float it converts to, as there.
/// The error names the first offender (for `BF16` the first NaN, if there is one).
///
/// # Errors
/// [`Error::PartialBytes`], [`Error::NotFinite`]; [`Error::NotComputed`] for `Q8_1`, which the reference
/// does not accept in files.
pub fn validate_rows(dtype: DType, bytes: &[u8]) -> Result<(), Error> {
    let block_bytes = dtype.block_bytes();
    if !bytes.len().is_multiple_of(block_bytes) {
        return Err(Error::PartialBytes { dtype, n_bytes: bytes.len(), block_bytes });
    }
    let not_finite = |(block, field, value)| Error::NotFinite { dtype, block, field, value };
    let mut blocks = bytes.chunks_exact(block_bytes).enumerate();
    let f16_at = |offsets: &'static [(&'static str, usize)]| {
        let value = |b: &[u8], at: usize| u16::from_le_bytes([b[at], b[at + 1]]);
        // One pass for the verdict, which the compiler can vectorise, and a second for the words.
        let bad = |b: &[u8]| offsets.iter().any(|(_, at)| value(b, *at) & 0x7c00 == 0x7c00);
        let block = bytes.chunks_exact(block_bytes).position(bad)?;
        let b = &bytes[block * block_bytes..];
        let (field, found) = offsets.iter().find_map(|(n, at)| Some((*n, f16_kind(value(b, *at))?)))?;
        Some((block, field, found))
    };
    let found = match dtype {
        DType::F32 => blocks.find_map(|(i, b)| {
            f32_kind(f32::from_le_bytes([b[0], b[1], b[2], b[3]])).map(|kind| (i, "value", kind))
        }),
        DType::F64 => blocks.find_map(|(i, b)| {
            let x = f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
            f32_kind(x as f32).map(|kind| (i, "value", kind))
        }),
        DType::F16 => f16_at(&[("value", 0)]),
        DType::BF16 => {
            let kind = |b: &[u8]| f32_kind(f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16));
            let of = |wanted: fn(&str) -> bool| {
                bytes
                    .chunks_exact(2)
                    .enumerate()
                    .find_map(|(i, b)| kind(b).filter(|k| wanted(k)).map(|k| (i, "value", k)))
            };
            of(|k| k == "NaN").or_else(|| of(|_| true))
        }
        DType::MXFP4 => blocks.find_map(|(i, b)| (b[0] == 0xff).then_some((i, "exponent", "255"))),
        DType::Q8_K => blocks.find_map(|(i, b)| {
            f32_kind(f32::from_le_bytes([b[0], b[1], b[2], b[3]])).map(|kind| (i, "scale d", kind))
        }),
        DType::Q4_1 | DType::Q5_1 => f16_at(&[("scale d", 0), ("minimum m", 2)]),
        DType::Q4_K | DType::Q5_K => f16_at(&[("scale d", 0), ("scale dmin", 2)]),
        DType::Q2_K => f16_at(&[("scale d", 80), ("scale dmin", 82)]),
        DType::Q3_K => f16_at(&[("scale d", 108)]),
        DType::Q6_K => f16_at(&[("scale d", 208)]),
        DType::TQ1_0 => f16_at(&[("scale d", 52)]),
        DType::TQ2_0 => f16_at(&[("scale d", 64)]),
        DType::Q4_0
        | DType::Q5_0
        | DType::Q8_0
        | DType::Q1_0
        | DType::Q2_0
        | DType::IQ2_XXS
        | DType::IQ2_XS
        | DType::IQ2_S
        | DType::IQ3_XXS
        | DType::IQ3_S
        | DType::IQ1_S
        | DType::IQ4_NL
        | DType::IQ4_XS => f16_at(&[("scale d", 0)]),
        DType::IQ1_M => {
            blocks.find_map(|(i, b)| f16_kind(iq1_m_scale(&b[48..56])).map(|kind| (i, "scale d", kind)))
        }
        DType::NVFP4 | DType::I8 | DType::I16 | DType::I32 | DType::I64 => None,
        DType::Q8_1 => return Err(Error::NotComputed { dtype }),
    };
    found.map_or(Ok(()), |found| Err(not_finite(found)))
}

/// The f16 scale that `IQ1_M` spreads over the top four bits of its four 16-bit scale words.
fn iq1_m_scale(scales: &[u8]) -> u16 {
    scales.chunks_exact(2).enumerate().fold(0, |bits, (i, b)| {
        let nibble = u16::from_le_bytes([b[0], b[1]]) >> 12;
        bits | (nibble << (4 * i))
    })
}

fn f16_kind(bits: u16) -> Option<&'static str> {
    if bits & 0x7c00 != 0x7c00 {
        return None;
    }
    Some(if bits & 0x03ff != 0 { "NaN" } else { signed_infinity(bits & 0x8000 != 0) })
}

fn f32_kind(x: f32) -> Option<&'static str> {
    if x.is_finite() {
        return None;
    }
    Some(if x.is_nan() { "NaN" } else { signed_infinity(x < 0.0) })
}

fn signed_infinity(negative: bool) -> &'static str {
    if negative { "-inf" } else { "inf" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_block_field_and_value() {
        let mut bytes = vec![0u8; 3 * 144];
        bytes[2 * 144 + 3] = 0xfc;
        let error = validate_rows(DType::Q4_K, &bytes).unwrap_err();
        assert_eq!(error.to_string(), "q4_K block 2: scale dmin is -inf, expected a finite number");
        bytes[144 + 1] = 0x7e;
        let error = validate_rows(DType::Q4_K, &bytes).unwrap_err();
        assert_eq!(error.to_string(), "q4_K block 1: scale d is NaN, expected a finite number");
        let error = validate_rows(DType::Q4_K, &bytes[1..]).unwrap_err();
        assert_eq!(error.to_string(), "431 bytes are not a whole number of q4_K blocks of 144 bytes");
    }

    #[test]
    fn scales_are_looked_for_where_the_block_has_them() {
        for (dtype, at) in [(DType::Q2_K, 82), (DType::Q3_K, 108), (DType::Q6_K, 208), (DType::TQ1_0, 52)] {
            let mut block = vec![0xff; dtype.block_bytes()];
            block[at..].fill(0);
            if dtype == DType::Q2_K {
                block[80..].fill(0);
            }
            assert_eq!(validate_rows(dtype, &block), Ok(()), "{dtype}");
            block[at + 1] = 0x7c;
            assert!(validate_rows(dtype, &block).is_err(), "{dtype}");
        }
    }

    #[test]
    fn doubles_and_exponents_have_their_own_limits() {
        assert_eq!(validate_rows(DType::F64, &1e300f64.to_le_bytes()).unwrap_err().to_string(), {
            "f64 block 0: value is inf, expected a finite number"
        });
        assert_eq!(validate_rows(DType::F64, &1e-300f64.to_le_bytes()), Ok(()));
        let mut block = [0xff; 17];
        assert!(validate_rows(DType::MXFP4, &block).is_err());
        block[0] = 0xfe;
        assert_eq!(validate_rows(DType::MXFP4, &block), Ok(()));
        assert_eq!(validate_rows(DType::NVFP4, &[0xff; 36]), Ok(()));
    }

    #[test]
    fn the_scale_of_iq1_m_is_gathered() {
        let mut block = [0u8; 56];
        block[55] = 0x7f;
        block[53] = 0xcf;
        assert!(validate_rows(DType::IQ1_M, &block).is_err());
        block[53] = 0x3f;
        block[55] = 0x7f;
        assert_eq!(iq1_m_scale(&block[48..]), 0x7300);
        assert_eq!(validate_rows(DType::IQ1_M, &block), Ok(()));
    }
}
