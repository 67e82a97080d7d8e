//! Filters of texts.

use std::rc::Rc;

use crate::jinja::integer::to_index;
use crate::jinja::interpreter::{Args, Interpreter};
use crate::jinja::meter::{FailKind, Res, fail, type_error, value_error};
use crate::jinja::str_methods::lines;
use crate::jinja::unicode::{is_alnum, is_space};
use crate::jinja::value::{Str, Value};

use super::wrap::{Wrap, wrap};

impl Interpreter<'_> {
    pub(super) fn text_filter(&mut self, name: &str, value: &Value, args: Args) -> Res<Value> {
        match name {
            "string" => {
                let [] = args.positional_only(name, 0)?;
                self.to_str(value)
            }
            "upper" | "lower" | "capitalize" => {
                let [] = args.bind(name, [], 0)?;
                let text = self.soft_str(value)?;
                let mapped = self.map_case(text.as_str(), name)?;
                self.heap.text(&mapped, text.safe)
            }
            "title" => {
                let [] = args.bind(name, [], 0)?;
                let text = self.soft_str(value)?;
                self.title(text.as_str())
            }
            "trim" => {
                let [chars] = args.bind(name, ["chars"], 0)?;
                let text = self.soft_str(value)?;
                let stripped = self.strip(text.as_str(), chars.as_ref(), true, true)?;
                self.heap.text(stripped, text.safe)
            }
            "center" => {
                let [width] = args.bind(name, ["width"], 0)?;
                let width = match width.as_ref().map(to_index) {
                    None => 80,
                    Some(Some(width)) => usize::try_from(width).unwrap_or(0),
                    Some(None) => return type_error("center: the width is not an integer"),
                };
                let text = self.soft_str(value)?;
                self.justify(text.as_str(), "center", width, ' ', text.safe)
            }
            "replace" => {
                let [old, new, count] = args.bind(name, ["old", "new", "count"], 2)?;
                let count = match count {
                    None | Some(Value::None) => usize::MAX,
                    Some(count) => match to_index(&count) {
                        Some(n) => usize::try_from(n).unwrap_or(usize::MAX),
                        None => return type_error("replace: the count is not an integer"),
                    },
                };
                let (old, new) = (old.unwrap_or(Value::None), new.unwrap_or(Value::None));
                let (text, old, new) = (self.soft_str(value)?, self.soft_str(&old)?, self.soft_str(&new)?);
                self.replace(text.as_str(), old.as_str(), new.as_str(), count, false)
            }
            "escape" | "e" => {
                let [] = args.positional_only(name, 0)?;
                self.escape(value)
            }
            "forceescape" => {
                let [] = args.bind(name, [], 0)?;
                let text = self.soft_str(value)?;
                let plain = self.heap.str(text.as_str())?;
                self.escape(&plain)
            }
            "safe" => {
                let [] = args.bind(name, [], 0)?;
                let text = self.soft_str(value)?;
                self.heap.text(text.as_str(), true)
            }
            "striptags" => {
                let [] = args.bind(name, [], 0)?;
                let text = self.soft_str(value)?;
                self.strip_tags(text.as_str())
            }
            "format" => {
                let text = self.soft_str(value)?;
                let Args { positional, named } = args;
                if positional.len() > 0 && !named.is_empty() {
                    return fail(
                        FailKind::Template,
                        "can't handle positional and keyword arguments at the same time",
                    );
                }
                let values = if named.is_empty() {
                    self.heap.tuple(positional)?
                } else {
                    let mut entries = self.heap.entries();
                    for (name, value) in named {
                        entries.insert(self.heap.str(&name)?, value)?;
                    }
                    self.heap.dict(entries)?
                };
                self.percent(&text, &values)
            }
            "indent" => {
                let [width, first, blank] = args.bind(name, ["width", "first", "blank"], 0)?;
                self.indent(value, width, first, blank)
            }
            "truncate" => {
                let [length, killwords, end, leeway] =
                    args.bind(name, ["length", "killwords", "end", "leeway"], 0)?;
                self.truncate(value, length, killwords, end, leeway)
            }
            "wordwrap" => {
                let [width, break_long, wrapstring, break_hyphens] =
                    args.bind(name, ["width", "break_long_words", "wrapstring", "break_on_hyphens"], 0)?;
                self.wordwrap(value, width, break_long, wrapstring, break_hyphens)
            }
            "wordcount" => {
                let [] = args.bind(name, [], 0)?;
                let text = self.soft_str(value)?;
                self.meter().text_step(text.as_str().len() * 4)?;
                let words = text.as_str().split(|c: char| !(is_alnum(c) || c == '_'));
                Ok(Value::Int(words.filter(|word| !word.is_empty()).count() as i64))
            }
            "urlencode" => {
                let [] = args.bind(name, [], 0)?;
                self.urlencode(value)
            }
            "xmlattr" => {
                let [autospace] = args.bind(name, ["autospace"], 0)?;
                self.xmlattr(value, autospace.is_none_or(|autospace| autospace.is_true()))
            }
            _ => {
                // pprint: without the line breaks that Python puts into long ones.
                let [] = args.bind(name, [], 0)?;
                let mut out = self.heap.buffer();
                self.push_repr(value, &mut out)?;
                out.finish(false)
            }
        }
    }

    /// `soft_str(value)`: a text stays what it is.
    fn soft_str(&mut self, value: &Value) -> Res<Rc<Str>> {
        match self.to_str(value)? {
            Value::Str(text) => {
                self.meter().text_step(text.as_str().len())?;
                Ok(text)
            }
            other => type_error(format!("not a string: {}", other.type_name())),
        }
    }

    /// A capital after each start and each run of `- ( { [ <` and whitespace.
    fn title(&mut self, text: &str) -> Res<Value> {
        let bound = text.len().saturating_mul(3);
        self.meter().take(bound)?;
        let separates = |c: char| is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
        let mut mapped = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            self.step(1)?;
            let is_word = !separates(first);
            let end = rest.find(|c| separates(c) == is_word).unwrap_or(rest.len());
            let (piece, after) = rest.split_at(end);
            if is_word {
                mapped.extend(first.to_uppercase());
                mapped.push_str(&piece[first.len_utf8()..].to_lowercase());
            } else {
                mapped.push_str(piece);
            }
            rest = after;
        }
        self.meter().give(bound);
        self.heap.str(&mapped)
    }

    fn indent(
        &mut self,
        value: &Value,
        width: Option<Value>,
        first: Option<Value>,
        blank: Option<Value>,
    ) -> Res<Value> {
        Self::refuse_undefined(value)?;
        let Value::Str(text) = value else {
            return type_error(format!(
                "unsupported operand type(s) for +=: '{}' and 'str'",
                self.type_of(value)
            ));
        };
        let safe = text.safe;
        let mut indention = self.heap.buffer();
        match &width {
            None => indention.push_str("    ")?,
            Some(Value::Str(given)) if safe && !given.safe => {
                let escaped = self.escape(&Value::Str(Rc::clone(given)))?;
                indention.push_str(escaped.as_str().unwrap_or_default())?;
            }
            Some(Value::Str(given)) => indention.push_str(given.as_str())?,
            Some(other) => match to_index(other) {
                Some(width) => indention.repeat(" ", usize::try_from(width).unwrap_or(0))?,
                None => {
                    let name = self.type_of(other);
                    return type_error(format!("can't multiply sequence by non-int of type '{name}'"));
                }
            },
        }
        let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
        let (first, blank) = (is_true(first), is_true(blank));
        let mut out = self.heap.buffer();
        // The line that would follow the last line break counts as one.
        let source = text.as_str();
        // (A carriage return at the end makes one line break with it.)
        let ends_line = source.is_empty()
            || (!source.ends_with('\r')
                && lines(source).last().is_some_and(|(with, without)| with != without));
        let last = ends_line.then_some("");
        for (at, line) in lines(source).map(|(_, line)| line).chain(last).enumerate() {
            if at > 0 {
                out.push_str("\n")?;
            }
            if (at == 0 && first) || (at > 0 && (blank || !line.is_empty())) {
                out.push_str(indention.as_str())?;
            }
            out.push_str(line)?;
        }
        out.finish(safe)
    }

    fn truncate(
        &mut self,
        value: &Value,
        length: Option<Value>,
        killwords: Option<Value>,
        end: Option<Value>,
        leeway: Option<Value>,
    ) -> Res<Value> {
        let number = |value: Option<Value>, otherwise: i64| match value {
            None | Some(Value::None) => Ok(otherwise),
            Some(value) => match to_index(&value) {
                Some(n) => Ok(n),
                None => type_error("truncate: a number is not an integer"),
            },
        };
        let length = number(length, 255)?;
        let leeway = number(leeway, 5)?;
        let end = match end {
            None => "...".to_owned(),
            Some(end) => match end.as_str() {
                Some(end) => end.to_owned(),
                None => return type_error("truncate: the end is not a string"),
            },
        };
        let end_len = end.chars().count() as i64;
        if length < end_len || leeway < 0 {
            return fail(FailKind::Template, format!("expected length >= {end_len}, got {length}"));
        }
        let Some(len) = self.len_if_sized(value)? else {
            return type_error(format!("object of type '{}' has no len()", self.type_of(value)));
        };
        if len as i64 <= length.saturating_add(leeway) {
            return Ok(value.clone());
        }
        let Value::Str(text) = value else { return type_error("truncate: not a string") };
        let s = text.as_str();
        let cut = s.char_indices().nth((length - end_len) as usize).map_or(s.len(), |(at, _)| at);
        let mut kept = &s[..cut];
        if !killwords.is_some_and(|kill| kill.is_true())
            && let Some(at) = kept.rfind(' ')
        {
            kept = &kept[..at];
        }
        let mut out = self.heap.buffer();
        out.push_str(kept)?;
        out.push_str(&end)?;
        out.finish(text.safe)
    }

    fn wordwrap(
        &mut self,
        value: &Value,
        width: Option<Value>,
        break_long: Option<Value>,
        wrapstring: Option<Value>,
        break_hyphens: Option<Value>,
    ) -> Res<Value> {
        Self::refuse_undefined(value)?;
        let Value::Str(text) = value else {
            return type_error(format!("'{}' object has no attribute 'splitlines'", self.type_of(value)));
        };
        let width = match width.as_ref().map(to_index) {
            None => 79,
            Some(Some(width)) => width,
            Some(None) => return type_error("wordwrap: the width is not an integer"),
        };
        let separator = match &wrapstring {
            None | Some(Value::None) => "\n",
            Some(text) => match text.as_str() {
                Some(text) => text,
                None => return type_error("wordwrap: the wrapstring is not a string"),
            },
        };
        let is_true = |value: Option<Value>| value.is_none_or(|value| value.is_true());
        let options = Wrap {
            width: usize::try_from(width).unwrap_or(0),
            break_long_words: is_true(break_long),
            break_on_hyphens: is_true(break_hyphens),
        };
        // Characters and the places where words end.
        let bytes = text.as_str().len().saturating_mul(32);
        self.meter().take(bytes)?;
        self.meter().step(text.as_str().len().saturating_mul(2))?;
        let mut out = self.heap.buffer();
        for (at, (_, line)) in lines(text.as_str()).enumerate() {
            if at > 0 {
                out.push_str(separator)?;
            }
            if options.width == 0 && !line.is_empty() {
                return value_error(format!("invalid width {width} (must be > 0)"));
            }
            for (at, piece) in wrap(line, &options).into_iter().enumerate() {
                if at > 0 {
                    out.push_str(separator)?;
                }
                out.push_str(&piece)?;
            }
        }
        self.meter().give(bytes);
        out.finish(false)
    }

    fn urlencode(&mut self, value: &Value) -> Res<Value> {
        let is_iterable = !matches!(value, Value::Str(_)) && self.iter(value).is_ok();
        if !is_iterable {
            let text = self.soft_str(value)?;
            return self.quote(text.as_str(), false);
        }
        let pairs = match value {
            Value::Dict(dict) => Value::View(crate::jinja::value::View::Items, Rc::clone(dict)),
            other => other.clone(),
        };
        let mut out = self.heap.buffer();
        let mut iter = self.iter(&pairs)?;
        let mut first = true;
        while let Some(pair) = self.next_item(&mut iter)? {
            let pair = self.collect(&pair)?;
            let [key, value] = pair.as_slice() else {
                return value_error("urlencode: an item is not a pair");
            };
            if !std::mem::replace(&mut first, false) {
                out.push('&')?;
            }
            let (key, value) = (self.soft_str(key)?, self.soft_str(value)?);
            let (key, value) = (self.quote(key.as_str(), true)?, self.quote(value.as_str(), true)?);
            out.push_str(key.as_str().unwrap_or_default())?;
            out.push('=')?;
            out.push_str(value.as_str().unwrap_or_default())?;
        }
        out.finish(false)
    }

    fn quote(&mut self, text: &str, for_query: bool) -> Res<Value> {
        let mut out = self.heap.buffer();
        for b in text.bytes() {
            match b {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                    out.push(char::from(b))?;
                }
                b'/' if !for_query => out.push('/')?,
                b' ' if for_query => out.push('+')?,
                b => out.push_str(&format!("%{b:02X}"))?,
            }
        }
        out.finish(false)
    }

    fn xmlattr(&mut self, value: &Value, autospace: bool) -> Res<Value> {
        Self::refuse_undefined(value)?;
        let Value::Dict(dict) = value else {
            return type_error(format!("'{}' object has no attribute 'items'", self.type_of(value)));
        };
        let mut out = self.heap.buffer();
        for (key, value) in dict.entries() {
            if matches!(value, Value::None | Value::Undefined(_)) {
                continue;
            }
            let Some(name) = key.value.as_str() else {
                return type_error("expected string or bytes-like object");
            };
            if name.contains([' ', '\t', '\n', '\r', '\x0b', '\x0c', '/', '>', '=']) {
                return value_error(format!("Invalid character in attribute name: '{name}'"));
            }
            if autospace || out.len() > 0 {
                out.push(' ')?;
            }
            let (name, value) = (self.escape(&key.value)?, self.escape(value)?);
            out.push_str(name.as_str().unwrap_or_default())?;
            out.push_str("=\"")?;
            out.push_str(value.as_str().unwrap_or_default())?;
            out.push('"')?;
        }
        out.finish(self.autoescape)
    }
}
