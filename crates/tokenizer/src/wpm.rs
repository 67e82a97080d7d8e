//! WordPiece (`llm_tokenizer_wpm_session`): words are split off and normalized, then covered greedily by the
//! longest tokens; a word that cannot be covered becomes one unknown token.

use crate::cache::WordCache;
use crate::scratch::Scratch;
use crate::segment::SPACE;
use crate::trie::Trie;
use crate::unicode::class::{CONTROL, MARK, PUNCTUATION, SYMBOL, WHITESPACE};
use crate::unicode::{ASCII_CLASS, REPLACEMENT, class_of, decode_one, nfd_first, push_utf8, to_lower};
use crate::vocab::Vocab;
use crate::{Error, TokenId};

/// The normalizer's switches and the tokens by text.
#[derive(Debug)]
pub(crate) struct Wpm {
    lowercase: bool,
    strip_accents: bool,
    trie: Trie,
    /// Tokens of ASCII punctuation, where it is one token.
    punctuation: Box<[Option<TokenId>; 128]>,
}

impl Wpm {
    pub(crate) fn new(lowercase: bool, strip_accents: bool, vocab: &Vocab) -> Self {
        let trie = Trie::new(vocab.texts().map(|(id, text)| (text, id)));
        let mut wpm = Self { lowercase, strip_accents, trie, punctuation: Box::new([None; 128]) };
        let mut scratch = Scratch::default();
        for byte in 0..128u8 {
            let mut ids = Vec::new();
            if ASCII_CLASS[usize::from(byte)] & (PUNCTUATION | SYMBOL) != 0
                && wpm.words(&[byte], None, &mut scratch, &mut ids).is_ok()
                && let [id] = ids[..]
            {
                wpm.punctuation[usize::from(byte)] = Some(id);
            }
        }
        wpm
    }

    /// Appends the tokens of `raw`; fails where an unknown token is needed and `unk` is none.
    pub(crate) fn encode(
        &self,
        raw: &[u8],
        unk: Option<TokenId>,
        scratch: &mut Scratch,
        out: &mut Vec<TokenId>,
    ) -> Result<(), Error> {
        let mut start = 0;
        while start < raw.len() {
            let class = ASCII_CLASS[usize::from(raw[start])];
            if class & WHITESPACE != 0 {
                start += 1;
                continue;
            }
            if let Some(Some(id)) = self.punctuation.get(usize::from(raw[start])) {
                out.push(*id);
                start += 1;
                continue;
            }
            // ASCII punctuation and CJK are words of their own; whitespace beyond ASCII is left to `words`.
            let end = if class & (PUNCTUATION | SYMBOL) != 0 { start + 1 } else { segment_end(raw, start) };
            let segment = &raw[start..end];
            start = end;
            let Some(key) = WordCache::key_in(raw, end - segment.len(), end) else {
                self.words(segment, unk, scratch, out)?;
                continue;
            };
            if scratch.cache.copy(&key, out) {
                continue;
            }
            let before = out.len();
            self.words(segment, unk, scratch, out)?;
            scratch.cache.put(&key, &out[before..]);
        }
        Ok(())
    }

    /// Appends the tokens of a text, word by word: they end at whitespace, and punctuation and CJK characters
    /// are words of their own.
    fn words(
        &self,
        raw: &[u8],
        unk: Option<TokenId>,
        scratch: &mut Scratch,
        out: &mut Vec<TokenId>,
    ) -> Result<(), Error> {
        let word = &mut scratch.text;
        word.clear();
        let mut rest = raw;
        while !rest.is_empty() {
            let (mut cpt, len) = decode_one(rest);
            rest = &rest[len..];
            if self.strip_accents {
                cpt = nfd_first(cpt);
            }
            let class = class_of(cpt);
            if class & WHITESPACE != 0 {
                self.finish(word, unk, out)?;
                continue;
            }
            if cpt == 0 || cpt == REPLACEMENT || class & CONTROL != 0 {
                continue;
            }
            if self.strip_accents && class & MARK != 0 {
                continue;
            }
            // Lower case is applied after the class is known, as in the reference.
            let shown = if self.lowercase { to_lower(cpt) } else { cpt };
            let alone = class & PUNCTUATION != 0 || (cpt < 0x7F && class & SYMBOL != 0) || is_cjk(cpt);
            if alone {
                self.finish(word, unk, out)?;
            }
            push_utf8(shown, word);
            if alone {
                self.finish(word, unk, out)?;
            }
        }
        self.finish(word, unk, out)
    }

    /// Covers `word`, behind an escaped space, by the longest tokens from left to right, and empties it.
    fn finish(&self, word: &mut Vec<u8>, unk: Option<TokenId>, out: &mut Vec<TokenId>) -> Result<(), Error> {
        if word.is_empty() {
            return Ok(());
        }
        let before = out.len();
        let mut done = 0;
        // The first token begins in the escaped space, whose bytes tokens may cut apart.
        let mut lead = SPACE;
        while done < word.len() || !lead.is_empty() {
            let Some((id, len)) = self.longest(lead, &word[done..]) else {
                out.truncate(before);
                out.push(unk.ok_or(Error::MissingSpecialToken("unknown"))?);
                break;
            };
            out.push(id);
            let in_lead = len.min(lead.len());
            lead = &lead[in_lead..];
            done += len - in_lead;
        }
        word.clear();
        Ok(())
    }

    /// Longest token that `lead` and `word`, one after the other, begin with.
    fn longest(&self, lead: &[u8], word: &[u8]) -> Option<(TokenId, usize)> {
        let mut node = self.trie.root();
        let mut found = None;
        for (i, &byte) in lead.iter().chain(word).enumerate() {
            let Some(next) = self.trie.child(node, byte) else { break };
            node = next;
            if let Some(id) = node.value() {
                found = Some((id, i + 1));
            }
        }
        found
    }
}

/// First place from `start` on where a new word begins for certain: at ASCII whitespace or punctuation, before
/// and after a CJK character.
fn segment_end(raw: &[u8], start: usize) -> usize {
    let mut i = start;
    loop {
        while let Some(chunk) = raw[i..].first_chunk::<8>() {
            let n = plain_bytes(u64::from_le_bytes(*chunk));
            i += n;
            if n < 8 {
                break;
            }
        }
        let Some(&byte) = raw.get(i) else { return i };
        if byte < FIRST_CJK_LEAD {
            if ASCII_CLASS[usize::from(byte)] & (WHITESPACE | PUNCTUATION | SYMBOL) != 0 {
                return i;
            }
            i += 1;
        } else {
            let (cpt, len) = decode_one(&raw[i..]);
            if is_cjk(cpt) {
                return if i == start { i + len } else { i };
            }
            i += len;
        }
    }
}

/// No character below this lead byte is CJK; continuation bytes are below it, too.
const FIRST_CJK_LEAD: u8 = 0xE3;

/// How many of eight bytes, lowest first, are ASCII letters or digits, or beyond ASCII and below [`FIRST_CJK_LEAD`].
#[inline]
fn plain_bytes(bytes: u64) -> usize {
    const ONES: u64 = u64::MAX / 0xFF;
    const HIGH: u64 = ONES << 7;
    // Bit 7 of every byte of `low` that is at least `first`; nothing is carried from one byte to the next.
    let from = |low: u64, first: u8| low + ONES * u64::from(0x80 - first);
    let low = bytes & !HIGH;
    let letters = low | ONES << 5;
    let letter = from(letters, b'a') & !from(letters, b'z' + 1);
    let digit = from(low, b'0') & !from(low, b'9' + 1);
    let beyond = !from(low, FIRST_CJK_LEAD & 0x7F);
    let plain = ((letter | digit) & !bytes | beyond & bytes) & HIGH;
    (plain ^ HIGH).trailing_zeros() as usize / 8
}

/// CJK ideographs that WordPiece treats as words. The gap from U+2B820 is the reference's (and Hugging Face's).
fn is_cjk(cpt: u32) -> bool {
    matches!(cpt,
        0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x2A6DF | 0x2A700..=0x2B73F
        | 0x2B740..=0x2B81F | 0x2B920..=0x2CEAF | 0x2F800..=0x2FA1F)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_words() {
        for byte in 0..=255u8 {
            let plain = byte.is_ascii_alphanumeric() || (0x80..FIRST_CJK_LEAD).contains(&byte);
            for at in 0..8 {
                let mut bytes = *b"aZ09\x80\xE2mA";
                bytes[at] = byte;
                assert_eq!(plain_bytes(u64::from_le_bytes(bytes)), if plain { 8 } else { at }, "{byte} {at}");
            }
        }
    }

    #[test]
    fn segments_end_where_words_do() {
        let segments = |text: &'static str| {
            let (mut start, mut found) = (0, Vec::new());
            while start < text.len() {
                let end = segment_end(text.as_bytes(), start).max(start + 1);
                found.push(&text[start..end]);
                start = end;
            }
            found
        };
        assert_eq!(segments("Wörterbuchanfang,ende"), ["Wörterbuchanfang", ",", "ende"]);
        assert_eq!(segments("слово 中文あいx"), ["слово", " ", "中", "文", "あいx"]);
        assert_eq!(segments("a\u{1}b\u{2581}c"), ["a\u{1}b\u{2581}c"]);
    }
}
