//! Which type each matrix gets.

use quipu_quant::DType;

/// A type for all matrices, or llama-quantize's mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileType {
    /// One type.
    Pure(DType),
    /// `Q4_K_M`: Q6_K for the output and for the more important halves of `attn_v` and `ffn_down`.
    Q4KM,
}

impl FileType {
    pub fn find(name: &str) -> Result<FileType, String> {
        if name.eq_ignore_ascii_case("q4_k_m") {
            return Ok(FileType::Q4KM);
        }
        DType::ALL
            .into_iter()
            .find(|t| t.is_computed() && t.name().eq_ignore_ascii_case(name))
            .map(FileType::Pure)
            .ok_or_else(|| format!("type '{name}' is unknown, expected Q4_K_M or a computed tensor type"))
    }

    /// `general.file_type`, as `enum llama_ftype` numbers it.
    pub fn id(self) -> u32 {
        match self {
            FileType::Pure(DType::F32) => 0,
            FileType::Pure(DType::F16) => 1,
            FileType::Pure(DType::Q4_0) => 2,
            FileType::Pure(DType::Q8_0) => 7,
            FileType::Pure(DType::Q5_0) => 8,
            FileType::Pure(DType::Q5_K) => 17,
            FileType::Pure(DType::Q6_K) => 18,
            FileType::Pure(DType::BF16) => 32,
            FileType::Pure(DType::MXFP4) => 38,
            FileType::Pure(_) | FileType::Q4KM => 15,
        }
    }

    /// An ordinary matrix with rows of `n_in`.
    pub fn of_matrix(self, n_in: u64) -> DType {
        match self {
            FileType::Pure(dtype) => fitting(dtype, n_in),
            FileType::Q4KM => fitting(DType::Q4_K, n_in),
        }
    }

    /// The output matrix, or embeddings that serve as one.
    pub fn of_output(self, n_in: u64) -> DType {
        match self {
            FileType::Pure(dtype) => fitting(dtype, n_in),
            FileType::Q4KM => fitting(DType::Q6_K, n_in),
        }
    }

    /// `attn_v` and `ffn_down` of layer `il`: more bits in the first and last eighth and in every third
    /// layer between (`use_more_bits`).
    pub fn of_important(self, n_in: u64, il: u64, n_layer: u64) -> DType {
        let eighth = n_layer / 8;
        let more = il < eighth || il >= 7 * n_layer / 8 || (il - eighth) % 3 == 2;
        match self {
            FileType::Q4KM if more => fitting(DType::Q6_K, n_in),
            _ => self.of_matrix(n_in),
        }
    }
}

/// The type itself, or what llama-quantize falls back to where rows are not a multiple of 256.
fn fitting(dtype: DType, n_in: u64) -> DType {
    if n_in % dtype.block_len() as u64 == 0 {
        return dtype;
    }
    match dtype {
        DType::Q4_K => DType::Q5_0,
        DType::Q5_K | DType::Q6_K => DType::Q8_0,
        _ => DType::F16,
    }
}
