//! Families, pre-tokenizers by name, and the flags that each implies (the head of `llama_vocab::impl::load`).

use crate::split::Stage;
use crate::{Error, VocabData, VocabType};

/// How a family and its pre-tokenizer treat text, after the metadata has had its say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches, each a metadata key or its default")]
pub(crate) struct Flags {
    pub(crate) add_bos: bool,
    pub(crate) add_eos: bool,
    pub(crate) add_sep: bool,
    pub(crate) add_space_prefix: bool,
    pub(crate) clean_spaces: bool,
    pub(crate) ignore_merges: bool,
    pub(crate) remove_extra_whitespaces: bool,
    pub(crate) lowercase: bool,
    pub(crate) strip_accents: bool,
}

/// A BPE pre-tokenizer: its stages, and how its flags differ from those of a BPE vocabulary without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches, each a metadata key or its default")]
pub(crate) struct PreTokenizer {
    pub(crate) stages: &'static [Stage],
    add_bos: bool,
    add_sep: bool,
    clean_spaces: bool,
    pub(crate) ignore_merges: bool,
    /// The reference takes back the default BOS id for this one.
    pub(crate) no_default_bos: bool,
}

const DEFAULT: &[Stage] =
    &[Stage::PunctuationRuns { backtick: false }, Stage::Gpt2, Stage::Numbers, Stage::ThreeDigits];
const FALCON: &[Stage] = &[Stage::PunctuationRuns { backtick: true }, Stage::Gpt2, Stage::ThreeDigits];
const GPT2: &[Stage] = &[Stage::Gpt2];
const STARCODER: &[Stage] = &[Stage::EachNumber, Stage::Gpt2];
const LLAMA3: &[Stage] = &[Stage::Words { digits: 3, marks: false }];
const QWEN2: &[Stage] = &[Stage::Words { digits: 1, marks: false }];
const QWEN35: &[Stage] = &[Stage::Words { digits: 1, marks: true }];
const LAGUNA: &[Stage] = &[Stage::Lines, Stage::Words { digits: 1, marks: false }];
const DEEPSEEK_LLM: &[Stage] = &[
    Stage::EachLineEnd,
    Stage::DeepseekLetters,
    Stage::DeepseekPunctuation,
    Stage::TrailingSpace,
    Stage::DeepseekCjk,
    Stage::Numbers,
];
const DEEPSEEK_CODER: &[Stage] = &[
    Stage::EachLineEnd,
    Stage::SpacedLetters,
    Stage::SpacedPunctuation,
    Stage::DeepseekCjk,
    Stage::EachNumber,
];

impl PreTokenizer {
    /// The pre-tokenizer that `tokenizer.ggml.pre` names; without a name (or an empty one) the default.
    pub(crate) fn by_name(name: Option<&str>) -> Result<Self, Error> {
        let clean = |stages| Self {
            stages,
            add_bos: false,
            add_sep: false,
            clean_spaces: true,
            ignore_merges: false,
            no_default_bos: false,
        };
        let keep = |stages| Self { clean_spaces: false, ..clean(stages) };
        Ok(match name.unwrap_or("") {
            "" | "default" => clean(DEFAULT),
            "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0"
            | "lfm2" | "jina-v5-nano" => Self { ignore_merges: true, add_bos: true, ..clean(LLAMA3) },
            "dbrx" | "smaug-bpe" => clean(LLAMA3),
            "glm4" | "chatglm-bpe" => Self { no_default_bos: true, ..clean(LLAMA3) },
            "deepseek-llm" => keep(DEEPSEEK_LLM),
            "deepseek-coder" => keep(DEEPSEEK_CODER),
            "falcon" => clean(FALCON),
            "starcoder" | "refact" | "codeshell" | "exaone" | "minerva-7b" | "mellum2" => clean(STARCODER),
            "command-r" | "smollm" => keep(STARCODER),
            "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "gigachat" | "jina-v2-es" | "jina-v2-de"
            | "a.x-4.0" | "mellum" | "modern-bert" | "mpt" | "olmo" | "jais" | "exaone4" => clean(GPT2),
            "jina-v1-en" | "jina-v2-code" | "roberta-bpe" => Self { add_sep: true, ..clean(GPT2) },
            "trillion" | "granite-docling" => keep(GPT2),
            "stablelm2" | "megrez" => clean(QWEN2),
            "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "hunyuan" | "solar-open" | "grok-2" => {
                keep(QWEN2)
            }
            "qwen35" => keep(QWEN35),
            "laguna" => keep(LAGUNA),
            other => return Err(Error::UnsupportedPreTokenizer(other.to_owned())),
        })
    }
}

/// The family that `tokenizer.ggml.model` names.
pub(crate) fn family(model: &str) -> Result<VocabType, Error> {
    match model {
        "none" | "no_vocab" => Ok(VocabType::None),
        "llama" => Ok(VocabType::Spm),
        "gpt2" => Ok(VocabType::Bpe),
        "bert" => Ok(VocabType::Wpm),
        "t5" | "rwkv" | "plamo2" | "gemma4" | "hybriddna" | "whitespace" => {
            Err(Error::UnsupportedModel(model.to_owned()))
        }
        _ => Err(Error::UnknownModel(model.to_owned())),
    }
}

impl Flags {
    /// The family's defaults, the pre-tokenizer's changes to them, and over both the metadata.
    pub(crate) fn new(family: VocabType, pre: Option<&PreTokenizer>, data: &VocabData) -> Self {
        let bpe = pre.is_some();
        let wpm = family == VocabType::Wpm;
        let lowercase = data.lowercase.unwrap_or(true);
        Self {
            add_bos: data.add_bos.unwrap_or_else(|| pre.map_or(family != VocabType::None, |pre| pre.add_bos)),
            add_eos: data.add_eos.unwrap_or(false),
            add_sep: data.add_sep.unwrap_or_else(|| pre.map_or(wpm, |pre| pre.add_sep)),
            add_space_prefix: data.add_space_prefix.unwrap_or(family == VocabType::Spm),
            clean_spaces: pre.map_or(wpm, |pre| pre.clean_spaces),
            ignore_merges: bpe && pre.is_some_and(|pre| pre.ignore_merges),
            remove_extra_whitespaces: data.remove_extra_whitespaces.unwrap_or(false),
            lowercase,
            strip_accents: data.strip_accents.unwrap_or(lowercase),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_named() {
        let error = PreTokenizer::by_name(Some("tekken")).expect_err("not supported");
        assert!(error.to_string().contains("'tekken'"));
        assert!(matches!(family("t5"), Err(Error::UnsupportedModel(model)) if model == "t5"));
        assert!(matches!(family("x"), Err(Error::UnknownModel(model)) if model == "x"));
        let default = |name| PreTokenizer::by_name(name).expect("the default");
        assert_eq!(default(None), default(Some("default")));
    }

    #[test]
    fn flags_of_families() {
        let data = VocabData::default();
        let spm = Flags::new(VocabType::Spm, None, &data);
        assert!(spm.add_bos && spm.add_space_prefix && !spm.clean_spaces);
        let wpm = Flags::new(VocabType::Wpm, None, &data);
        assert!(wpm.add_bos && wpm.add_sep && wpm.clean_spaces && !wpm.add_space_prefix);
        let llama3 = PreTokenizer::by_name(Some("llama-bpe")).expect("supported");
        let flags = Flags::new(VocabType::Bpe, Some(&llama3), &data);
        assert!(flags.add_bos && flags.ignore_merges && flags.clean_spaces);
    }
}
