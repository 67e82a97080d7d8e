//! Expressions that cut matches out of the text and leave what lies between them as it is.

use super::ranges::{
    AFMOE_SCRIPTS, DEEPSEEK_CJK, DEEPSEEK_LETTERS, DEEPSEEK_PUNCTUATION, HAN_KANA, YOUTU_SCRIPTS, contains,
    is_bloom_stop,
};
use super::words::{is_line_end, number_groups};
use super::{Ends, Stage};
use crate::text::Piece;
use crate::unicode::class::{LETTER, NUMBER, PUNCTUATION, WHITESPACE};

impl Stage {
    pub(super) fn split_runs(self, piece: Piece<'_>, out: &mut Ends<'_, '_>) {
        let listed = |ranges: &'static [(u32, u32)]| move |i: usize| in_ranges(piece, i, ranges);
        match self {
            Self::EachNumber => {
                matches(piece, out, |i| {
                    let (class, next) = piece.class_next(i);
                    if class & NUMBER != 0 { next } else { i }
                });
            }
            Self::Numbers => matches(piece, out, |i| piece.skip(i, NUMBER)),
            Self::NumberTriples => number_triples(piece, out),
            Self::TriplesFromRight => triples_from_right(piece, out),
            Self::BeforeTriples => before_triples(piece, out),
            Self::ThreeDigits => matches(piece, out, |i| {
                if (i..i + 3).all(|j| piece.byte(j).is_ascii_digit()) { i + 3 } else { i }
            }),
            Self::EachLineEnd => matches(piece, out, |i| i + usize::from(is_line_end(piece.byte(i)))),
            Self::Lines => {
                for i in 1..piece.len() {
                    if (piece.byte(i) == b'\n') != (piece.byte(i - 1) == b'\n') {
                        out.push(i);
                    }
                }
            }
            Self::NonSpace => matches(piece, out, |i| piece.skip(i, !WHITESPACE)),
            Self::BloomWords => {
                let member =
                    |j: usize| j < piece.len() && !piece.is(j, WHITESPACE) && !is_bloom_stop(piece.cpt(j));
                matches(piece, out, |i| {
                    let space = piece.byte(i) == b' ' && member(i + 1);
                    piece.run(i + usize::from(space), member)
                });
            }
            Self::PunctuationRuns { backtick } => matches(piece, out, |i| {
                piece.run(i, |j| piece.is(j, PUNCTUATION) || is_listed_symbol(piece.byte(j), backtick))
            }),
            Self::EachPunctuation => matches(piece, out, |i| {
                let (class, next) = piece.class_next(i);
                if class & PUNCTUATION != 0 || piece.byte(i).is_ascii_punctuation() { next } else { i }
            }),
            Self::SpacedLetters => matches(piece, out, |i| spaced(piece, i, |j| piece.is(j, LETTER))),
            Self::SpacedPunctuation => {
                matches(piece, out, |i| spaced(piece, i, |j| piece.is(j, PUNCTUATION)));
            }
            Self::DeepseekLetters => matches(piece, out, |i| spaced(piece, i, listed(DEEPSEEK_LETTERS))),
            Self::DeepseekPunctuation => {
                matches(piece, out, |i| spaced(piece, i, listed(DEEPSEEK_PUNCTUATION)));
            }
            Self::DeepseekCjk => matches(piece, out, |i| piece.run(i, listed(DEEPSEEK_CJK))),
            Self::HanKana => matches(piece, out, |i| piece.run(i, listed(HAN_KANA))),
            Self::AfmoeScripts => matches(piece, out, |i| piece.run(i, listed(AFMOE_SCRIPTS))),
            Self::YoutuScripts => matches(piece, out, |i| {
                let script = YOUTU_SCRIPTS.iter().find(|ranges| in_ranges(piece, i, ranges));
                script.map_or(i, |ranges| piece.run(i, |j| in_ranges(piece, j, ranges)))
            }),
            Self::TrailingSpace => {
                let mut start = piece.len();
                while start > 0 {
                    let last = piece.before(start);
                    if !piece.is(last, WHITESPACE) {
                        break;
                    }
                    start = last;
                }
                out.push(start);
            }
            Self::Sentinels => matches(piece, out, |i| sentinel(piece, i)),
            Self::ImageTokens => matches(piece, out, |i| image_token(piece, i)),
            Self::Indents => matches(piece, out, |i| match piece.bytes[i..] {
                [b'\t' | b'\n', ..] => i + 1,
                [b' ', b' ', b' ', b' ', ..] => i + 4,
                [b' ', b' ', ..] => i + 2,
                _ => i,
            }),
            Self::Gpt2
            | Self::Words(_)
            | Self::Cased(_)
            | Self::Kimi
            | Self::SpacedWords
            | Self::MarkedWords => {}
        }
    }
}

/// Cuts out every match of `end_of_match`, which returns the end of the match at a position, or the position.
#[inline]
fn matches(piece: Piece<'_>, out: &mut Ends<'_, '_>, end_of_match: impl Fn(usize) -> usize) {
    let mut i = 0;
    while i < piece.len() {
        let end = end_of_match(i);
        if end > i {
            out.push(i);
            out.push(end);
            i = end;
        } else {
            i = piece.next(i);
        }
    }
}

/// `\s?` and then at least one `member`; returns `i` where that does not match.
fn spaced(piece: Piece<'_>, i: usize, member: impl Fn(usize) -> bool) -> usize {
    let (class, next) = piece.class_next(i);
    piece.run(if class & WHITESPACE != 0 && member(next) { next } else { i }, member)
}

fn is_listed_symbol(byte: u8, backtick: bool) -> bool {
    match byte {
        b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'~' | b'|' => true,
        b'`' => backtick,
        _ => false,
    }
}

/// Whether the code point at `i` lies in `ranges`. Whitespace beyond ASCII never does: the reference replaces it
/// by a vertical tab before it matches.
fn in_ranges(piece: Piece<'_>, i: usize, ranges: &[(u32, u32)]) -> bool {
    contains(ranges, piece.cpt(i)) && !piece.is(i, WHITESPACE)
}

fn number_triples(piece: Piece<'_>, out: &mut Ends<'_, '_>) {
    let mut i = 0;
    while i < piece.len() {
        i = piece.skip(i, !NUMBER);
        out.push(i);
        i = number_groups(piece, i, 3, out);
    }
}

/// Answers to `unicode_regex_split_custom_afmoe`, in which the text before a number is not cut off from it.
fn triples_from_right(piece: Piece<'_>, out: &mut Ends<'_, '_>) {
    let mut i = 0;
    while i < piece.len() {
        i = piece.skip(i, !NUMBER);
        let end = piece.skip(i, NUMBER);
        let mut left = piece.bytes[i..end].iter().filter(|&&b| b & 0xC0 != 0x80).count();
        while i < end {
            i = piece.next(i);
            left -= 1;
            if left % 3 == 0 {
                out.push(i);
            }
        }
    }
}

fn before_triples(piece: Piece<'_>, out: &mut Ends<'_, '_>) {
    let digit = |i: usize| piece.byte(i).is_ascii_digit();
    let mut i = 0;
    while i < piece.len() {
        if !digit(i) {
            i = piece.next(i);
            continue;
        }
        let end = piece.run(i, digit);
        let mut cut = i + (end - i) % 3;
        while cut < end {
            out.push(cut);
            cut += 3;
        }
        i = end;
    }
}

fn sentinel(piece: Piece<'_>, i: usize) -> usize {
    const HEAD: &[u8] = b"<sentinel:";
    if !piece.bytes[i..].starts_with(HEAD) {
        return i;
    }
    let digits = i + HEAD.len();
    let end = piece.run(digits, |j| piece.byte(j).is_ascii_digit());
    if end > digits && piece.byte(end) == b'>' { end + 1 } else { i }
}

fn image_token(piece: Piece<'_>, i: usize) -> usize {
    const HEAD: &[u8] = b"IMGIMG";
    if !piece.bytes[i..].starts_with(HEAD) {
        return i;
    }
    let letters = i + HEAD.len();
    let end = piece.run(letters, |j| j < letters + 4 && matches!(piece.byte(j), b'A'..=b'I'));
    if end > letters && piece.byte(end) == b'Z' { end + 1 } else { i }
}
