//! Tokenizers of llama.cpp (llama-vocab.cpp, unicode.cpp): text to token ids and back, id for id.
//!
//! Lives here: the families SPM ("llama"), BPE ("gpt2") and WPM ("bert"), the pre-tokenizers of BPE, special
//! tokens, pieces and detokenization, and the streaming decoder. A vocabulary comes in as [`VocabData`], plain
//! data that a GGUF file's metadata can fill. Not here: chat templates, sampling, and the families UGM, RWKV and PLaMo-2.
//!
//! Differences from the reference, all where it throws, aborts or leaves an order undefined: code points
//! beyond U+10FFFF count as invalid bytes, missing tokens are errors of the call, duplicate token texts are an
//! error of the vocabulary.
#![forbid(unsafe_code)]

mod bpe;
mod error;
mod from_gguf;
mod hash;
mod partition;
mod pieces;
mod pre;
mod reference_hash;
mod reference_sort;
mod special;
mod split;
mod spm;
mod stream;
mod text;
mod tokenizer;
mod unicode;
mod unicode_tables;
mod vocab;
mod vocab_data;
mod wpm;

pub use error::Error;
pub use special::SpecialTokens;
pub use stream::StreamDecoder;
pub use tokenizer::Tokenizer;
pub use vocab::{TokenAttr, VocabType};
pub use vocab_data::{SpecialIds, VocabData};

/// A token id, an index into the vocabulary (`llama_token`, without its negative null).
pub type TokenId = u32;
