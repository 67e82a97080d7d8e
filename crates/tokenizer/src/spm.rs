//! SentencePiece BPE (`llm_tokenizer_spm_session`): characters are joined to the best-scored token that two
//! neighbours form, until none do; what is no token then falls back to bytes.

use crate::cache::WordCache;
use crate::hash::NO_VALUE;
use crate::merge::{OPAQUE, joined};
use crate::scratch::Scratch;
use crate::segment::{Neighbours, SPACE};
use crate::unicode::utf8_len;
use crate::vocab::Vocab;
use crate::{Error, TokenId};

/// What the merging needs to know about an SPM vocabulary.
#[derive(Debug)]
pub(crate) struct Spm {
    neighbours: Neighbours,
    bytes: Box<[Option<TokenId>; 256]>,
}

impl Spm {
    pub(crate) fn new(vocab: &Vocab) -> Self {
        Self {
            neighbours: Neighbours::new(vocab.texts().map(|(_, text)| text)),
            bytes: Box::new(std::array::from_fn(|byte| byte_token(byte as u8, vocab).ok())),
        }
    }

    /// Appends the tokens of `raw`, in which spaces are replaced by U+2581, with one more in front if
    /// `space_prefix`. Fails where a byte has no token.
    pub(crate) fn encode(
        &self,
        raw: &[u8],
        space_prefix: bool,
        vocab: &Vocab,
        scratch: &mut Scratch,
        out: &mut Vec<TokenId>,
    ) -> Result<(), Error> {
        let mut prefixed = std::mem::take(&mut scratch.text);
        prefixed.clear();
        let text = if space_prefix {
            prefixed.push(b' ');
            prefixed.extend_from_slice(raw);
            &prefixed
        } else {
            raw
        };
        let result = if std::str::from_utf8(raw).is_ok() {
            self.segments(text, vocab, scratch, out)
        } else {
            // The lead byte of a broken character may take what follows it along: no place to cut is safe.
            self.merge(text, vocab, scratch, out)
        };
        scratch.text = prefixed;
        result
    }

    fn segments(
        &self,
        text: &[u8],
        vocab: &Vocab,
        scratch: &mut Scratch,
        out: &mut Vec<TokenId>,
    ) -> Result<(), Error> {
        let mut start = 0;
        while start < text.len() {
            let end = self.neighbours.end(text, start);
            let segment = &text[start..end];
            start = end;
            let Some(key) = WordCache::key_in(text, end - segment.len(), end) else {
                self.merge(segment, vocab, scratch, out)?;
                continue;
            };
            if scratch.cache.copy(&key, out) {
                continue;
            }
            let before = out.len();
            self.merge(segment, vocab, scratch, out)?;
            scratch.cache.put(&key, &out[before..]);
        }
        Ok(())
    }

    fn merge(
        &self,
        raw: &[u8],
        vocab: &Vocab,
        scratch: &mut Scratch,
        out: &mut Vec<TokenId>,
    ) -> Result<(), Error> {
        let Scratch { merger, encoded: text, .. } = scratch;
        text.clear();
        for &byte in raw {
            if byte == b' ' { text.extend_from_slice(SPACE) } else { text.push(byte) }
        }
        merger.clear();
        let mut i = 0;
        // A character is as long as its first byte announces.
        while i < text.len() {
            let end = text.len().min(i + utf8_len(text[i]));
            merger.push(vocab.id_of(&text[i..end]).unwrap_or(OPAQUE), i);
            i = end;
        }
        merger.run(text.len(), |_, _, range| {
            if range.len() > vocab.max_text_len() {
                return NO_VALUE;
            }
            vocab.id_of(&text[range]).map_or(NO_VALUE, |id| joined(rank(vocab.score(id)), id))
        });
        for (symbol, range) in merger.parts() {
            if symbol == OPAQUE {
                for &byte in &text[range] {
                    out.push(self.bytes[usize::from(byte)].ok_or(Error::MissingByteToken(byte))?);
                }
            } else {
                out.push(symbol);
            }
        }
        Ok(())
    }
}

/// The greater the score, the lower the rank; in the order of `f32::total_cmp`, but for the sign of zero.
fn rank(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    !ascending
}

/// Token of a byte: `<0xXX>`, or else the byte as a text (`llama_vocab::byte_to_token`).
pub(crate) fn byte_token(byte: u8, vocab: &Vocab) -> Result<TokenId, Error> {
    vocab
        .id_of(format!("<0x{byte:02X}>").as_bytes())
        .or_else(|| vocab.id_of(&[byte]))
        .ok_or(Error::MissingByteToken(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_fall_as_scores_rise() {
        let scores = [f32::NEG_INFINITY, -10.5, -1.0, -1e-40, 0.0, 1e-40, 0.5, 3.0, f32::INFINITY];
        assert!(scores.windows(2).all(|w| rank(w[0]) > rank(w[1])));
        assert_eq!(rank(0.0), rank(-0.0));
    }
}
