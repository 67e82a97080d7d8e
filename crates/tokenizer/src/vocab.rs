//! Tokens by id and by text: texts, scores, attributes, and the ids of special tokens.
//!
//! How text becomes tokens is not known here; which tokens are special is decided in `special`.

use std::collections::HashMap;
use std::ops::{BitOr, BitOrAssign};

use crate::{Error, TokenId, VocabData};

/// Tokenizer families (`enum llama_vocab_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VocabType {
    /// No vocabulary: ids only.
    None,
    /// SentencePiece BPE with byte fallback.
    Spm,
    /// Byte-level BPE.
    Bpe,
    /// WordPiece.
    Wpm,
}

/// Attribute bits of a token (`enum llama_token_attr`, same values).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenAttr(pub u32);

impl TokenAttr {
    /// No attribute.
    pub const UNDEFINED: Self = Self(0);
    /// Stands for text that no token covers.
    pub const UNKNOWN: Self = Self(1 << 0);
    /// Reserved, never produced.
    pub const UNUSED: Self = Self(1 << 1);
    /// Ordinary text.
    pub const NORMAL: Self = Self(1 << 2);
    /// Control token, hidden in text.
    pub const CONTROL: Self = Self(1 << 3);
    /// Added by the model's author; always cut out of text whole.
    pub const USER_DEFINED: Self = Self(1 << 4);
    /// One raw byte, written `<0xXX>`.
    pub const BYTE: Self = Self(1 << 5);
    /// Swallows whitespace to its left.
    pub const LSTRIP: Self = Self(1 << 7);
    /// Swallows whitespace to its right.
    pub const RSTRIP: Self = Self(1 << 8);

    /// Whether any bit of `other` is set.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn set(&mut self, bits: Self, on: bool) {
        self.0 = if on { self.0 | bits.0 } else { self.0 & !bits.0 };
    }

    /// The attribute of a `token_type` value.
    fn from_type(token_type: i32) -> Self {
        match token_type {
            1 => Self::NORMAL,
            2 => Self::UNKNOWN,
            3 => Self::CONTROL,
            4 => Self::USER_DEFINED,
            5 => Self::UNUSED,
            6 => Self::BYTE,
            _ => Self::UNDEFINED,
        }
    }
}

impl BitOr for TokenAttr {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for TokenAttr {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Token table of a vocabulary.
#[derive(Debug, Default)]
pub(crate) struct Vocab {
    texts: Vec<Box<[u8]>>,
    scores: Vec<f32>,
    pub(crate) attrs: Vec<TokenAttr>,
    ids: HashMap<Box<[u8]>, TokenId>,
    max_text_len: usize,
}

impl Vocab {
    /// Checks and indexes the token arrays of `data`.
    pub(crate) fn new(data: &VocabData) -> Result<Self, Error> {
        let n_tokens = data.tokens.len();
        let limit = i32::MAX as usize;
        if n_tokens > limit {
            return Err(Error::VocabTooLarge(n_tokens));
        }
        check_len("tokenizer.ggml.scores", data.scores.as_ref().map(Vec::len), n_tokens)?;
        check_len("tokenizer.ggml.token_type", data.token_types.as_ref().map(Vec::len), n_tokens)?;

        let mut vocab = Self { ids: HashMap::with_capacity(n_tokens), ..Self::default() };
        for (id, text) in data.tokens.iter().enumerate() {
            let text = if text.is_empty() { format!("[EMPTY_{id}]").into_bytes() } else { text.clone() };
            if text.len() > limit {
                return Err(Error::VocabTooLarge(text.len()));
            }
            let text = text.into_boxed_slice();
            if let Some(first) = vocab.ids.insert(text.clone(), id as TokenId) {
                let text = String::from_utf8_lossy(&text).into_owned();
                return Err(Error::DuplicateToken { text, first, second: id as TokenId });
            }
            vocab.max_text_len = vocab.max_text_len.max(text.len());
            vocab.texts.push(text);
        }
        vocab.scores = match &data.scores {
            Some(scores) => scores[..n_tokens].to_vec(),
            None => vec![0.0; n_tokens],
        };
        vocab.attrs = match &data.token_types {
            Some(types) => types[..n_tokens].iter().map(|&t| TokenAttr::from_type(t)).collect(),
            None => vec![TokenAttr::NORMAL; n_tokens],
        };
        Ok(vocab)
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// Bytes of the longest token text.
    pub(crate) fn max_text_len(&self) -> usize {
        self.max_text_len
    }

    pub(crate) fn id_of(&self, text: &[u8]) -> Option<TokenId> {
        self.ids.get(text).copied()
    }

    pub(crate) fn check(&self, id: TokenId) -> Result<usize, Error> {
        let index = id as usize;
        if index < self.len() { Ok(index) } else { Err(Error::TokenOutOfRange { id, n_tokens: self.len() }) }
    }

    /// Text of a token whose id came from this vocabulary.
    pub(crate) fn text(&self, id: TokenId) -> &[u8] {
        &self.texts[id as usize]
    }

    pub(crate) fn score(&self, id: TokenId) -> f32 {
        self.scores[id as usize]
    }

    pub(crate) fn attr(&self, id: TokenId) -> TokenAttr {
        self.attrs[id as usize]
    }
}

fn check_len(key: &'static str, found: Option<usize>, expected: usize) -> Result<(), Error> {
    match found {
        Some(found) if found < expected => Err(Error::ArrayTooShort { key, found, expected }),
        _ => Ok(()),
    }
}
