//! Which kernels compute with which type of weights.

use quipu_graph::DType;

/// How activations are prepared for a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prepare {
    /// The kernel reads f32 as it is.
    Nothing,
    /// `quantize_q8_1`.
    Q8,
    /// `round_f16`.
    F16,
    /// `round_bf16`.
    Bf16,
}

/// The kernels for weights of one type.
#[derive(Debug)]
pub(crate) struct TypeKernels {
    pub dtype: DType,
    pub get_rows: &'static str,
    /// For 1, 2, 4 and 8 columns.
    pub mat_vec: [&'static str; 4],
    pub vec_prepare: Prepare,
    pub mat_mul: &'static str,
    pub mat_prepare: Prepare,
    /// Bytes that rows are aligned to.
    pub row_align: usize,
}

use Prepare::{Bf16, F16, Nothing, Q8};

static TYPES: [TypeKernels; 10] = [
    TypeKernels {
        dtype: DType::F32,
        get_rows: "get_rows_32",
        mat_vec: ["mmvf_f32_1", "mmvf_f32_2", "mmvf_f32_4", "mmvf_f32_8"],
        vec_prepare: Nothing,
        mat_mul: "mat_mul_f32",
        mat_prepare: Nothing,
        row_align: 4,
    },
    TypeKernels {
        dtype: DType::F16,
        get_rows: "get_rows_f16",
        mat_vec: ["mmvf_f16_1", "mmvf_f16_2", "mmvf_f16_4", "mmvf_f16_8"],
        vec_prepare: Nothing,
        mat_mul: "mat_mul_f16",
        mat_prepare: F16,
        row_align: 2,
    },
    TypeKernels {
        dtype: DType::BF16,
        get_rows: "get_rows_bf16",
        mat_vec: ["mmvf_bf16_1", "mmvf_bf16_2", "mmvf_bf16_4", "mmvf_bf16_8"],
        vec_prepare: Nothing,
        mat_mul: "mat_mul_bf16",
        mat_prepare: Bf16,
        row_align: 2,
    },
    TypeKernels {
        dtype: DType::Q4_0,
        get_rows: "get_rows_q4_0",
        mat_vec: ["mmvq_q4_0_1", "mmvq_q4_0_2", "mmvq_q4_0_4", "mmvq_q4_0_8"],
        vec_prepare: Q8,
        mat_mul: "mat_mul_q4_0",
        mat_prepare: F16,
        row_align: 2,
    },
    TypeKernels {
        dtype: DType::Q5_0,
        get_rows: "get_rows_q5_0",
        mat_vec: ["mmvq_q5_0_1", "mmvq_q5_0_2", "mmvq_q5_0_4", "mmvq_q5_0_8"],
        vec_prepare: Q8,
        mat_mul: "mat_mul_q5_0",
        mat_prepare: F16,
        row_align: 2,
    },
    TypeKernels {
        dtype: DType::Q8_0,
        get_rows: "get_rows_q8_0",
        mat_vec: ["mmvq_q8_0_1", "mmvq_q8_0_2", "mmvq_q8_0_4", "mmvq_q8_0_8"],
        vec_prepare: Q8,
        mat_mul: "mat_mul_q8_0",
        mat_prepare: F16,
        row_align: 2,
    },
    TypeKernels {
        dtype: DType::Q4_K,
        get_rows: "get_rows_q4_k",
        mat_vec: ["mmvq_q4_k_1", "mmvq_q4_k_2", "mmvq_q4_k_4", "mmvq_q4_k_8"],
        vec_prepare: Q8,
        mat_mul: "mat_mul_q4_k",
        mat_prepare: F16,
        row_align: 16,
    },
    TypeKernels {
        dtype: DType::Q5_K,
        get_rows: "get_rows_q5_k",
        mat_vec: ["mmvq_q5_k_1", "mmvq_q5_k_2", "mmvq_q5_k_4", "mmvq_q5_k_8"],
        vec_prepare: Q8,
        mat_mul: "mat_mul_q5_k",
        mat_prepare: F16,
        row_align: 16,
    },
    TypeKernels {
        dtype: DType::Q6_K,
        get_rows: "get_rows_q6_k",
        mat_vec: ["mmvq_q6_k_1", "mmvq_q6_k_2", "mmvq_q6_k_4", "mmvq_q6_k_8"],
        vec_prepare: Q8,
        mat_mul: "mat_mul_q6_k",
        mat_prepare: F16,
        row_align: 2,
    },
    TypeKernels {
        dtype: DType::MXFP4,
        get_rows: "get_rows_mxfp4",
        mat_vec: ["mmvq_mxfp4_1", "mmvq_mxfp4_2", "mmvq_mxfp4_4", "mmvq_mxfp4_8"],
        vec_prepare: Q8,
        mat_mul: "mat_mul_mxfp4",
        mat_prepare: Bf16,
        row_align: 1,
    },
];

/// The kernels for weights of that type, if there are such.
pub(crate) fn find(dtype: DType) -> Option<&'static TypeKernels> {
    TYPES.iter().find(|kernels| kernels.dtype == dtype)
}

/// Bytes that a tensor's first byte and its rows are aligned to.
pub(crate) fn alignment(dtype: DType) -> usize {
    match dtype {
        DType::I32 => 4,
        DType::I64 => 8,
        other => find(other).map_or(1, |kernels| kernels.row_align),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels;

    #[test]
    fn every_name_is_a_kernel() {
        for t in &TYPES {
            assert!(std::ptr::eq(find(t.dtype).unwrap(), t));
            let names = t.mat_vec.iter().chain([&t.get_rows, &t.mat_mul]);
            for name in names {
                assert!(kernels::find(name).is_some(), "{name}");
            }
            assert!(t.dtype.block_len() == 1 || t.dtype.block_bytes().is_multiple_of(t.row_align));
        }
    }
}
