//! The pre-tokenizer's splitters: each answers to one regular expression of the reference.
//!
//! The reference runs its expressions one after the other, each on the pieces the last one left. Some it has
//! written by hand (`unicode_regex_split_custom_*`), the rest go through `std::regex` on a text where classes
//! beyond ASCII are collapsed to one byte each. Both kinds are state machines here, linear in the text, and a
//! piece goes through all stages before the next one is cut. Names of pre-tokenizers and their lists of stages
//! live in `pre`.

mod cased;
mod marked;
mod ranges;
mod runs;
mod words;

pub(crate) use cased::{Body, Cased};
pub(crate) use words::{Tail, Words};

use crate::text::Piece;

/// One expression of a pre-tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// GPT-2: contractions, words, numbers, other runs, whitespace; a space goes with what follows it.
    Gpt2,
    /// Llama 3 and kin.
    Words(Words),
    /// Tekken, GPT-4o and kin.
    Cased(Cased),
    /// Kimi K2: Han runs apart, then words with their contractions.
    Kimi,
    /// EXAONE MoE: letters that single spaces join are one word.
    SpacedWords,
    /// DeepSeek 3: words with marks, a punctuation character with the ASCII letters after it, other runs.
    MarkedWords,
    /// `\p{N}`: every number character on its own.
    EachNumber,
    /// `\p{N}+`
    Numbers,
    /// `\p{N}{1,3}`
    NumberTriples,
    /// Numbers in triples counted from the right; what comes before a number stays with its first group.
    TriplesFromRight,
    /// `(?=(\d{3})+(?!\d))`: cuts before every ASCII digit that whole triples follow.
    BeforeTriples,
    /// `[0-9][0-9][0-9]`
    ThreeDigits,
    /// `[\r\n]`: every line end character on its own.
    EachLineEnd,
    /// `[^\n]+|[\n]+`
    Lines,
    /// `\S+`
    NonSpace,
    /// ` ?[^...]+`: everything but the sentence punctuation that Bloom lists.
    BloomWords,
    /// Punctuation and the symbols `$+<=>^~|`, with `backtick` also that.
    PunctuationRuns { backtick: bool },
    /// Every punctuation character, and ASCII symbol, on its own.
    EachPunctuation,
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
    /// Han and kana, as DeepSeek 3 lists them.
    HanKana,
    /// The scripts without spaces that AFMoE lists.
    AfmoeScripts,
    /// Hangul, CJK punctuation, Bopomofo, Han and kana: runs of each, as Youtu lists them.
    YoutuScripts,
    /// `\s+$`
    TrailingSpace,
    /// `<sentinel:[0-9]+>`
    Sentinels,
    /// `(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z`
    ImageTokens,
    /// `([\t\n]|    |  )`
    Indents,
}

/// Splits sanitized `text` by all stages and hands every word, in order, to `emit`; none is empty.
///
/// Answers to `unicode_regex_split`.
pub(crate) fn split(stages: &[Stage], text: &[u8], emit: &mut dyn FnMut(&[u8])) {
    split_piece(stages, Piece::new(text), emit);
}

fn split_piece(stages: &[Stage], piece: Piece<'_>, emit: &mut dyn FnMut(&[u8])) {
    match stages {
        [] => {
            if piece.len() > 0 {
                emit(piece.bytes);
            }
        }
        [last] => last.split(piece, emit),
        [first, rest @ ..] => {
            first.split(piece, &mut |word: &[u8]| split_piece(rest, piece.part(word), emit));
        }
    }
}

/// Passes words on, given their ends.
pub(crate) struct Ends<'a, 'e> {
    bytes: &'a [u8],
    last: usize,
    emit: &'e mut dyn FnMut(&'a [u8]),
}

impl Ends<'_, '_> {
    /// Ends a word at `end`; an empty word is none.
    #[inline]
    pub(crate) fn push(&mut self, end: usize) {
        if end > self.last {
            (self.emit)(&self.bytes[self.last..end]);
            self.last = end;
        }
    }
}

impl Stage {
    fn split<'a>(self, piece: Piece<'a>, emit: &mut dyn FnMut(&'a [u8])) {
        let mut ends = Ends { bytes: piece.bytes, last: 0, emit };
        let out = &mut ends;
        match self {
            Self::Gpt2 => words::gpt2(piece, out),
            Self::Words(rule) => words::words(piece, rule, out),
            Self::Cased(rule) => cased::cased(piece, rule, out),
            Self::Kimi => marked::kimi(piece, out),
            Self::SpacedWords => marked::spaced_words(piece, out),
            Self::MarkedWords => marked::marked_words(piece, out),
            other => other.split_runs(piece, out),
        }
        ends.push(piece.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unicode::sanitize;

    pub(super) fn words_of(stages: &[Stage], text: &str) -> Vec<String> {
        let mut words = Vec::new();
        split(stages, &sanitize(text.as_bytes()), &mut |word| {
            words.push(String::from_utf8(word.to_vec()).expect("made of whole characters"));
        });
        words
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
        let llama3 = [Stage::Words(Words::new(3))];
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
        assert_eq!(words_of(&[Stage::NumberTriples], "a1234567"), ["a", "123", "456", "7"]);
        assert_eq!(words_of(&[Stage::TriplesFromRight], "a1234567 b12c"), ["a1", "234", "567", " b12", "c"]);
        assert_eq!(words_of(&[Stage::Numbers, Stage::BeforeTriples], "a1234567"), ["a", "1", "234", "567"]);
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
    fn capitals_after_other_letters_are_cut_off() {
        let tekken = [Stage::Cased(Cased { body: Body::Letters, contractions: false, digits: 1 })];
        assert_eq!(words_of(&tekken, "HTTPServer ÄB camelCase"), ["HTTPServer", " Ä", "B", " camel", "Case"]);
        assert_eq!(words_of(&tekken, "12 a/\n/b"), ["1", "2", " a", "/\n/", "b"]);
    }

    #[test]
    fn image_tokens_need_one_to_four_letters() {
        assert_eq!(words_of(&[Stage::ImageTokens], "xIMGIMGABZy"), ["x", "IMGIMGABZ", "y"]);
        assert_eq!(words_of(&[Stage::ImageTokens], "IMGIMGABCDEZ"), ["IMGIMGABCDEZ"]);
        assert_eq!(
            words_of(&[Stage::Sentinels], "<sentinel:12><sentinel:>"),
            ["<sentinel:12>", "<sentinel:>"]
        );
        assert_eq!(words_of(&[Stage::Indents], "a     b\tc"), ["a", "    ", " b", "\t", "c"]);
    }

    #[test]
    fn empty_text_has_no_words() {
        assert!(words_of(&[Stage::Gpt2, Stage::TrailingSpace], "").is_empty());
        assert!(words_of(&[], "").is_empty());
    }
}
