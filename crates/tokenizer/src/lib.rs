//! Tokenizers of llama.cpp (llama-vocab.cpp, unicode.cpp): text to token ids and back, id for id.
//!
//! Lives here: the families SPM ("llama"), BPE ("gpt2", "gemma4", "hybriddna", "whitespace"), WPM ("bert"), UGM
//! ("t5"), RWKV and PLaMo-2, and behind the feature `hf-json` a `tokenizer.json` through the `tokenizers` crate, the pre-tokenizers of BPE, special tokens, pieces and detokenization, and the
//! streaming decoder. A vocabulary comes in as [`VocabData`], plain data that a GGUF file's metadata can fill. Not
//! here: chat templates and sampling.
//!
//! Features: `gguf` (on by default) reads a vocabulary from a GGUF file's metadata, `hf-json` runs a `tokenizer.json`.
//!
//! Differences from the reference, all where it throws, aborts, hangs or leaves an order undefined: code points
//! beyond U+10FFFF count as invalid bytes, missing tokens are errors of the call, duplicate token texts are an
//! error of the vocabulary.
//!
//! A WordPiece vocabulary of seven tokens, made up here (`Tokenizer::from_gguf` takes a file's):
//!
//! ```
//! use quipu_tokenizer::{SpecialIds, Tokenizer, VocabData};
//!
//! let tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁un", "aff", "able"];
//! let tokenizer = Tokenizer::new(&VocabData {
//!     model: "bert".into(),
//!     tokens: tokens.map(|token| token.as_bytes().to_vec()).to_vec(),
//!     token_types: Some(vec![3, 3, 3, 3, 1, 1, 1]), // control and normal
//!     special: SpecialIds { bos: Some(2), unk: Some(1), sep: Some(3), ..SpecialIds::default() },
//!     ..VocabData::default()
//! })?;
//! let ids = tokenizer.encode("Unaffable", true, false)?;
//! assert_eq!(ids, [2, 4, 5, 6, 3]);
//!
//! // Back, token by token; control tokens are hidden.
//! let (mut decoder, mut text) = (tokenizer.stream(false), String::new());
//! for id in ids {
//!     text.push_str(decoder.push(id)?);
//! }
//! text.push_str(decoder.finish());
//! assert_eq!(text.trim_start(), "unaffable");
//! # Ok::<(), quipu_tokenizer::Error>(())
//! ```
#![forbid(unsafe_code)]

mod bpe;
mod cache;
mod charsmap;
mod dialect;
mod error;
#[cfg(feature = "gguf")]
mod from_gguf;
mod hash;
#[cfg(feature = "hf-json")]
mod hf_json;
mod lookup;
mod merge;
mod partition;
mod pieces;
mod plamo2;
mod pre;
mod reference_hash;
mod rwkv;
mod scratch;
mod segment;
mod special;
mod split;
mod spm;
mod stream;
mod text;
mod tokenizer;
mod trie;
mod ugm;
mod unicode;
mod unicode_tables;
mod vocab;
mod vocab_data;
mod wpm;

pub use error::Error;
pub use pre::pre_tokenizer_names;
pub use special::SpecialTokens;
pub use stream::StreamDecoder;
pub use tokenizer::Tokenizer;
pub use vocab::{TokenAttr, VocabType};
pub use vocab_data::{SpecialIds, VocabData};

pub use quipu_batch::TokenId;
