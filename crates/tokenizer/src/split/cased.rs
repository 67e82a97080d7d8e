//! Words that end where lower case turns into upper case (Tekken, GPT-4o and kin).

use super::Ends;
use super::words::{contraction, is_line_end, lines_or_whitespace, number_groups};
use crate::text::Piece;
use crate::unicode::class::{LETTER, MARK, NUMBER, WHITESPACE};

/// What words are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// Letters and marks in any case: the reference collapses the case categories it names to letters.
    Uncased,
    /// Letters; ASCII capitals only at the front, ASCII small letters only at the back.
    Letters,
    /// As [`Letters`](Self::Letters), with marks among them.
    Marked,
}

/// Words with one leading character and perhaps a contraction, digits in groups, other runs with line ends and
/// slashes, whitespace as in Llama 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cased {
    pub(crate) body: Body,
    pub(crate) contractions: bool,
    pub(crate) digits: usize,
}

pub(super) fn cased(piece: Piece<'_>, rule: Cased, out: &mut Ends<'_, '_>) {
    const OTHER: u8 = !(WHITESPACE | LETTER | NUMBER);
    let mut i = 0;
    while i < piece.len() {
        let (class, next) = piece.class_next(i);
        if class & NUMBER != 0 {
            i = number_groups(piece, i, rule.digits, out);
            continue;
        }
        // The leading character may be anything but a line end, a letter or a number.
        let led = class & LETTER == 0 && !is_line_end(piece.byte(i));
        if let Some(end) = word(piece, rule.body, i, led.then_some(next)) {
            i = end;
            if rule.contractions {
                i += contraction(piece, i, true);
            }
            out.push(i);
            continue;
        }
        let body = if piece.byte(i) == b' ' { next } else { i };
        if piece.is(body, OTHER) {
            i = piece.skip(body, OTHER);
            i = piece.skip_bytes(i, b"\r\n/");
        } else {
            i = lines_or_whitespace(piece, i);
        }
        out.push(i);
    }
}

/// End of the word at `i`, or at `led` if a leading character may come first. In the order of the expression:
/// both alternatives, each with the leading character before without.
fn word(piece: Piece<'_>, body: Body, i: usize, led: Option<usize>) -> Option<usize> {
    let starts = [led, Some(i)];
    let mut starts = starts.into_iter().flatten();
    match body {
        Body::Uncased => {
            let member = LETTER | MARK;
            starts.find(|&at| piece.is(at, member)).map(|at| piece.skip(at, member))
        }
        Body::Letters | Body::Marked => {
            let member = if body == Body::Marked { LETTER | MARK } else { LETTER };
            starts
                .clone()
                .find_map(|at| ends_low(piece, at, member))
                .or_else(|| starts.find_map(|at| starts_high(piece, at, member)))
        }
    }
}

/// `U*W+`, where `U` is a member but for a to z and `W` a member but for A to Z.
fn ends_low(piece: Piece<'_>, start: usize, member: u8) -> Option<usize> {
    let mut i = start;
    // End of the last character that is in both sets: there W+ begins when nothing small follows U*.
    let mut last_both = None;
    loop {
        let (class, next) = piece.class_next(i);
        if class & member == 0 {
            return last_both;
        }
        let byte = piece.byte(i);
        if byte.is_ascii_lowercase() {
            return Some(piece.run(next, |j| piece.is(j, member) && !piece.byte(j).is_ascii_uppercase()));
        }
        if !byte.is_ascii_uppercase() {
            last_both = Some(next);
        }
        i = next;
    }
}

/// `U+W*` where [`ends_low`] has failed: no small letter follows.
fn starts_high(piece: Piece<'_>, start: usize, member: u8) -> Option<usize> {
    let end = piece.run(start, |j| piece.is(j, member) && !piece.byte(j).is_ascii_lowercase());
    (end > start).then_some(end)
}
