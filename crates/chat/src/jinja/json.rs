//! `tojson` as transformers defines it: Python's `json.dumps`, without ASCII escapes by default.

use super::compare;
use super::integer::to_text;
use super::interpreter::{Args, Interpreter};
use super::meter::{Res, type_error};
use super::text::float_repr;
use super::value::{Buffer, Key, Value};

struct Style {
    /// The text of one level.
    indent: Option<Value>,
    ensure_ascii: bool,
    sort_keys: bool,
    item: Value,
    key: Value,
}

impl Interpreter<'_> {
    /// `tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
    pub fn to_json(&mut self, value: &Value, args: Args) -> Res<Value> {
        let [ensure_ascii, indent, separators, sort_keys] =
            args.bind("tojson", ["ensure_ascii", "indent", "separators", "sort_keys"], 0)?;
        let indent = match indent {
            None | Some(Value::None) => None,
            Some(text @ Value::Str(_)) => Some(text),
            Some(other) => {
                let Some(width) = super::integer::to_index(&other) else {
                    return type_error(format!("tojson: indent is a {}", self.type_of(&other)));
                };
                let mut text = self.heap.buffer();
                text.repeat(" ", usize::try_from(width).unwrap_or(0))?;
                Some(text.finish(false)?)
            }
        };
        let (item, key) = match separators {
            None | Some(Value::None) => {
                (self.heap.str(if indent.is_some() { "," } else { ", " })?, self.heap.str(": ")?)
            }
            Some(pair) => {
                let pair = self.collect(&pair)?;
                match pair.as_slice() {
                    [item @ Value::Str(_), key @ Value::Str(_)] => (item.clone(), key.clone()),
                    _ => return type_error("tojson: separators are not a pair of strings"),
                }
            }
        };
        let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
        let style =
            Style { indent, ensure_ascii: is_true(ensure_ascii), sort_keys: is_true(sort_keys), item, key };
        let mut out = self.heap.buffer();
        self.json_value(value, &style, 0, &mut out)?;
        out.finish(false)
    }

    fn json_value(&mut self, value: &Value, style: &Style, depth: usize, out: &mut Buffer) -> Res<()> {
        let _level = self.heap.meter.deeper()?;
        self.step(1)?;
        match value {
            Value::None => out.push_str("null"),
            Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Value::Int(n) => out.push_str(&n.to_string()),
            Value::Big(n) => out.push_str(&to_text(n)?),
            Value::Float(x) => out.push_str(&json_float(*x)),
            Value::Str(text) => json_text(text.as_str(), style.ensure_ascii, out),
            Value::List(seq) | Value::Tuple(seq) | Value::Group(seq) => {
                if seq.items().is_empty() {
                    return out.push_str("[]");
                }
                out.push_str("[")?;
                for (at, item) in seq.items().iter().enumerate() {
                    json_separator(at, style, depth + 1, out)?;
                    self.json_value(item, style, depth + 1, out)?;
                }
                json_line(style, depth, out)?;
                out.push_str("]")
            }
            Value::Dict(dict) => {
                if dict.entries().is_empty() {
                    return out.push_str("{}");
                }
                let mut entries: Vec<(&Key, &Value)> = dict.entries().iter().collect();
                self.step(entries.len())?;
                if style.sort_keys {
                    entries = compare::sort(entries, false, self.meter(), |(key, _)| &key.value)?;
                }
                out.push_str("{")?;
                for (at, (key, value)) in entries.into_iter().enumerate() {
                    json_separator(at, style, depth + 1, out)?;
                    match &key.value {
                        Value::Str(text) => json_text(text.as_str(), style.ensure_ascii, out)?,
                        Value::Int(n) => out.push_str(&format!("\"{n}\""))?,
                        Value::Big(n) => out.push_str(&format!("\"{}\"", to_text(n)?))?,
                        Value::Float(x) => out.push_str(&format!("\"{}\"", json_float(*x)))?,
                        Value::Bool(b) => out.push_str(if *b { "\"true\"" } else { "\"false\"" })?,
                        Value::None => out.push_str("\"null\"")?,
                        other => {
                            return type_error(format!(
                                "keys must be str, int, float, bool or None, not {}",
                                self.type_of(other)
                            ));
                        }
                    }
                    out.push_str(style.key.as_str().unwrap_or_default())?;
                    self.json_value(value, style, depth + 1, out)?;
                }
                json_line(style, depth, out)?;
                out.push_str("}")
            }
            other => type_error(format!("Object of type {} is not JSON serializable", self.type_of(other))),
        }
    }
}

fn json_separator(at: usize, style: &Style, depth: usize, out: &mut Buffer) -> Res<()> {
    if at > 0 {
        out.push_str(style.item.as_str().unwrap_or_default())?;
    }
    json_line(style, depth, out)
}

fn json_line(style: &Style, depth: usize, out: &mut Buffer) -> Res<()> {
    let Some(indent) = &style.indent else { return Ok(()) };
    out.push('\n')?;
    out.repeat(indent.as_str().unwrap_or_default(), depth)
}

fn json_float(x: f64) -> String {
    if x.is_nan() {
        "NaN".to_owned()
    } else if x.is_infinite() {
        if x > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        float_repr(x)
    }
}

fn json_text(text: &str, ensure_ascii: bool, out: &mut Buffer) -> Res<()> {
    out.push('"')?;
    let mut from = 0;
    for (at, c) in text.char_indices() {
        let plain = c >= ' ' && c != '"' && c != '\\' && (!ensure_ascii || (c.is_ascii() && c != '\u{7f}'));
        if plain {
            continue;
        }
        out.push_str(&text[from..at])?;
        from = at + c.len_utf8();
        match c {
            '"' => out.push_str("\\\"")?,
            '\\' => out.push_str("\\\\")?,
            '\n' => out.push_str("\\n")?,
            '\r' => out.push_str("\\r")?,
            '\t' => out.push_str("\\t")?,
            '\u{8}' => out.push_str("\\b")?,
            '\u{c}' => out.push_str("\\f")?,
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"))?;
                }
            }
        }
    }
    out.push_str(&text[from..])?;
    out.push('"')
}
