//! The type table: every id ggml knows, with its name, block length and block bytes.

use std::fmt;

/// A ggml tensor type. The discriminant is ggml's `enum ggml_type` id, as stored in GGUF files.
///
/// Answers to `ggml_type` and `ggml_type_traits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
#[allow(missing_docs, non_camel_case_types)] // the variants are ggml's own names
pub enum DType {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q8_1 = 9,
    Q2_K = 10,
    Q3_K = 11,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    Q8_K = 15,
    IQ2_XXS = 16,
    IQ2_XS = 17,
    IQ3_XXS = 18,
    IQ1_S = 19,
    IQ4_NL = 20,
    IQ3_S = 21,
    IQ2_S = 22,
    IQ4_XS = 23,
    I8 = 24,
    I16 = 25,
    I32 = 26,
    I64 = 27,
    F64 = 28,
    IQ1_M = 29,
    BF16 = 30,
    TQ1_0 = 34,
    TQ2_0 = 35,
    MXFP4 = 39,
    NVFP4 = 40,
    Q1_0 = 41,
    Q2_0 = 42,
}

/// An id that names no type a tensor can have (never assigned, or removed from ggml).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tensor type id {0} is not a ggml type (known: 0-3, 6-30, 34, 35, 39-42)")]
pub struct UnknownDType(pub u32);

impl DType {
    /// Every type, in the order of its id.
    pub const ALL: [DType; 35] = [
        DType::F32,
        DType::F16,
        DType::Q4_0,
        DType::Q4_1,
        DType::Q5_0,
        DType::Q5_1,
        DType::Q8_0,
        DType::Q8_1,
        DType::Q2_K,
        DType::Q3_K,
        DType::Q4_K,
        DType::Q5_K,
        DType::Q6_K,
        DType::Q8_K,
        DType::IQ2_XXS,
        DType::IQ2_XS,
        DType::IQ3_XXS,
        DType::IQ1_S,
        DType::IQ4_NL,
        DType::IQ3_S,
        DType::IQ2_S,
        DType::IQ4_XS,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::F64,
        DType::IQ1_M,
        DType::BF16,
        DType::TQ1_0,
        DType::TQ2_0,
        DType::MXFP4,
        DType::NVFP4,
        DType::Q1_0,
        DType::Q2_0,
    ];

    /// The type with ggml id `id`.
    pub fn from_id(id: u32) -> Result<DType, UnknownDType> {
        DType::ALL.into_iter().find(|t| *t as u32 == id).ok_or(UnknownDType(id))
    }

    /// ggml's id of this type.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// ggml's name of this type (`ggml_type_name`): lower case except for the K and TQ letters.
    pub const fn name(self) -> &'static str {
        self.layout().0
    }

    /// Elements in one block (`ggml_blck_size`).
    pub const fn block_len(self) -> usize {
        self.layout().1
    }

    /// Bytes in one block (`ggml_type_size`).
    pub const fn block_bytes(self) -> usize {
        self.layout().2
    }

    /// True for block formats with shared scales (`ggml_is_quantized`).
    pub const fn is_quantized(self) -> bool {
        !matches!(
            self,
            DType::F32
                | DType::F16
                | DType::BF16
                | DType::F64
                | DType::I8
                | DType::I16
                | DType::I32
                | DType::I64
        )
    }

    /// True for the weight types this crate quantizes, dequantizes and multiplies.
    ///
    /// The activation formats `Q8_1` and `Q8_K` have quantizers but are never weights; integers and `F64`
    /// have no arithmetic in the reference either.
    pub const fn is_computed(self) -> bool {
        !matches!(
            self,
            DType::Q8_1 | DType::Q8_K | DType::I8 | DType::I16 | DType::I32 | DType::I64 | DType::F64
        )
    }

    /// True for the weight types the reference's CPU backend can convert rows of f32 to
    /// ([`crate::quantize_row_cpu`]): all computed types but the grids, which need more than a row.
    pub const fn is_storable(self) -> bool {
        let grid = matches!(
            self,
            DType::IQ2_XXS
                | DType::IQ2_XS
                | DType::IQ2_S
                | DType::IQ3_XXS
                | DType::IQ3_S
                | DType::IQ1_S
                | DType::IQ1_M
        );
        self.is_computed() && !grid
    }

    /// True for types that cannot be quantized without an importance matrix
    /// (`ggml_quantize_requires_imatrix`).
    pub const fn requires_imatrix(self) -> bool {
        matches!(self, DType::IQ2_XXS | DType::IQ2_XS | DType::IQ1_S)
    }

    /// The type activations are converted to before a dot product with weights of this type
    /// (`ggml_get_type_traits_cpu(type)->vec_dot_type`); `None` where ggml's CPU has no dot product.
    pub const fn vec_dot_type(self) -> Option<DType> {
        match self {
            DType::F32 => Some(DType::F32),
            DType::F16 => Some(DType::F16),
            DType::BF16 => Some(DType::BF16),
            DType::Q4_0
            | DType::Q5_0
            | DType::Q8_0
            | DType::IQ4_NL
            | DType::MXFP4
            | DType::NVFP4
            | DType::Q1_0
            | DType::Q2_0 => Some(DType::Q8_0),
            DType::Q4_1 | DType::Q5_1 => Some(DType::Q8_1),
            DType::Q2_K
            | DType::Q3_K
            | DType::Q4_K
            | DType::Q5_K
            | DType::Q6_K
            | DType::IQ2_XXS
            | DType::IQ2_XS
            | DType::IQ2_S
            | DType::IQ3_XXS
            | DType::IQ3_S
            | DType::IQ1_S
            | DType::IQ1_M
            | DType::IQ4_XS
            | DType::TQ1_0
            | DType::TQ2_0 => Some(DType::Q8_K),
            DType::Q8_1 | DType::Q8_K | DType::I8 | DType::I16 | DType::I32 | DType::I64 | DType::F64 => None,
        }
    }

    /// Bytes of a row of `n` elements (`ggml_row_size`); `None` if `n` is not a whole number of blocks
    /// or the size does not fit.
    pub const fn row_bytes(self, n: usize) -> Option<usize> {
        let (_, len, bytes) = self.layout();
        if !n.is_multiple_of(len) {
            return None;
        }
        (n / len).checked_mul(bytes)
    }

    const fn layout(self) -> (&'static str, usize, usize) {
        match self {
            DType::F32 => ("f32", 1, 4),
            DType::F16 => ("f16", 1, 2),
            DType::Q4_0 => ("q4_0", 32, 18),
            DType::Q4_1 => ("q4_1", 32, 20),
            DType::Q5_0 => ("q5_0", 32, 22),
            DType::Q5_1 => ("q5_1", 32, 24),
            DType::Q8_0 => ("q8_0", 32, 34),
            DType::Q8_1 => ("q8_1", 32, 36),
            DType::Q2_K => ("q2_K", 256, 84),
            DType::Q3_K => ("q3_K", 256, 110),
            DType::Q4_K => ("q4_K", 256, 144),
            DType::Q5_K => ("q5_K", 256, 176),
            DType::Q6_K => ("q6_K", 256, 210),
            DType::Q8_K => ("q8_K", 256, 292),
            DType::IQ2_XXS => ("iq2_xxs", 256, 66),
            DType::IQ2_XS => ("iq2_xs", 256, 74),
            DType::IQ3_XXS => ("iq3_xxs", 256, 98),
            DType::IQ1_S => ("iq1_s", 256, 50),
            DType::IQ4_NL => ("iq4_nl", 32, 18),
            DType::IQ3_S => ("iq3_s", 256, 110),
            DType::IQ2_S => ("iq2_s", 256, 82),
            DType::IQ4_XS => ("iq4_xs", 256, 136),
            DType::I8 => ("i8", 1, 1),
            DType::I16 => ("i16", 1, 2),
            DType::I32 => ("i32", 1, 4),
            DType::I64 => ("i64", 1, 8),
            DType::F64 => ("f64", 1, 8),
            DType::IQ1_M => ("iq1_m", 256, 56),
            DType::BF16 => ("bf16", 1, 2),
            DType::TQ1_0 => ("tq1_0", 256, 54),
            DType::TQ2_0 => ("tq2_0", 256, 66),
            DType::MXFP4 => ("mxfp4", 32, 17),
            DType::NVFP4 => ("nvfp4", 64, 36),
            DType::Q1_0 => ("q1_0", 128, 18),
            DType::Q2_0 => ("q2_0", 64, 18),
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_their_types_and_removed_ids_are_refused() {
        for dtype in DType::ALL {
            assert_eq!(DType::from_id(dtype.id()), Ok(dtype));
        }
        for id in [4, 5, 31, 32, 33, 36, 37, 38, 43, u32::MAX] {
            assert_eq!(DType::from_id(id), Err(UnknownDType(id)));
        }
    }

    #[test]
    fn names_follow_ggml() {
        let names: Vec<&str> = DType::ALL.iter().map(|t| t.name()).collect();
        assert_eq!(
            names.join(" "),
            "f32 f16 q4_0 q4_1 q5_0 q5_1 q8_0 q8_1 q2_K q3_K q4_K q5_K q6_K q8_K iq2_xxs iq2_xs iq3_xxs \
             iq1_s iq4_nl iq3_s iq2_s iq4_xs i8 i16 i32 i64 f64 iq1_m bf16 tq1_0 tq2_0 mxfp4 nvfp4 q1_0 q2_0"
        );
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(DType::Q4_K.row_bytes(512), Some(288));
        assert_eq!(DType::Q4_K.row_bytes(255), None);
        assert_eq!(DType::Q8_0.row_bytes(0), Some(0));
        assert_eq!(DType::F64.row_bytes(usize::MAX), None);
    }

    #[test]
    fn every_computed_type_has_a_partner_to_multiply_with() {
        for dtype in DType::ALL.into_iter().filter(|t| t.is_computed()) {
            assert!(dtype.vec_dot_type().is_some(), "{dtype}");
        }
    }
}
