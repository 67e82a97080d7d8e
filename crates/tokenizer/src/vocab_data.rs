//! A vocabulary as plain data: what the metadata of a model file says, before any of it is interpreted.

/// Vocabulary metadata, one field per GGUF key (`tokenizer.ggml.*` unless said otherwise); `None` = key absent.
///
/// Nothing here needs to be consistent: [`Tokenizer::new`](crate::Tokenizer::new) checks it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VocabData {
    /// `model`: the family, "llama" (SPM), "gpt2", "gemma4", "hybriddna" or "whitespace" (BPE), "bert" (WPM), "t5"
    /// (unigram), "rwkv", "plamo2" or "none" / "no_vocab".
    pub model: String,
    /// `pre`: the pre-tokenizer of a BPE vocabulary.
    pub pre: Option<String>,
    /// `tokens`: texts by id, as bytes since files may hold invalid UTF-8.
    pub tokens: Vec<Vec<u8>>,
    /// `scores`: log probabilities by id, at least one per token.
    pub scores: Option<Vec<f32>>,
    /// `token_type`: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; at least one per token.
    pub token_types: Option<Vec<i32>>,
    /// `merges`: "left right" by rank, required by BPE.
    pub merges: Option<Vec<Vec<u8>>>,
    /// `precompiled_charsmap`: how a unigram vocabulary normalizes text.
    pub precompiled_charsmap: Option<Vec<u8>>,
    /// The ids of special tokens.
    pub special: SpecialIds,
    /// `add_bos_token`
    pub add_bos: Option<bool>,
    /// `add_eos_token`
    pub add_eos: Option<bool>,
    /// `add_sep_token`
    pub add_sep: Option<bool>,
    /// `add_space_prefix`
    pub add_space_prefix: Option<bool>,
    /// `remove_extra_whitespaces`
    pub remove_extra_whitespaces: Option<bool>,
    /// `normalizer.lowercase`
    pub lowercase: Option<bool>,
    /// `normalizer.strip_accents`
    pub strip_accents: Option<bool>,
    /// `suppress_tokens`: ids never to be sampled.
    pub suppress_tokens: Vec<i32>,
    /// `token_type_count`: segment types of BERT-like models.
    pub token_type_count: Option<u32>,
    /// `<architecture>.vocab_size`: number of ids of a model without vocabulary.
    pub vocab_size: Option<u32>,
    /// `general.name`; a few models are known by it.
    pub general_name: Option<String>,
    /// `general.architecture`; likewise.
    pub architecture: Option<String>,
}

/// Ids of special tokens as the metadata gives them; ids out of range are ignored like in the reference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// `bos_token_id`
    pub bos: Option<u32>,
    /// `eos_token_id`
    pub eos: Option<u32>,
    /// `eot_token_id`
    pub eot: Option<u32>,
    /// `eom_token_id`
    pub eom: Option<u32>,
    /// `unknown_token_id`
    pub unk: Option<u32>,
    /// `seperator_token_id` (the key is spelled so)
    pub sep: Option<u32>,
    /// `padding_token_id`
    pub pad: Option<u32>,
    /// `mask_token_id`
    pub mask: Option<u32>,
    /// `fim_pre_token_id`
    pub fim_pre: Option<u32>,
    /// `fim_suf_token_id`
    pub fim_suf: Option<u32>,
    /// `fim_mid_token_id`
    pub fim_mid: Option<u32>,
    /// `fim_pad_token_id`
    pub fim_pad: Option<u32>,
    /// `fim_rep_token_id`
    pub fim_rep: Option<u32>,
    /// `fim_sep_token_id`
    pub fim_sep: Option<u32>,
    /// `prefix_token_id`, the older key of `fim_pre`, which it overrides
    pub prefix: Option<u32>,
    /// `suffix_token_id`, the older key of `fim_suf`, which it overrides
    pub suffix: Option<u32>,
    /// `middle_token_id`, the older key of `fim_mid`, which it overrides
    pub middle: Option<u32>,
}
