//! Families, pre-tokenizers by name, and the flags that each implies (the head of `llama_vocab::impl::load`).

use crate::split::{Body, Cased, Stage, Tail, Words};
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
    pub(crate) escape_whitespaces: bool,
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
    /// Merges join characters, and bytes without token are written `<0xXX>`; otherwise they join bytes.
    pub(crate) characters: bool,
    /// Spaces become U+2581 before anything is split.
    escape_whitespaces: bool,
    /// A run of line feeds that is a token is taken whole, and sequences begin with BOS whatever the file says.
    pub(crate) gemma4: bool,
    /// Text is lowered unless the file says otherwise ("whitespace" vocabularies only).
    lowercase: bool,
}

const fn cased(body: Body, contractions: bool, digits: usize) -> Stage {
    Stage::Cased(Cased { body, contractions, digits })
}

const DEFAULT: &[Stage] =
    &[Stage::PunctuationRuns { backtick: false }, Stage::Gpt2, Stage::Numbers, Stage::ThreeDigits];
const FALCON: &[Stage] = &[Stage::PunctuationRuns { backtick: true }, Stage::Gpt2, Stage::ThreeDigits];
const GPT2: &[Stage] = &[Stage::Gpt2];
const STARCODER: &[Stage] = &[Stage::EachNumber, Stage::Gpt2];
const LLAMA3: &[Stage] = &[Stage::Words(Words::new(3))];
const JAIS2: &[Stage] = &[Stage::Words(Words { powers: true, ..Words::new(3) })];
const MINICPM5: &[Stage] = &[Stage::NumberTriples, Stage::Words(Words::new(usize::MAX))];
const QWEN2: &[Stage] = &[Stage::Words(Words::new(1))];
const QWEN35: &[Stage] = &[Stage::Words(Words { marks: true, ..Words::new(1) })];
const SEED_CODER: &[Stage] = &[Stage::Words(Words { tail: Tail::Nothing, ..Words::new(1) })];
const LAGUNA: &[Stage] = &[Stage::Lines, Stage::Words(Words::new(1))];
const EXAONE_MOE: &[Stage] = &[Stage::SpacedWords];
const KIMI_K2: &[Stage] = &[Stage::Kimi];
const TEKKEN: &[Stage] = &[cased(Body::Letters, false, 1)];
const GPT4O: &[Stage] = &[cased(Body::Letters, true, 3)];
const GRANITE_EMB_MULTI: &[Stage] = &[cased(Body::Marked, true, 3)];
const TINY_AYA: &[Stage] = &[Stage::TriplesFromRight, cased(Body::Uncased, true, 3)];
const YOUTU: &[Stage] = &[Stage::YoutuScripts, cased(Body::Uncased, true, 1)];
const DEEPSEEK3: &[Stage] = &[Stage::NumberTriples, Stage::HanKana, Stage::MarkedWords];
const AFMOE: &[Stage] = &[Stage::TriplesFromRight, Stage::AfmoeScripts, Stage::MarkedWords];
const SUPERBPE: &[Stage] = &[Stage::Numbers, Stage::BeforeTriples];
const BLOOM: &[Stage] = &[Stage::BloomWords];
const VIKING: &[Stage] = &[Stage::BloomWords, Stage::EachNumber];
const CHAMELEON: &[Stage] = &[
    Stage::Sentinels,
    Stage::ImageTokens,
    Stage::Indents,
    Stage::EachNumber,
    Stage::EachPunctuation,
    Stage::Gpt2,
];
const LINES: &[Stage] = &[Stage::Lines];
const WHITESPACE: &[Stage] = &[Stage::NonSpace];
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
    const fn clean(stages: &'static [Stage]) -> Self {
        Self {
            stages,
            add_bos: false,
            add_sep: false,
            clean_spaces: true,
            ignore_merges: false,
            no_default_bos: false,
            characters: false,
            escape_whitespaces: false,
            gemma4: false,
            lowercase: true,
        }
    }

    const fn keep(stages: &'static [Stage]) -> Self {
        Self { clean_spaces: false, ..Self::clean(stages) }
    }

    /// The pre-tokenizer that `tokenizer.ggml.pre` names; without a name (or an empty one) the default.
    pub(crate) fn by_name(name: Option<&str>) -> Result<Self, Error> {
        let (clean, keep) = (Self::clean, Self::keep);
        Ok(match name.unwrap_or("") {
            "" | "default" => clean(DEFAULT),
            "minicpm5" => Self { ignore_merges: true, ..clean(MINICPM5) },
            "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0"
            | "lfm2" | "jina-v5-nano" => Self { ignore_merges: true, add_bos: true, ..clean(LLAMA3) },
            "dbrx" | "smaug-bpe" => clean(LLAMA3),
            "glm4" | "chatglm-bpe" => Self { no_default_bos: true, ..clean(LLAMA3) },
            "jais-2" => clean(JAIS2),
            "deepseek-llm" => keep(DEEPSEEK_LLM),
            "deepseek-coder" => keep(DEEPSEEK_CODER),
            "deepseek-v3" | "hunyuan-dense" | "joyai-llm" => keep(DEEPSEEK3),
            "youtu" => Self { ignore_merges: true, ..keep(YOUTU) },
            "falcon" => clean(FALCON),
            "starcoder" | "refact" | "codeshell" | "exaone" | "minerva-7b" | "mellum2" => clean(STARCODER),
            "command-r" | "smollm" => keep(STARCODER),
            "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "gigachat" | "jina-v2-es" | "jina-v2-de"
            | "a.x-4.0" | "mellum" | "modern-bert" | "mpt" | "olmo" | "jais" | "exaone4" => clean(GPT2),
            "jina-v1-en" | "jina-v2-code" | "roberta-bpe" => Self { add_sep: true, ..clean(GPT2) },
            "trillion" | "granite-docling" => keep(GPT2),
            "gemma4" | "granite-embed-multi-311m" => {
                Self { characters: true, escape_whitespaces: true, gemma4: true, ..clean(LINES) }
            }
            "sarvam-moe" => Self { characters: true, escape_whitespaces: true, ..keep(LINES) },
            "whitespace" => Self { characters: true, lowercase: false, ..clean(WHITESPACE) },
            "stablelm2" | "megrez" => clean(QWEN2),
            "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "hunyuan" | "solar-open" | "grok-2"
            | "bailingmoe" | "bailingmoe2" | "llada-moe" => keep(QWEN2),
            "qwen35" => keep(QWEN35),
            "seed-coder" => keep(SEED_CODER),
            "poro-chat" => keep(BLOOM),
            "bloom" | "gpt3-finnish" => clean(BLOOM),
            "viking" => keep(VIKING),
            "tekken" => Self { ignore_merges: true, add_bos: true, ..keep(TEKKEN) },
            "gpt-4o" | "llama4" | "kanana2" | "talkie" | "minimax-m2" => keep(GPT4O),
            "granite-embed-multi-97m" => Self { ignore_merges: true, ..keep(GRANITE_EMB_MULTI) },
            "tiny_aya" | "cohere2moe" => keep(TINY_AYA),
            "chameleon" => Self { add_bos: true, ..keep(CHAMELEON) },
            "superbpe" => keep(SUPERBPE),
            "kimi-k2" => keep(KIMI_K2),
            "exaone-moe" => clean(EXAONE_MOE),
            "afmoe" => keep(AFMOE),
            "laguna" => keep(LAGUNA),
            other => return Err(Error::UnknownPreTokenizer(other.to_owned())),
        })
    }

    /// Every name that [`by_name`](Self::by_name) knows.
    #[rustfmt::skip]
    pub(crate) const NAMES: [&str; 87] = [
        "default", "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
        "jina-v5-nano", "deepseek-llm", "deepseek-coder", "deepseek-v3", "youtu", "falcon", "mpt", "starcoder",
        "gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum",
        "modern-bert", "jais-2", "gemma4", "granite-embed-multi-311m", "sarvam-moe", "jina-v1-en",
        "jina-v2-code", "roberta-bpe", "whitespace", "refact", "command-r", "qwen2", "deepseek-r1-qwen",
        "kormo", "f2llmv2", "qwen35", "stablelm2", "olmo", "dbrx", "smaug-bpe", "poro-chat", "glm4",
        "chatglm-bpe", "viking", "jais", "tekken", "smollm", "codeshell", "bloom", "gpt3-finnish", "exaone",
        "exaone4", "exaone-moe", "chameleon", "minerva-7b", "megrez", "gpt-4o", "llama4", "kanana2", "talkie",
        "granite-embed-multi-97m", "tiny_aya", "cohere2moe", "superbpe", "trillion", "granite-docling",
        "bailingmoe", "bailingmoe2", "llada-moe", "seed-coder", "hunyuan", "hunyuan-dense", "joyai-llm",
        "kimi-k2", "grok-2", "afmoe", "laguna", "minimax-m2", "solar-open", "mellum2", "minicpm5",
    ];
}

/// Names of `tokenizer.ggml.pre` that are known, as the reference spells them.
pub fn pre_tokenizer_names() -> &'static [&'static str] {
    &PreTokenizer::NAMES
}

/// The family that `tokenizer.ggml.model` names.
pub(crate) fn family(model: &str) -> Result<VocabType, Error> {
    match model {
        "none" | "no_vocab" => Ok(VocabType::None),
        "llama" => Ok(VocabType::Spm),
        "gpt2" | "hybriddna" | "whitespace" | "gemma4" => Ok(VocabType::Bpe),
        "bert" => Ok(VocabType::Wpm),
        "t5" => Ok(VocabType::Ugm),
        "rwkv" => Ok(VocabType::Rwkv),
        "plamo2" => Ok(VocabType::Plamo2),
        _ => Err(Error::UnknownModel(model.to_owned())),
    }
}

impl Flags {
    /// The family's defaults, the pre-tokenizer's changes to them, and over both the metadata.
    pub(crate) fn new(family: VocabType, pre: Option<&PreTokenizer>, data: &VocabData) -> Self {
        let wpm = family == VocabType::Wpm;
        let lowercase = data.lowercase.unwrap_or(pre.is_none_or(|pre| pre.lowercase));
        let bos_by_default = matches!(family, VocabType::Spm | VocabType::Wpm);
        Self {
            add_bos: pre.is_some_and(|pre| pre.gemma4)
                || data.add_bos.unwrap_or_else(|| pre.map_or(bos_by_default, |pre| pre.add_bos)),
            add_eos: data.add_eos.unwrap_or(family == VocabType::Ugm),
            add_sep: data.add_sep.unwrap_or_else(|| pre.map_or(wpm, |pre| pre.add_sep)),
            add_space_prefix: data.add_space_prefix.unwrap_or(family == VocabType::Spm),
            clean_spaces: pre.map_or(wpm, |pre| pre.clean_spaces),
            ignore_merges: pre.is_some_and(|pre| pre.ignore_merges),
            escape_whitespaces: pre.is_none_or(|pre| pre.escape_whitespaces),
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
        let error = PreTokenizer::by_name(Some("tekken2")).expect_err("unknown");
        assert!(error.to_string().contains("'tekken2'"));
        assert!(matches!(family("x"), Err(Error::UnknownModel(model)) if model == "x"));
        let default = |name| PreTokenizer::by_name(name).expect("the default");
        assert_eq!(default(None), default(Some("default")));
    }

    #[test]
    fn every_name_is_known() {
        for name in PreTokenizer::NAMES {
            assert!(PreTokenizer::by_name(Some(name)).is_ok(), "{name}");
        }
    }

    #[test]
    fn flags_of_families() {
        let data = VocabData::default();
        let spm = Flags::new(VocabType::Spm, None, &data);
        assert!(spm.add_bos && spm.add_space_prefix && !spm.clean_spaces && spm.escape_whitespaces);
        let wpm = Flags::new(VocabType::Wpm, None, &data);
        assert!(wpm.add_bos && wpm.add_sep && wpm.clean_spaces && !wpm.add_space_prefix);
        let ugm = Flags::new(VocabType::Ugm, None, &data);
        assert!(!ugm.add_bos && ugm.add_eos && !ugm.add_space_prefix && ugm.escape_whitespaces);
        let llama3 = PreTokenizer::by_name(Some("llama-bpe")).expect("known");
        let flags = Flags::new(VocabType::Bpe, Some(&llama3), &data);
        assert!(flags.add_bos && flags.ignore_merges && flags.clean_spaces && !flags.escape_whitespaces);
        let gemma4 = PreTokenizer::by_name(Some("gemma4")).expect("known");
        let flags = Flags::new(VocabType::Bpe, Some(&gemma4), &VocabData { add_bos: Some(false), ..data });
        assert!(flags.add_bos && flags.escape_whitespaces);
    }
}
