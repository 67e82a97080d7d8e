//! GPT-2 and Llama 3 words: the splitters most vocabularies use.

use super::Ends;
use crate::text::Piece;
use crate::unicode::class::{LETTER, MARK, NUMBER, WHITESPACE};

/// What a run of other characters takes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// `[\r\n]*`
    LineEnds,
    /// Nothing.
    Nothing,
}

/// Case-insensitive contractions, words with one leading character, digits in groups, other runs with their
/// tail, whitespace up to the last line end, other whitespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Words {
    /// Longest group of digits.
    pub(crate) digits: usize,
    /// Words take combining marks, and marks begin them.
    pub(crate) marks: bool,
    pub(crate) tail: Tail,
    /// Whitespace is cut into powers of two (Jais 2).
    pub(crate) powers: bool,
}

impl Words {
    /// Llama 3's with groups of at most `digits` digits.
    pub(crate) const fn new(digits: usize) -> Self {
        Self { digits, marks: false, tail: Tail::LineEnds, powers: false }
    }
}

/// Length of the English contraction ('s, 't, 're, 've, 'm, 'll, 'd) at `i`, or 0. ASCII letters only: no other
/// code point lowers to one of these.
#[inline]
pub(super) fn contraction(piece: Piece<'_>, i: usize, any_case: bool) -> usize {
    if piece.byte(i) != b'\'' {
        return 0;
    }
    let fold = |b: u8| if any_case { b.to_ascii_lowercase() } else { b };
    match fold(piece.byte(i + 1)) {
        b's' | b't' | b'm' | b'd' => 2,
        b'r' | b'v' if fold(piece.byte(i + 2)) == b'e' => 3,
        b'l' if fold(piece.byte(i + 2)) == b'l' => 3,
        _ => 0,
    }
}

/// Answers to `unicode_regex_split_custom_gpt2`.
pub(super) fn gpt2(piece: Piece<'_>, out: &mut Ends<'_, '_>) {
    const WORDS: u8 = WHITESPACE | LETTER | NUMBER;
    let mut i = 0;
    while i < piece.len() {
        let quoted = contraction(piece, i, false);
        if quoted > 0 {
            i += quoted;
            out.push(i);
            continue;
        }
        let body = i + usize::from(piece.byte(i) == b' ');
        let (class, next) = piece.class_next(body);
        if class & LETTER != 0 {
            i = piece.skip(next, LETTER);
        } else if class & NUMBER != 0 {
            i = piece.skip(next, NUMBER);
        } else if class != 0 && class & WORDS == 0 {
            i = piece.skip(next, !WORDS);
        } else {
            i = whitespace(piece, i, piece.skip(i, WHITESPACE));
        }
        out.push(i);
    }
}

/// End of `\s+(?!\S)` or else `\s+` in the whitespace from `i` to `end`: a run that something follows leaves its
/// last character to it. Moves at least one code point.
#[inline]
pub(super) fn whitespace(piece: Piece<'_>, i: usize, end: usize) -> usize {
    if end <= i {
        return piece.next(i);
    }
    if end == piece.len() {
        return end;
    }
    let last = piece.before(end);
    if last > i { last } else { end }
}

/// End of `\s*[\r\n]+`, `\s+(?!\S)` or `\s+` at `i`.
pub(super) fn lines_or_whitespace(piece: Piece<'_>, i: usize) -> usize {
    let end = piece.skip(i, WHITESPACE);
    match piece.bytes[i..end].iter().rposition(|&b| is_line_end(b)) {
        Some(last) => i + last + 1,
        None => whitespace(piece, i, end),
    }
}

pub(super) fn is_line_end(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

/// Ends groups of at most `digits` numbers from `i` on; returns the end of all.
#[inline]
pub(super) fn number_groups(piece: Piece<'_>, mut i: usize, digits: usize, out: &mut Ends<'_, '_>) -> usize {
    let mut n = 0;
    loop {
        let (class, next) = piece.class_next(i);
        if class & NUMBER == 0 {
            out.push(i);
            return i;
        }
        i = next;
        n += 1;
        if n == digits {
            out.push(i);
            n = 0;
        }
    }
}

/// Answers to `unicode_regex_split_custom_llama3`, `_qwen2` and `_qwen35`, and to expressions of that shape.
pub(super) fn words(piece: Piece<'_>, rule: Words, out: &mut Ends<'_, '_>) {
    let letter = if rule.marks { LETTER | MARK } else { LETTER };
    let wordlike = WHITESPACE | NUMBER | letter;
    let mut i = 0;
    while i < piece.len() {
        let quoted = contraction(piece, i, true);
        if quoted > 0 {
            i += quoted;
            out.push(i);
            continue;
        }
        let byte = piece.byte(i);
        let (class, next) = piece.class_next(i);
        if class & NUMBER != 0 {
            i = number_groups(piece, i, rule.digits, out);
            continue;
        }
        if class & letter != 0 {
            i = piece.skip(next, letter);
            out.push(i);
            continue;
        }
        let (next_class, after) = piece.class_next(next);
        if next_class & letter != 0 && !is_line_end(byte) {
            i = piece.skip(after, letter);
            out.push(i);
            continue;
        }
        let body = if byte == b' ' { next } else { i };
        if piece.class(body) & wordlike == 0 {
            i = piece.skip(body, !wordlike);
            if rule.tail == Tail::LineEnds {
                i = piece.skip_bytes(i, b"\r\n");
            }
            out.push(i);
            continue;
        }
        if rule.powers {
            i = powers_of_whitespace(piece, i, out);
            continue;
        }
        i = lines_or_whitespace(piece, i);
        out.push(i);
    }
}

/// Jais 2: whitespace up to the last line end; or else as many of 512, 256, ... 4 characters as nothing but
/// whitespace follows, then two, then one. Returns where it stopped: the last character before something else is
/// looked at again, for it may begin a word.
fn powers_of_whitespace(piece: Piece<'_>, mut i: usize, out: &mut Ends<'_, '_>) -> usize {
    let end = piece.skip(i, WHITESPACE);
    if let Some(last) = piece.bytes[i..end].iter().rposition(|&b| is_line_end(b)) {
        out.push(i + last + 1);
        return i + last + 1;
    }
    let n_chars = piece.bytes[i..end].iter().filter(|&&b| b & 0xC0 != 0x80).count();
    let mut left = if end < piece.len() { n_chars - 1 } else { n_chars };
    if left == 0 {
        out.push(end);
        return end;
    }
    while left > 0 {
        let n = if left >= 4 { 1 << left.ilog2().min(9) } else { left.min(2) };
        for _ in 0..n {
            i = piece.next(i);
        }
        left -= n;
        out.push(i);
    }
    i
}
