//! A template's source as tokens, with jinja2's rules for whitespace around tags.

use num_bigint::BigInt;

use super::unicode::{is_space, rstrip};

/// What the source is not: a line and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub line: u32,
    pub detail: String,
}

pub(crate) fn syntax_error<T>(line: u32, detail: impl Into<String>) -> Result<T, SyntaxError> {
    Err(SyntaxError { line, detail: detail.into() })
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TokenKind {
    Data(String),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(String),
    Text(String),
    Integer(BigInt),
    Float(f64),
    /// One of [`OPERATORS`].
    Operator(&'static str),
    End,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub kind: TokenKind,
    pub line: u32,
}

impl std::fmt::Display for TokenKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TokenKind::Data(_) => f.write_str("template data"),
            TokenKind::VariableBegin => f.write_str("'{{'"),
            TokenKind::VariableEnd => f.write_str("'}}'"),
            TokenKind::BlockBegin => f.write_str("'{%'"),
            TokenKind::BlockEnd => f.write_str("'%}'"),
            TokenKind::Name(name) => write!(f, "'{name}'"),
            TokenKind::Text(_) => f.write_str("a string"),
            TokenKind::Integer(_) => f.write_str("an integer"),
            TokenKind::Float(_) => f.write_str("a number"),
            TokenKind::Operator(op) => write!(f, "'{op}'"),
            TokenKind::End => f.write_str("the end of the template"),
        }
    }
}

/// Longest first.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
    "=", ".", ":", "|", ",", ";",
];

/// Most digits of a decimal integer, as in Python.
const DIGITS_MAX: usize = 4_300;

/// The tokens of `source`, the last being [`TokenKind::End`].
pub(crate) fn tokenize(source: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut source = source.replace("\r\n", "\n").replace('\r', "\n");
    if source.ends_with('\n') {
        source.pop();
    }
    let mut lexer = Lexer { source: &source, pos: 0, line: 1, line_from: 0, tokens: Vec::new() };
    lexer.root()?;
    lexer.push(TokenKind::End, source.len());
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    source: &'a str,
    pos: usize,
    /// Line of `line_from`.
    line: u32,
    line_from: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.source[self.pos..]
    }

    /// The line of a place at or after the last one asked for.
    fn line_at(&mut self, at: usize) -> u32 {
        if at > self.line_from {
            let newlines = self.source.as_bytes()[self.line_from..at].iter().filter(|b| **b == b'\n').count();
            self.line += newlines as u32;
            self.line_from = at;
        }
        self.line
    }

    fn push(&mut self, kind: TokenKind, at: usize) {
        let line = self.line_at(at);
        self.tokens.push(Token { kind, line });
    }

    /// Text outside of tags, and where tags begin.
    fn root(&mut self) -> Result<(), SyntaxError> {
        let mut line_starting = true;
        while self.pos < self.source.len() {
            let start = self.pos;
            let Some(open) = find_tag(self.source, start) else {
                self.push(TokenKind::Data(self.rest().to_owned()), start);
                self.pos = self.source.len();
                break;
            };
            let text = &self.source[start..open];
            let kind = self.source.as_bytes()[open + 1];
            let raw = if kind == b'%' { raw_begin(self.source, open) } else { None };
            let sign = self.source.as_bytes().get(open + 2).copied().filter(|c| matches!(c, b'-' | b'+'));
            let text = strip_before(text, sign, kind == b'{', line_starting);
            if !text.is_empty() {
                let text = text.to_owned();
                self.push(TokenKind::Data(text), start);
            }
            self.line_at(open);
            self.pos = open + 2 + usize::from(sign.is_some());
            match (kind, raw) {
                (_, Some(body)) => {
                    self.pos = body;
                    // The tag itself is the last thing matched.
                    let begin_ends_line = self.source[..body].ends_with('\n');
                    self.raw(begin_ends_line)?;
                }
                (b'#', None) => self.comment()?,
                (b'%', None) => {
                    self.push(TokenKind::BlockBegin, open);
                    self.inside(true)?;
                }
                _ => {
                    self.push(TokenKind::VariableBegin, open);
                    self.inside(false)?;
                }
            }
            line_starting = self.source[..self.pos].ends_with('\n');
        }
        Ok(())
    }

    /// The end of a tag at `at`, if there is one: what follows it.
    fn tag_end(&self, at: usize, close: &str, is_variable: bool) -> Option<usize> {
        let rest = &self.source[at..];
        if let Some(after) = rest.strip_prefix('-').and_then(|r| r.strip_prefix(close)) {
            return Some(self.source.len() - after.trim_start_matches(is_space).len());
        }
        if is_variable {
            return rest.starts_with(close).then_some(at + 2);
        }
        if rest.strip_prefix('+').is_some_and(|r| r.starts_with(close)) {
            return Some(at + 3);
        }
        let after = rest.strip_prefix(close)?;
        Some(at + 2 + usize::from(after.starts_with('\n')))
    }

    fn comment(&mut self) -> Result<(), SyntaxError> {
        let Some(end) = self.rest().find("#}") else {
            let at = self.pos;
            return syntax_error(self.line_at(at), "Missing end of comment tag");
        };
        let mut at = self.pos + end;
        if end > 0 && matches!(self.source.as_bytes()[at - 1], b'-' | b'+') {
            at -= 1;
        }
        self.pos = self.tag_end(at, "#}", false).unwrap_or(at + 2);
        Ok(())
    }

    /// Text up to `{% endraw %}`.
    fn raw(&mut self, line_starting: bool) -> Result<(), SyntaxError> {
        let start = self.pos;
        let mut from = start;
        while let Some(found) = self.source[from..].find("{%") {
            let open = from + found;
            let sign = self.source.as_bytes().get(open + 2).copied().filter(|c| matches!(c, b'-' | b'+'));
            let inner = self.source[open + 2 + usize::from(sign.is_some())..].trim_start_matches(is_space);
            if let Some(after) = inner.strip_prefix("endraw") {
                let at = self.source.len() - after.trim_start_matches(is_space).len();
                if let Some(end) = self.tag_end(at, "%}", false) {
                    let text = strip_before(&self.source[start..open], sign, false, line_starting);
                    if !text.is_empty() {
                        let text = text.to_owned();
                        self.push(TokenKind::Data(text), start);
                    }
                    self.pos = end;
                    return Ok(());
                }
            }
            from = open + 2;
        }
        syntax_error(self.line_at(start), "Missing end of raw directive")
    }

    /// The tokens of a tag up to and with its end.
    fn inside(&mut self, is_block: bool) -> Result<(), SyntaxError> {
        let (close, end) =
            if is_block { ("%}", TokenKind::BlockEnd) } else { ("}}", TokenKind::VariableEnd) };
        let mut open: Vec<&'static str> = Vec::new();
        loop {
            let at = self.pos;
            if open.is_empty()
                && let Some(after) = self.tag_end(at, close, !is_block)
            {
                self.push(end, at);
                self.pos = after;
                return Ok(());
            }
            let Some(c) = self.rest().chars().next() else {
                // The parser says what is missing.
                return Ok(());
            };
            let line = self.line_at(at);
            if is_space(c) {
                self.pos += self.rest().len() - self.rest().trim_start_matches(is_space).len();
            } else if let Some((kind, len)) = number(self.source, at, line)? {
                self.push(kind, at);
                self.pos += len;
            } else if is_word(c) {
                let len = self.rest().find(|c| !is_word(c)).unwrap_or(self.rest().len());
                let name = self.rest()[..len].to_owned();
                let valid = name.chars().next().is_some_and(|c| c == '_' || unicode_ident::is_xid_start(c))
                    && name.chars().all(|c| c == '_' || unicode_ident::is_xid_continue(c));
                if !valid {
                    return syntax_error(line, "Invalid character in identifier");
                }
                self.push(TokenKind::Name(name), at);
                self.pos += len;
            } else if c == '\'' || c == '"' {
                let Some(len) = string_length(self.rest()) else {
                    return syntax_error(line, "a string does not end");
                };
                let text = unescape(&self.source[at + 1..at + len - 1], line)?;
                self.push(TokenKind::Text(text), at);
                self.pos += len;
            } else if let Some(op) = OPERATORS.into_iter().find(|op| self.rest().starts_with(op)) {
                match op {
                    "{" => open.push("}"),
                    "(" => open.push(")"),
                    "[" => open.push("]"),
                    "}" | ")" | "]" if open.pop() != Some(op) => {
                        return syntax_error(line, format!("unexpected '{op}'"));
                    }
                    _ => {}
                }
                self.push(TokenKind::Operator(op), at);
                self.pos += op.len();
            } else {
                return syntax_error(line, format!("unexpected char {c:?}"));
            }
        }
    }
}

/// Where the next tag begins at or after `from`.
fn find_tag(source: &str, from: usize) -> Option<usize> {
    let bytes = source.as_bytes();
    let mut at = from;
    loop {
        at += source[at..].find('{')?;
        if matches!(bytes.get(at + 1), Some(b'{' | b'%' | b'#')) {
            return Some(at);
        }
        at += 1;
    }
}

/// Where the text of a raw block begins, if the tag at `open` opens one.
fn raw_begin(source: &str, open: usize) -> Option<usize> {
    let inner = &source[open + 2..];
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let after = inner.trim_start_matches(is_space).strip_prefix("raw")?.trim_start_matches(is_space);
    let at = |rest: &str| Some(source.len() - rest.len());
    if let Some(rest) = after.strip_prefix("-%}") {
        return at(rest.trim_start_matches(is_space));
    }
    at(after.strip_prefix("%}")?)
}

/// The text before a tag, without the whitespace that the tag takes.
fn strip_before(text: &str, sign: Option<u8>, is_variable: bool, line_starting: bool) -> &str {
    match sign {
        Some(b'-') => rstrip(text),
        None if !is_variable => {
            let line = text.rfind('\n').map_or(0, |at| at + 1);
            let blank = (line > 0 || line_starting) && text[line..].chars().all(is_space);
            if blank { &text[..line] } else { text }
        }
        _ => text,
    }
}

/// Python's `\w`.
fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric() || unicode_ident::is_xid_continue(c)
}

/// Length of the digits at the start of `text`, single underscores between them included.
fn digits(text: &[u8], is_digit: impl Fn(u8) -> bool) -> usize {
    let mut len = 0;
    loop {
        match text.get(len) {
            Some(c) if is_digit(*c) => len += 1,
            Some(b'_') if len > 0 && text.get(len + 1).is_some_and(|c| is_digit(*c)) => len += 2,
            _ => return len,
        }
    }
}

/// The number at `at` and its length.
fn number(source: &str, at: usize, line: u32) -> Result<Option<(TokenKind, usize)>, SyntaxError> {
    let text = &source.as_bytes()[at..];
    if !text.first().is_some_and(u8::is_ascii_digit) {
        return Ok(None);
    }
    let decimal = |c: u8| c.is_ascii_digit();
    let after_dot = at > 0 && source.as_bytes()[at - 1] == b'.';
    if !after_dot {
        let mut len = digits(text, decimal);
        let mut is_float = false;
        if text.get(len) == Some(&b'.') {
            let fraction = digits(&text[len + 1..], decimal);
            if fraction > 0 {
                len += 1 + fraction;
                is_float = true;
            }
        }
        if matches!(text.get(len), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(text.get(len + 1), Some(b'+' | b'-')));
            let exponent = digits(&text[len + 1 + sign..], decimal);
            if exponent > 0 {
                len += 1 + sign + exponent;
                is_float = true;
            }
        }
        if is_float {
            let literal = source[at..at + len].replace('_', "");
            return match literal.parse() {
                Ok(value) => Ok(Some((TokenKind::Float(value), len))),
                Err(_) => syntax_error(line, format!("{literal} is not a number")),
            };
        }
    }
    let radix = match text.get(..2).map(<[u8]>::to_ascii_lowercase).as_deref() {
        Some(b"0b") => 2,
        Some(b"0o") => 8,
        Some(b"0x") => 16,
        _ => 10,
    };
    let in_radix = |c: u8| char::from(c).is_digit(radix);
    if radix != 10 {
        // An underscore may follow the prefix.
        let skip = 2 + usize::from(text.get(2) == Some(&b'_'));
        let len = digits(&text[skip.min(text.len())..], in_radix);
        if len > 0 {
            let literal = source[at + skip..at + skip + len].replace('_', "");
            return Ok(BigInt::parse_bytes(literal.as_bytes(), radix)
                .map(|value| (TokenKind::Integer(value), skip + len)));
        }
    }
    let len = if text[0] == b'0' { digits(text, |c| c == b'0') } else { digits(text, decimal) };
    let literal = source[at..at + len].replace('_', "");
    if literal.len() > DIGITS_MAX {
        return syntax_error(
            line,
            format!("an integer has {} digits, at most {DIGITS_MAX} are allowed", literal.len()),
        );
    }
    Ok(BigInt::parse_bytes(literal.as_bytes(), 10).map(|value| (TokenKind::Integer(value), len)))
}

/// Length of the string literal that `text` begins with, quotes included.
fn string_length(text: &str) -> Option<usize> {
    let quote = text.as_bytes()[0];
    let mut escaped = false;
    for (at, c) in text.bytes().enumerate().skip(1) {
        if escaped {
            escaped = false;
        } else if c == b'\\' {
            escaped = true;
        } else if c == quote {
            return Some(at + 1);
        }
    }
    None
}

/// The text of a literal, by the rules of Python's `unicode-escape`.
fn unescape(literal: &str, line: u32) -> Result<String, SyntaxError> {
    let mut out = String::with_capacity(literal.len());
    let mut rest = literal;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else { break };
        rest = &rest[c.len_utf8()..];
        let mut hex = |digits: usize| -> Result<char, SyntaxError> {
            let value = rest
                .get(..digits)
                .filter(|text| text.bytes().all(|c| c.is_ascii_hexdigit()))
                .and_then(|text| u32::from_str_radix(text, 16).ok());
            let Some(value) = value else { return syntax_error(line, format!("truncated \\{c} escape")) };
            rest = &rest[digits..];
            char::from_u32(value)
                .map_or_else(|| syntax_error(line, format!("\\{c} escape {value:x} is not a character")), Ok)
        };
        match c {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(c),
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\x0b'),
            '0'..='7' => {
                let more = rest.bytes().take(2).take_while(|c| (b'0'..=b'7').contains(c)).count();
                let octal = format!("{c}{}", &rest[..more]);
                rest = &rest[more..];
                out.extend(u32::from_str_radix(&octal, 8).ok().and_then(char::from_u32));
            }
            'x' => out.push(hex(2)?),
            'u' => out.push(hex(4)?),
            'U' => out.push(hex(8)?),
            'N' => return syntax_error(line, "\\N escapes are not supported"),
            // Python escapes what is not ASCII before it reads the escapes, so the backslash meets another one.
            c if !c.is_ascii() => {
                let code = c as u32;
                out.push('\\');
                out.push_str(&match code {
                    0..=0xff => format!("x{code:02x}"),
                    0x100..=0xffff => format!("u{code:04x}"),
                    _ => format!("U{code:08x}"),
                });
            }
            c => {
                out.push('\\');
                out.push(c);
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<TokenKind> {
        tokenize(source).unwrap().into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn numbers() {
        let values = kinds("{{ 1_000 0x1f 1e3 1.5 2.x }}");
        assert_eq!(values[1], TokenKind::Integer(1000.into()));
        assert_eq!(values[2], TokenKind::Integer(31.into()));
        assert_eq!(values[3], TokenKind::Float(1000.0));
        assert_eq!(values[4], TokenKind::Float(1.5));
        assert_eq!(values[5], TokenKind::Integer(2.into()));
        assert_eq!(values[6], TokenKind::Operator("."));
    }

    #[test]
    fn lines_count_from_one() {
        let tokens = tokenize("a\n{{ x\n}}\n\n{{ y }}").unwrap();
        let lines: Vec<u32> = tokens.iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 2, 2, 3, 3, 5, 5, 5, 5]);
    }

    #[test]
    fn what_is_no_template_is_an_error() {
        for source in
            ["{{ 'a }}", "{# x", "{% raw %}x", "{{ ) }}", "{{ $ }}", "{{ '\\x1' }}", "{{ '\\ud800' }}"]
        {
            assert!(tokenize(source).is_err(), "{source}");
        }
    }
}
