//! BPE (`llm_tokenizer_bpe_session`), on bytes or on characters.
//!
//! Merge rules are compiled to numbers once: every string that can come up while merging gets a symbol number,
//! that of its token where it has one, so that the loop compares no strings.

use std::collections::HashMap;

use crate::TokenId;
use crate::cache::WordCache;
use crate::hash::{NO_VALUE, PairTable};
use crate::merge::{OPAQUE, joined};
use crate::pre::PreTokenizer;
use crate::scratch::Scratch;
use crate::split::{Stage, split};
use crate::unicode::{byte_to_char, sanitize, utf8_len};
use crate::vocab::Vocab;

/// Compiled merges and the pre-tokenizer of a BPE vocabulary.
#[derive(Debug)]
pub(crate) struct Bpe {
    stages: &'static [Stage],
    ignore_merges: bool,
    newline_words: bool,
    /// Pairs of symbols to rank and joined symbol.
    merges: PairTable,
    /// What two bytes give; empty where merges join characters.
    byte_merges: Vec<u64>,
    alphabet: Alphabet,
    /// Tokens by bytes, for symbols that are none; their numbers follow those of the tokens.
    fallback: Vec<Box<[TokenId]>>,
    n_tokens: u32,
}

/// What words are made of before anything is merged.
#[derive(Debug)]
enum Alphabet {
    /// Bytes, each written as a printable character.
    Bytes { symbols: Box<[u32; 256]> },
    /// Characters; those that merges name but the vocabulary lacks have symbols of their own.
    Characters { others: HashMap<Box<[u8]>, u32>, bytes: Box<[Option<TokenId>; 256]> },
}

impl Bpe {
    /// Compiles `merges` ("left right", by rank); lines without two parts never apply, like in the reference.
    pub(crate) fn new(pre: &PreTokenizer, merges: &[Vec<u8>], vocab: &Vocab) -> Self {
        let n_tokens = vocab.len() as u32;
        let mut symbols = Symbols { vocab, others: HashMap::new(), texts: Vec::new() };
        let bytes = (!pre.characters).then(|| {
            Box::new(std::array::from_fn(|b| symbols.intern(byte_to_char(b as u8).to_string().as_bytes())))
        });
        let mut table = PairTable::with_capacity(merges.len());
        let mut merged = Vec::new();
        for (rank, merge) in merges.iter().enumerate() {
            // The parts meet at the first space, but a space in front belongs to the left part.
            let Some(space) = merge.iter().skip(1).position(|&b| b == b' ').map(|i| i + 1) else { continue };
            let (left, right) = (&merge[..space], &merge[space + 1..]);
            if right.is_empty() {
                continue;
            }
            merged.clear();
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
            let symbol = symbols.intern(&merged);
            table.insert_first(symbols.intern(left), symbols.intern(right), joined(rank as u32, symbol));
        }
        let byte_merges = bytes.as_deref().map_or(Vec::new(), |bytes| {
            bytes
                .iter()
                .flat_map(|&left| bytes.iter().map(move |&right| (left, right)))
                .map(|(left, right)| table.get(left, right))
                .collect()
        });
        let byte_tokens: [Option<TokenId>; 256] = std::array::from_fn(|b| {
            if pre.characters {
                vocab.id_of(format!("<0x{b:02X}>").as_bytes())
            } else {
                vocab.id_of(&[b as u8])
            }
        });
        let Symbols { others, texts, .. } = symbols;
        let fallback = texts
            .iter()
            .map(|text| text.iter().filter_map(|&byte| byte_tokens[usize::from(byte)]).collect())
            .collect();
        let alphabet = match bytes {
            Some(symbols) => Alphabet::Bytes { symbols },
            None => Alphabet::Characters { others, bytes: Box::new(byte_tokens) },
        };
        Self {
            stages: pre.stages,
            ignore_merges: pre.ignore_merges,
            newline_words: pre.gemma4,
            merges: table,
            byte_merges,
            alphabet,
            fallback,
            n_tokens,
        }
    }

    /// Appends the tokens of `raw`.
    pub(crate) fn encode(&self, raw: &[u8], vocab: &Vocab, scratch: &mut Scratch, out: &mut Vec<TokenId>) {
        let text = sanitize(raw);
        split(self.stages, &text, &mut |word| self.word(word, vocab, scratch, out));
    }

    #[inline]
    fn word(&self, word: &[u8], vocab: &Vocab, scratch: &mut Scratch, out: &mut Vec<TokenId>) {
        let Some(key) = WordCache::key(word) else {
            self.new_word(word, vocab, scratch, out);
            return;
        };
        if scratch.cache.copy(&key, out) {
            return;
        }
        let before = out.len();
        self.new_word(word, vocab, scratch, out);
        scratch.cache.put(&key, &out[before..]);
    }

    fn new_word(&self, word: &[u8], vocab: &Vocab, scratch: &mut Scratch, out: &mut Vec<TokenId>) {
        if let Some(id) = self.whole_word(word, vocab, scratch) {
            out.push(id);
            return;
        }
        let merger = &mut scratch.merger;
        merger.clear();
        match &self.alphabet {
            Alphabet::Bytes { symbols } => {
                for (i, &byte) in word.iter().enumerate() {
                    merger.push(symbols[usize::from(byte)], i);
                }
                merger.run(word.len(), |left, right, range| {
                    if range.len() == 2 {
                        let (a, b) = (word[range.start], word[range.start + 1]);
                        return self.byte_merges[usize::from(a) << 8 | usize::from(b)];
                    }
                    self.merges.get(left, right)
                });
            }
            Alphabet::Characters { others, .. } => {
                let mut i = 0;
                while i < word.len() {
                    let end = word.len().min(i + utf8_len(word[i]));
                    let text = &word[i..end];
                    let symbol = vocab.id_of(text).or_else(|| others.get(text).copied());
                    merger.push(symbol.unwrap_or(OPAQUE), i);
                    i = end;
                }
                merger.run(word.len(), |left, right, _| {
                    if left == OPAQUE || right == OPAQUE { NO_VALUE } else { self.merges.get(left, right) }
                });
            }
        }
        for (symbol, range) in merger.parts() {
            if symbol < self.n_tokens {
                out.push(symbol);
            } else if let Some(ids) = self.fallback.get((symbol - self.n_tokens) as usize) {
                out.extend_from_slice(ids);
            } else if let Alphabet::Characters { bytes, .. } = &self.alphabet {
                out.extend(word[range].iter().filter_map(|&byte| bytes[usize::from(byte)]));
            }
        }
    }

    /// The token that a word is without looking at merges, where the vocabulary asks for that.
    fn whole_word(&self, word: &[u8], vocab: &Vocab, scratch: &mut Scratch) -> Option<TokenId> {
        if self.newline_words && word.iter().all(|&byte| byte == b'\n') {
            return vocab.id_of(word);
        }
        if !self.ignore_merges || word.len() > vocab.max_text_len() {
            return None;
        }
        if matches!(self.alphabet, Alphabet::Characters { .. }) {
            return vocab.id_of(word);
        }
        scratch.encoded.clear();
        for &byte in word {
            let mut utf8 = [0; 4];
            scratch.encoded.extend_from_slice(byte_to_char(byte).encode_utf8(&mut utf8).as_bytes());
        }
        vocab.id_of(&scratch.encoded)
    }
}

/// Numbers strings: a token has its id, others follow in the order they come.
struct Symbols<'v> {
    vocab: &'v Vocab,
    others: HashMap<Box<[u8]>, u32>,
    texts: Vec<Box<[u8]>>,
}

impl Symbols<'_> {
    fn intern(&mut self, text: &[u8]) -> u32 {
        if let Some(id) = self.vocab.id_of(text) {
            return id;
        }
        if let Some(&number) = self.others.get(text) {
            return number;
        }
        let number = (self.vocab.len() + self.texts.len()) as u32;
        self.others.insert(text.into(), number);
        self.texts.push(text.into());
        number
    }
}
