//! f32 to blocks, bit for bit as the reference's file tools: the dispatch over types. The arithmetic is in the
//! families' modules; the forms used for activations are in `activations`.

use bytemuck::Pod;
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::blocks::{QK, QK_K, QK_NVFP4, QK1_0, QK2_0};
use crate::convert::{f32_to_bf16, f32_to_f16};
use crate::error::check_row;
use crate::{DType, Error, fp4, grids, iq4, k_quants, legacy, low_bit, q8_k};

/// Quantizes floats to `dtype` without an importance matrix: [`quantize_rows`] in its plain form.
///
/// # Errors
/// As [`quantize_rows`].
pub fn quantize_row(dtype: DType, src: &[f32], out: &mut [u8]) -> Result<(), Error> {
    quantize_rows(dtype, src, src.len(), None, out)
}

/// Quantizes rows of `n_per_row` floats to `dtype`; `imatrix`, if given, holds the importance of each of the
/// `n_per_row` columns. Answers to `ggml_quantize_chunk` (and, for `Q8_1` and `Q8_K`, which that has not, to
/// `quantize_row_*_ref`).
///
/// All arithmetic is separate f32 multiplications and additions (no FMA), so blocks equal those of a
/// reference built without `-mfma` in its base library, on every machine. Any input is accepted;
/// NaN and infinity give blocks of no meaning, as in the reference. `out` needs no alignment. Types that
/// make no use of importances ignore them, after the check of their number.
///
/// # Errors
/// [`Error::NotComputed`]; [`Error::PartialRow`], [`Error::PartialBlock`], [`Error::ByteLength`] and
/// [`Error::ImatrixLength`] if the lengths do not match; [`Error::MissingImatrix`] for a type that
/// [`DType::requires_imatrix`].
pub fn quantize_rows(
    dtype: DType,
    src: &[f32],
    n_per_row: usize,
    imatrix: Option<&[f32]>,
    out: &mut [u8],
) -> Result<(), Error> {
    let n = src.len();
    if !(n == 0 || (n_per_row > 0 && n.is_multiple_of(n_per_row))) {
        return Err(Error::PartialRow { n, n_per_row });
    }
    let Some(row_bytes) = dtype.row_bytes(n_per_row) else {
        return Err(Error::PartialBlock { dtype, n: n_per_row, block_len: dtype.block_len() });
    };
    check_row(dtype, n, out.len())?;
    let Some(imatrix) = imatrix else {
        return if dtype.requires_imatrix() {
            Err(Error::MissingImatrix { dtype })
        } else {
            quantize_plain(dtype, src, out)
        };
    };
    if imatrix.len() != n_per_row {
        return Err(Error::ImatrixLength { found: imatrix.len(), expected: n_per_row });
    }
    // Nothing to do, and no row length to divide by.
    if n == 0 {
        return quantize_plain(dtype, src, out);
    }
    for (row, out) in src.chunks_exact(n_per_row).zip(out.chunks_exact_mut(row_bytes)) {
        quantize_weighted(dtype, row, imatrix, out)?;
    }
    Ok(())
}

/// Any number of rows without importances.
fn quantize_plain(dtype: DType, x: &[f32], out: &mut [u8]) -> Result<(), Error> {
    match dtype {
        DType::F32 => out.copy_from_slice(bytemuck::cast_slice(x)),
        DType::F16 => f16_row(x, out),
        DType::BF16 => each(x, out, 1, |x| f32_to_bf16(x[0])),
        DType::Q4_0 => each(x, out, QK, legacy::quantize_q4_0),
        DType::Q4_1 => each(x, out, QK, legacy::quantize_q4_1),
        DType::Q5_0 => each(x, out, QK, legacy::quantize_q5_0),
        DType::Q5_1 => each(x, out, QK, legacy::quantize_q5_1),
        DType::Q8_0 => each(x, out, QK, legacy::quantize_q8_0),
        DType::Q8_1 => each(x, out, QK, legacy::quantize_q8_1),
        DType::Q2_K => each(x, out, QK_K, k_quants::quantize_q2_k),
        DType::Q3_K => each(x, out, QK_K, k_quants::quantize_q3_k),
        DType::Q4_K => each(x, out, QK_K, k_quants::quantize_q4_k),
        DType::Q5_K => each(x, out, QK_K, k_quants::quantize_q5_k),
        DType::Q6_K => each(x, out, QK_K, k_quants::quantize_q6_k),
        DType::Q8_K => each(x, out, QK_K, q8_k::q8_k),
        DType::IQ4_NL => each(x, out, QK, |x| iq4::quantize_iq4_nl(x, None)),
        DType::IQ4_XS => each(x, out, QK_K, |x| iq4::quantize_iq4_xs(x, None)),
        DType::TQ1_0 => each(x, out, QK_K, low_bit::quantize_tq1_0),
        DType::TQ2_0 => each(x, out, QK_K, low_bit::quantize_tq2_0),
        DType::MXFP4 => each(x, out, QK, fp4::quantize_mxfp4),
        DType::NVFP4 => each(x, out, QK_NVFP4, fp4::quantize_nvfp4),
        DType::Q1_0 => each(x, out, QK1_0, low_bit::quantize_q1_0),
        DType::Q2_0 => each(x, out, QK2_0, low_bit::quantize_q2_0),
        DType::IQ2_S => each(x, out, QK_K, |x| grids::quantize_iq2_s(x, None)),
        DType::IQ3_XXS => each(x, out, QK_K, |x| grids::quantize_iq3_xxs(x, None)),
        DType::IQ3_S => each(x, out, QK_K, |x| grids::quantize_iq3_s(x, None)),
        DType::IQ1_M => each(x, out, QK_K, |x| grids::quantize_iq1_m(x, None)),
        DType::IQ2_XXS | DType::IQ2_XS | DType::IQ1_S => return Err(Error::MissingImatrix { dtype }),
        DType::I8 | DType::I16 | DType::I32 | DType::I64 | DType::F64 => {
            return Err(Error::NotComputed { dtype });
        }
    }
    Ok(())
}

/// One row with importances; types that make no use of them go the plain way.
fn quantize_weighted(dtype: DType, x: &[f32], importance: &[f32], out: &mut [u8]) -> Result<(), Error> {
    // The mean square of the whole row, which damps the magnitudes of the 32-element formats.
    let sigma2 = || x.iter().fold(0.0f32, |sum, v| sum + v * v) / x.len() as f32;
    match dtype {
        DType::Q4_0 => each_weighted(x, importance, sigma2(), out, QK, legacy::quantize_q4_0_weighted),
        DType::Q4_1 => each_weighted(x, importance, sigma2(), out, QK, legacy::quantize_q4_1_weighted),
        DType::Q5_0 => each_weighted(x, importance, sigma2(), out, QK, legacy::quantize_q5_0_weighted),
        DType::Q5_1 => each_weighted(x, importance, sigma2(), out, QK, legacy::quantize_q5_1_weighted),
        DType::Q2_K => each_by(x, importance, out, QK_K, k_quants::quantize_q2_k_weighted),
        DType::Q3_K => each_by(x, importance, out, QK_K, k_quants::quantize_q3_k_weighted),
        DType::Q4_K => each_by(x, importance, out, QK_K, k_quants::quantize_q4_k_weighted),
        DType::Q5_K => each_by(x, importance, out, QK_K, k_quants::quantize_q5_k_weighted),
        DType::Q6_K => each_by(x, importance, out, QK_K, k_quants::quantize_q6_k_weighted),
        DType::IQ4_NL => each_by(x, importance, out, QK, |x, w| iq4::quantize_iq4_nl(x, Some(w))),
        DType::IQ4_XS => each_by(x, importance, out, QK_K, |x, w| iq4::quantize_iq4_xs(x, Some(w))),
        DType::IQ2_XXS => each_by(x, importance, out, QK_K, grids::quantize_iq2_xxs),
        DType::IQ2_XS => each_by(x, importance, out, QK_K, grids::quantize_iq2_xs),
        DType::IQ2_S => each_by(x, importance, out, QK_K, |x, w| grids::quantize_iq2_s(x, Some(w))),
        DType::IQ3_XXS => each_by(x, importance, out, QK_K, |x, w| grids::quantize_iq3_xxs(x, Some(w))),
        DType::IQ3_S => each_by(x, importance, out, QK_K, |x, w| grids::quantize_iq3_s(x, Some(w))),
        DType::IQ1_S => each_by(x, importance, out, QK_K, grids::quantize_iq1_s),
        DType::IQ1_M => each_by(x, importance, out, QK_K, |x, w| grids::quantize_iq1_m(x, Some(w))),
        _ => return quantize_plain(dtype, x, out),
    }
    Ok(())
}

/// Stores `f` of every `len` floats of `src` as the next block of `out`.
pub(crate) fn each<B: Pod>(src: &[f32], out: &mut [u8], len: usize, f: impl Fn(&[f32]) -> B) {
    for (x, block) in src.chunks_exact(len).zip(out.chunks_exact_mut(size_of::<B>())) {
        block.copy_from_slice(bytemuck::bytes_of(&f(x)));
    }
}

/// As [`each`], with the importances of the same columns.
fn each_by<B: Pod>(
    src: &[f32],
    importance: &[f32],
    out: &mut [u8],
    len: usize,
    f: impl Fn(&[f32], &[f32]) -> B,
) {
    let blocks = src.chunks_exact(len).zip(importance.chunks_exact(len));
    for ((x, w), block) in blocks.zip(out.chunks_exact_mut(size_of::<B>())) {
        block.copy_from_slice(bytemuck::bytes_of(&f(x, w)));
    }
}

/// As [`each_by`], with a number of the whole row.
fn each_weighted<B: Pod>(
    src: &[f32],
    importance: &[f32],
    sigma2: f32,
    out: &mut [u8],
    len: usize,
    f: impl Fn(&[f32], &[f32], f32) -> B,
) {
    each_by(src, importance, out, len, |x, w| f(x, w, sigma2));
}

/// By pieces, so that the conversion can use the machine's instruction for it.
fn f16_row(src: &[f32], out: &mut [u8]) {
    const PIECE: usize = 64;
    let mut piece = [f16::ZERO; PIECE];
    for (x, out) in src.chunks(PIECE).zip(out.chunks_mut(2 * PIECE)) {
        let piece = &mut piece[..x.len()];
        piece.convert_from_f32_slice(x);
        if x.iter().any(|v| v.is_nan()) {
            for (h, &v) in piece.iter_mut().zip(x) {
                *h = f32_to_f16(v);
            }
        }
        out.copy_from_slice(bytemuck::cast_slice(piece));
    }
}

// `f16` is stored as its two bytes; on a big-endian machine blocks would differ from the file format.
const _: () = assert!(cfg!(target_endian = "little") && size_of::<f16>() == 2);
