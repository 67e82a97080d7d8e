//! `text % arguments`.

use std::rc::Rc;

use num_bigint::BigInt;
use num_traits::Signed;

use super::format::{digits_in, float_text};
use super::integer::{from_float, to_big, to_float, to_index};
use super::interpreter::Interpreter;
use super::meter::{FailKind, Res, fail, type_error, value_error};
use super::value::{Buffer, Str, Value};

#[derive(Default)]
struct Flags {
    left: bool,
    plus: bool,
    space: bool,
    zero: bool,
    alternate: bool,
}

/// What `%` takes its values from.
struct Values<'a> {
    all: &'a Value,
    tuple: Option<&'a [Value]>,
    at: usize,
}

impl Values<'_> {
    fn next(&mut self) -> Res<Value> {
        let found = match self.tuple {
            Some(items) => items.get(self.at).cloned(),
            None => (self.at == 0).then(|| self.all.clone()),
        };
        self.at += 1;
        match found {
            Some(value) => Ok(value),
            None => type_error("not enough arguments for format string"),
        }
    }
}

impl Interpreter<'_> {
    pub fn percent(&mut self, template: &Rc<Str>, arguments: &Value) -> Res<Value> {
        let tuple = match arguments {
            Value::Tuple(seq) | Value::Group(seq) => Some(seq.items()),
            _ => None,
        };
        let mut values = Values { all: arguments, tuple, at: 0 };
        let mut used_mapping = false;
        let mut out = self.heap.buffer();
        let mut rest = template.as_str();
        while let Some(at) = rest.find('%') {
            out.push_str(&rest[..at])?;
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                out.push('%')?;
                rest = after;
                continue;
            }
            let mut mapped = None;
            if let Some(after) = rest.strip_prefix('(') {
                let Some(close) = closing(after) else { return value_error("incomplete format key") };
                let Value::Dict(dict) = arguments else { return type_error("format requires a mapping") };
                let key = &after[..close];
                let Some(value) = dict.get_str(key) else {
                    return fail(FailKind::Lookup, format!("'{key}'"));
                };
                mapped = Some(value.clone());
                used_mapping = true;
                rest = &after[close + 1..];
            }
            let mut flags = Flags::default();
            while let Some(c) = rest.chars().next() {
                match c {
                    '-' => flags.left = true,
                    '+' => flags.plus = true,
                    ' ' => flags.space = true,
                    '0' => flags.zero = true,
                    '#' => flags.alternate = true,
                    _ => break,
                }
                rest = &rest[1..];
            }
            let width = number(&mut rest, &mut values)?;
            if width.is_some_and(|width| width < 0) {
                flags.left = true;
            }
            let width = width.map_or(0, |width| width.unsigned_abs() as usize);
            let mut precision = None;
            if let Some(after) = rest.strip_prefix('.') {
                rest = after;
                precision = Some(usize::try_from(number(&mut rest, &mut values)?.unwrap_or(0)).unwrap_or(0));
            }
            rest = rest.strip_prefix(['h', 'l', 'L']).unwrap_or(rest);
            let Some(kind) = rest.chars().next() else { return value_error("incomplete format") };
            rest = &rest[kind.len_utf8()..];
            let value = match mapped {
                Some(value) => value,
                None => values.next()?,
            };
            self.conversion(kind, &value, &flags, width, precision, template.safe, &mut out)?;
        }
        out.push_str(rest)?;
        let left_over = match values.tuple {
            Some(items) => values.at < items.len(),
            None => values.at == 0 && !used_mapping && !matches!(arguments, Value::Dict(_) | Value::List(_)),
        };
        // A dictionary or a list may be given to a text that uses nothing of it.
        if left_over {
            return type_error("not all arguments converted during string formatting");
        }
        out.finish(template.safe)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one conversion")]
    fn conversion(
        &mut self,
        kind: char,
        value: &Value,
        flags: &Flags,
        width: usize,
        precision: Option<usize>,
        safe: bool,
        out: &mut Buffer,
    ) -> Res<()> {
        match kind {
            's' | 'r' | 'a' => {
                let mut text = self.heap.buffer();
                if kind == 's' {
                    self.push_text(value, &mut text)?;
                } else {
                    self.push_repr(value, &mut text)?;
                }
                let mut body = text.finish(value.is_safe())?;
                if kind == 'a' {
                    body = self.heap.str(&super::format::ascii(body.as_str().unwrap_or_default()))?;
                }
                if safe {
                    body = self.escape(&body)?;
                }
                let body = body.as_str().unwrap_or_default();
                let cut =
                    precision.and_then(|most| body.char_indices().nth(most)).map_or(body.len(), |(at, _)| at);
                pad(&body[..cut], flags.left, width, out)
            }
            'c' => {
                let text = match value {
                    Value::Str(text) if text.as_str().chars().count() == 1 => text.as_str().to_owned(),
                    other => match to_index(other).map(|n| u32::try_from(n).ok().and_then(char::from_u32)) {
                        Some(Some(c)) => c.to_string(),
                        Some(None) => return fail(FailKind::Overflow, "%c arg not in range(0x110000)"),
                        None => return type_error("%c requires int or char"),
                    },
                };
                pad(&text, flags.left, width, out)
            }
            'd' | 'i' | 'u' | 'o' | 'x' | 'X' => {
                let number = match value {
                    Value::Float(x) if matches!(kind, 'd' | 'i' | 'u') => to_big(&from_float(*x)?),
                    other => to_big(other),
                };
                let Some(number) = number else {
                    Self::refuse_undefined(value)?;
                    let name = self.type_of(value);
                    return type_error(format!("%{kind} format: a number is required, not {name}"));
                };
                self.integer_conversion(kind, &number, flags, width, precision, out)
            }
            'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
                Self::refuse_undefined(value)?;
                let Some(x) = to_float(value)? else {
                    return type_error(format!("must be real number, not {}", self.type_of(value)));
                };
                let precision = precision.unwrap_or(6);
                let mut body = self.heap.buffer();
                float_text(x.abs(), kind, precision, flags.alternate, &mut body)?;
                let negative = x.is_sign_negative() && !x.is_nan();
                let zero = flags.zero && x.is_finite();
                numeric(negative, "", body.as_str(), &Flags { zero, ..*flags }, width, out)
            }
            other => value_error(format!("unsupported format character '{other}'")),
        }
    }

    fn integer_conversion(
        &mut self,
        kind: char,
        number: &BigInt,
        flags: &Flags,
        width: usize,
        precision: Option<usize>,
        out: &mut Buffer,
    ) -> Res<()> {
        let (radix, prefix) = match kind {
            'o' => (8, "0o"),
            'x' => (16, "0x"),
            'X' => (16, "0X"),
            _ => (10, ""),
        };
        let digits = digits_in(&number.abs(), radix, kind == 'X')?;
        let mut body = self.heap.buffer();
        body.repeat("0", precision.unwrap_or(0).saturating_sub(digits.len()))?;
        body.push_str(&digits)?;
        let prefix = if flags.alternate { prefix } else { "" };
        numeric(number.is_negative(), prefix, body.as_str(), flags, width, out)
    }
}

/// Where the bracket that opened before `text` closes.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1;
    for (at, c) in text.bytes().enumerate() {
        match c {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// A width or precision: digits, or `*` for a value.
fn number(rest: &mut &str, values: &mut Values<'_>) -> Res<Option<i64>> {
    if let Some(after) = rest.strip_prefix('*') {
        *rest = after;
        let value = values.next()?;
        return match to_index(&value) {
            Some(n) => Ok(Some(n)),
            None => type_error("* wants int"),
        };
    }
    let len = rest.bytes().take_while(u8::is_ascii_digit).count();
    if len == 0 {
        return Ok(None);
    }
    let digits = &rest[..len];
    *rest = &rest[len..];
    match digits.parse() {
        Ok(n) => Ok(Some(n)),
        Err(_) => value_error("width too big"),
    }
}

fn pad(text: &str, left: bool, width: usize, out: &mut Buffer) -> Res<()> {
    let spaces = width.saturating_sub(text.chars().count());
    if !left {
        out.repeat(" ", spaces)?;
    }
    out.push_str(text)?;
    if left { out.repeat(" ", spaces) } else { Ok(()) }
}

/// A number with its sign, prefix and padding.
fn numeric(
    negative: bool,
    prefix: &str,
    digits: &str,
    flags: &Flags,
    width: usize,
    out: &mut Buffer,
) -> Res<()> {
    let sign = match (negative, flags.plus, flags.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    };
    let padding = width.saturating_sub(sign.len() + prefix.len() + digits.len());
    if flags.left {
        for part in [sign, prefix, digits] {
            out.push_str(part)?;
        }
        return out.repeat(" ", padding);
    }
    if !flags.zero {
        out.repeat(" ", padding)?;
    }
    out.push_str(sign)?;
    out.push_str(prefix)?;
    if flags.zero {
        out.repeat("0", padding)?;
    }
    out.push_str(digits)
}
