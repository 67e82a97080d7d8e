//! From tokens to text: the piece of each token, and the joining of pieces (`token_to_piece`, `detokenize`).

use crate::plamo2::byte_of;
use crate::rwkv::unescape;
use crate::unicode::{char_to_byte, decode_one, push_utf8};
use crate::vocab::Vocab;
use crate::{Error, TokenAttr, TokenId, VocabType};

/// Longest piece a token may have. Only texts full of characters outside the byte alphabet come near it.
const MAX_PIECE: usize = 1 << 20;

/// The bytes each token stands for, special tokens by their text.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    /// End of each piece in `bytes`.
    ends: Vec<usize>,
}

impl Pieces {
    /// Decodes every token. Fails on a byte token that is not one. `escaped`: spaces are written as U+2581.
    pub(crate) fn new(family: VocabType, escaped: bool, vocab: &Vocab) -> Result<Self, Error> {
        let mut pieces = Self::default();
        pieces.ends.reserve(vocab.len());
        for id in 0..vocab.len() as TokenId {
            push_piece(id, family, escaped, vocab, &mut pieces.bytes)?;
            pieces.ends.push(pieces.bytes.len());
        }
        Ok(pieces)
    }

    /// Piece of token number `index`, which is in range.
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }
}

fn push_piece(
    id: TokenId,
    family: VocabType,
    escaped: bool,
    vocab: &Vocab,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let (text, attr) = (vocab.text(id), vocab.attr(id));
    if family == VocabType::Rwkv {
        out.extend_from_slice(&unescape(text));
    } else if family == VocabType::Plamo2 {
        match byte_of(text).filter(|_| attr.intersects(TokenAttr::BYTE)) {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(text),
        }
    } else if attr.intersects(TokenAttr::UNKNOWN | TokenAttr::CONTROL | TokenAttr::USER_DEFINED) {
        out.extend_from_slice(text);
    } else if attr.intersects(TokenAttr::NORMAL) {
        if family == VocabType::Bpe && !escaped {
            push_byte_level(id, text, out)?;
        } else {
            push_with_spaces(text, out);
        }
    } else if attr.intersects(TokenAttr::BYTE) {
        let bad = || Error::BadByteToken { id, text: String::from_utf8_lossy(text).into_owned() };
        if family == VocabType::Wpm {
            return Err(bad());
        }
        let digits = text.get(3..5.min(text.len())).ok_or_else(bad)?;
        out.push(lenient_hex(digits));
    }
    Ok(())
}

/// Replaces U+2581 by spaces.
fn push_with_spaces(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        if let Some(after) = rest.strip_prefix("▁".as_bytes()) {
            out.push(b' ');
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
}

/// Turns the printable characters of a byte-level vocabulary back to bytes; what is outside that alphabet is
/// shown the way the reference shows it, with the whole text after it.
fn push_byte_level(id: TokenId, text: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let start = out.len();
    let mut rest = text;
    while let Some(&first) = rest.first() {
        let (cpt, len) = if first < 0x80 { (u32::from(first), 1) } else { decode_one(rest) };
        rest = &rest[len..];
        if let Some(byte) = char_to_byte(cpt) {
            out.push(byte);
            continue;
        }
        let mut utf8 = Vec::new();
        push_utf8(cpt, &mut utf8);
        out.extend_from_slice(b"[UNK_BYTE_0x");
        for byte in utf8 {
            out.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        out.extend_from_slice(text);
        out.push(b']');
        if out.len() - start > MAX_PIECE {
            return Err(Error::PieceTooLong { id, limit: MAX_PIECE });
        }
    }
    Ok(())
}

/// Value of at most two characters read like `strtol` in base 16: blanks and a sign first, 0 without digits.
fn lenient_hex(digits: &[u8]) -> u8 {
    let text = digits.trim_ascii_start();
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let value = text
        .iter()
        .map_while(|&c| char::from(c).to_digit(16))
        .fold(0u8, |value, digit| value.wrapping_mul(16).wrapping_add(digit as u8));
    if negative { value.wrapping_neg() } else { value }
}

/// Takes back the spaces that tokenization put before punctuation and contractions
/// (`clean_up_tokenization_spaces`, three passes).
pub(crate) fn clean_spaces(text: &[u8]) -> Vec<u8> {
    let text = before_punctuation(text);
    let text = around_apostrophes(&text);
    before_contractions(&text)
}

fn before_punctuation(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut prev = 0;
    for &x in text {
        if prev == b' ' && matches!(x, b'?' | b'!' | b'.' | b',') {
            out.pop();
        }
        out.push(x);
        prev = x;
    }
    out
}

/// `a ' b` becomes `a'b`.
fn around_apostrophes(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut prev = 0;
    let mut i = 0;
    while i < text.len() {
        let x = text[i];
        if i > 0 && x == b'\'' && prev == b' ' && text.get(i + 1) == Some(&b' ') {
            out.pop();
            i += 1;
            // The reference blanks the space it drops, so it cannot serve the next apostrophe.
            prev = 0;
        } else {
            prev = x;
        }
        out.push(x);
        i += 1;
    }
    out
}

/// Only 's, 'm, 're and 've are joined to the word before them.
fn before_contractions(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for (i, &x) in text.iter().enumerate() {
        let joined = matches!(text[i..], [b'\'', b's' | b'm', ..] | [b'\'', b'r' | b'v', b'e', ..]);
        if joined && i > 0 && text[i - 1] == b' ' {
            out.pop();
        }
        out.push(x);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning() {
        let clean = |text: &str| String::from_utf8(clean_spaces(text.as_bytes())).expect("ASCII");
        assert_eq!(clean("Hello , world ! it 's we 're I 'll"), "Hello, world! it's we're I 'll");
        assert_eq!(clean("a ' b"), "a'b");
        assert_eq!(clean(" ' ' "), "'' ");
        assert_eq!(clean(""), "");
        assert_eq!(clean(" ."), ".");
    }

    #[test]
    fn hex_like_strtol() {
        assert_eq!(lenient_hex(b"0A"), 10);
        assert_eq!(lenient_hex(b"fF"), 255);
        assert_eq!(lenient_hex(b"zz"), 0);
        assert_eq!(lenient_hex(b"-1"), 255);
        assert_eq!(lenient_hex(b"7>"), 7);
    }

    #[test]
    fn spaces_are_unescaped() {
        let mut out = Vec::new();
        push_with_spaces("▁a▁\u{2580}".as_bytes(), &mut out);
        assert_eq!(out, " a \u{2580}".as_bytes());
    }
}
