//! Regular expressions of `pattern` as rules.

use std::collections::HashMap;

use crate::{
    Error,
    json_schema::{convert::Converter, fail},
};

/// Deepest nesting of groups.
const MAX_DEPTH: usize = 200;

const SPECIAL: &str = "|.()[]{}*+?";
/// Escaped in patterns, plain in GBNF literals.
const UNESCAPED: &str = "^$.[]()|{}*+?";

/// A part of a sequence: a literal's content, or a rule's text.
#[derive(Clone)]
enum Part {
    Literal(String),
    Rule(String),
}

impl Part {
    fn into_rule(self) -> String {
        match self {
            Part::Literal(text) => format!("\"{text}\""),
            Part::Rule(text) => text,
        }
    }
}

/// The rule for JSON strings whose content `pattern` matches, added as `name`.
pub(super) fn add(converter: &mut Converter<'_>, pattern: &str, name: &str) -> Result<String, Error> {
    let inner = pattern.strip_prefix('^').and_then(|rest| rest.strip_suffix('$'));
    let Some(inner) = inner else {
        return fail(format!("pattern '{pattern}' must start with '^' and end with '$'"));
    };
    let mut t = Transform {
        converter,
        name,
        chars: inner.chars().collect(),
        at: 0,
        depth: 0,
        sub_rules: HashMap::new(),
    };
    let body = t.sequence()?;
    converter.add_rule(name, &format!("\"\\\"\" ({body}) \"\\\"\""))
}

struct Transform<'a, 'b> {
    converter: &'a mut Converter<'b>,
    name: &'a str,
    chars: Vec<char>,
    at: usize,
    depth: usize,
    /// Rules made for repeated parts.
    sub_rules: HashMap<String, String>,
}

impl Transform<'_, '_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn is_special(&self, at: usize) -> bool {
        self.chars.get(at).is_some_and(|c| SPECIAL.contains(*c))
    }

    /// Up to the end or past the next closing parenthesis.
    fn sequence(&mut self) -> Result<String, Error> {
        let start = self.at;
        let mut parts: Vec<Part> = Vec::new();
        while let Some(c) = self.peek() {
            match c {
                '.' => {
                    self.at += 1;
                    parts.push(Part::Rule(self.converter.add_rule("dot", "[^\\x0A\\x0D]")?));
                }
                '(' => {
                    self.at += 1;
                    if self.peek() == Some('?') {
                        if self.chars.get(self.at + 1) == Some(&':') {
                            self.at += 2;
                        } else {
                            self.skip_group();
                            continue;
                        }
                    }
                    self.depth += 1;
                    if self.depth > MAX_DEPTH {
                        return fail(format!("pattern nested deeper than {MAX_DEPTH}"));
                    }
                    let inner = self.sequence()?;
                    self.depth -= 1;
                    parts.push(Part::Rule(format!("({inner})")));
                }
                ')' => {
                    self.at += 1;
                    let after = |text: &str| self.chars[..start].ends_with(&text.chars().collect::<Vec<_>>());
                    // A sequence that does not follow an opening parenthesis must not close one.
                    if start > 0 && !after("(") && !after("?:") {
                        return fail("pattern with unbalanced parentheses");
                    }
                    break;
                }
                '[' => parts.push(Part::Rule(self.class()?)),
                '|' => {
                    self.at += 1;
                    parts.push(Part::Rule("|".to_owned()));
                }
                '*' | '+' | '?' => {
                    self.at += 1;
                    let Some(last) = parts.pop() else {
                        return fail(format!("pattern with '{c}' and nothing to repeat before it"));
                    };
                    parts.push(Part::Rule(last.into_rule() + &c.to_string()));
                }
                '{' => {
                    let (least, most) = self.bounds()?;
                    let Some(last) = parts.pop() else {
                        return fail("pattern with '{' and nothing to repeat before it");
                    };
                    let part = match last {
                        Part::Literal(_) => last.into_rule(),
                        Part::Rule(text) => self.sub_rule(text)?,
                    };
                    parts.push(Part::Rule(repetition(&part, least, most, "")));
                }
                _ => {
                    let literal = self.literal();
                    // A closing bracket that nothing opened; the reference loops for ever.
                    if literal.is_empty() {
                        return fail(format!("pattern with '{c}' and nothing open before it"));
                    }
                    parts.push(Part::Literal(literal));
                }
            }
        }
        Ok(join(parts))
    }

    /// Past a group that is not supported (look-around), from its `?`.
    fn skip_group(&mut self) {
        let mut depth = 1;
        while let Some(c) = self.peek() {
            if c == '\\' && self.at + 1 < self.chars.len() {
                self.at += 2;
                continue;
            }
            self.at += 1;
            depth += i32::from(c == '(') - i32::from(c == ')');
            if depth == 0 {
                return;
            }
        }
    }

    /// A class in brackets, taken over as it is.
    fn class(&mut self) -> Result<String, Error> {
        let mut class = String::from("[");
        self.at += 1;
        while let Some(c) = self.peek().filter(|c| *c != ']') {
            let n = if c == '\\' { 2 } else { 1 };
            let end = (self.at + n).min(self.chars.len());
            class.extend(&self.chars[self.at..end]);
            self.at = end;
        }
        if self.peek().is_none() {
            return fail("pattern with unbalanced square brackets");
        }
        self.at += 1;
        class.push(']');
        Ok(class)
    }

    /// `{m}`, `{m,}`, `{,n}` or `{m,n}`.
    fn bounds(&mut self) -> Result<(i32, i32), Error> {
        self.at += 1;
        let start = self.at;
        while self.peek().is_some_and(|c| c != '}') {
            self.at += 1;
        }
        if self.peek().is_none() {
            return fail("pattern with unbalanced curly brackets");
        }
        let inner: String = self.chars[start..self.at].iter().collect();
        self.at += 1;
        let numbers: Vec<&str> = inner.split(',').collect();
        match numbers[..] {
            [only] => leading_integer(only).map(|n| (n, n)),
            [least, most] => {
                let or = |text: &str, none| if text.is_empty() { Ok(none) } else { leading_integer(text) };
                Ok((or(least, 0)?, or(most, i32::MAX)?))
            }
            _ => fail(format!("pattern with {} numbers in curly brackets", numbers.len())),
        }
    }

    /// A rule for a part that is repeated by count.
    fn sub_rule(&mut self, text: String) -> Result<String, Error> {
        if let Some(known) = self.sub_rules.get(&text).filter(|known| !known.is_empty()) {
            return Ok(known.clone());
        }
        let n = self.sub_rules.len() + usize::from(!self.sub_rules.contains_key(&text));
        let name = self.converter.add_rule(&format!("{}-{n}", self.name), &text)?;
        self.sub_rules.insert(text, name.clone());
        Ok(name)
    }

    /// Characters without meaning; the one before a repetition is left for a literal of its own.
    fn literal(&mut self) -> String {
        let mut literal = String::new();
        while let Some(c) = self.peek() {
            let next = self.chars.get(self.at + 1).copied();
            if let ('\\', Some(escaped)) = (c, next) {
                if !UNESCAPED.contains(escaped) {
                    literal.push('\\');
                }
                literal.push(escaped);
                self.at += 2;
            } else if c == '"' {
                literal.push_str("\\\"");
                self.at += 1;
            } else if !SPECIAL.contains(c)
                && (next.is_none()
                    || literal.is_empty()
                    || next == Some('.')
                    || !self.is_special(self.at + 1))
            {
                literal.push(c);
                self.at += 1;
            } else {
                break;
            }
        }
        literal
    }
}

/// The sequence with neighbouring literals made one.
fn join(parts: Vec<Part>) -> String {
    let mut joined: Vec<Part> = Vec::new();
    for part in parts {
        match (joined.last_mut(), part) {
            (Some(Part::Literal(text)), Part::Literal(more)) => text.push_str(&more),
            (_, part) => joined.push(part),
        }
    }
    joined.into_iter().map(Part::into_rule).collect::<Vec<_>>().join(" ")
}

/// The number a text begins with, as `std::stoi` reads it.
fn leading_integer(text: &str) -> Result<i32, Error> {
    let trimmed = text.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    let sign = usize::from(trimmed.starts_with(['+', '-']));
    let n_digits = trimmed[sign..].bytes().take_while(u8::is_ascii_digit).count();
    trimmed[..sign + n_digits]
        .parse()
        .or_else(|_| fail(format!("pattern with '{text}' in curly brackets, expected a number of 32 bits")))
}

/// `item` from `least` to `most` times, `separator` between (`build_repetition`).
pub(super) fn repetition(item: &str, least: i32, most: i32, separator: &str) -> String {
    let bounded = most != i32::MAX;
    if most == 0 {
        return String::new();
    }
    if least == 0 && most == 1 {
        return format!("{item}?");
    }
    if separator.is_empty() {
        return match (least, bounded) {
            (1, false) => format!("{item}+"),
            (0, false) => format!("{item}*"),
            (_, false) => format!("{item}{{{least},}}"),
            (_, true) => format!("{item}{{{least},{most}}}"),
        };
    }
    let fewer = if least == 0 { 0 } else { least.wrapping_sub(1) };
    let most = if bounded { most.wrapping_sub(1) } else { most };
    let more = repetition(&format!("({separator} {item})"), fewer, most, "");
    let all = format!("{item} {more}");
    if least == 0 { format!("({all})?") } else { all }
}
