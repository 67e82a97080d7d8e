//! The pre-tokenizer's splitters: each answers to one regular expression of the reference.
//!
//! The reference runs its expressions one after the other, each on the pieces the last one left. Some it has
//! written by hand (`unicode_regex_split_custom_*`), the rest go through `std::regex` on a text where classes
//! beyond ASCII are collapsed to one byte each. Both kinds are state machines here, linear in the text. Names of
//! pre-tokenizers and their lists of stages live in `pre`.

use crate::text::{Piece, Text};
use crate::unicode::class::{LETTER, MARK, NUMBER, PUNCTUATION, WHITESPACE};
use crate::unicode::to_lower;

/// One expression of a pre-tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// GPT-2: contractions, words, numbers, other runs, whitespace; a space goes with what follows it.
    Gpt2,
    /// Llama 3 and kin: case-insensitive contractions, words with one leading character, digits in groups of at
    /// most `digits`, other runs with their line ends, whitespace. With `marks`, words take combining marks.
    Words { digits: usize, marks: bool },
    /// `\p{N}`: every number character on its own.
    EachNumber,
    /// `\p{N}+`
    Numbers,
    /// `[0-9][0-9][0-9]`
    ThreeDigits,
    /// `[\r\n]`: every line end character on its own.
    EachLineEnd,
    /// `[^\n]+|[\n]+`
    Lines,
    /// Punctuation and the symbols `$+<=>^~|`, with `backtick` also that.
    PunctuationRuns { backtick: bool },
    /// `\s?\p{L}+`
    SpacedLetters,
    /// `\s?\p{P}+`
    SpacedPunctuation,
    /// `\s?[...]+` over the bicameral scripts that DeepSeek LLM lists.
    DeepseekLetters,
    /// `\s?[...]+` over the punctuation ranges that DeepSeek LLM lists.
    DeepseekPunctuation,
    /// CJK, Hangul and the scripts in between, as DeepSeek lists them.
    DeepseekCjk,
    /// `\s+$`
    TrailingSpace,
}

/// Splits the whole text by all stages; returns the end of every word, in code points.
///
/// Answers to `unicode_regex_split`.
pub(crate) fn split(stages: &[Stage], text: &Text) -> Vec<usize> {
    let mut ends = vec![text.len()];
    for stage in stages {
        let mut out = Ends { base: 0, last: 0, found: Vec::with_capacity(ends.len()) };
        for &end in &ends {
            let piece = text.piece(out.base..end);
            stage.split(piece, &mut out);
            out.push(piece.len());
            out.base = end;
            out.last = 0;
        }
        ends = out.found;
    }
    ends
}

/// Collects the ends of words, given relative to the piece at hand.
struct Ends {
    base: usize,
    last: usize,
    found: Vec<usize>,
}

impl Ends {
    /// Ends a word at `end`; an empty word is none.
    fn push(&mut self, end: usize) {
        if end > self.last {
            self.found.push(self.base + end);
            self.last = end;
        }
    }
}

impl Stage {
    fn split(self, piece: Piece<'_>, out: &mut Ends) {
        match self {
            Self::Gpt2 => gpt2(piece, out),
            Self::Words { digits, marks } => words(piece, digits, marks, out),
            Self::EachNumber => matches(piece, out, |i| i + usize::from(piece.is(i, NUMBER))),
            Self::Numbers => matches(piece, out, |i| piece.skip(i, NUMBER)),
            Self::ThreeDigits => {
                matches(piece, out, |i| if (i..i + 3).all(|j| is_digit(piece.cpt(j))) { i + 3 } else { i });
            }
            Self::EachLineEnd => matches(piece, out, |i| i + usize::from(is_line_end(piece.cpt(i)))),
            Self::Lines => {
                for i in 1..piece.len() {
                    if is_newline(piece.cpt(i)) != is_newline(piece.cpt(i - 1)) {
                        out.push(i);
                    }
                }
            }
            Self::PunctuationRuns { backtick } => matches(piece, out, |i| {
                run(i, |j| piece.is(j, PUNCTUATION) || is_listed_symbol(piece.cpt(j), backtick))
            }),
            Self::SpacedLetters => matches(piece, out, |i| spaced(piece, i, |j| piece.is(j, LETTER))),
            Self::SpacedPunctuation => {
                matches(piece, out, |i| spaced(piece, i, |j| piece.is(j, PUNCTUATION)));
            }
            Self::DeepseekLetters => {
                matches(piece, out, |i| spaced(piece, i, |j| in_ranges(piece, j, DEEPSEEK_LETTERS)));
            }
            Self::DeepseekPunctuation => {
                matches(piece, out, |i| spaced(piece, i, |j| in_ranges(piece, j, DEEPSEEK_PUNCTUATION)));
            }
            Self::DeepseekCjk => matches(piece, out, |i| run(i, |j| in_ranges(piece, j, DEEPSEEK_CJK))),
            Self::TrailingSpace => {
                let mut start = piece.len();
                while start > 0 && piece.is(start - 1, WHITESPACE) {
                    start -= 1;
                }
                out.push(start);
            }
        }
    }
}

/// Cuts out every match of `end_of_match`, which returns the end of the match at a position, or the position.
fn matches(piece: Piece<'_>, out: &mut Ends, end_of_match: impl Fn(usize) -> usize) {
    let mut i = 0;
    while i < piece.len() {
        let end = end_of_match(i);
        if end > i {
            out.push(i);
            out.push(end);
            i = end;
        } else {
            i += 1;
        }
    }
}

/// End of the run of positions from `i` that satisfy `member`.
fn run(mut i: usize, member: impl Fn(usize) -> bool) -> usize {
    while member(i) {
        i += 1;
    }
    i
}

/// `\s?` and then at least one `member`; returns `i` where that does not match.
fn spaced(piece: Piece<'_>, i: usize, member: impl Fn(usize) -> bool) -> usize {
    let space = piece.is(i, WHITESPACE) && member(i + 1);
    run(i + usize::from(space), member)
}

fn is_digit(cpt: u32) -> bool {
    (0x30..=0x39).contains(&cpt)
}

fn is_newline(cpt: u32) -> bool {
    cpt == 0x0A
}

fn is_line_end(cpt: u32) -> bool {
    cpt == 0x0A || cpt == 0x0D
}

fn is_listed_symbol(cpt: u32, backtick: bool) -> bool {
    match u8::try_from(cpt) {
        Ok(b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'~' | b'|') => true,
        Ok(b'`') => backtick,
        _ => false,
    }
}

/// Whether code point `i` lies in one of the sorted `ranges`. Whitespace beyond ASCII never does: the reference
/// replaces it by a vertical tab before it matches.
fn in_ranges(piece: Piece<'_>, i: usize, ranges: &[(u32, u32)]) -> bool {
    let cpt = piece.cpt(i);
    let at = ranges.partition_point(|range| range.0 <= cpt);
    at > 0 && cpt <= ranges[at - 1].1 && !piece.is(i, WHITESPACE)
}

/// Length of the English contraction ('s, 't, 're, 've, 'm, 'll, 'd) at `i`, or 0.
fn contraction(piece: Piece<'_>, i: usize, fold: fn(u32) -> u32) -> usize {
    if piece.cpt(i) != u32::from('\'') || i + 1 >= piece.len() {
        return 0;
    }
    let second = char::from_u32(fold(piece.cpt(i + 1)));
    if matches!(second, Some('s' | 't' | 'm' | 'd')) {
        return 2;
    }
    if i + 2 >= piece.len() {
        return 0;
    }
    match (second, char::from_u32(fold(piece.cpt(i + 2)))) {
        (Some('r' | 'v'), Some('e')) | (Some('l'), Some('l')) => 3,
        _ => 0,
    }
}

/// Answers to `unicode_regex_split_custom_gpt2`.
fn gpt2(piece: Piece<'_>, out: &mut Ends) {
    const WORDS: u8 = WHITESPACE | LETTER | NUMBER;
    let mut i = 0;
    while i < piece.len() {
        let quoted = contraction(piece, i, |cpt| cpt);
        if quoted > 0 {
            i += quoted;
            out.push(i);
            continue;
        }
        let body = i + usize::from(piece.cpt(i) == u32::from(' '));
        let class = piece.class(body);
        if class & LETTER != 0 {
            i = piece.skip(body, LETTER);
        } else if class & NUMBER != 0 {
            i = piece.skip(body, NUMBER);
        } else if class != 0 && class & WORDS == 0 {
            i = piece.skip(body, !WORDS);
        } else {
            i = whitespace(piece, i);
        }
        out.push(i);
    }
}

/// End of `\s+(?!\S)` or else `\s+` at `i`: a run that something follows leaves its last character to it.
fn whitespace(piece: Piece<'_>, i: usize) -> usize {
    let end = piece.skip(i, WHITESPACE);
    if end - i > 1 && end < piece.len() { end - 1 } else { end.max(i + 1) }
}

/// Answers to `unicode_regex_split_custom_llama3`, `_qwen2` and `_qwen35`.
fn words(piece: Piece<'_>, digits: usize, marks: bool, out: &mut Ends) {
    let letter = if marks { LETTER | MARK } else { LETTER };
    let wordlike = WHITESPACE | NUMBER | letter;
    let mut i = 0;
    while i < piece.len() {
        let quoted = contraction(piece, i, to_lower);
        if quoted > 0 {
            i += quoted;
            out.push(i);
            continue;
        }
        let number = piece.is(i, NUMBER);
        if !is_line_end(piece.cpt(i)) && !number && (piece.is(i, letter) || piece.is(i + 1, letter)) {
            i = piece.skip(i + 1, letter);
            out.push(i);
            continue;
        }
        if number {
            let end = piece.skip(i, NUMBER);
            while i < end {
                i = end.min(i + digits);
                out.push(i);
            }
            continue;
        }
        let body = i + usize::from(piece.cpt(i) == u32::from(' '));
        if !piece.is(body, wordlike) {
            i = piece.skip(body, !wordlike);
            while is_line_end(piece.cpt(i)) {
                i += 1;
            }
            out.push(i);
            continue;
        }
        let end = piece.skip(i, WHITESPACE);
        let last_line_end = (i..end).rev().find(|&j| is_line_end(piece.cpt(j)));
        i = last_line_end.map_or_else(|| whitespace(piece, i), |j| j + 1);
        out.push(i);
    }
}

const DEEPSEEK_LETTERS: &[(u32, u32)] = &[
    (0x41, 0x5A),
    (0x61, 0x7A),
    (0xB5, 0xB5),
    (0xC0, 0xD6),
    (0xD8, 0xF6),
    (0xF8, 0x1BA),
    (0x1BC, 0x1BF),
    (0x1C4, 0x293),
    (0x295, 0x2AF),
    (0x370, 0x373),
    (0x376, 0x376),
    (0x377, 0x377),
    (0x37B, 0x37D),
    (0x37F, 0x37F),
    (0x386, 0x386),
    (0x388, 0x38A),
    (0x38C, 0x38C),
    (0x38E, 0x3A1),
    (0x3A3, 0x3F5),
    (0x3F7, 0x481),
    (0x48A, 0x52F),
    (0x531, 0x556),
    (0x10A0, 0x10C5),
    (0x13A0, 0x13F5),
    (0x13F8, 0x13FD),
    (0x1C90, 0x1CBA),
    (0x1CBD, 0x1CBF),
    (0x1D00, 0x1D2B),
    (0x1D6B, 0x1D77),
    (0x1D79, 0x1D9A),
    (0x1E00, 0x1F15),
    (0x1F18, 0x1F1D),
    (0x1F20, 0x1F45),
    (0x1F48, 0x1F4D),
    (0x1F50, 0x1F57),
    (0x1F59, 0x1F59),
    (0x1F5B, 0x1F5B),
    (0x1F5D, 0x1F5D),
    (0x1F5F, 0x1F7D),
    (0x1F80, 0x1FB4),
    (0x1FB6, 0x1FBC),
    (0x1FBE, 0x1FBE),
    (0x1FC2, 0x1FC4),
    (0x1FC6, 0x1FCC),
    (0x1FD0, 0x1FD3),
    (0x1FD6, 0x1FDB),
    (0x1FE0, 0x1FEC),
    (0x1FF2, 0x1FF4),
    (0x1FF6, 0x1FFC),
    (0x2102, 0x2102),
    (0x2107, 0x2107),
    (0x210A, 0x2113),
    (0x2115, 0x2115),
    (0x2119, 0x211D),
    (0x2124, 0x2124),
    (0x2126, 0x2126),
    (0x2128, 0x2128),
    (0x212A, 0x212D),
    (0x212F, 0x2134),
    (0x2139, 0x2139),
    (0x213C, 0x213F),
    (0x2145, 0x2149),
    (0x214E, 0x214E),
    (0x2183, 0x2183),
    (0x2184, 0x2184),
    (0x2C00, 0x2C7B),
    (0x2C7E, 0x2CE4),
    (0x2CEB, 0x2CEE),
    (0x2CF2, 0x2CF2),
    (0x2CF3, 0x2CF3),
    (0xA640, 0xA66D),
    (0xA680, 0xA69B),
    (0xA722, 0xA76F),
    (0xA771, 0xA787),
    (0xA78B, 0xA78E),
    (0xAB70, 0xABBF),
    (0xFB00, 0xFB06),
    (0xFB13, 0xFB17),
    (0xFF21, 0xFF3A),
    (0xFF41, 0xFF5A),
    (0x10400, 0x1044F),
    (0x104B0, 0x104D3),
    (0x104D8, 0x104FB),
    (0x10C80, 0x10CB2),
    (0x10CC0, 0x10CF2),
    (0x118A0, 0x118DF),
    (0x1E900, 0x1E943),
];

const DEEPSEEK_PUNCTUATION: &[(u32, u32)] =
    &[(0x21, 0x2F), (0x3A, 0x7E), (0x2018, 0x201F), (0x3000, 0x3002), (0xFF01, 0xFF0F), (0xFF1A, 0xFF5E)];

const DEEPSEEK_CJK: &[(u32, u32)] = &[(0x0800, 0x9FA5), (0xAC00, 0xD7FF)];

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(stages: &[Stage], text: &str) -> Vec<String> {
        let text = Text::decode(text.as_bytes());
        let mut start = 0;
        split(stages, &text)
            .into_iter()
            .map(|end| {
                let word =
                    String::from_utf8(text.word(start..end).to_vec()).expect("made of whole characters");
                start = end;
                word
            })
            .collect()
    }

    #[test]
    fn gpt2_words() {
        assert_eq!(
            words_of(&[Stage::Gpt2], "Hello  world's 12 x! \n\n y  "),
            ["Hello", " ", " world", "'s", " 12", " x", "!", " \n\n", " y", "  "]
        );
        assert_eq!(words_of(&[Stage::Gpt2], "'S' 're'"), ["'", "S", "'", " '", "re", "'"]);
    }

    #[test]
    fn llama3_words() {
        let llama3 = [Stage::Words { digits: 3, marks: false }];
        assert_eq!(
            words_of(&llama3, "I'LL pay 12345$\n\nnow \n x"),
            ["I", "'LL", " pay", " ", "123", "45", "$\n\n", "now", " \n", " x"]
        );
        assert_eq!(words_of(&llama3, "(word  "), ["(word", "  "]);
    }

    #[test]
    fn staged_digits() {
        assert_eq!(words_of(&[Stage::EachNumber, Stage::Gpt2], "a 12"), ["a", " ", "1", "2"]);
        assert_eq!(words_of(&[Stage::ThreeDigits], "12a1234567"), ["12a", "123", "456", "7"]);
        assert_eq!(words_of(&[Stage::TrailingSpace], "a b \u{3000}"), ["a b", " \u{3000}"]);
    }

    #[test]
    fn deepseek_punctuation_takes_ascii_letters() {
        assert_eq!(
            words_of(&[Stage::DeepseekLetters, Stage::DeepseekPunctuation], "a été"),
            ["a", " é", "t", "é"]
        );
        assert_eq!(words_of(&[Stage::DeepseekCjk], "a中文b"), ["a", "中文", "b"]);
    }

    #[test]
    fn empty_text_has_no_words_to_split() {
        assert!(words_of(&[Stage::Gpt2, Stage::TrailingSpace], "").iter().all(String::is_empty));
    }
}
