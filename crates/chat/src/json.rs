//! `tojson` as Hugging Face's templates know it: Python's `json.dumps` without ASCII escapes, keys in their order.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// Nesting beyond this is refused.
const DEPTH_MAX: usize = 128;
/// Largest `indent`.
const INDENT_MAX: usize = 32;
/// Largest text of one call.
const LEN_MAX: usize = 16 << 20;

struct Style {
    indent: Option<usize>,
    ensure_ascii: bool,
    sort_keys: bool,
    item: String,
    key: String,
}

fn refuse(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail.into())
}

/// The filter `tojson(indent=, ensure_ascii=, separators=, sort_keys=)`.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands filters their arguments by value")]
pub(crate) fn tojson(value: &Value, kwargs: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    if indent.is_some_and(|i| i > INDENT_MAX) {
        return Err(refuse(format!("tojson: indent is above {INDENT_MAX}")));
    }
    let separators: Option<Vec<String>> = kwargs.get("separators")?;
    let [item, key]: [String; 2] = match separators {
        Some(pair) => pair.try_into().map_err(|_| refuse("tojson: separators are not a pair"))?,
        None => [if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string()],
    };
    let style = Style {
        indent,
        ensure_ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        item,
        key,
    };
    kwargs.assert_all_used()?;
    let mut out = String::new();
    write_value(&mut out, value, &style, 0)?;
    Ok(out)
}

fn write_value(out: &mut String, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(refuse(format!("tojson: nested more than {DEPTH_MAX} deep")));
    }
    if out.len() > LEN_MAX {
        return Err(refuse(format!("tojson: more than {LEN_MAX} bytes")));
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&value.to_string()),
        ValueKind::String => write_string(out, value.as_str().unwrap_or_default(), style),
        ValueKind::Seq | ValueKind::Iterable => {
            write_group(out, ['[', ']'], value.try_iter()?, style, depth, |out, item| {
                write_value(out, &item, style, depth + 1)
            })?;
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sort_keys {
                keys.sort();
            }
            write_group(out, ['{', '}'], keys.into_iter(), style, depth, |out, key| {
                match key.kind() {
                    ValueKind::String => write_string(out, key.as_str().unwrap_or_default(), style),
                    ValueKind::Number => write_string(out, &key.to_string(), style),
                    ValueKind::None => out.push_str("\"null\""),
                    ValueKind::Bool => out.push_str(if key.is_true() { "\"true\"" } else { "\"false\"" }),
                    other => return Err(refuse(format!("tojson: a key is {other}, expected a string"))),
                }
                out.push_str(&style.key);
                write_value(out, &value.get_item(&key)?, style, depth + 1)
            })?;
        }
        other => return Err(refuse(format!("tojson: {other} has no JSON form"))),
    }
    Ok(())
}

/// Writes a bracketed, separated and perhaps indented list.
fn write_group(
    out: &mut String,
    [open, close]: [char; 2],
    items: impl Iterator<Item = Value>,
    style: &Style,
    depth: usize,
    mut write_item: impl FnMut(&mut String, Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let new_line = |out: &mut String, depth: usize| {
        if let Some(indent) = style.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    out.push(open);
    let mut empty = true;
    for item in items {
        if !empty {
            out.push_str(&style.item);
        }
        empty = false;
        new_line(out, depth + 1);
        write_item(out, item)?;
    }
    if !empty {
        new_line(out, depth);
    }
    out.push(close);
    Ok(())
}

fn write_string(out: &mut String, text: &str, style: &Style) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (style.ensure_ascii && !c.is_ascii()) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    write!(out, "\\u{unit:04x}").expect("writing to a string does not fail");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
