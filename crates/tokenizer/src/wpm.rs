//! WordPiece (`llm_tokenizer_wpm_session`): words are split off and normalized, then covered greedily by the
//! longest tokens; a word that cannot be covered becomes one unknown token.

use crate::unicode::class::{CONTROL, MARK, PUNCTUATION, SYMBOL, WHITESPACE};
use crate::unicode::{REPLACEMENT, class_of, decode_one, nfd_first, push_utf8, to_lower};
use crate::vocab::Vocab;
use crate::{Error, TokenId};

/// What the normalizer does to words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Normalizer {
    pub(crate) lowercase: bool,
    pub(crate) strip_accents: bool,
}

/// Appends the tokens of `raw`; fails where an unknown token is needed and `unk` is none.
pub(crate) fn encode(
    raw: &[u8],
    normalizer: Normalizer,
    unk: Option<TokenId>,
    vocab: &Vocab,
    out: &mut Vec<TokenId>,
) -> Result<(), Error> {
    let mut marked = Vec::new();
    for word in words(raw, normalizer) {
        marked.clear();
        marked.extend("▁".bytes());
        marked.extend(&word);
        if !cover(&marked, vocab, out) {
            out.push(unk.ok_or(Error::MissingSpecialToken("unknown"))?);
        }
    }
    Ok(())
}

/// Covers `word` by the longest tokens from left to right; leaves `out` alone if that fails.
fn cover(word: &[u8], vocab: &Vocab, out: &mut Vec<TokenId>) -> bool {
    let before = out.len();
    let mut rest = word;
    while !rest.is_empty() {
        let longest = rest.len().min(vocab.max_text_len());
        let Some((id, len)) = (1..=longest).rev().find_map(|len| Some((vocab.id_of(&rest[..len])?, len)))
        else {
            out.truncate(before);
            return false;
        };
        out.push(id);
        rest = &rest[len..];
    }
    true
}

/// Normalized words: split at whitespace, punctuation and CJK characters being words of their own.
fn words(raw: &[u8], normalizer: Normalizer) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let mut rest = raw;
    while !rest.is_empty() {
        let (mut cpt, len) = decode_one(rest);
        rest = &rest[len..];
        if normalizer.strip_accents {
            cpt = nfd_first(cpt);
        }
        let class = class_of(cpt);
        if class & WHITESPACE != 0 {
            finish(&mut word, &mut words);
            continue;
        }
        if cpt == 0 || cpt == REPLACEMENT || class & CONTROL != 0 {
            continue;
        }
        if normalizer.strip_accents && class & MARK != 0 {
            continue;
        }
        // Lower case is applied after the class is known, as in the reference.
        let shown = if normalizer.lowercase { to_lower(cpt) } else { cpt };
        let alone = class & PUNCTUATION != 0 || (cpt < 0x7F && class & SYMBOL != 0) || is_cjk(cpt);
        if alone {
            finish(&mut word, &mut words);
        }
        push_utf8(shown, &mut word);
        if alone {
            finish(&mut word, &mut words);
        }
    }
    finish(&mut word, &mut words);
    words
}

fn finish(word: &mut Vec<u8>, words: &mut Vec<Vec<u8>>) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

/// CJK ideographs that WordPiece treats as words. The gap from U+2B820 is the reference's (and Hugging Face's).
fn is_cjk(cpt: u32) -> bool {
    matches!(cpt,
        0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x2A6DF | 0x2A700..=0x2B73F
        | 0x2B740..=0x2B81F | 0x2B920..=0x2CEAF | 0x2F800..=0x2FA1F)
}
