//! GBNF text to rules: recursive descent, with repetitions rewritten into rules as the reference does.

use std::collections::HashMap;

use crate::{
    Error, Vocabulary,
    grammar::rules::{Element, Kind},
};

/// Longest grammar text in bytes.
const MAX_TEXT: usize = 4 << 20;
/// Most elements of all rules together.
const MAX_ELEMENTS: usize = 4_000_000;
/// Deepest nesting of groups.
const MAX_DEPTH: usize = 200;
/// The reference's bound on repetitions, and on the rules a repetition may make.
const MAX_REPETITIONS: u64 = 2000;

/// Rules by id and the ids of their names.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    /// Each closed by [`Kind::End`]; empty while undefined.
    pub(crate) rules: Vec<Vec<Element>>,
    names: HashMap<String, u32>,
}

impl Parsed {
    pub(crate) fn id_of(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    fn name_of(&self, id: usize) -> String {
        let found = self.names.iter().find(|(_, i)| **i as usize == id);
        found.map_or_else(|| format!("#{id}"), |(name, _)| name.clone())
    }

    /// Refuses rules that can begin with themselves (`llama_grammar_detect_left_recursion`), with the same
    /// notion of a rule that may be empty: one with an empty alternative.
    pub(crate) fn check_left_recursion(&self) -> Result<(), Error> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let may_be_empty: Vec<bool> = self.rules.iter().map(|rule| has_empty_alternative(rule)).collect();
        let mut marks = vec![Mark::New; self.rules.len()];
        for first in 0..self.rules.len() {
            if marks[first] != Mark::New {
                continue;
            }
            let mut path = vec![(first, leftmost(&self.rules[first], &may_be_empty))];
            marks[first] = Mark::Open;
            while let Some((rule, refs)) = path.last_mut() {
                let Some(next) = refs.pop() else {
                    marks[*rule] = Mark::Done;
                    path.pop();
                    continue;
                };
                match marks[next] {
                    Mark::Open => return Err(Error::GrammarLeftRecursion { name: self.name_of(next) }),
                    Mark::Done => {}
                    Mark::New => {
                        marks[next] = Mark::Open;
                        path.push((next, leftmost(&self.rules[next], &may_be_empty)));
                    }
                }
            }
        }
        Ok(())
    }
}

fn has_empty_alternative(rule: &[Element]) -> bool {
    let before = std::iter::once(true).chain(rule.iter().map(|e| e.ends_sequence()));
    before.zip(rule).any(|(at_start, e)| at_start && e.ends_sequence())
}

/// The rules that `rule` may begin with.
fn leftmost(rule: &[Element], may_be_empty: &[bool]) -> Vec<usize> {
    let mut refs = Vec::new();
    let mut at_left = true;
    for e in rule {
        if e.kind == Kind::Rule && at_left {
            refs.push(e.value as usize);
            at_left = may_be_empty[e.value as usize];
        } else {
            at_left = e.ends_sequence();
        }
    }
    refs
}

/// Parses a whole grammar (`llama_grammar_parser::parse`).
pub(crate) fn parse(text: &str, vocabulary: Option<&dyn Vocabulary>) -> Result<Parsed, Error> {
    if text.len() > MAX_TEXT {
        return Err(Error::GrammarLimit { what: "length of the text", limit: MAX_TEXT });
    }
    let mut p = Parser { text, at: 0, depth: 0, n_elements: 0, vocabulary, parsed: Parsed::default() };
    p.space(true);
    while p.peek().is_some() {
        p.rule()?;
    }
    if p.parsed.rules.is_empty() {
        return Err(p.expected("a rule"));
    }
    let rules = &p.parsed.rules;
    for (id, rule) in rules.iter().enumerate() {
        if rule.is_empty() {
            return Err(Error::GrammarUndefined { name: p.parsed.name_of(id) });
        }
        let missing = rule
            .iter()
            .find(|e| e.kind == Kind::Rule && rules.get(e.value as usize).is_none_or(Vec::is_empty));
        if let Some(e) = missing {
            return Err(Error::GrammarUndefined { name: p.parsed.name_of(e.value as usize) });
        }
    }
    Ok(p.parsed)
}

struct Parser<'a> {
    text: &'a str,
    /// Byte offset, always on a character.
    at: usize,
    depth: usize,
    n_elements: usize,
    vocabulary: Option<&'a dyn Vocabulary>,
    parsed: Parsed,
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-'
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn looks_at(&self, what: &str) -> bool {
        self.text[self.at..].starts_with(what)
    }

    /// An error at the present place.
    fn expected(&self, expected: &'static str) -> Error {
        self.expected_at(self.at, expected)
    }

    fn expected_at(&self, at: usize, expected: &'static str) -> Error {
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let found = match self.text[at..].chars().next() {
            None => "the end".to_owned(),
            Some(c) => format!("{c:?}"),
        };
        Error::GrammarSyntax {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            found,
            expected,
        }
    }

    /// Skips blanks and comments, line ends only where they may stand.
    fn space(&mut self, newlines: bool) {
        while let Some(b) = self.peek() {
            match b {
                b' ' | b'\t' => self.at += 1,
                b'\r' | b'\n' if newlines => self.at += 1,
                b'#' => {
                    let rest = &self.text[self.at..];
                    self.at += rest.find(['\r', '\n']).unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }

    fn name(&mut self) -> Result<String, Error> {
        let rest = &self.text.as_bytes()[self.at..];
        let len = rest.iter().take_while(|b| is_word(**b)).count();
        if len == 0 {
            return Err(self.expected("a rule's name"));
        }
        let name = self.text[self.at..self.at + len].to_owned();
        self.at += len;
        Ok(name)
    }

    fn integer(&mut self) -> Result<u64, Error> {
        let rest = &self.text.as_bytes()[self.at..];
        let len = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let number = self.text[self.at..self.at + len].parse();
        let number = number.map_err(|_| self.expected("a number of up to 64 bits"))?;
        self.at += len;
        Ok(number)
    }

    fn symbol(&mut self, name: String) -> u32 {
        let next = self.parsed.names.len() as u32;
        *self.parsed.names.entry(name).or_insert(next)
    }

    /// A name for a rule that a group or a repetition needs; no user's name has an underscore.
    fn new_symbol(&mut self, base: &str) -> u32 {
        let id = self.parsed.names.len() as u32;
        self.parsed.names.insert(format!("{base}_{id}"), id);
        id
    }

    fn count(&mut self, n: usize) -> Result<(), Error> {
        self.n_elements = self.n_elements.saturating_add(n);
        if self.n_elements > MAX_ELEMENTS {
            return Err(Error::GrammarLimit { what: "number of elements", limit: MAX_ELEMENTS });
        }
        Ok(())
    }

    fn define(&mut self, id: u32, rule: Vec<Element>) {
        let index = id as usize;
        if self.parsed.rules.len() <= index {
            self.parsed.rules.resize_with(index + 1, Vec::new);
        }
        self.parsed.rules[index] = rule;
    }

    fn rule(&mut self) -> Result<(), Error> {
        let name = self.name()?;
        self.space(false);
        let id = self.symbol(name.clone());
        if !self.looks_at("::=") {
            return Err(self.expected("'::='"));
        }
        self.at += 3;
        self.space(true);
        self.alternatives(&name, id, false)?;
        match self.peek() {
            None => {}
            Some(b'\r') => self.at += if self.looks_at("\r\n") { 2 } else { 1 },
            Some(b'\n') => self.at += 1,
            Some(_) => return Err(self.expected("an element, a line end or the end")),
        }
        self.space(true);
        Ok(())
    }

    fn alternatives(&mut self, name: &str, id: u32, nested: bool) -> Result<(), Error> {
        let mut rule = Vec::new();
        self.sequence(name, &mut rule, nested)?;
        while self.peek() == Some(b'|') {
            self.push(&mut rule, Kind::Alt, 0)?;
            self.at += 1;
            self.space(true);
            self.sequence(name, &mut rule, nested)?;
        }
        self.push(&mut rule, Kind::End, 0)?;
        self.define(id, rule);
        Ok(())
    }

    fn push(&mut self, rule: &mut Vec<Element>, kind: Kind, value: u32) -> Result<(), Error> {
        self.count(1)?;
        rule.push(Element { kind, value });
        Ok(())
    }

    fn sequence(&mut self, name: &str, rule: &mut Vec<Element>, nested: bool) -> Result<(), Error> {
        // The last symbol, which a repetition applies to, and the number of rules it stands for.
        let mut last = rule.len();
        let mut n_rules: u64 = 1;
        while let Some(b) = self.peek() {
            let start = self.at;
            match b {
                b'"' => {
                    (last, n_rules) = (rule.len(), 1);
                    self.at += 1;
                    while self.peek() != Some(b'"') {
                        let c = self.character()?;
                        self.push(rule, Kind::Char, c)?;
                    }
                    self.at += 1;
                    self.space(nested);
                }
                b'[' => {
                    (last, n_rules) = (rule.len(), 1);
                    self.class(rule)?;
                    self.space(nested);
                }
                b'<' | b'!' => {
                    let kind = if b == b'!' { Kind::TokenNot } else { Kind::Token };
                    self.at += usize::from(b == b'!');
                    let token = self.token()?;
                    self.space(nested);
                    (last, n_rules) = (rule.len(), 1);
                    self.push(rule, kind, token)?;
                }
                b'(' => {
                    self.at += 1;
                    self.space(true);
                    let before = self.parsed.names.len();
                    let id = self.new_symbol(name);
                    self.depth += 1;
                    if self.depth > MAX_DEPTH {
                        return Err(Error::GrammarLimit { what: "nesting of groups", limit: MAX_DEPTH });
                    }
                    self.alternatives(name, id, true)?;
                    self.depth -= 1;
                    (last, n_rules) = (rule.len(), (self.parsed.names.len() - before) as u64);
                    self.push(rule, Kind::Rule, id)?;
                    if self.peek() != Some(b')') {
                        return Err(self.expected("an element or ')'"));
                    }
                    self.at += 1;
                    self.space(nested);
                }
                b'.' => {
                    (last, n_rules) = (rule.len(), 1);
                    self.push(rule, Kind::Any, 0)?;
                    self.at += 1;
                    self.space(nested);
                }
                b'*' | b'+' | b'?' | b'{' => {
                    let (least, most) = self.repetition(nested)?;
                    self.repeat(name, rule, (last, start), &mut n_rules, least, most)?;
                }
                _ if is_word(b) => {
                    let reference = self.name()?;
                    let id = self.symbol(reference);
                    self.space(nested);
                    (last, n_rules) = (rule.len(), 1);
                    self.push(rule, Kind::Rule, id)?;
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// Least and most times; `None` is no bound.
    fn repetition(&mut self, nested: bool) -> Result<(u64, Option<u64>), Error> {
        let sign = self.peek();
        self.at += 1;
        self.space(nested);
        match sign {
            Some(b'*') => return Ok((0, None)),
            Some(b'+') => return Ok((1, None)),
            Some(b'?') => return Ok((0, Some(1))),
            _ => {}
        }
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Err(self.expected("a number"));
        }
        let at = self.at;
        let least = self.integer()?;
        self.space(nested);
        let mut most = Some(least);
        if self.peek() == Some(b',') {
            self.at += 1;
            self.space(nested);
            most = None;
            if self.peek().is_some_and(|b| b.is_ascii_digit()) {
                let at = self.at;
                let bound = self.integer()?;
                // The reference runs through all numbers to 2^64 then.
                if bound < least {
                    return Err(self.expected_at(at, "a number not below the first"));
                }
                most = Some(bound);
                self.space(nested);
            }
            if self.peek() != Some(b'}') {
                return Err(self.expected("'}'"));
            }
        } else if self.peek() != Some(b'}') {
            return Err(self.expected("',' or '}'"));
        }
        self.at += 1;
        self.space(nested);
        if least > MAX_REPETITIONS {
            return Err(self.expected_at(at, "a number up to 2000"));
        }
        Ok((least, most.filter(|most| *most <= MAX_REPETITIONS)))
    }

    /// Rewrites the symbol at `last` into its repetition.
    ///
    /// `S{m,n}` becomes m times S and a rule `S' ::= S S'' |` for each further one; without a bound, m times S and
    /// one rule `S' ::= S S' |`.
    fn repeat(
        &mut self,
        name: &str,
        rule: &mut Vec<Element>,
        (last, sign_at): (usize, usize),
        n_rules: &mut u64,
        least: u64,
        most: Option<u64>,
    ) -> Result<(), Error> {
        if last == rule.len() {
            return Err(self.expected_at(sign_at, "an element before the repetition"));
        }
        let symbol = rule[last..].to_vec();
        let total = most.filter(|most| *most > 0).unwrap_or(least).max(1);
        if n_rules.saturating_mul(total) >= MAX_REPETITIONS {
            return Err(Error::GrammarLimit {
                what: "number of rules that a repetition makes",
                limit: MAX_REPETITIONS as usize,
            });
        }
        if least == 0 {
            rule.truncate(last);
        }
        for _ in 1..least {
            self.count(symbol.len())?;
            rule.extend_from_slice(&symbol);
        }
        let n_optional = most.map_or(1, |most| most - least);
        let mut inner = None;
        for _ in 0..n_optional {
            let id = self.new_symbol(name);
            self.count(symbol.len() + 3)?;
            let mut optional = symbol.clone();
            let next = if most.is_none() { Some(id) } else { inner };
            optional.extend(next.map(|id| Element { kind: Kind::Rule, value: id }));
            optional.push(Element { kind: Kind::Alt, value: 0 });
            optional.push(Element { kind: Kind::End, value: 0 });
            self.define(id, optional);
            inner = Some(id);
        }
        if let Some(id) = inner {
            self.push(rule, Kind::Rule, id)?;
        }
        *n_rules *= total;
        Ok(())
    }

    /// A class in brackets, from its `[`.
    fn class(&mut self, rule: &mut Vec<Element>) -> Result<(), Error> {
        self.at += 1;
        let mut kind = Kind::Char;
        if self.peek() == Some(b'^') {
            self.at += 1;
            kind = Kind::CharNot;
        }
        while self.peek() != Some(b']') {
            let c = self.character()?;
            self.push(rule, kind, c)?;
            kind = Kind::CharAlt;
            if self.peek() == Some(b'-') && !self.looks_at("-]") {
                self.at += 1;
                let upper = self.character()?;
                self.push(rule, Kind::Upper, upper)?;
            }
        }
        self.at += 1;
        Ok(())
    }

    /// A character of a literal or a class.
    fn character(&mut self) -> Result<u32, Error> {
        let Some(c) = self.text[self.at..].chars().next() else {
            return Err(self.expected("a character"));
        };
        if c == '\0' {
            return Err(self.expected("a character other than NUL"));
        }
        if c != '\\' {
            self.at += c.len_utf8();
            return Ok(c as u32);
        }
        let escape = self.text.as_bytes().get(self.at + 1).copied();
        let n_digits = match escape {
            Some(b'x') => 2,
            Some(b'u') => 4,
            Some(b'U') => 8,
            _ => 0,
        };
        if n_digits > 0 {
            let digits = self.text.as_bytes().get(self.at + 2..self.at + 2 + n_digits);
            let value = digits.and_then(|digits| {
                digits.iter().try_fold(0_u32, |value, d| Some((value << 4) | char::from(*d).to_digit(16)?))
            });
            let value =
                value.ok_or_else(|| self.expected("2, 4 or 8 hexadecimal digits after \\x, \\u, \\U"))?;
            self.at += 2 + n_digits;
            return Ok(value);
        }
        let value = match escape {
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b @ (b'\\' | b'"' | b'[' | b']')) => b,
            _ => return Err(self.expected("an escape: \\x \\u \\U \\t \\r \\n \\\\ \\\" \\[ \\]")),
        };
        self.at += 2;
        Ok(u32::from(value))
    }

    /// `<[id]>` or `<text>`, from its `<`.
    fn token(&mut self) -> Result<u32, Error> {
        let start = self.at;
        if self.peek() != Some(b'<') {
            return Err(self.expected("'<' and a token"));
        }
        self.at += 1;
        if self.peek() == Some(b'[') {
            self.at += 1;
            let id = self.integer()?;
            if !self.looks_at("]>") {
                return Err(self.expected("']>'"));
            }
            self.at += 2;
            // The reference keeps the low half of what it reads.
            return Ok(id as u32);
        }
        let Some(len) = self.text[self.at..].find('>') else {
            return Err(self.expected_at(self.text.len(), "'>'"));
        };
        self.at += len + 1;
        let written = &self.text[start..self.at];
        let Some(vocabulary) = self.vocabulary else {
            return Err(self.expected_at(start, "a token as <[id]>, for want of a vocabulary"));
        };
        match vocabulary.tokenize(written.as_bytes(), true)[..] {
            [token] => Ok(token),
            _ => Err(self.expected_at(start, "the text of exactly one token")),
        }
    }
}
