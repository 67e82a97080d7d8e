//! A grammar as flat data: the elements of all rules in one array.

use std::sync::Arc;

use crate::{Error, Vocabulary, grammar::parse};

/// What an element is (`llama_gretype`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// End of a rule.
    End,
    /// Start of the next alternative.
    Alt,
    /// A rule, by id.
    Rule,
    /// A code point, or the first of a class.
    Char,
    /// The first of a negated class.
    CharNot,
    /// Makes the code point before it a range up to this one.
    Upper,
    /// One more code point of the class before it.
    CharAlt,
    /// Any code point.
    Any,
    /// A token, by id.
    Token,
    /// Any token but this one.
    TokenNot,
}

/// One element (`llama_grammar_element`): kind, and code point, rule id or token id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) kind: Kind,
    pub(crate) value: u32,
}

impl Element {
    pub(crate) fn ends_sequence(self) -> bool {
        matches!(self.kind, Kind::End | Kind::Alt)
    }
}

/// A parsed GBNF grammar with its root, ready to be matched against text or tokens.
///
/// Cheap to clone: the rules are shared.
#[derive(Debug, Clone)]
pub struct Gbnf {
    pub(crate) rules: Arc<Rules>,
    pub(crate) strict: bool,
}

/// The content of a [`Gbnf`].
#[derive(Debug)]
pub(crate) struct Rules {
    /// The elements of all rules, each rule closed by [`Kind::End`].
    pub(crate) elements: Vec<Element>,
    /// For each rule the places where its alternatives begin.
    pub(crate) alternatives: Vec<Vec<u32>>,
    pub(crate) root: u32,
    /// First code point of each class: all code points of a class match the same elements.
    pub(crate) classes: Vec<u32>,
    /// Class of each ASCII character.
    pub(crate) ascii: [u32; 128],
}

impl Gbnf {
    /// Parses `text` and takes the rule `root` as the start (`llama_grammar_init_impl`). `vocabulary` is needed for
    /// tokens written as `<text>` only.
    ///
    /// # Errors
    /// [`Error::GrammarSyntax`] with line and column, [`Error::GrammarUndefined`],
    /// [`Error::GrammarLeftRecursion`], and [`Error::GrammarLimit`] for more than 4 MiB of text, 4,000,000
    /// elements, groups nested deeper than 200, and the repetition limits of the reference.
    pub fn parse(text: &str, root: &str, vocabulary: Option<&dyn Vocabulary>) -> Result<Self, Error> {
        let parsed = parse::parse(text, vocabulary)?;
        let root = parsed.id_of(root).ok_or_else(|| Error::GrammarUndefined { name: root.to_owned() })?;
        parsed.check_left_recursion()?;
        Ok(Self { rules: Arc::new(Rules::new(&parsed.rules, root)), strict: false })
    }

    /// Takes tokens only for what they put into the text: bytes must be UTF-8, where the reference also takes what it
    /// can decode somehow, and tokens that are not shown (control tokens) or contain a NUL are never allowed.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Number of rules, those made for groups and repetitions included.
    pub fn n_rules(&self) -> usize {
        self.rules.alternatives.len()
    }
}

impl Rules {
    fn new(rules: &[Vec<Element>], root: u32) -> Self {
        let mut elements: Vec<Element> = Vec::with_capacity(rules.iter().map(Vec::len).sum());
        let mut alternatives = Vec::with_capacity(rules.len());
        for rule in rules {
            let start = elements.len() as u32;
            let mut begins = vec![start];
            begins.extend(
                rule.iter()
                    .enumerate()
                    .filter(|(_, e)| e.kind == Kind::Alt)
                    .map(|(i, _)| start + i as u32 + 1),
            );
            alternatives.push(begins);
            elements.extend_from_slice(rule);
        }
        let classes = classes(&elements);
        let mut out = Self { elements, alternatives, root, classes, ascii: [0; 128] };
        for c in 0..128 {
            out.ascii[c as usize] = out.search_class(c);
        }
        out
    }

    pub(crate) fn at(&self, place: u32) -> Element {
        self.elements[place as usize]
    }

    /// Class of a code point.
    pub(crate) fn class_of(&self, c: u32) -> u32 {
        self.ascii.get(c as usize).copied().unwrap_or_else(|| self.search_class(c))
    }

    fn search_class(&self, c: u32) -> u32 {
        // The first class begins at 0, so there always is one.
        self.classes.partition_point(|&first| first <= c) as u32 - 1
    }

    /// The place after the character class at `place` (`llama_grammar_match_char`).
    pub(crate) fn after_class(&self, place: u32) -> u32 {
        let mut place = place;
        loop {
            place += if self.at(place + 1).kind == Kind::Upper { 2 } else { 1 };
            if self.at(place).kind != Kind::CharAlt {
                return place;
            }
        }
    }

    /// The inclusive ranges of the character class at `place`, and whether it is negated.
    fn ranges(&self, place: u32) -> (bool, impl Iterator<Item = (u32, u32)> + '_) {
        let end = self.after_class(place);
        let mut at = place;
        let ranges = std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let (first, next) = (self.at(at), self.at(at + 1));
            if next.kind == Kind::Upper {
                at += 2;
                return Some((first.value, next.value));
            }
            at += 1;
            Some(if first.kind == Kind::Any { (0, u32::MAX) } else { (first.value, first.value) })
        });
        (self.at(place).kind == Kind::CharNot, ranges)
    }

    /// Whether the class at `place` has the code point.
    pub(crate) fn matches(&self, place: u32, c: u32) -> bool {
        let (negated, mut ranges) = self.ranges(place);
        ranges.any(|(low, high)| (low..=high).contains(&c)) != negated
    }

    /// Whether some end of a sequence cut after `value`, with `n_remain` bytes missing, is in the class at `place`
    /// (`llama_grammar_match_partial_char`).
    pub(crate) fn matches_partial(&self, place: u32, value: u32, n_remain: i32) -> bool {
        if n_remain < 0 || (n_remain == 1 && value < 2) {
            return false;
        }
        let shift = n_remain as u32 * 6;
        let mut low = value.wrapping_shl(shift);
        let high = low | ((1 << shift) - 1);
        if low == 0 {
            low = match n_remain {
                2 => 1 << 11,
                3 => 1 << 16,
                _ => 0,
            };
        }
        let (negated, mut ranges) = self.ranges(place);
        // A negated class is refused as soon as the possible code points touch one of its ranges, and "any" in it
        // still means any, as in the reference.
        let touched = ranges.any(|(first, last)| first <= high && low <= last);
        touched != negated
    }
}

/// The code points at which some element begins or ceases to match.
fn classes(elements: &[Element]) -> Vec<u32> {
    let mut first = vec![0, 1];
    for (i, e) in elements.iter().enumerate() {
        match e.kind {
            Kind::Char | Kind::CharNot | Kind::CharAlt => {
                first.push(e.value);
                let upper = elements.get(i + 1).filter(|next| next.kind == Kind::Upper);
                first.extend(upper.map_or(e.value, |next| next.value).checked_add(1));
            }
            _ => {}
        }
    }
    first.sort_unstable();
    first.dedup();
    first
}
