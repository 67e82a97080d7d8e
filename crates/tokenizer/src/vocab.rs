//! Tokens by id and by text: texts, scores, attributes, and the ids of special tokens.
//!
//! How text becomes tokens is not known here; which tokens are special is decided in `special`.

use std::ops::{BitOr, BitOrAssign};

use crate::hash::Keys;
use crate::{Error, TokenId, VocabData};

/// Tokenizer families (`enum llama_vocab_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VocabType {
    /// No vocabulary: ids only.
    None,
    /// SentencePiece BPE with byte fallback.
    Spm,
    /// BPE, on bytes or on characters.
    Bpe,
    /// WordPiece.
    Wpm,
    /// SentencePiece unigram.
    Ugm,
    /// Longest match over byte strings.
    Rwkv,
    /// PLaMo-2: unigram with integer costs and byte fallback.
    Plamo2,
    /// A `tokenizer.json`, run by the `tokenizers` crate; the reference has no such family.
    #[cfg(feature = "hf-json")]
    HfJson,
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

/// Token table of a vocabulary. Texts lie end to end; a table of ids hashed by text finds them.
#[derive(Debug, Default)]
pub(crate) struct Vocab {
    bytes: Vec<u8>,
    /// End of each text in `bytes`.
    ends: Vec<u32>,
    /// Bytes at the end of a text by which it is found but not shown; empty if there are none.
    hidden: Vec<u8>,
    scores: Vec<f32>,
    pub(crate) attrs: Vec<TokenAttr>,
    keys: Keys,
    /// `hash >> 32, id + 1`, by open addressing; 0 is free.
    slots: Vec<(u32, u32)>,
    max_text_len: usize,
}

impl Vocab {
    /// Checks and indexes the token arrays of `data`.
    pub(crate) fn new(data: &VocabData) -> Result<Self, Error> {
        let n_tokens = data.tokens.len();
        let limit = i32::MAX as usize;
        let n_bytes = data.tokens.iter().map(Vec::len).sum::<usize>();
        if n_tokens > limit || n_bytes + 24 * n_tokens > u32::MAX as usize {
            return Err(Error::VocabTooLarge(n_tokens.max(n_bytes)));
        }
        check_len("tokenizer.ggml.scores", data.scores.as_ref().map(Vec::len), n_tokens)?;
        check_len("tokenizer.ggml.token_type", data.token_types.as_ref().map(Vec::len), n_tokens)?;

        let n_slots = (2 * n_tokens).next_power_of_two();
        let mut vocab = Self {
            bytes: Vec::with_capacity(n_bytes),
            ends: Vec::with_capacity(n_tokens),
            slots: vec![(0, 0); n_slots],
            ..Self::default()
        };
        for (id, text) in data.tokens.iter().enumerate() {
            let start = vocab.bytes.len();
            if text.is_empty() {
                vocab.bytes.extend_from_slice(format!("[EMPTY_{id}]").as_bytes());
            } else {
                vocab.bytes.extend_from_slice(text);
            }
            let text = &vocab.bytes[start..];
            vocab.max_text_len = vocab.max_text_len.max(text.len());
            vocab.ends.push(vocab.bytes.len() as u32);
            let hash = vocab.keys.text(text);
            let at = vocab.find(text, hash);
            if let Some(first) = vocab.slots[at].1.checked_sub(1) {
                let text = String::from_utf8_lossy(text).into_owned();
                return Err(Error::DuplicateToken { text, first, second: id as TokenId });
            }
            vocab.slots[at] = ((hash >> 32) as u32, id as u32 + 1);
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

    /// Hides `suffix` where texts of tokens from `first` on end with it and do not only consist of it.
    pub(crate) fn hide_suffix(&mut self, first: TokenId, suffix: &[u8]) {
        let n_hidden = |id| {
            let text = self.key(id);
            if id >= first && text.len() > suffix.len() && text.ends_with(suffix) { suffix.len() } else { 0 }
        };
        self.hidden = (0..self.len() as TokenId).map(|id| n_hidden(id) as u8).collect();
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of the longest token text.
    pub(crate) fn max_text_len(&self) -> usize {
        self.max_text_len
    }

    /// The slot of `text`, or the free one where it would be entered.
    #[inline]
    fn find(&self, text: &[u8], hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let (high, id) = self.slots[at];
            if id == 0 || (high == (hash >> 32) as u32 && self.key(id - 1) == text) {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    #[inline]
    pub(crate) fn id_of(&self, text: &[u8]) -> Option<TokenId> {
        if self.slots.is_empty() {
            return None;
        }
        self.slots[self.find(text, self.keys.text(text))].1.checked_sub(1)
    }

    pub(crate) fn check(&self, id: TokenId) -> Result<usize, Error> {
        let index = id as usize;
        if index < self.len() { Ok(index) } else { Err(Error::TokenOutOfRange { id, n_tokens: self.len() }) }
    }

    /// What a token is found by.
    #[inline]
    pub(crate) fn key(&self, id: TokenId) -> &[u8] {
        let index = id as usize;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start as usize..self.ends[index] as usize]
    }

    /// Text of a token whose id came from this vocabulary.
    pub(crate) fn text(&self, id: TokenId) -> &[u8] {
        let key = self.key(id);
        let n_hidden = self.hidden.get(id as usize).copied().unwrap_or(0);
        &key[..key.len() - usize::from(n_hidden)]
    }

    /// All texts by id.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (TokenId, &[u8])> {
        (0..self.len() as TokenId).map(|id| (id, self.text(id)))
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
