//! The table of kernels: which functions compute a type's products on an instruction set.

use std::ops::Range;

use quipu_quant::DType;

use super::columns::{ColumnLayout, Partner};
use super::slice::{Slice, block_rows, scalar_rows};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
use super::{floats, formats, rows, simd::Tiles};
#[cfg(target_arch = "aarch64")]
use crate::isa::Neon;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512};
use crate::isa::{Isa, Scalar};

/// Computes rows of a product; see [`scalar_rows`] for what it demands.
pub(super) type RowsFn = unsafe fn(&Slice, Range<usize>);
/// Converts a unit of a column; see [`ColumnLayout::convert`].
pub(super) type ConvertFn = unsafe fn(&ColumnLayout, *const f32, *mut u8, usize);

/// The functions of one product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernels {
    pub convert: ConvertFn,
    pub rows: RowsFn,
}

impl Kernels {
    /// The kernels for a layout that was made for `isa`.
    pub fn choose(isa: Isa, layout: &ColumnLayout) -> Kernels {
        if layout.partner == Partner::Blocks {
            return Kernels { convert: ColumnLayout::convert::<Scalar>, rows: block_rows };
        }
        match isa {
            Isa::Scalar(_) => Kernels { convert: ColumnLayout::convert::<Scalar>, rows: scalar_rows },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => Kernels {
                convert: ColumnLayout::convert::<Avx2>,
                rows: vector_rows::<Avx2>(layout.dtype).unwrap_or(scalar_rows),
            },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => Kernels {
                convert: ColumnLayout::convert::<Avx2>,
                rows: vector_rows::<Avx512>(layout.dtype).unwrap_or(scalar_rows),
            },
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => Kernels {
                convert: ColumnLayout::convert::<Scalar>,
                rows: vector_rows::<Neon>(layout.dtype).unwrap_or(scalar_rows),
            },
        }
    }
}

/// The vector kernels of a type. Calling them demands the set, besides what [`RowsFn`] does.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
pub(super) fn vector_rows<S: Tiles>(dtype: DType) -> Option<RowsFn> {
    Some(match dtype {
        DType::F32 => rows::float_rows::<S, floats::F32>,
        DType::F16 => rows::float_rows::<S, floats::F16>,
        DType::BF16 => rows::float_rows::<S, floats::Bf16>,
        DType::Q4_0 => rows::int_rows::<S, formats::Q4_0>,
        DType::Q4_1 => rows::int_rows::<S, formats::Q4_1>,
        DType::Q5_0 => rows::int_rows::<S, formats::Q5_0>,
        DType::Q5_1 => rows::int_rows::<S, formats::Q5_1>,
        DType::Q8_0 => rows::int_rows::<S, formats::Q8_0>,
        DType::MXFP4 => rows::int_rows::<S, formats::Mxfp4>,
        DType::IQ4_NL => rows::int_rows::<S, formats::Iq4Nl>,
        DType::Q2_K => rows::int_rows::<S, formats::Q2K>,
        DType::Q3_K => rows::int_rows::<S, formats::Q3K>,
        DType::Q4_K => rows::int_rows::<S, formats::Q4K>,
        DType::Q5_K => rows::int_rows::<S, formats::Q5K>,
        DType::Q6_K => rows::int_rows::<S, formats::Q6K>,
        DType::IQ4_XS => rows::int_rows::<S, formats::Iq4Xs>,
        DType::IQ1_S => rows::int_rows::<S, formats::Iq1S>,
        DType::IQ1_M => rows::int_rows::<S, formats::Iq1M>,
        DType::IQ2_XXS => rows::int_rows::<S, formats::Iq2Xxs>,
        DType::IQ2_XS => rows::int_rows::<S, formats::Iq2Xs>,
        DType::IQ2_S => rows::int_rows::<S, formats::Iq2S>,
        DType::IQ3_XXS => rows::int_rows::<S, formats::Iq3Xxs>,
        DType::IQ3_S => rows::int_rows::<S, formats::Iq3S>,
        DType::TQ1_0 => rows::int_rows::<S, formats::Tq1_0>,
        DType::TQ2_0 => rows::int_rows::<S, formats::Tq2_0>,
        DType::Q1_0 => rows::int_rows::<S, formats::Q1_0>,
        DType::Q2_0 => rows::int_rows::<S, formats::Q2_0>,
        DType::NVFP4 => rows::int_rows::<S, formats::Nvfp4>,
        _ => return None,
    })
}
