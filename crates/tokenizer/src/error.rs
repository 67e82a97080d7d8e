//! The one error type of the crate.

use crate::TokenId;

/// What can be wrong with a vocabulary, a text or a token id.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `tokenizer.ggml.model` names no tokenizer of the reference.
    #[error(
        "tokenizer.ggml.model: found '{0}', expected llama, gpt2, gemma4, hybriddna, whitespace, bert, t5, rwkv, \
         plamo2 or none"
    )]
    UnknownModel(String),
    /// A `tokenizer.json` that the `tokenizers` crate refuses, or a text that it fails on.
    #[cfg(feature = "hf-json")]
    #[error("tokenizer.json: {0}")]
    HfJson(String),
    /// `tokenizer.ggml.pre` names no pre-tokenizer of the reference.
    #[error("tokenizer.ggml.pre: pre-tokenizer '{0}' is unknown")]
    UnknownPreTokenizer(String),
    /// The character map of a unigram vocabulary contradicts itself.
    #[error("tokenizer.ggml.precompiled_charsmap: {what} ({size} bytes or entries), expected a sound map")]
    BadCharsmap {
        /// What was found.
        what: &'static str,
        /// Size of the part it was found in.
        size: usize,
    },
    /// A metadata key that the vocabulary's family needs is absent.
    #[error("{0}: missing, the vocabulary needs it")]
    MissingKey(&'static str),
    /// The metadata has a key with another type than expected.
    #[cfg(feature = "gguf")]
    #[error(transparent)]
    Gguf(#[from] quipu_gguf::Error),
    /// A per-token array has fewer entries than there are tokens.
    #[error("{key}: found {found} entries, expected at least {expected} (one per token)")]
    ArrayTooShort {
        /// The metadata key.
        key: &'static str,
        /// Number of entries found.
        found: usize,
        /// Number of tokens.
        expected: usize,
    },
    /// There are more tokens, or a longer token, than ids and offsets can address.
    #[error("tokenizer.ggml.tokens: {0} is more than a vocabulary may have (2^31 - 1)")]
    VocabTooLarge(usize),
    /// Two tokens have the same text, so that ids and texts do not correspond.
    #[error("tokenizer.ggml.tokens: tokens {first} and {second} are both '{text}', expected distinct texts")]
    DuplicateToken {
        /// The text, lossily decoded.
        text: String,
        /// Smaller id.
        first: TokenId,
        /// Larger id.
        second: TokenId,
    },
    /// A token of type BYTE is not written `<0xXX>`, or its family has no byte tokens.
    #[error(
        "tokenizer.ggml.tokens: byte token {id} is '{text}', expected the form <0xXX> in a llama or gpt2 vocabulary"
    )]
    BadByteToken {
        /// The token.
        id: TokenId,
        /// Its text, lossily decoded.
        text: String,
    },
    /// The readable form of a token would be unreasonably long.
    #[error("tokenizer.ggml.tokens: the piece of token {id} exceeds {limit} bytes")]
    PieceTooLong {
        /// The token.
        id: TokenId,
        /// The limit in bytes.
        limit: usize,
    },
    /// A token that the model's attribute fix-up names is not in the vocabulary.
    #[error("tokenizer.ggml.tokens: no token '{0}', which this model's special-token rules name")]
    MissingText(&'static str),
    /// A special token is to be emitted but the vocabulary has none.
    #[error("the vocabulary has no {0} token, but the request needs one")]
    MissingSpecialToken(&'static str),
    /// SPM byte fallback found neither `<0xXX>` nor the byte itself.
    #[error("the vocabulary has no token for byte 0x{0:02X}, expected <0x{0:02X}> or the byte itself")]
    MissingByteToken(u8),
    /// A token id is outside the vocabulary.
    #[error("token id {id} is out of range, expected less than {n_tokens}")]
    TokenOutOfRange {
        /// The id.
        id: TokenId,
        /// Size of the vocabulary.
        n_tokens: usize,
    },
    /// The model has no vocabulary (`tokenizer.ggml.model` = `none`): there is nothing to encode with.
    #[error("the model has no vocabulary (tokenizer.ggml.model is none), text cannot be tokenized")]
    NoVocab,
    /// The text is too long to be tokenized in one call.
    #[error("the text has {0} bytes, expected at most 2^30")]
    TextTooLong(usize),
}
