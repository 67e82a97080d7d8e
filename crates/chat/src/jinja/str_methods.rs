//! Methods of `str`, and of `Markup` where it differs.

use std::rc::Rc;

use super::integer::to_index;
use super::interpreter::{Args, Interpreter};
use super::meter::{FailKind, Res, fail, type_error, value_error};
use super::unicode;
use super::value::{Str, Value};

impl Interpreter<'_> {
    pub fn str_method(&mut self, text: &Rc<Str>, name: &str, args: Args) -> Res<Value> {
        let s = text.as_str();
        let safe = text.safe;
        self.meter().text_step(s.len())?;
        match name {
            "upper" | "lower" | "casefold" | "swapcase" | "title" | "capitalize" => {
                let [] = args.positional_only(name, 0)?;
                let mapped = self.map_case(s, name)?;
                self.heap.text(&mapped, safe)
            }
            "strip" | "lstrip" | "rstrip" => {
                let [chars] = args.positional_only(name, 0)?;
                let stripped = self.strip(s, chars.as_ref(), name != "rstrip", name != "lstrip")?;
                self.heap.text(stripped, safe)
            }
            "split" | "rsplit" => {
                let [sep, maxsplit] = args.bind(name, ["sep", "maxsplit"], 0)?;
                self.split(text, name == "rsplit", sep.as_ref(), maxsplit.as_ref())
            }
            "splitlines" => {
                let [keep] = args.bind(name, ["keepends"], 0)?;
                let keep = keep.is_some_and(|keep| keep.is_true());
                let mut items = self.heap.items();
                for line in lines(s) {
                    items.push(self.heap.text(if keep { line.0 } else { line.1 }, safe)?)?;
                }
                self.heap.list(items)
            }
            "replace" => {
                let [old, new, count] = args.positional_only(name, 2)?;
                let (old, new) = (self.text_argument(old, name)?, self.text_argument(new, name)?);
                let new = if safe { self.escape(&new)? } else { new };
                let count = self.count_argument(count)?;
                self.replace(
                    s,
                    old.as_str().unwrap_or_default(),
                    new.as_str().unwrap_or_default(),
                    count,
                    safe,
                )
            }
            "startswith" | "endswith" => self.affix(s, name, args),
            "find" | "index" | "rfind" | "rindex" | "count" => self.search(s, name, args),
            "partition" | "rpartition" => {
                let [sep] = args.positional_only(name, 1)?;
                let sep = self.text_argument(sep, name)?;
                self.partition(text, sep.as_str().unwrap_or_default(), name == "rpartition")
            }
            "join" => {
                let [iterable] = args.positional_only(name, 1)?;
                self.join_texts(s, safe, &iterable.unwrap_or(Value::None))
            }
            "center" | "ljust" | "rjust" => {
                let [width, fill] = args.positional_only(name, 1)?;
                let width = self.width_argument(width)?;
                let fill = match fill {
                    None => ' ',
                    Some(fill) => match fill.as_str().map(|fill| (fill.chars().next(), fill.chars().count()))
                    {
                        Some((Some(c), 1)) => c,
                        _ => return type_error("The fill character must be exactly one character long"),
                    },
                };
                self.justify(s, name, width, fill, safe)
            }
            "zfill" => {
                let [width] = args.positional_only(name, 1)?;
                let width = self.width_argument(width)?;
                let len = s.chars().count();
                let (sign, digits) = match s.strip_prefix(['+', '-']) {
                    Some(rest) => s.split_at(s.len() - rest.len()),
                    None => ("", s),
                };
                let mut out = self.heap.buffer();
                out.push_str(sign)?;
                out.repeat("0", width.saturating_sub(len))?;
                out.push_str(digits)?;
                out.finish(safe)
            }
            "expandtabs" => {
                let [size] = args.bind(name, ["tabsize"], 0)?;
                let size = size.as_ref().map_or(Some(8), to_index).unwrap_or(8);
                self.expand_tabs(s, size, safe)
            }
            "removeprefix" | "removesuffix" => {
                let [affix] = args.positional_only(name, 1)?;
                let affix = self.text_argument(affix, name)?;
                let affix = affix.as_str().unwrap_or_default();
                let rest = if name == "removeprefix" { s.strip_prefix(affix) } else { s.strip_suffix(affix) };
                self.heap.text(rest.unwrap_or(s), safe)
            }
            "encode" => {
                let [encoding, _errors] = args.bind(name, ["encoding", "errors"], 0)?;
                let encoding =
                    encoding.as_ref().and_then(Value::as_str).unwrap_or("utf-8").to_ascii_lowercase();
                if !matches!(encoding.as_str(), "utf-8" | "utf8" | "ascii")
                    || (encoding == "ascii" && !s.is_ascii())
                {
                    return value_error(format!("cannot encode as {encoding}"));
                }
                self.meter().take(s.len())?;
                Ok(Value::Bytes(s.as_bytes().into()))
            }
            "format" => self.format_method(text, args),
            "format_map" => {
                let [mapping] = args.positional_only(name, 1)?;
                self.format_map(text, mapping.unwrap_or(Value::None))
            }
            "maketrans" | "translate" => fail(FailKind::Template, format!("str.{name} is not supported")),
            "escape" => {
                let [value] = args.positional_only(name, 1)?;
                self.escape(&value.unwrap_or(Value::None))
            }
            "unescape" => {
                let [] = args.positional_only(name, 0)?;
                let plain = unescape_entities(s);
                self.heap.str(&plain)
            }
            "striptags" => {
                let [] = args.positional_only(name, 0)?;
                self.strip_tags(s)
            }
            _ => {
                let [] = args.positional_only(name, 0)?;
                Ok(Value::Bool(is_of_kind(s, name)))
            }
        }
    }

    fn text_argument(&self, value: Option<Value>, name: &str) -> Res<Value> {
        match value {
            Some(value @ Value::Str(_)) => Ok(value),
            Some(other) => type_error(format!("{name}() argument must be str, not {}", self.type_of(&other))),
            None => type_error(format!("{name}() takes an argument")),
        }
    }

    /// A count, negative or absent meaning all.
    fn count_argument(&self, value: Option<Value>) -> Res<usize> {
        match value {
            None => Ok(usize::MAX),
            Some(value) => match to_index(&value) {
                Some(n) => Ok(usize::try_from(n).unwrap_or(usize::MAX)),
                None => type_error(format!(
                    "'{}' object cannot be interpreted as an integer",
                    self.type_of(&value)
                )),
            },
        }
    }

    fn width_argument(&self, value: Option<Value>) -> Res<usize> {
        let value = value.unwrap_or(Value::None);
        match to_index(&value) {
            Some(n) => Ok(usize::try_from(n).unwrap_or(0)),
            None => {
                type_error(format!("'{}' object cannot be interpreted as an integer", self.type_of(&value)))
            }
        }
    }

    /// `text` with its case changed as the method of this name does.
    pub fn map_case(&mut self, text: &str, method: &str) -> Res<String> {
        // No mapping gives more than three characters of three bytes for one.
        let bound = text.len().saturating_mul(3);
        self.meter().take(bound)?;
        self.meter().text_step(bound)?;
        let mapped = match method {
            "upper" => text.to_uppercase(),
            "lower" => text.to_lowercase(),
            "casefold" => {
                let mut out = String::with_capacity(text.len());
                text.chars().for_each(|c| unicode::push_folded(&mut out, c));
                out
            }
            "capitalize" => {
                let mut out = String::with_capacity(text.len());
                let mut chars = text.chars();
                if let Some(first) = chars.next() {
                    unicode::push_title(&mut out, first);
                    push_lower(&mut out, text, first.len_utf8());
                }
                out
            }
            "swapcase" => {
                let mut out = String::with_capacity(text.len());
                for (at, c) in text.char_indices() {
                    if c.is_uppercase() {
                        push_lower_char(&mut out, text, at, c);
                    } else if c.is_lowercase() {
                        out.extend(c.to_uppercase());
                    } else {
                        out.push(c);
                    }
                }
                out
            }
            _ => {
                let mut out = String::with_capacity(text.len());
                let mut within_word = false;
                for (at, c) in text.char_indices() {
                    if within_word {
                        push_lower_char(&mut out, text, at, c);
                    } else {
                        unicode::push_title(&mut out, c);
                    }
                    within_word = unicode::is_cased(c);
                }
                out
            }
        };
        self.meter().give(bound);
        Ok(mapped)
    }

    /// `text` without characters at its ends.
    pub fn strip<'s>(
        &mut self,
        text: &'s str,
        chars: Option<&Value>,
        left: bool,
        right: bool,
    ) -> Res<&'s str> {
        let chars = match chars {
            None | Some(Value::None) => None,
            Some(value) => match value.as_str() {
                Some(chars) => Some(chars),
                None => {
                    return type_error(format!("strip arg must be None or str, not {}", self.type_of(value)));
                }
            },
        };
        let known: Option<Vec<char>> = match chars {
            None => None,
            Some(chars) => {
                self.step(chars.len())?;
                let mut known: Vec<char> = chars.chars().collect();
                known.sort_unstable();
                Some(known)
            }
        };
        self.meter().text_step(text.len().saturating_mul(16))?;
        let goes = |c: char| match &known {
            None => unicode::is_space(c),
            Some(known) => known.binary_search(&c).is_ok(),
        };
        let mut rest = text;
        if left {
            rest = rest.trim_start_matches(goes);
        }
        if right {
            rest = rest.trim_end_matches(goes);
        }
        Ok(rest)
    }

    fn split(
        &mut self,
        text: &Rc<Str>,
        from_right: bool,
        sep: Option<&Value>,
        maxsplit: Option<&Value>,
    ) -> Res<Value> {
        let s = text.as_str();
        let most = self.count_argument(maxsplit.cloned())?;
        let mut parts: Vec<&str> = Vec::new();
        match sep {
            None | Some(Value::None) => {
                let mut rest =
                    if from_right { unicode::rstrip(s) } else { s.trim_start_matches(unicode::is_space) };
                while !rest.is_empty() {
                    self.step(1)?;
                    if parts.len() == most {
                        parts.push(rest);
                        break;
                    }
                    if from_right {
                        let at = rest.rfind(unicode::is_space);
                        let word =
                            at.map_or(0, |at| at + rest[at..].chars().next().map_or(0, char::len_utf8));
                        parts.push(&rest[word..]);
                        rest = unicode::rstrip(&rest[..word]);
                    } else {
                        let end = rest.find(unicode::is_space).unwrap_or(rest.len());
                        parts.push(&rest[..end]);
                        rest = rest[end..].trim_start_matches(unicode::is_space);
                    }
                }
            }
            Some(sep) => {
                let sep = self.text_argument(Some(sep.clone()), "split")?;
                let sep = sep.as_str().unwrap_or_default();
                if sep.is_empty() {
                    return value_error("empty separator");
                }
                self.meter().text_step(s.len())?;
                let mut rest = s;
                while parts.len() < most {
                    self.step(1)?;
                    let found = if from_right { rest.rfind(sep) } else { rest.find(sep) };
                    let Some(at) = found else { break };
                    if from_right {
                        parts.push(&rest[at + sep.len()..]);
                        rest = &rest[..at];
                    } else {
                        parts.push(&rest[..at]);
                        rest = &rest[at + sep.len()..];
                    }
                }
                parts.push(rest);
            }
        }
        if from_right {
            parts.reverse();
        }
        let mut items = self.heap.items();
        for part in parts {
            items.push(self.heap.text(part, text.safe)?)?;
        }
        self.heap.list(items)
    }

    /// `text` with `old` replaced, at most `count` times.
    pub fn replace(&mut self, text: &str, old: &str, new: &str, count: usize, safe: bool) -> Res<Value> {
        let mut out = self.heap.buffer();
        self.meter().text_step(text.len())?;
        if old.is_empty() {
            // Python puts the new text before every character and at the end.
            let mut left = count;
            for c in text.chars() {
                if left > 0 {
                    out.push_str(new)?;
                    left -= 1;
                }
                out.push(c)?;
            }
            if left > 0 {
                out.push_str(new)?;
            }
            return out.finish(safe);
        }
        let mut rest = text;
        for _ in 0..count {
            let Some(at) = rest.find(old) else { break };
            out.push_str(&rest[..at])?;
            out.push_str(new)?;
            rest = &rest[at + old.len()..];
        }
        out.push_str(rest)?;
        out.finish(safe)
    }

    /// The bytes of `s[start:end]`; None where start is behind the end of the text.
    fn bounds(&self, s: &str, start: Option<&Value>, end: Option<&Value>) -> Res<Option<(usize, usize)>> {
        let index = |value: Option<&Value>| match value {
            None | Some(Value::None) => Ok(None),
            Some(value) => match to_index(value) {
                Some(n) => Ok(Some(n)),
                None => type_error("slice indices must be integers or None or have an __index__ method"),
            },
        };
        let (start, end) = (index(start)?, index(end)?);
        if start.is_none() && end.is_none() {
            return Ok(Some((0, s.len())));
        }
        self.meter().text_step(s.len().saturating_mul(4))?;
        let len = s.chars().count() as i64;
        let clamp = |n: i64| if n < 0 { n.saturating_add(len).max(0) } else { n };
        let (start, end) = (clamp(start.unwrap_or(0)), clamp(end.unwrap_or(len)).min(len));
        if start > end || start > len {
            return Ok(None);
        }
        let byte = |n: i64| s.char_indices().nth(n as usize).map_or(s.len(), |(at, _)| at);
        Ok(Some((byte(start), byte(end))))
    }

    fn affix(&mut self, s: &str, name: &str, args: Args) -> Res<Value> {
        let [affix, start, end] = args.positional_only(name, 1)?;
        let affix = affix.unwrap_or(Value::None);
        if !matches!(affix, Value::Str(_) | Value::Tuple(_)) {
            let found = self.type_of(&affix);
            return type_error(format!("{name} first arg must be str or a tuple of str, not {found}"));
        }
        let Some((from, to)) = self.bounds(s, start.as_ref(), end.as_ref())? else {
            return Ok(Value::Bool(false));
        };
        let part = &s[from..to];
        let has =
            |affix: &str| if name == "startswith" { part.starts_with(affix) } else { part.ends_with(affix) };
        match &affix {
            Value::Str(affix) => Ok(Value::Bool(has(affix.as_str()))),
            Value::Tuple(seq) => {
                for item in seq.items() {
                    self.step(1)?;
                    let item = self.text_argument(Some(item.clone()), name)?;
                    if has(item.as_str().unwrap_or_default()) {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            other => type_error(format!(
                "{name} first arg must be str or a tuple of str, not {}",
                self.type_of(other)
            )),
        }
    }

    fn search(&mut self, s: &str, name: &str, args: Args) -> Res<Value> {
        let [part, start, end] = args.positional_only(name, 1)?;
        let part = self.text_argument(part, name)?;
        let part = part.as_str().unwrap_or_default();
        let found = self.bounds(s, start.as_ref(), end.as_ref())?;
        if name == "count" {
            let Some((from, to)) = found else { return Ok(Value::Int(0)) };
            let within = &s[from..to];
            let count =
                if part.is_empty() { within.chars().count() + 1 } else { within.matches(part).count() };
            return Ok(Value::Int(count as i64));
        }
        let at = found.and_then(|(from, to)| {
            let within = &s[from..to];
            let at = if name.starts_with('r') { within.rfind(part) } else { within.find(part) };
            at.map(|at| s[..from + at].chars().count() as i64)
        });
        match at {
            Some(at) => Ok(Value::Int(at)),
            None if name.ends_with("index") => value_error("substring not found"),
            None => Ok(Value::Int(-1)),
        }
    }

    fn partition(&mut self, text: &Rc<Str>, sep: &str, from_right: bool) -> Res<Value> {
        if sep.is_empty() {
            return value_error("empty separator");
        }
        let s = text.as_str();
        let at = if from_right { s.rfind(sep) } else { s.find(sep) };
        let parts = match (at, from_right) {
            (Some(at), _) => [&s[..at], sep, &s[at + sep.len()..]],
            (None, false) => [s, "", ""],
            (None, true) => ["", "", s],
        };
        let mut items = self.heap.items();
        for part in parts {
            items.push(self.heap.text(part, text.safe)?)?;
        }
        self.heap.tuple(items)
    }

    fn join_texts(&mut self, separator: &str, safe: bool, iterable: &Value) -> Res<Value> {
        let items = match self.collect(iterable) {
            Err(error) if error.kind == FailKind::Type => return type_error("can only join an iterable"),
            other => other?,
        };
        let mut out = self.heap.buffer();
        for (at, item) in items.as_slice().iter().enumerate() {
            if at > 0 {
                out.push_str(separator)?;
            }
            if safe {
                let escaped = self.escape(item)?;
                out.push_str(escaped.as_str().unwrap_or_default())?;
                continue;
            }
            match item.as_str() {
                Some(text) => out.push_str(text)?,
                None => {
                    let name = self.type_of(item);
                    return type_error(format!("sequence item {at}: expected str instance, {name} found"));
                }
            }
        }
        out.finish(safe)
    }

    /// `text` padded to `width` characters.
    pub fn justify(&mut self, text: &str, method: &str, width: usize, fill: char, safe: bool) -> Res<Value> {
        let len = text.chars().count();
        let pad = width.saturating_sub(len);
        let left = match method {
            "ljust" => 0,
            "rjust" => pad,
            // Python's own rounding: an odd rest goes left where the width is odd.
            _ => pad / 2 + (pad & width & 1),
        };
        let mut fill_text = [0; 4];
        let fill = fill.encode_utf8(&mut fill_text);
        let mut out = self.heap.buffer();
        out.repeat(fill, left)?;
        out.push_str(text)?;
        out.repeat(fill, pad - left)?;
        out.finish(safe)
    }

    fn expand_tabs(&mut self, s: &str, size: i64, safe: bool) -> Res<Value> {
        let size = usize::try_from(size).unwrap_or(0);
        let mut out = self.heap.buffer();
        let mut column = 0usize;
        for c in s.chars() {
            match c {
                '\t' => {
                    if size > 0 {
                        let spaces = size - column % size;
                        out.repeat(" ", spaces)?;
                        column += spaces;
                    }
                }
                c => {
                    out.push(c)?;
                    column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
                }
            }
        }
        out.finish(safe)
    }

    /// markupsafe's `striptags`: without comments and tags, whitespace made single spaces, entities decoded.
    pub fn strip_tags(&mut self, text: &str) -> Res<Value> {
        self.meter().text_step(text.len().saturating_mul(8))?;
        self.meter().take(text.len().saturating_mul(3))?;
        let mut plain = text.to_owned();
        for (open, close) in [("<!--", "-->"), ("<", ">")] {
            let mut kept = String::with_capacity(plain.len());
            let mut rest = plain.as_str();
            while let Some(at) = rest.find(open) {
                let Some(end) = rest[at..].find(close) else { break };
                kept.push_str(&rest[..at]);
                rest = &rest[at + end + close.len()..];
            }
            kept.push_str(rest);
            plain = kept;
        }
        let words: Vec<&str> = plain.split(unicode::is_space).filter(|word| !word.is_empty()).collect();
        let joined = unescape_entities(&words.join(" "));
        self.meter().give(text.len().saturating_mul(3));
        self.heap.str(&joined)
    }
}

/// A text's lines, with and without what ends them.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (line, end) = match rest.char_indices().find(|(_, c)| unicode::is_line_break(*c)) {
            None => (rest.len(), rest.len()),
            Some((at, '\r')) if rest[at + 1..].starts_with('\n') => (at, at + 2),
            Some((at, c)) => (at, at + c.len_utf8()),
        };
        let both = (&rest[..end], &rest[..line]);
        rest = &rest[end..];
        Some(both)
    })
}

/// The lower case of `text[from..]`, a final sigma being told by what is before it.
fn push_lower(out: &mut String, text: &str, from: usize) {
    for (at, c) in text[from..].char_indices() {
        push_lower_char(out, text, from + at, c);
    }
}

fn push_lower_char(out: &mut String, text: &str, at: usize, c: char) {
    if c != 'Σ' {
        out.extend(c.to_lowercase());
        return;
    }
    let ignorable = |c: &char| {
        matches!(c, '\'' | '.' | ':' | '^' | '`' | '\u{ad}' | '\u{b7}' | '\u{2019}')
            || ('\u{300}'..='\u{36f}').contains(c)
    };
    let before = text[..at].chars().rev().find(|c| !ignorable(c)).is_some_and(unicode::is_cased);
    let after = text[at + 2..].chars().find(|c| !ignorable(c)).is_some_and(unicode::is_cased);
    out.push(if before && !after { 'ς' } else { 'σ' });
}

/// The `is...` methods.
fn is_of_kind(s: &str, name: &str) -> bool {
    let all = |test: fn(char) -> bool| !s.is_empty() && s.chars().all(test);
    match name {
        "isalnum" => all(unicode::is_alnum),
        "isalpha" => all(unicode::is_alpha),
        "isascii" => s.is_ascii(),
        "isdecimal" => all(unicode::is_decimal),
        "isdigit" => all(unicode::is_digit),
        "isnumeric" => all(unicode::is_numeric),
        "isspace" => all(unicode::is_space),
        "isprintable" => s.chars().all(unicode::is_printable),
        "isidentifier" => {
            s.chars().next().is_some_and(|c| c == '_' || unicode_ident::is_xid_start(c))
                && s.chars().all(unicode_ident::is_xid_continue)
        }
        "islower" => s.chars().any(char::is_lowercase) && !s.chars().any(unicode::is_upper_or_title),
        "isupper" => {
            s.chars().any(char::is_uppercase) && !s.chars().any(|c| c.is_lowercase() || unicode::is_title(c))
        }
        _ => {
            let mut within_word = false;
            let mut found = false;
            for c in s.chars() {
                if unicode::is_upper_or_title(c) {
                    if within_word {
                        return false;
                    }
                    within_word = true;
                    found = true;
                } else if c.is_lowercase() {
                    if !within_word {
                        return false;
                    }
                    found = true;
                } else {
                    within_word = false;
                }
            }
            found
        }
    }
}

pub(crate) fn is_lower(s: &str) -> bool {
    is_of_kind(s, "islower")
}

pub(crate) fn is_upper(s: &str) -> bool {
    is_of_kind(s, "isupper")
}

/// HTML's common entities, decoded.
fn unescape_entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(12).position(|c| c == b';');
        let known = end.and_then(|end| {
            let name = &rest[1..end];
            let c = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                "nbsp" => '\u{a0}',
                _ => {
                    let number = name.strip_prefix('#')?;
                    let code = match number.strip_prefix(['x', 'X']) {
                        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                        None => number.parse().ok()?,
                    };
                    char::from_u32(code)?
                }
            };
            Some((c, end))
        });
        match known {
            Some((c, end)) => {
                out.push(c);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}
