//! Quantizers of the reference's CPU backend: what it runs on the right-hand side of a product with quantised
//! weights, and to store rows. For `Q8_0`, `Q8_1` and `IQ4_NL` they do not equal the file quantizers.

use crate::blocks::{BlockQ8_0, BlockQ8_1, QK, QK_K};
use crate::convert::{f32_to_f16, trunc_i32};
use crate::error::check_row;
use crate::iq4::quantize_iq4_nl_unsearched;
use crate::q8_k::q8_k;
use crate::quantize::{each, quantize_row};
use crate::{DType, Error};

/// Converts a row of floats to `dtype` as the reference's CPU backend does, for activations and for rows it
/// stores. Answers to `from_float` of `ggml_get_type_traits_cpu`, of its x86 build.
///
/// # Errors
/// [`Error::NotComputed`] for types without such a function, which include all grid types `IQ1`, `IQ2` and
/// `IQ3`; [`Error::PartialBlock`] and [`Error::ByteLength`] if the lengths do not match.
pub fn quantize_row_cpu(dtype: DType, src: &[f32], out: &mut [u8]) -> Result<(), Error> {
    check_row(dtype, src.len(), out.len())?;
    match dtype {
        DType::Q8_0 => each(src, out, QK, q8_0_cpu),
        DType::Q8_1 => each(src, out, QK, q8_1_cpu),
        DType::IQ4_NL => each(src, out, QK, quantize_iq4_nl_unsearched),
        // The machine's conversion, which keeps what it can of a NaN.
        DType::F16 => each(src, out, 1, |x| half::f16::from_f32(x[0])),
        DType::I32 => each(src, out, 1, |x| trunc_i32(x[0])),
        DType::IQ2_XXS
        | DType::IQ2_XS
        | DType::IQ2_S
        | DType::IQ3_XXS
        | DType::IQ3_S
        | DType::IQ1_S
        | DType::IQ1_M => return Err(Error::NotComputed { dtype }),
        _ => return quantize_row(dtype, src, out),
    }
    Ok(())
}

/// Quantizes activations to `Q8_0` as ggml's x86 kernels do: inverse scale 127 / amax, ties to even.
///
/// The file quantizer ([`crate::quantize_row`]) takes 1 / d and rounds ties away from zero; the two differ
/// in single quants. Answers to `quantize_row_q8_0` of ggml-cpu.
///
/// # Errors
/// [`Error::PartialBlock`] and [`Error::ByteLength`] if the lengths do not match.
pub fn quantize_row_q8_0_cpu(src: &[f32], out: &mut [u8]) -> Result<(), Error> {
    check_row(DType::Q8_0, src.len(), out.len())?;
    each(src, out, QK, q8_0_cpu);
    Ok(())
}

/// Quantizes activations to `Q8_K`. Answers to `quantize_row_q8_K`.
///
/// All-zero blocks get zero sums (the reference leaves them unwritten, and multiplies them by 0).
///
/// # Errors
/// [`Error::PartialBlock`] and [`Error::ByteLength`] if the lengths do not match.
pub fn quantize_row_q8_k(src: &[f32], out: &mut [u8]) -> Result<(), Error> {
    check_row(DType::Q8_K, src.len(), out.len())?;
    each(src, out, QK_K, q8_k);
    Ok(())
}

fn q8_0_cpu(x: &[f32]) -> BlockQ8_0 {
    let (d, quants) = cpu_quants(x);
    BlockQ8_0 { d: f32_to_f16(d), qs: quants.map(saturate) }
}

fn q8_1_cpu(x: &[f32]) -> BlockQ8_1 {
    let (d, quants) = cpu_quants(x);
    // Summed before the quants are cut to eight bits; lanes of vectors wrap.
    let sum = quants.iter().fold(0i32, |sum, q| sum.wrapping_add(*q));
    BlockQ8_1 { d: f32_to_f16(d), s: f32_to_f16(d * sum as f32), qs: quants.map(saturate) }
}

/// The scale and the quants as 32-bit integers.
fn cpu_quants(x: &[f32]) -> (f32, [i32; QK]) {
    let amax = lane_max(x);
    let id = if amax == 0.0 { 0.0 } else { 127.0 / amax };
    // On x86 what does not convert becomes the most negative integer.
    (amax / 127.0, std::array::from_fn(|j| trunc_i32((x[j] * id).round_ties_even())))
}

fn saturate(q: i32) -> i8 {
    q.clamp(-128, 127) as i8
}

/// Largest magnitude of 32 floats in the order of the SIMD reduction, which only matters for NaN: a
/// comparison with NaN yields its second operand.
fn lane_max(x: &[f32]) -> f32 {
    let max = |a: f32, b: f32| if a > b { a } else { b };
    let lane = |l: usize| (1..4).fold(x[l].abs(), |m, k| max(m, x[8 * k + l].abs()));
    let half = |l: usize| max(lane(l + 4), lane(l));
    max(max(half(0), half(2)), max(half(1), half(3)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q8_0_cpu_ties_go_to_even() {
        let mut x = [0.0; QK];
        (x[0], x[1], x[2], x[3]) = (127.0, 2.5, -2.5, 3.5);
        assert_eq!(q8_0_cpu(&x).qs[..4], [127, 2, -2, 4]);
    }

    #[test]
    fn q8_0_cpu_of_what_is_not_a_number_is_what_the_hardware_gives() {
        let ramp: [f32; QK] = std::array::from_fn(|i| i as f32 - 5.0);
        // Expected bytes: the reference's x86 kernel on the same values.
        let mut x = ramp;
        x[3] = f32::NAN;
        let b = q8_0_cpu(&x);
        assert_eq!(b.d.to_bits(), 0x328d);
        assert_eq!(b.qs[..6], [-24, -20, -15, -128, -5, 0]);
        let mut x = ramp;
        x[9] = f32::INFINITY;
        let b = q8_0_cpu(&x);
        assert_eq!(b.d.to_bits(), 0x7c00);
        assert_eq!(b.qs, std::array::from_fn(|i| if i == 9 { -128 } else { 0 }));
        // 127 / amax overflows.
        let b = q8_0_cpu(&ramp.map(|v| v * 1e-40));
        assert_eq!((b.d.to_bits(), b.qs), (0, [-128; QK]));
    }
}
