//! PLaMo-2 (`llm_tokenizer_plamo2`): the cheapest way to cover the text with tokens, found from its end, in integers.
//! Characters that no token covers fall back to bytes.
//!
//! The reference looks through a table of all suffixes of tokens, whose rows are the tokens that begin at a place, longest
//! first. A trie finds the same tokens, shortest first.

use crate::cache::WordCache;
use crate::scratch::{Scratch, Step};
use crate::segment::Neighbours;
use crate::trie::Trie;
use crate::unicode::{sanitize, utf8_len};
use crate::vocab::Vocab;
use crate::{Error, TokenAttr, TokenId};

/// Scores up to this one are no scores.
const INVALID: i32 = -20_000_000;
/// What a character on its own costs.
const UNKNOWN_COST: i64 = 10_000_000;
/// Stands for a character on its own.
const UNKNOWN: TokenId = TokenId::MAX;
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// Tokens by text, and what they score.
#[derive(Debug)]
pub(crate) struct Plamo2 {
    tokens: Trie,
    /// Ten-thousandths, by token.
    scores: Vec<i32>,
    bytes: Box<[TokenId; 256]>,
    neighbours: Neighbours,
}

impl Plamo2 {
    /// Fails if a byte has no token.
    pub(crate) fn new(vocab: &Vocab) -> Result<Self, Error> {
        let is_byte = |id| vocab.attr(id).intersects(TokenAttr::BYTE);
        let mut bytes = Box::new([0; 256]);
        for (id, text) in vocab.texts().filter(|&(id, _)| is_byte(id)) {
            if let Some(byte) = byte_of(text) {
                bytes[usize::from(byte)] = id;
            }
        }
        if let Some(byte) = bytes.iter().position(|&id| id == 0) {
            return Err(Error::MissingByteToken(byte as u8));
        }
        let scores = (0..vocab.len() as TokenId).map(|id| integer_score(vocab.score(id))).collect::<Vec<_>>();
        // Text is made sound before it is looked up: a token that is not sound is never found.
        let found = |id: TokenId, text: &[u8]| {
            !is_byte(id) && scores[id as usize] > INVALID && *sanitize(text) == *text
        };
        let tokens =
            Trie::new(vocab.texts().filter(|&(id, text)| found(id, text)).map(|(id, text)| (text, id)));
        let texts = vocab.texts().filter(|&(id, _)| !is_byte(id));
        let neighbours = Neighbours::new(texts.map(|(_, text)| text));
        Ok(Self { tokens, scores, bytes, neighbours })
    }

    /// Appends the tokens of `raw`, without the byte order mark it may begin with.
    pub(crate) fn encode(&self, raw: &[u8], scratch: &mut Scratch, out: &mut Vec<TokenId>) {
        let text = sanitize(raw);
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
        let mut start = 0;
        while start < text.len() {
            let end = self.neighbours.end(text, start);
            let segment = &text[start..end];
            start = end;
            let Some(key) = WordCache::key_in(text, end - segment.len(), end) else {
                self.cheapest(segment, &mut scratch.plamo2, out);
                continue;
            };
            if scratch.cache.copy(&key, out) {
                continue;
            }
            let before = out.len();
            self.cheapest(segment, &mut scratch.plamo2, out);
            scratch.cache.put(&key, &out[before..]);
        }
    }

    /// Appends the tokens of sound `text`.
    fn cheapest(&self, text: &[u8], steps: &mut Vec<Step>, out: &mut Vec<TokenId>) {
        steps.clear();
        steps.resize(text.len() + 1, Step { cost: 0, len: 0, token: UNKNOWN });
        for i in (0..text.len()).rev() {
            let len = utf8_len(text[i]);
            if text[i] & 0xC0 == 0x80 {
                continue;
            }
            let mut best = Step { cost: steps[i + len].cost + UNKNOWN_COST, len: len as u32, token: UNKNOWN };
            for (len, token, _) in self.tokens.prefixes(&text[i..]) {
                let cost = steps[i + len].cost - i64::from(self.scores[token as usize]);
                // Of equal ways the one that begins with the longest token.
                if cost <= best.cost {
                    best = Step { cost, len: len as u32, token };
                }
            }
            steps[i] = best;
        }

        let mut i = 0;
        while i < text.len() {
            let Step { len, token, .. } = steps[i];
            let next = i + len as usize;
            if token == UNKNOWN {
                out.extend(text[i..next].iter().map(|&byte| self.bytes[usize::from(byte)]));
            } else {
                out.push(token);
            }
            i = next;
        }
    }
}

/// The byte of a text of the form `<0xXX>`.
pub(crate) fn byte_of(text: &[u8]) -> Option<u8> {
    let [b'<', b'0', b'x', high, low, b'>'] = *text else { return None };
    let digit = |c: u8| char::from(c).to_digit(16);
    Some((digit(high)? << 4 | digit(low)?) as u8)
}

/// Ten-thousandths. What does not fit becomes the smallest number, as on the reference's machines.
fn integer_score(score: f32) -> i32 {
    if !score.is_finite() {
        return INVALID;
    }
    let scaled = (f64::from(score) * 1e4).round();
    if scaled > f64::from(i32::MAX) { i32::MIN } else { scaled as i32 }
}
