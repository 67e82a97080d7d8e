//! The file types a model can be quantised to, under llama.cpp's numbers and names.

use std::fmt;

use quipu_quant::DType;

/// A mixture of tensor types, as `general.file_type` records it. Answers to `llama_ftype`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, non_camel_case_types)] // the variants are the reference's own names
#[repr(u32)]
#[non_exhaustive]
pub enum FileType {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    #[default]
    Q8_0 = 7,
    Q5_0 = 8,
    Q5_1 = 9,
    Q2_K = 10,
    Q3_K_S = 11,
    Q3_K_M = 12,
    Q3_K_L = 13,
    Q4_K_S = 14,
    Q4_K_M = 15,
    Q5_K_S = 16,
    Q5_K_M = 17,
    Q6_K = 18,
    IQ2_XXS = 19,
    IQ2_XS = 20,
    Q2_K_S = 21,
    IQ3_XS = 22,
    IQ3_XXS = 23,
    IQ1_S = 24,
    IQ4_NL = 25,
    IQ3_S = 26,
    IQ3_M = 27,
    IQ2_S = 28,
    IQ2_M = 29,
    IQ4_XS = 30,
    IQ1_M = 31,
    BF16 = 32,
    TQ1_0 = 36,
    TQ2_0 = 37,
    MXFP4_MOE = 38,
    Q1_0 = 40,
    Q2_0 = 41,
}

/// Set in a file type that was guessed from the tensors, because the file does not record one
/// (`LLAMA_FTYPE_GUESSED`).
pub const GUESSED: u32 = 1024;

impl FileType {
    /// Every file type that can be written, in the order of its number.
    pub const ALL: [FileType; 35] = [
        FileType::F32,
        FileType::F16,
        FileType::Q4_0,
        FileType::Q4_1,
        FileType::Q8_0,
        FileType::Q5_0,
        FileType::Q5_1,
        FileType::Q2_K,
        FileType::Q3_K_S,
        FileType::Q3_K_M,
        FileType::Q3_K_L,
        FileType::Q4_K_S,
        FileType::Q4_K_M,
        FileType::Q5_K_S,
        FileType::Q5_K_M,
        FileType::Q6_K,
        FileType::IQ2_XXS,
        FileType::IQ2_XS,
        FileType::Q2_K_S,
        FileType::IQ3_XS,
        FileType::IQ3_XXS,
        FileType::IQ1_S,
        FileType::IQ4_NL,
        FileType::IQ3_S,
        FileType::IQ3_M,
        FileType::IQ2_S,
        FileType::IQ2_M,
        FileType::IQ4_XS,
        FileType::IQ1_M,
        FileType::BF16,
        FileType::TQ1_0,
        FileType::TQ2_0,
        FileType::MXFP4_MOE,
        FileType::Q1_0,
        FileType::Q2_0,
    ];

    /// The file type with the reference's number `id`.
    pub fn from_id(id: u32) -> Option<FileType> {
        FileType::ALL.into_iter().find(|t| t.id() == id)
    }

    /// The file type called `name`, in any case: a name as llama-quantize lists them (with its aliases
    /// `Q3_K`, `Q4_K`, `Q5_K` for the medium mixtures), or a number.
    pub fn from_name(name: &str) -> Option<FileType> {
        let upper = name.to_ascii_uppercase();
        let full = match upper.as_str() {
            "Q3_K" | "Q4_K" | "Q5_K" => format!("{upper}_M"),
            _ => upper,
        };
        let named = FileType::ALL.into_iter().find(|t| t.name() == full);
        named.or_else(|| FileType::from_id(full.parse().ok()?))
    }

    /// The reference's number.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// The name llama-quantize takes.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// What most tensors become (`llama_ftype_get_default_type`).
    pub const fn default_type(self) -> DType {
        self.row().1
    }

    const fn row(self) -> (&'static str, DType) {
        match self {
            FileType::F32 => ("F32", DType::F32),
            FileType::F16 => ("F16", DType::F16),
            FileType::BF16 => ("BF16", DType::BF16),
            FileType::Q4_0 => ("Q4_0", DType::Q4_0),
            FileType::Q4_1 => ("Q4_1", DType::Q4_1),
            FileType::Q5_0 => ("Q5_0", DType::Q5_0),
            FileType::Q5_1 => ("Q5_1", DType::Q5_1),
            FileType::Q8_0 => ("Q8_0", DType::Q8_0),
            FileType::Q2_K => ("Q2_K", DType::Q2_K),
            FileType::Q2_K_S => ("Q2_K_S", DType::Q2_K),
            FileType::Q3_K_S => ("Q3_K_S", DType::Q3_K),
            FileType::Q3_K_M => ("Q3_K_M", DType::Q3_K),
            FileType::Q3_K_L => ("Q3_K_L", DType::Q3_K),
            FileType::Q4_K_S => ("Q4_K_S", DType::Q4_K),
            FileType::Q4_K_M => ("Q4_K_M", DType::Q4_K),
            FileType::Q5_K_S => ("Q5_K_S", DType::Q5_K),
            FileType::Q5_K_M => ("Q5_K_M", DType::Q5_K),
            FileType::Q6_K => ("Q6_K", DType::Q6_K),
            FileType::IQ1_S => ("IQ1_S", DType::IQ1_S),
            FileType::IQ1_M => ("IQ1_M", DType::IQ1_M),
            FileType::IQ2_XXS => ("IQ2_XXS", DType::IQ2_XXS),
            // The small mixtures start from the type below the one they are named after.
            FileType::IQ2_XS => ("IQ2_XS", DType::IQ2_XS),
            FileType::IQ2_S => ("IQ2_S", DType::IQ2_XS),
            FileType::IQ2_M => ("IQ2_M", DType::IQ2_S),
            FileType::IQ3_XXS => ("IQ3_XXS", DType::IQ3_XXS),
            FileType::IQ3_XS => ("IQ3_XS", DType::IQ3_S),
            FileType::IQ3_S => ("IQ3_S", DType::IQ3_S),
            FileType::IQ3_M => ("IQ3_M", DType::IQ3_S),
            FileType::IQ4_NL => ("IQ4_NL", DType::IQ4_NL),
            FileType::IQ4_XS => ("IQ4_XS", DType::IQ4_XS),
            FileType::TQ1_0 => ("TQ1_0", DType::TQ1_0),
            FileType::TQ2_0 => ("TQ2_0", DType::TQ2_0),
            FileType::MXFP4_MOE => ("MXFP4_MOE", DType::MXFP4),
            FileType::Q1_0 => ("Q1_0", DType::Q1_0),
            FileType::Q2_0 => ("Q2_0", DType::Q2_0),
        }
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The number of the file type whose tensors are mostly of `dtype`, 0 (F32) if there is none. Answers to the
/// guess of `llama_model_loader`.
pub(super) fn id_of_majority(dtype: DType) -> u32 {
    match dtype {
        DType::Q3_K => FileType::Q3_K_M.id(),
        DType::Q4_K => FileType::Q4_K_M.id(),
        DType::Q5_K => FileType::Q5_K_M.id(),
        DType::IQ2_S => FileType::IQ2_S.id(),
        DType::IQ3_S => FileType::IQ3_S.id(),
        // Written by other tools; nothing quantises to it.
        DType::NVFP4 => 39,
        // Its file type is for mixtures of experts only, and never guessed.
        DType::MXFP4 => FileType::F32.id(),
        _ => FileType::ALL.into_iter().find(|t| t.default_type() == dtype).map_or(0, FileType::id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_find_their_type() {
        for file_type in FileType::ALL {
            assert_eq!(FileType::from_name(file_type.name()), Some(file_type));
            assert_eq!(FileType::from_name(&file_type.name().to_lowercase()), Some(file_type));
            assert_eq!(FileType::from_name(&file_type.id().to_string()), Some(file_type));
        }
        assert_eq!(FileType::from_name("q4_k"), Some(FileType::Q4_K_M));
        for unknown in ["", "Q9_K", "4", "39", "-1", "COPY"] {
            assert_eq!(FileType::from_name(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn guesses_follow_the_reference() {
        let guesses = [
            (DType::F32, 0),
            (DType::IQ2_XS, 20),
            (DType::Q2_K, 10),
            (DType::Q3_K, 12),
            (DType::IQ3_S, 26),
            (DType::IQ2_S, 28),
            (DType::MXFP4, 0),
            (DType::I32, 0),
        ];
        for (dtype, id) in guesses {
            assert_eq!(id_of_majority(dtype), id, "{dtype}");
        }
    }
}
