//! Regular expressions of schemas (ECMAScript's, by code points) as sets of strings.
//!
//! A pattern is searched: it says nothing of what stands before or behind the match. To know the ends it is matched
//! with [`BEGIN`] before and [`END`] behind the text. Look-ahead is an intersection, or one with a complement. What
//! needs memory (back references) or looks back is refused.

use super::charset::{BEGIN, CharSet, END};
use super::language::{EMPTY, EVERYTHING, Lang, Languages, NOTHING, TooLarge};

/// Longest pattern, in characters.
const MAX_LENGTH: usize = 4096;
/// Deepest nesting of groups.
const MAX_DEPTH: usize = 100;
/// The most that a number of repetitions can say.
const MAX_COUNT: u64 = 1 << 31;

/// Strings in which the pattern is found.
///
/// # Errors
/// What is wrong with it, or which part of it cannot be expressed.
pub(super) fn search(languages: &mut Languages, pattern: &str) -> Result<Lang, String> {
    let chars: Vec<char> = pattern.chars().collect();
    if chars.len() > MAX_LENGTH {
        return Err(format!("{} characters long, expected at most {MAX_LENGTH}", chars.len()));
    }
    let mut parser = Parser { chars: &chars, at: 0, depth: 0, languages };
    let tree = parser.alternatives()?;
    if parser.at < chars.len() {
        return Err(format!("unexpected '{}' at character {}", chars[parser.at], parser.at));
    }
    let matched = compile(parser.languages, &tree, EVERYTHING)?;
    let found = parser.languages.concat(EVERYTHING, matched);
    let inside = parser.languages.derivative(found, BEGIN).map_err(large)?;
    parser.languages.ended(inside).map_err(large)
}

fn large(_: TooLarge) -> String {
    "needs too many states".to_owned()
}

#[derive(Debug, Clone)]
enum Tree {
    Class(CharSet),
    Begin,
    End,
    Sequence(Vec<Tree>),
    Either(Vec<Tree>),
    Repeat(Box<Tree>, u64, Option<u64>),
    /// Look-ahead, and whether what lies ahead must be this.
    Ahead(Box<Tree>, bool),
}

impl Tree {
    /// Whether it consists of nothing but characters.
    fn is_plain(&self) -> bool {
        match self {
            Self::Class(_) => true,
            Self::Begin | Self::End | Self::Ahead(..) => false,
            Self::Sequence(parts) | Self::Either(parts) => parts.iter().all(Self::is_plain),
            Self::Repeat(of, ..) => of.is_plain(),
        }
    }

    /// The tree behind a `^`, where another one holds as it is.
    fn begun(&self) -> Result<Tree, String> {
        Ok(match self {
            Self::Begin => Self::Sequence(Vec::new()),
            Self::Either(parts) => Self::Either(parts.iter().map(Self::begun).collect::<Result<_, _>>()?),
            Self::Repeat(of, min, max) => Self::Repeat(Box::new(of.begun()?), *min, *max),
            Self::Sequence(parts) => {
                let mut out = Vec::with_capacity(parts.len());
                let mut at_begin = true;
                for part in parts {
                    if !at_begin && part.has(&|t| matches!(t, Self::Begin)) {
                        return Err("'^' behind another part cannot be expressed".to_owned());
                    }
                    out.push(if at_begin { part.begun()? } else { part.clone() });
                    at_begin = at_begin && matches!(part, Self::Begin | Self::Ahead(..));
                }
                Self::Sequence(out)
            }
            other => other.clone(),
        })
    }

    fn has(&self, what: &dyn Fn(&Tree) -> bool) -> bool {
        what(self)
            || match self {
                Self::Class(_) | Self::Begin | Self::End => false,
                Self::Sequence(parts) | Self::Either(parts) => parts.iter().any(|part| part.has(what)),
                Self::Repeat(of, ..) | Self::Ahead(of, _) => of.has(what),
            }
    }
}

/// What the tree matches, with `rest` behind.
fn compile(l: &mut Languages, tree: &Tree, rest: Lang) -> Result<Lang, String> {
    match tree {
        Tree::Class(set) => {
            let set = l.class(set.clone());
            Ok(l.concat(set, rest))
        }
        Tree::Begin => {
            let begin = l.class(CharSet::of(BEGIN));
            Ok(l.concat(begin, rest))
        }
        Tree::End => {
            // The sign stays where it is, for what else asks for it.
            let end = l.class(CharSet::of(END));
            Ok(if rest == EVERYTHING { l.concat(end, EVERYTHING) } else { l.and(&[end, rest]) })
        }
        Tree::Sequence(parts) => {
            let begin = parts.iter().position(|part| matches!(part, Tree::Begin));
            if let Some(begin) = begin.filter(|begin| begin + 1 < parts.len()) {
                let behind = Tree::Sequence(parts[begin + 1..].to_vec()).begun()?;
                let rest = compile(l, &behind, rest)?;
                return compile(l, &Tree::Sequence(parts[..=begin].to_vec()), rest);
            }
            let mut rest = rest;
            for (i, part) in parts.iter().enumerate().rev() {
                let begins_late = part.has(&|t| matches!(t, Tree::Begin))
                    && parts[..i].iter().any(|t| t.has(&|t| matches!(t, Tree::Ahead(..) | Tree::Begin)));
                if begins_late {
                    return Err("'^' behind look-ahead or another '^' cannot be expressed".to_owned());
                }
                rest = compile(l, part, rest)?;
            }
            Ok(rest)
        }
        Tree::Either(parts) => {
            let parts: Vec<Lang> =
                parts.iter().map(|part| compile(l, part, rest)).collect::<Result<_, _>>()?;
            Ok(l.or(&parts))
        }
        Tree::Repeat(of, min, max) => {
            if of.is_plain() {
                let once = compile(l, of, EMPTY)?;
                let repeated = l.repeat(once, *min, *max);
                return Ok(l.concat(repeated, rest));
            }
            // An assertion holds once or as often as you like.
            let once = compile(l, of, rest)?;
            match (min, max) {
                (_, Some(0)) => Ok(rest),
                (0, Some(1)) => Ok(l.or(&[once, rest])),
                (1, Some(1)) => Ok(once),
                _ => Err("repeating '^', '$' or look-ahead cannot be expressed".to_owned()),
            }
        }
        Tree::Ahead(of, wanted) => {
            if of.has(&|t| matches!(t, Tree::Begin)) {
                return Err("'^' within look-ahead cannot be expressed".to_owned());
            }
            let ahead = compile(l, of, EVERYTHING)?;
            let ahead = if *wanted { ahead } else { l.not(ahead) };
            Ok(if rest == NOTHING { NOTHING } else { l.and(&[ahead, rest]) })
        }
    }
}

struct Parser<'a> {
    chars: &'a [char],
    at: usize,
    depth: usize,
    languages: &'a mut Languages,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += usize::from(c.is_some());
        c
    }

    fn take(&mut self, text: &str) -> bool {
        let n = text.chars().count();
        let found = self.chars.get(self.at..self.at + n).is_some_and(|c| c.iter().copied().eq(text.chars()));
        self.at += if found { n } else { 0 };
        found
    }

    fn alternatives(&mut self) -> Result<Tree, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("groups nested deeper than {MAX_DEPTH}"));
        }
        let mut all = vec![self.sequence()?];
        while self.take("|") {
            all.push(self.sequence()?);
        }
        self.depth -= 1;
        Ok(if all.len() == 1 { all.remove(0) } else { Tree::Either(all) })
    }

    fn sequence(&mut self) -> Result<Tree, String> {
        let mut parts = Vec::new();
        while let Some(c) = self.peek().filter(|c| !matches!(c, '|' | ')')) {
            let from = self.at;
            let part = self.atom(c)?;
            let repeated = self.quantifier()?;
            if repeated.is_some() && matches!(part, Tree::Begin | Tree::End) {
                return Err(format!("'{c}' at character {from} cannot be repeated"));
            }
            parts.push(match repeated {
                Some((min, max)) => Tree::Repeat(Box::new(part), min, max),
                None => part,
            });
        }
        Ok(Tree::Sequence(parts))
    }

    fn atom(&mut self, c: char) -> Result<Tree, String> {
        let from = self.at;
        self.at += 1;
        match c {
            '^' => Ok(Tree::Begin),
            '$' => Ok(Tree::End),
            '.' => Ok(Tree::Class(line_ends().complement())),
            '(' => self.group(from),
            '[' => self.class(from).map(Tree::Class),
            '\\' => self.escape(false).map(Tree::Class),
            '*' | '+' | '?' => Err(format!("'{c}' at character {from} has nothing to repeat")),
            '{' if self.counts().is_some() => Err(format!("'{{' at character {from} has nothing to repeat")),
            c => Ok(Tree::Class(CharSet::of(c as u32))),
        }
    }

    fn group(&mut self, from: usize) -> Result<Tree, String> {
        let mut ahead = None;
        if self.take("?") {
            if self.take("=") {
                ahead = Some(true);
            } else if self.take("!") {
                ahead = Some(false);
            } else if self.take("<=") || self.take("<!") {
                return Err(format!("look-behind at character {from} cannot be expressed"));
            } else if self.take("<") || self.take("P<") {
                while self.next().ok_or("a group's name has no end")? != '>' {}
            } else if !self.take(":") {
                return Err(format!("the group at character {from} cannot be expressed"));
            }
        }
        let inner = self.alternatives()?;
        if !self.take(")") {
            return Err(format!("the group at character {from} has no end"));
        }
        Ok(match ahead {
            Some(wanted) => Tree::Ahead(Box::new(inner), wanted),
            None => inner,
        })
    }

    /// The numbers in braces, behind the opening one; `None`, and nothing taken, for other text.
    fn counts(&mut self) -> Option<(u64, Option<u64>)> {
        let from = self.at;
        let found = self.counts_or_text();
        if found.is_none() {
            self.at = from;
        }
        found
    }

    fn counts_or_text(&mut self) -> Option<(u64, Option<u64>)> {
        let min = self.number()?;
        if self.take("}") {
            return Some((min, Some(min)));
        }
        if !self.take(",") {
            return None;
        }
        let max = self.number();
        self.take("}").then_some((min, max))
    }

    fn number(&mut self) -> Option<u64> {
        let from = self.at;
        let mut n = 0u64;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            n = (n * 10 + u64::from(digit)).min(MAX_COUNT);
            self.at += 1;
        }
        (self.at > from).then_some(n)
    }

    fn quantifier(&mut self) -> Result<Option<(u64, Option<u64>)>, String> {
        let from = self.at;
        let counts = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                self.at += 1;
                let Some(counts) = self.counts() else {
                    self.at = from;
                    return Ok(None);
                };
                self.at -= 1;
                counts
            }
            _ => return Ok(None),
        };
        self.at += 1;
        if counts.1.is_some_and(|max| max < counts.0) {
            return Err(format!("the numbers at character {from} are out of order"));
        }
        // What is tried first does not change what is matched.
        self.take("?");
        if self.peek() == Some('+') {
            return Err(format!("the possessive repetition at character {from} cannot be expressed"));
        }
        Ok(Some(counts))
    }

    /// A class in brackets, behind the opening one. A bracket right at its beginning is a member.
    fn class(&mut self, from: usize) -> Result<CharSet, String> {
        let open = || format!("the class at character {from} has no end");
        let negated = self.take("^");
        let mut set = CharSet::default();
        let mut first = true;
        loop {
            let c = self.next().ok_or_else(open)?;
            if c == ']' && !first {
                break;
            }
            first = false;
            let low = if c == '\\' { self.escape(true)? } else { CharSet::of(c as u32) };
            let is_range =
                self.peek() == Some('-') && self.chars.get(self.at + 1).is_some_and(|next| *next != ']');
            if !is_range {
                set = set.union(&low);
                continue;
            }
            self.at += 1;
            let c = self.next().ok_or_else(open)?;
            let high = if c == '\\' { self.escape(true)? } else { CharSet::of(c as u32) };
            match (single(&low), single(&high)) {
                (Some(low), Some(high)) if low <= high => set = set.union(&CharSet::new(vec![(low, high)])),
                (Some(_), Some(_)) => {
                    return Err(format!("a range at character {} is out of order", self.at));
                }
                // Between classes it is a sign like others.
                _ => set = set.union(&low).union(&high).union(&CharSet::of('-' as u32)),
            }
        }
        Ok(if negated { set.complement() } else { set.intersection(&CharSet::any()) })
    }

    /// An escape, behind the backslash.
    fn escape(&mut self, in_class: bool) -> Result<CharSet, String> {
        let from = self.at;
        let c = self.next().ok_or("a backslash at the end")?;
        let one = |c: u32| Ok(CharSet::of(c));
        match c {
            'd' => Ok(digits()),
            'D' => Ok(digits().complement()),
            'w' => Ok(word()),
            'W' => Ok(word().complement()),
            's' => Ok(spaces()),
            'S' => Ok(spaces().complement()),
            't' => one(9),
            'n' => one(10),
            'v' => one(11),
            'f' => one(12),
            'r' => one(13),
            'b' if in_class => one(8),
            'b' | 'B' => Err(format!("'\\{c}' at character {from} cannot be expressed")),
            '0' if !self.peek().is_some_and(|c| c.is_ascii_digit()) => one(0),
            '0'..='9' | 'k' => Err(format!("the back reference at character {from} cannot be expressed")),
            'c' => match self.next() {
                Some(c) if c.is_ascii_alphabetic() => one(c as u32 % 32),
                _ => Err(format!("'\\c' at character {from} names no control character")),
            },
            'x' => self.hex(2).map_or_else(|| Err(not_hex(from)), one),
            'u' => {
                if self.take("{") {
                    let digits: String =
                        std::iter::from_fn(|| self.next().filter(char::is_ascii_hexdigit)).collect();
                    let c = u32::from_str_radix(&digits, 16).ok().filter(|c| char::from_u32(*c).is_some());
                    return c.map_or_else(|| Err(not_hex(from)), one);
                }
                let first = self.hex(4).ok_or_else(|| not_hex(from))?;
                let at = self.at;
                if (0xD800..0xDC00).contains(&first) && self.take("\\u") {
                    match self.hex(4) {
                        Some(second @ 0xDC00..0xE000) => {
                            return one(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00));
                        }
                        _ => self.at = at,
                    }
                }
                one(first)
            }
            'p' | 'P' => {
                let set = self.property(from)?;
                Ok(if c == 'P' { set.complement() } else { set })
            }
            c if c.is_ascii_alphanumeric() => {
                Err(format!("'\\{c}' at character {from} is no escape of ECMAScript"))
            }
            c => one(c as u32),
        }
    }

    fn hex(&mut self, n: usize) -> Option<u32> {
        let digits: String = self.chars.get(self.at..self.at + n)?.iter().collect();
        let value = digits.chars().all(|c| c.is_ascii_hexdigit()).then(|| u32::from_str_radix(&digits, 16));
        self.at += n;
        value?.ok()
    }

    /// The name of a property in braces.
    fn property(&mut self, from: usize) -> Result<CharSet, String> {
        let name: String = if self.take("{") {
            let mut name = String::new();
            loop {
                match self.next().ok_or("a property's name has no end")? {
                    '}' => break name,
                    c => name.push(c),
                }
            }
        } else {
            self.next().map(String::from).unwrap_or_default()
        };
        let holds: fn(char) -> bool = match name.as_str() {
            "N" | "Number" | "gc=N" | "General_Category=Number" => char::is_numeric,
            "Alphabetic" | "Alpha" => char::is_alphabetic,
            "Uppercase" | "Upper" => char::is_uppercase,
            "Lowercase" | "Lower" => char::is_lowercase,
            "White_Space" | "space" => char::is_whitespace,
            "Cc" | "Control" | "gc=Cc" => char::is_control,
            "ASCII" => |c| c.is_ascii(),
            "Any" => |_| true,
            _ => return Err(format!("the property '{name}' at character {from} cannot be expressed")),
        };
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for c in ('\0'..=char::MAX).filter(|c| holds(*c)).map(u32::from) {
            match ranges.last_mut() {
                Some(last) if last.1 + 1 == c => last.1 = c,
                _ => ranges.push((c, c)),
            }
        }
        Ok(CharSet::new(ranges))
    }
}

fn not_hex(from: usize) -> String {
    format!("the escape at character {from} names no character")
}

fn single(set: &CharSet) -> Option<u32> {
    match set.ranges() {
        [(low, high)] if low == high => Some(*low),
        _ => None,
    }
}

pub(super) fn digits() -> CharSet {
    CharSet::new(vec![(48, 57)])
}

fn word() -> CharSet {
    CharSet::new(vec![(48, 57), (65, 90), (95, 95), (97, 122)])
}

fn line_ends() -> CharSet {
    CharSet::new(vec![(10, 10), (13, 13), (0x2028, 0x2029)])
}

/// ECMAScript's white space and line ends.
fn spaces() -> CharSet {
    CharSet::new(vec![
        (9, 13),
        (32, 32),
        (0xA0, 0xA0),
        (0x1680, 0x1680),
        (0x2000, 0x200A),
        (0x2028, 0x2029),
        (0x202F, 0x202F),
        (0x205F, 0x205F),
        (0x3000, 0x3000),
        (0xFEFF, 0xFEFF),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_find_what_they_describe() {
        for (pattern, yes, no) in [
            ("b+", &["b", "abc", "bb"][..], &["", "ac"][..]),
            ("^a$|^b$", &["a", "b"], &["ab", "a$", ""]),
            ("^(a|b$)", &["a", "ax", "b"], &["bx", ""]),
            ("^.$", &["x", "é", "\t"], &["", "\n", "xy"]),
            ("^\\d{3}-\\w*\\s$", &["123-a_ ", "000-\u{a0}"], &["12-a ", "123-é "]),
            ("^[]a]$", &["]", "a"], &["b", ""]),
            ("^[^\"\\\\]+$", &["ab"], &["\"", "a\\"]),
            ("^[\\d\\-]+$", &["1-2"], &["d"]),
            ("^[a-\\d]$", &["a", "-", "7"], &["b"]),
            ("^a{2,3}?$", &["aa", "aaa"], &["a", "aaaa"]),
            ("^a{,2}$", &["a{,2}"], &["a", ""]),
            ("^(?!a)[a-z]+$", &["bcd"], &["abc", ""]),
            ("^(?=.*\\d)(?=.*[A-Z]).{4,}$", &["aB3d", "12345Z"], &["aB3", "abcd1"]),
            ("^(?:(?!--).)*$", &[], &[]),
            ("^(?!.*foo$).+$", &["foo1", "x"], &["afoo", ""]),
            ("", &["", "x"], &[]),
            ("^$", &[""], &["x"]),
            ("^^a$$", &["a"], &["^a"]),
            ("^(^a|b)", &["ab", "b"], &["cb"]),
            ("^(?!a)", &["", "b", "ba"], &["a", "ab"]),
            ("(?!a)b", &["ab", "b"], &["a"]),
            ("a$(?!$)", &[], &["a", ""]),
            ("a(?=b$)", &["cab"], &["abc", "a"]),
            ("^(a|b$)$", &["a", "b"], &["ab", "bb"]),
            ("\\u00e9|\\x41|\\u{1F600}|\\ud83d\\ude01", &["é", "A", "😀", "😁"], &["e"]),
            ("^\\p{N}\\P{N}$", &["5a", "½b"], &["a5"]),
        ] {
            let l = &mut Languages::new();
            let lang = match search(l, pattern) {
                Ok(lang) => lang,
                Err(_) if yes.is_empty() && no.is_empty() => continue,
                Err(error) => panic!("{pattern}: {error}"),
            };
            for text in yes {
                assert_eq!(l.has(lang, text), Ok(true), "{pattern} in {text:?}");
            }
            for text in no {
                assert_eq!(l.has(lang, text), Ok(false), "{pattern} in {text:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_expressed_is_named() {
        for (pattern, message) in [
            ("(a)\\1", "back reference at character 4"),
            ("(?<=a)b", "look-behind at character 0"),
            ("\\bfoo", "'\\b' at character 1"),
            ("(a", "the group at character 0 has no end"),
            ("a)", "unexpected ')' at character 1"),
            ("[a", "the class at character 0 has no end"),
            ("+a", "nothing to repeat"),
            ("a{3,2}", "out of order"),
            ("[b-a]", "out of order"),
            ("a\\", "a backslash at the end"),
            ("\\p{Script=Greek}", "property 'Script=Greek'"),
            ("\\Z", "no escape of ECMAScript"),
            ("(?:(?!--).)*$", "repeating"),
            ("^a*^b", "'^' behind another part"),
        ] {
            let error = search(&mut Languages::new(), pattern).unwrap_err();
            assert!(error.contains(message), "{pattern}: {error}");
        }
        assert!(search(&mut Languages::new(), &"(".repeat(4000)).is_err());
        assert!(search(&mut Languages::new(), &"a?".repeat(2040)).is_ok());
    }
}
