//! Patterns that are searched in the text so far.

use std::fmt::Write as _;

use regex::bytes::{Captures, Regex, RegexBuilder};

use crate::Error;

/// Bytes a compiled pattern may take.
const SIZE_LIMIT: usize = 1 << 22;

/// A compiled pattern (`llama_grammar_trigger_pattern`).
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    anywhere: Regex,
    /// For patterns in `^` and `$`.
    whole: Option<Regex>,
}

impl Pattern {
    pub(crate) fn new(pattern: &str) -> Result<Self, Error> {
        let translated = translate(pattern);
        let compile = |text: String| {
            let built = RegexBuilder::new(&text).unicode(false).size_limit(SIZE_LIMIT).build();
            built.map_err(|e| Error::TriggerPattern { pattern: pattern.to_owned(), message: e.to_string() })
        };
        let anchored = pattern.starts_with('^') && pattern.ends_with('$');
        let whole = anchored.then(|| compile(format!("\\A(?:{translated})\\z"))).transpose()?;
        Ok(Self { anywhere: compile(translated)?, whole })
    }

    /// The pattern for a list of words.
    pub(crate) fn for_words(words: &[String]) -> Result<Self, Error> {
        let words: Vec<String> = words.iter().map(|word| regex::escape(word)).collect();
        Self::new(&format!("[\\s\\S]*?({})[\\s\\S]*", words.join("|")))
    }

    /// Where the text for the grammar begins.
    pub(crate) fn find(&self, text: &[u8]) -> Option<usize> {
        let whole = self.whole.as_ref().and_then(|whole| whole.captures(text));
        whole.or_else(|| self.anywhere.captures(text)).map(|found| start_of(&found))
    }
}

fn start_of(found: &Captures<'_>) -> usize {
    let group = found.iter().skip(1).flatten().find(|group| !group.is_empty());
    group.or_else(|| found.get(0)).map_or(0, |m| m.start())
}

/// ECMAScript syntax in the syntax of the `regex` crate: what differs is escapes, and that `[` and doubled signs
/// mean something within a class there.
fn translate(pattern: &str) -> String {
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(e) if e.is_ascii_alphanumeric() => {
                    // \uHHHH is \u{HHHH} there.
                    out.push('\\');
                    out.push(e);
                    if e == 'u' {
                        let digits: String =
                            std::iter::from_fn(|| chars.next_if(char::is_ascii_hexdigit)).take(4).collect();
                        let _ = write!(out, "{{{digits}}}");
                    }
                }
                Some(e) => out.push_str(&regex::escape(&e.to_string())),
                None => out.push('\\'),
            },
            '[' if in_class => out.push_str("\\["),
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '[' => {
                in_class = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pattern: &str, text: &str) -> Option<usize> {
        Pattern::new(pattern).unwrap().find(text.as_bytes())
    }

    #[test]
    fn the_first_group_that_matched_something_counts() {
        assert_eq!(find("[\\s\\S]*?(<tool>)[\\s\\S]*", "abc <tool> x"), Some(4));
        assert_eq!(find("a(x?)(b)", "..ab"), Some(3));
        assert_eq!(find("ab", "..ab"), Some(2));
        assert_eq!(find("^ab$", "..ab"), None);
        assert_eq!(find("^\\s*(\\{)[\\s\\S]*$", "  {\"a\""), Some(2));
        assert_eq!(find("x", "abc"), None);
    }

    #[test]
    fn escapes_of_the_other_syntax() {
        assert_eq!(find("\\<\\/a\\>", "b</a>"), Some(1));
        assert_eq!(find("[[a]", "x["), Some(1));
        assert_eq!(find("[a&&b]", "&"), Some(0));
        assert_eq!(find("\\u0041", "A"), Some(0));
        assert!(Pattern::new("(a").is_err() && Pattern::new("(?=a)").is_err());
        assert_eq!(Pattern::for_words(&["f(x)".into(), "[b]".into()]).unwrap().find(b"a [b] f(x)"), Some(2));
    }
}
