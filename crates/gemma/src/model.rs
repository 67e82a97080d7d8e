//! Which models there are, by number and name. How each is built is in [`crate::models`].

use crate::fields::FieldEnum;

/// A model, whatever its type and wrapping (`gcpp::Model`); the numbers are those of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, non_camel_case_types)] // the reference's names
#[repr(u32)]
pub enum Model {
    Unknown = 0,
    Gemma2_9B = 3,
    Gemma2_27B = 4,
    Gemma2_2B = 7,
    PaliGemma2_3B_224 = 10,
    PaliGemma2_3B_448 = 11,
    PaliGemma2_10B_224 = 12,
    PaliGemma2_10B_448 = 13,
    Gemma3_4B = 14,
    Gemma3_1B = 15,
    Gemma3_12B = 16,
    Gemma3_27B = 17,
    Gemma3_270M = 18,
}

impl FieldEnum for Model {
    const WHAT: &'static str = "model";
    const EXPECTED: &'static str = "0, 3, 4, 7, 10 to 18";

    fn number(self) -> u32 {
        self as u32
    }

    fn from_number(number: u32) -> Option<Model> {
        if number == 0 {
            return Some(Model::Unknown);
        }
        Model::ALL.into_iter().find(|model| model.number() == number)
    }
}

impl Model {
    /// All that are known, in the order of their numbers.
    pub const ALL: [Model; 12] = [
        Model::Gemma2_9B,
        Model::Gemma2_27B,
        Model::Gemma2_2B,
        Model::PaliGemma2_3B_224,
        Model::PaliGemma2_3B_448,
        Model::PaliGemma2_10B_224,
        Model::PaliGemma2_10B_448,
        Model::Gemma3_4B,
        Model::Gemma3_1B,
        Model::Gemma3_12B,
        Model::Gemma3_27B,
        Model::Gemma3_270M,
    ];

    /// Its begin of a specifier (`ModelPrefix`).
    pub const fn prefix(self) -> &'static str {
        match self {
            Model::Unknown => "unknown",
            Model::Gemma2_2B => "gemma2-2b",
            Model::Gemma2_9B => "9b",
            Model::Gemma2_27B => "27b",
            Model::PaliGemma2_3B_224 => "paligemma2-3b-224",
            Model::PaliGemma2_3B_448 => "paligemma2-3b-448",
            Model::PaliGemma2_10B_224 => "paligemma2-10b-224",
            Model::PaliGemma2_10B_448 => "paligemma2-10b-448",
            Model::Gemma3_4B => "gemma3-4b",
            Model::Gemma3_1B => "gemma3-1b",
            Model::Gemma3_12B => "gemma3-12b",
            Model::Gemma3_27B => "gemma3-27b",
            Model::Gemma3_270M => "gemma3-270m",
        }
    }

    /// Whether prompts are those of models that see (`IsVLM`; the 1B model, which does not, is among them).
    pub const fn is_vlm(self) -> bool {
        matches!(self, Model::Gemma3_4B | Model::Gemma3_1B | Model::Gemma3_12B | Model::Gemma3_27B)
    }

    /// Whether it is a PaliGemma (`IsPaliGemma`).
    pub const fn is_pali_gemma(self) -> bool {
        matches!(
            self,
            Model::PaliGemma2_3B_224
                | Model::PaliGemma2_3B_448
                | Model::PaliGemma2_10B_224
                | Model::PaliGemma2_10B_448
        )
    }

    /// Whether it is of the third generation.
    pub const fn is_gemma3(self) -> bool {
        self.is_vlm() || matches!(self, Model::Gemma3_270M)
    }

    /// The model with so many layers (`DeduceModel`); `vit` and `large` say whether there are tensors of an image
    /// encoder, and of one for 448 pixels.
    pub fn deduce(n_layers: usize, vit: bool, large: bool) -> Option<Model> {
        Some(match (n_layers, vit, large) {
            (18, ..) => Model::Gemma3_270M,
            (26, true, _) => Model::Gemma3_1B,
            (26, false, _) => Model::Gemma2_2B,
            (27, _, true) => Model::PaliGemma2_3B_448,
            (27, _, false) => Model::PaliGemma2_3B_224,
            (34, ..) => Model::Gemma3_4B,
            (42, true, true) => Model::PaliGemma2_10B_448,
            (42, true, false) => Model::PaliGemma2_10B_224,
            (42, false, _) => Model::Gemma2_9B,
            (46, ..) => Model::Gemma2_27B,
            (48, ..) => Model::Gemma3_12B,
            (62, ..) => Model::Gemma3_27B,
            _ => return None,
        })
    }
}
