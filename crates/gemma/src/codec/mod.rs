//! The codecs of gemma.cpp's tensors: f32 to bytes and back, bit for bit as its `compression` folder.
//!
//! Everything here is scalar, from the formats' definition. What was compared with the reference, and where its own
//! instruction sets differ from each other, is in docs/gemma.md.
//!
//! - [`bf16`]: the upper half of an f32.
//! - [`sfp`]: 8 bits, two or three of mantissa, range 2^-23 to 1.875.
//! - [`mod@i8`]: 8 bits, a scale and a zero point for each 128 values.
//! - [`nuq`]: 4 bits that choose among 16 values for each 256.
//!
//! None of these is a type of ggml, and none becomes one: `quant`'s types are those of GGUF files, with their numbers,
//! and what they have in common with these ends at the first line of the block's layout (groups of 128 and 256 that
//! run on over the ends of rows, centres that are floats, scales for a whole tensor). So a tensor changes its type when
//! it is loaded ([`crate::gguf`]), to the smallest one of ggml that has all its values: SFP and NUQ are subsets of
//! bf16, and become BF16 without loss. I8 becomes BF16, too, with the rounding of the reference's own kernels, which
//! multiply bf16 values that they decode from it. A tensor with a scale that is not a power of two becomes F32.
//! The price is twice the memory of SFP while it runs. A kernel that reads SFP where it lies wants a type of its own in
//! the graph; [`sfp::decode_to_bits`] is written so that eight of them fit the registers of `cpu-backend`.

pub mod bf16;
pub mod i8;
pub mod nuq;
pub mod sfp;

use crate::error::{Error, Result};
use crate::types::Type;

/// Every group of every codec begins at a multiple of this many values.
pub(crate) const GROUP: u64 = 256;

/// Decodes values from the begin of a stream on.
///
/// # Errors
/// [`Error::CodecLength`] if `bytes` are not those of `out.len()` values; [`Error::CodecType`] for types without values.
pub fn decode(dtype: Type, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    let name = dtype.name();
    let expected = dtype.n_bytes(out.len() as u64).unwrap_or(u64::MAX);
    if expected != bytes.len() as u64 {
        let expected = usize::try_from(expected).unwrap_or(usize::MAX);
        return Err(Error::CodecLength { codec: name, values: out.len(), expected, found: bytes.len() });
    }
    match dtype {
        Type::F32 => {
            for (x, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *x = f32::from_le_bytes(*b);
            }
        }
        Type::Bf16 => bf16::decode(bytes, out),
        Type::Sfp => sfp::decode(bytes, out),
        Type::Nuq => nuq::decode(bytes, out),
        Type::I8 => i8::decode(bytes, out),
        _ => return Err(Error::CodecType { what: "decoder", found: dtype }),
    }
    Ok(())
}

/// Encodes values into a stream of their own (`Compress`).
///
/// # Errors
/// [`Error::CodecValue`] for values that the type does not have: not finite (SFP, NUQ, I8), above 1.875 (SFP, NUQ);
/// [`Error::CodecType`] for types without values.
pub fn encode(dtype: Type, values: &[f32]) -> Result<Vec<u8>> {
    let name = dtype.name();
    let too_many = Error::CodecLength { codec: name, values: values.len(), expected: usize::MAX, found: 0 };
    let n = dtype.n_bytes(values.len() as u64).and_then(|n| usize::try_from(n).ok()).ok_or(too_many)?;
    let mut out = vec![0; n];
    match dtype {
        Type::F32 => {
            for (x, b) in values.iter().zip(out.as_chunks_mut::<4>().0) {
                *b = x.to_le_bytes();
            }
        }
        Type::Bf16 => bf16::encode(values, &mut out),
        Type::Sfp => {
            check(name, values, |x| x.abs() <= sfp::MAX, "at most 1.875 in magnitude")?;
            sfp::encode(values, &mut out);
        }
        Type::Nuq => {
            check(name, values, |x| x.abs() <= sfp::MAX, "at most 1.875 in magnitude")?;
            nuq::encode(values, &mut out);
        }
        Type::I8 => {
            check(name, values, f32::is_finite, "a finite number")?;
            i8::encode(values, &mut out);
        }
        _ => return Err(Error::CodecType { what: "encoder", found: dtype }),
    }
    Ok(out)
}

fn check(
    codec: &'static str,
    values: &[f32],
    fits: impl Fn(f32) -> bool,
    expected: &'static str,
) -> Result<()> {
    match values.iter().position(|&x| !fits(x)) {
        Some(index) => Err(Error::CodecValue { codec, index, value: values[index], expected }),
        None => Ok(()),
    }
}

/// Brings values into SFP's range and returns what brings them back, 1 if they were in it (`ScaleWeights`).
pub fn scale_weights(values: &mut [f32]) -> f32 {
    let max = values.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    if max <= sfp::MAX {
        return 1.0;
    }
    let scale = max / sfp::MAX;
    let inverse = (1.0 / f64::from(scale)) as f32;
    for x in values {
        // The product may still be above by rounding.
        *x = (*x * inverse).abs().min(sfp::MAX).copysign(*x);
    }
    scale
}
