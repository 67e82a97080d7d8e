//! Words with combining marks (DeepSeek 3), words beside Han (Kimi K2) and words with spaces in them (EXAONE MoE).

use super::Ends;
use super::ranges::is_han;
use super::words::{contraction, is_line_end, lines_or_whitespace, number_groups};
use crate::text::Piece;
use crate::unicode::class::{LETTER, MARK, NUMBER, PUNCTUATION, SYMBOL, WHITESPACE};

/// `\p{P}` or `\p{S}` at `i`, as the reference's collapsed expressions have it: `~` is left out.
fn is_sign(piece: Piece<'_>, i: usize) -> bool {
    piece.is(i, PUNCTUATION | SYMBOL) && piece.byte(i) != b'~'
}

/// ASCII punctuation and the letters after it; words of letters and marks with one leading character; runs of
/// punctuation and symbols; whitespace. What is neither stays between them.
pub(super) fn marked_words(piece: Piece<'_>, out: &mut Ends<'_, '_>) {
    let mut i = 0;
    while i < piece.len() {
        match marked_word(piece, i) {
            Some(end) => {
                out.push(i);
                out.push(end);
                i = end;
            }
            None => i = piece.next(i),
        }
    }
}

fn marked_word(piece: Piece<'_>, i: usize) -> Option<usize> {
    const WORD: u8 = LETTER | MARK;
    let byte = piece.byte(i);
    if byte.is_ascii_punctuation() && piece.byte(i + 1).is_ascii_alphabetic() {
        return Some(piece.run(i + 1, |j| piece.byte(j).is_ascii_alphabetic()));
    }
    let (class, next) = piece.class_next(i);
    let led = !is_line_end(byte) && class & LETTER == 0 && !is_sign(piece, i);
    if led && piece.is(next, WORD) {
        return Some(piece.skip(next, WORD));
    }
    if class & WORD != 0 {
        return Some(piece.skip(next, WORD));
    }
    let body = if byte == b' ' { next } else { i };
    if is_sign(piece, body) {
        let end = piece.run(body, |j| is_sign(piece, j));
        return Some(piece.skip_bytes(end, b"\r\n"));
    }
    (class & WHITESPACE != 0).then(|| lines_or_whitespace(piece, i))
}

/// Answers to `unicode_regex_split_custom_kimi_k2`.
pub(super) fn kimi(piece: Piece<'_>, out: &mut Ends<'_, '_>) {
    const OTHER: u8 = !(WHITESPACE | LETTER | NUMBER);
    let han = |i: usize| is_han(piece.cpt(i));
    let letter = |i: usize| piece.is(i, LETTER) && !han(i);
    let mut i = 0;
    while i < piece.len() {
        if han(i) {
            i = piece.run(i, han);
            out.push(i);
            continue;
        }
        let (class, next) = piece.class_next(i);
        let led = class & (LETTER | NUMBER) == 0 && !is_line_end(piece.byte(i));
        if class & LETTER != 0 || (led && letter(next)) {
            i = piece.run(next, letter);
            i += contraction(piece, i, true);
            out.push(i);
            continue;
        }
        if class & NUMBER != 0 {
            i = number_groups(piece, i, 3, out);
            continue;
        }
        let body = if piece.byte(i) == b' ' { next } else { i };
        if piece.is(body, OTHER) {
            i = piece.skip(body, OTHER);
            i = piece.skip_bytes(i, b"\r\n");
        } else {
            i = lines_or_whitespace(piece, i);
        }
        out.push(i);
    }
}

/// EXAONE MoE: contractions; letters with their marks, joined by single spaces, with one leading character; each
/// number; other runs with one line end; whitespace.
pub(super) fn spaced_words(piece: Piece<'_>, out: &mut Ends<'_, '_>) {
    const OTHER: u8 = !(WHITESPACE | LETTER | NUMBER);
    let mut i = 0;
    while i < piece.len() {
        let quoted = contraction(piece, i, true);
        let (class, next) = piece.class_next(i);
        let byte = piece.byte(i);
        let led = class & (LETTER | NUMBER) == 0 && !is_line_end(byte);
        let body = if byte == b' ' { next } else { i };
        if quoted > 0 {
            i += quoted;
        } else if class & LETTER != 0 {
            i = joined_letters(piece, i);
        } else if led && piece.is(next, LETTER) {
            i = joined_letters(piece, next);
        } else if class & NUMBER != 0 {
            i = next;
        } else if piece.is(body, OTHER) {
            i = piece.skip(body, OTHER);
            i += usize::from(is_line_end(piece.byte(i)));
        } else {
            i = lines_or_whitespace(piece, i);
        }
        out.push(i);
    }
}

/// End of letters, each with marks after it, and of single spaces between them.
fn joined_letters(piece: Piece<'_>, mut i: usize) -> usize {
    loop {
        i = piece.skip(i, LETTER | MARK);
        if piece.byte(i) != b' ' || !piece.is(i + 1, LETTER) {
            return i;
        }
        i += 1;
    }
}
