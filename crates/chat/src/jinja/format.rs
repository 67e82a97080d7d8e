//! `str.format` and Python's format specifications.

use std::rc::Rc;

use num_bigint::BigInt;
use num_traits::Signed;

use super::integer::{to_big, to_float, to_text};
use super::interpreter::{Args, Interpreter};
use super::meter::{FailKind, Res, fail, type_error, value_error};
use super::text::float_repr;
use super::value::{Buffer, Str, Value};

/// Where replacement fields find their values.
enum Fields {
    Args(Args),
    Mapping(Value),
}

/// How fields without a number are counted.
#[derive(Default)]
struct Numbering {
    next: usize,
    automatic: bool,
    manual: bool,
}

impl Interpreter<'_> {
    pub fn format_method(&mut self, template: &Rc<Str>, args: Args) -> Res<Value> {
        let mut out = self.heap.buffer();
        self.format_into(
            template.as_str(),
            &Fields::Args(args),
            &mut Numbering::default(),
            template.safe,
            2,
            &mut out,
        )?;
        out.finish(template.safe)
    }

    pub fn format_map(&mut self, template: &Rc<Str>, mapping: Value) -> Res<Value> {
        let mut out = self.heap.buffer();
        let fields = Fields::Mapping(mapping);
        self.format_into(template.as_str(), &fields, &mut Numbering::default(), template.safe, 2, &mut out)?;
        out.finish(template.safe)
    }

    fn format_into(
        &mut self,
        template: &str,
        fields: &Fields,
        numbering: &mut Numbering,
        safe: bool,
        levels: u32,
        out: &mut Buffer,
    ) -> Res<()> {
        if levels == 0 {
            return value_error("Max string recursion exceeded");
        }
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            out.push_str(&rest[..at])?;
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if rest.starts_with(brace) {
                out.push_str(brace)?;
                rest = &rest[1..];
                continue;
            }
            if brace == "}" {
                return value_error("Single '}' encountered in format string");
            }
            let Some(end) = field_end(rest) else {
                return value_error(if rest.is_empty() {
                    "Single '{' encountered in format string"
                } else {
                    "expected '}' before end of string"
                });
            };
            let field = &rest[..end];
            rest = &rest[end + 1..];
            self.field(field, fields, numbering, safe, levels, out)?;
        }
        out.push_str(rest)
    }

    fn field(
        &mut self,
        field: &str,
        fields: &Fields,
        numbering: &mut Numbering,
        safe: bool,
        levels: u32,
        out: &mut Buffer,
    ) -> Res<()> {
        let (name, conversion, spec) = split_field(field)?;
        let mut value = self.field_value(name, fields, numbering)?;
        let mut spec_text = self.heap.buffer();
        if spec.contains(['{', '}']) {
            self.format_into(spec, fields, numbering, safe, levels - 1, &mut spec_text)?;
        } else {
            spec_text.push_str(spec)?;
        }
        match conversion {
            None => {}
            Some('s') => value = self.to_str(&value)?,
            Some(c @ ('r' | 'a')) => {
                let mut text = self.heap.buffer();
                self.push_repr(&value, &mut text)?;
                let text = if c == 'a' { ascii(text.as_str()) } else { text.into_string() };
                value = self.heap.str(&text)?;
            }
            Some(c) => return value_error(format!("Unknown conversion specifier {c}")),
        }
        if !safe {
            return self.format_value(&value, spec_text.as_str(), out);
        }
        if value.is_safe() {
            return out.push_str(value.as_str().unwrap_or_default());
        }
        let mut text = self.heap.buffer();
        self.format_value(&value, spec_text.as_str(), &mut text)?;
        let plain = text.finish(false)?;
        let escaped = self.escape(&plain)?;
        out.push_str(escaped.as_str().unwrap_or_default())
    }

    fn field_value(&mut self, name: &str, fields: &Fields, numbering: &mut Numbering) -> Res<Value> {
        let first_len = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut rest) = name.split_at(first_len);
        if first.is_empty() && !rest.is_empty() {
            return fail(FailKind::Lookup, "''");
        }
        let mut value = if first.is_empty() || first.bytes().all(|c| c.is_ascii_digit()) {
            let index = if first.is_empty() {
                numbering.automatic = true;
                numbering.next += 1;
                numbering.next - 1
            } else {
                // As Python's `string.Formatter` has it, which the sandbox uses.
                numbering.manual |= rest.is_empty();
                first.parse().unwrap_or(usize::MAX)
            };
            if numbering.automatic && numbering.manual {
                return value_error("cannot mix manual field specification and automatic field numbering");
            }
            let found = match fields {
                Fields::Args(args) => args.positional.as_slice().get(index).cloned(),
                Fields::Mapping(_) => None,
            };
            match found {
                Some(value) => value,
                None => {
                    return fail(
                        FailKind::Lookup,
                        format!("Replacement index {index} out of range for positional args tuple"),
                    );
                }
            }
        } else {
            let found = match fields {
                Fields::Args(args) => {
                    self.step(1 + args.named.len() / 8)?;
                    args.named.iter().find(|(known, _)| &**known == first).map(|(_, value)| value.clone())
                }
                Fields::Mapping(Value::Dict(dict)) => dict.get_str(first).cloned(),
                Fields::Mapping(_) => None,
            };
            match found {
                Some(value) => value,
                None => return fail(FailKind::Lookup, format!("'{first}'")),
            }
        };
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let len = after.find(['.', '[']).unwrap_or(after.len());
                if len == 0 {
                    return value_error("Empty attribute in format string");
                }
                value = self.attribute(&value, &after[..len])?;
                rest = &after[len..];
            } else if let Some(after) = rest.strip_prefix('[') {
                let Some(len) = after.find(']') else { return value_error("Missing ']' in format string") };
                let key = &after[..len];
                if key.is_empty() {
                    return value_error("Empty attribute in format string");
                }
                let key = match key.parse::<i64>() {
                    Ok(n) if key.bytes().all(|c| c.is_ascii_digit()) => Value::Int(n),
                    _ => self.heap.str(key)?,
                };
                value = self.item(&value, &key)?;
                rest = &after[len + 1..];
            } else {
                return value_error("Only '.' or '[' may follow ']' in format field specifier");
            }
        }
        Ok(value)
    }

    /// `format(value, spec)`.
    pub fn format_value(&mut self, value: &Value, spec: &str, out: &mut Buffer) -> Res<()> {
        if spec.is_empty() {
            return self.push_text(value, out);
        }
        match value {
            Value::Str(text) => {
                let spec = Spec::parse(spec, "str")?;
                self.format_text(text.as_str(), &spec, out)
            }
            Value::Bool(_) | Value::Int(_) | Value::Big(_) => {
                let spec = Spec::parse(spec, "int")?;
                let Some(n) = to_big(value) else { return Ok(()) };
                self.format_integer(&n, value, &spec, out)
            }
            Value::Float(x) => {
                let spec = Spec::parse(spec, "float")?;
                self.format_float(*x, &spec, out)
            }
            other => {
                let name = self.type_of(other);
                type_error(format!("unsupported format string passed to {name}.__format__"))
            }
        }
    }

    fn format_text(&self, text: &str, spec: &Spec, out: &mut Buffer) -> Res<()> {
        if spec.kind.is_some_and(|kind| kind != 's') {
            return value_error(format!(
                "Unknown format code '{}' for object of type 'str'",
                spec.kind.unwrap_or(' ')
            ));
        }
        if spec.sign.is_some() || spec.alternate || spec.grouping.is_some() || spec.align == Some('=') {
            return value_error("Sign, '#', ',' or '=' not allowed in string format specifier");
        }
        let cut =
            spec.precision.and_then(|most| text.char_indices().nth(most)).map_or(text.len(), |(at, _)| at);
        let align = spec.align.unwrap_or('<');
        let fill = spec.fill.unwrap_or(if spec.zero { '0' } else { ' ' });
        aligned("", &text[..cut], align, fill, spec.width, out)
    }

    fn format_integer(&mut self, n: &BigInt, value: &Value, spec: &Spec, out: &mut Buffer) -> Res<()> {
        let kind = spec.kind.unwrap_or('d');
        if matches!(kind, 'e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') {
            let Some(x) = to_float(value)? else { return Ok(()) };
            return self.format_float(x, spec, out);
        }
        if spec.precision.is_some() {
            return value_error("Precision not allowed in integer format specifier");
        }
        let (radix, prefix, every) = match kind {
            'd' | 'n' => (10, "", 3),
            'b' => (2, "0b", 4),
            'o' => (8, "0o", 4),
            'x' => (16, "0x", 4),
            'X' => (16, "0X", 4),
            'c' => {
                if spec.sign.is_some() || spec.alternate {
                    return value_error("Sign and '#' not allowed with integer format specifier 'c'");
                }
                let c = num_traits::ToPrimitive::to_u32(n).and_then(char::from_u32);
                let Some(c) = c else { return fail(FailKind::Overflow, "%c arg not in range(0x110000)") };
                let align = spec.align.unwrap_or('<');
                let text = c.to_string();
                return aligned("", &text, align, spec.fill.unwrap_or(' '), spec.width, out);
            }
            other => return value_error(format!("Unknown format code '{other}' for object of type 'int'")),
        };
        if spec.grouping == Some(',') && radix != 10 {
            return value_error(format!("Cannot specify ',' with '{kind}'."));
        }
        let digits = digits_in(&n.abs(), radix, kind == 'X')?;
        let prefix = if spec.alternate { prefix } else { "" };
        self.format_number(n.is_negative(), prefix, &digits, "", every, spec, out)
    }

    fn format_float(&mut self, x: f64, spec: &Spec, out: &mut Buffer) -> Res<()> {
        let mut text = self.heap.buffer();
        let magnitude = x.abs();
        match (spec.kind, spec.precision) {
            (None, None) => {
                let plain = float_repr(magnitude);
                let pointed =
                    if spec.alternate && !plain.contains('.') { plain.replace('e', ".e") } else { plain };
                text.push_str(&pointed)?;
            }
            (None, Some(precision)) if magnitude.is_finite() => {
                general(magnitude, precision, spec.alternate, true, 'e', &mut text)?;
            }
            (None, Some(_)) => float_text(magnitude, 'g', 6, false, &mut text)?,
            (Some('%'), precision) => {
                float_text(magnitude * 100.0, 'f', precision.unwrap_or(6), spec.alternate, &mut text)?;
                text.push('%')?;
            }
            (Some('n'), precision) => {
                float_text(magnitude, 'g', precision.unwrap_or(6), spec.alternate, &mut text)?;
            }
            (Some(kind @ ('e' | 'E' | 'f' | 'F' | 'g' | 'G')), precision) => {
                float_text(magnitude, kind, precision.unwrap_or(6), spec.alternate, &mut text)?;
            }
            (Some(other), _) => {
                return value_error(format!("Unknown format code '{other}' for object of type 'float'"));
            }
        }
        let text = text.into_string();
        let whole = text.bytes().take_while(u8::is_ascii_digit).count();
        let negative = x.is_sign_negative() && !x.is_nan();
        self.format_number(negative, "", &text[..whole], &text[whole..], 3, spec, out)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one number")]
    fn format_number(
        &mut self,
        negative: bool,
        prefix: &str,
        digits: &str,
        tail: &str,
        every: usize,
        spec: &Spec,
        out: &mut Buffer,
    ) -> Res<()> {
        let sign = match (negative, spec.sign) {
            (true, _) => "-",
            (false, Some('+')) => "+",
            (false, Some(' ')) => " ",
            _ => "",
        };
        let zero_padded = spec.zero && spec.align.is_none();
        let align = spec.align.unwrap_or(if spec.zero { '=' } else { '>' });
        let fill = spec.fill.unwrap_or(if spec.zero { '0' } else { ' ' });
        let mut body = self.heap.buffer();
        match spec.grouping {
            None => body.push_str(digits)?,
            Some(separator) => {
                // Zeros that fill the width are grouped like digits.
                let mut wanted = 0;
                if zero_padded || (fill == '0' && align == '=') {
                    wanted = spec.width.saturating_sub(sign.len() + prefix.len() + tail.len());
                }
                let mut zeros = 0usize;
                if wanted > 0 {
                    let mut n = digits.len();
                    // The least number of digits whose grouped form fills the width.
                    let grouped = |n: usize| n + (n.max(1) - 1) / every;
                    if grouped(n) < wanted {
                        n = wanted - (wanted / (every + 1));
                        while n > digits.len() && grouped(n - 1) >= wanted {
                            n -= 1;
                        }
                        while grouped(n) < wanted {
                            n += 1;
                        }
                    }
                    zeros = n - digits.len();
                }
                let total = zeros + digits.len();
                self.step(total)?;
                self.meter().take(total)?;
                self.meter().give(total);
                for at in 0..total {
                    if at > 0 && (total - at) % every == 0 {
                        body.push(separator)?;
                    }
                    let digit = if at < zeros { b'0' } else { digits.as_bytes()[at - zeros] };
                    body.push(char::from(digit))?;
                }
            }
        }
        body.push_str(tail)?;
        let mut head = sign.to_owned();
        head.push_str(prefix);
        aligned(&head, body.as_str(), align, fill, spec.width, out)
    }
}

/// Where a replacement field ends: its closing brace, nested ones counted.
fn field_end(text: &str) -> Option<usize> {
    let mut depth = 1;
    let mut in_index = false;
    let mut in_name = true;
    for (at, c) in text.bytes().enumerate() {
        match c {
            b'[' if depth == 1 && in_name => in_index = true,
            b':' | b'!' if !in_index => in_name = false,
            b']' => in_index = false,
            b'{' if !in_index => depth += 1,
            b'}' if !in_index => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The name, conversion and specification of a field.
fn split_field(field: &str) -> Res<(&str, Option<char>, &str)> {
    let mut in_index = false;
    let mut at = field.len();
    for (place, c) in field.bytes().enumerate() {
        match c {
            b'[' => in_index = true,
            b']' => in_index = false,
            b'!' | b':' if !in_index => {
                at = place;
                break;
            }
            b'{' if !in_index => return value_error("unexpected '{' in field name"),
            _ => {}
        }
    }
    let (name, rest) = field.split_at(at);
    let Some(rest) = rest.strip_prefix('!') else {
        return Ok((name, None, rest.strip_prefix(':').unwrap_or("")));
    };
    let Some(conversion) = rest.chars().next() else {
        return value_error("end of string while looking for conversion specifier");
    };
    let rest = &rest[conversion.len_utf8()..];
    match rest.strip_prefix(':') {
        Some(spec) => Ok((name, Some(conversion), spec)),
        None if rest.is_empty() => Ok((name, Some(conversion), "")),
        None => value_error("expected ':' after conversion specifier"),
    }
}

/// A format specification.
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    zero: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

impl Spec {
    fn parse(text: &str, type_name: &str) -> Res<Self> {
        let is_align = |c: char| matches!(c, '<' | '>' | '=' | '^');
        let mut chars = text.chars().peekable();
        let mut spec = Spec {
            fill: None,
            align: None,
            sign: None,
            alternate: false,
            zero: false,
            width: 0,
            grouping: None,
            precision: None,
            kind: None,
        };
        let mut two = text.chars();
        let (first, second) = (two.next(), two.next());
        if second.is_some_and(is_align) {
            spec.fill = first;
            spec.align = second;
            chars.nth(1);
        } else if first.is_some_and(is_align) {
            spec.align = first;
            chars.next();
        }
        spec.sign = chars.next_if(|c| matches!(c, '+' | '-' | ' '));
        let _negative_zero = chars.next_if_eq(&'z');
        spec.alternate = chars.next_if_eq(&'#').is_some();
        if spec.fill.is_none() && chars.next_if_eq(&'0').is_some() {
            spec.zero = true;
        }
        let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| -> Res<Option<usize>> {
            let mut value: Option<usize> = None;
            while let Some(c) = chars.next_if(char::is_ascii_digit) {
                let digit = c as usize - '0' as usize;
                match value.unwrap_or(0).checked_mul(10).and_then(|v| v.checked_add(digit)) {
                    Some(v) if i64::try_from(v).is_ok() => value = Some(v),
                    _ => return value_error("Too many decimal digits in format string"),
                }
            }
            Ok(value)
        };
        spec.width = number(&mut chars)?.unwrap_or(0);
        spec.grouping = chars.next_if(|c| matches!(c, ',' | '_'));
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = number(&mut chars)?;
            if spec.precision.is_none() {
                return value_error("Format specifier missing precision");
            }
        }
        spec.kind = chars.next();
        if let (Some(grouping), Some(kind @ ('n' | 'c' | 's'))) = (spec.grouping, spec.kind) {
            return value_error(format!("Cannot specify '{grouping}' with '{kind}'."));
        }
        if chars.next().is_some() {
            return value_error(format!(
                "Invalid format specifier '{text}' for object of type '{type_name}'"
            ));
        }
        Ok(spec)
    }
}

fn aligned(head: &str, body: &str, align: char, fill: char, width: usize, out: &mut Buffer) -> Res<()> {
    let len = head.chars().count() + body.chars().count();
    let padding = width.saturating_sub(len);
    let mut bytes = [0; 4];
    let fill = fill.encode_utf8(&mut bytes);
    let (before, between, after) = match align {
        '<' => (0, 0, padding),
        '^' => (padding / 2, 0, padding - padding / 2),
        '=' => (0, padding, 0),
        _ => (padding, 0, 0),
    };
    out.repeat(fill, before)?;
    out.push_str(head)?;
    out.repeat(fill, between)?;
    out.push_str(body)?;
    out.repeat(fill, after)
}

/// The digits of a number that is not negative.
pub(crate) fn digits_in(n: &BigInt, radix: u32, upper: bool) -> Res<String> {
    if radix == 10 {
        return to_text(n);
    }
    let text = n.to_str_radix(radix);
    Ok(if upper { text.to_ascii_uppercase() } else { text })
}

/// `text` with what is not ASCII escaped.
pub(crate) fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let code = c as u32;
        match code {
            0..=0x7f => out.push(c),
            0x80..=0xff => out.push_str(&format!("\\x{code:02x}")),
            0x100..=0xffff => out.push_str(&format!("\\u{code:04x}")),
            _ => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out
}

/// Digits that a double can have behind its point.
const FRACTION_MAX: usize = 1_100;

/// Appends a float that is not negative as C's `printf` writes it.
pub(crate) fn float_text(x: f64, kind: char, precision: usize, alternate: bool, out: &mut Buffer) -> Res<()> {
    if !x.is_finite() {
        let name = if x.is_nan() { "nan" } else { "inf" };
        let upper = kind.is_ascii_uppercase();
        return out.push_str(&if upper { name.to_ascii_uppercase() } else { name.to_owned() });
    }
    let kept = precision.min(FRACTION_MAX);
    let zeros = precision - kept;
    match kind {
        'f' | 'F' => {
            out.push_str(&format!("{x:.kept$}"))?;
            out.repeat("0", zeros)?;
            if precision == 0 && alternate { out.push('.') } else { Ok(()) }
        }
        'e' | 'E' => {
            let text = format!("{x:.kept$e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            out.push_str(mantissa)?;
            out.repeat("0", zeros)?;
            if precision == 0 && alternate {
                out.push('.')?;
            }
            out.push_str(&exponent_text(kind, exponent.parse().unwrap_or(0)))
        }
        _ => general(x, precision, alternate, false, if kind == 'G' { 'E' } else { 'e' }, out),
    }
}

/// A number with so many significant digits, in the shorter form. `with_fraction`: at least one digit behind the
/// point, for which the exponent comes one power earlier.
fn general(
    x: f64,
    precision: usize,
    alternate: bool,
    with_fraction: bool,
    letter: char,
    out: &mut Buffer,
) -> Res<()> {
    let significant = precision.max(1);
    let kept = significant.min(FRACTION_MAX);
    let text = format!("{x:.*e}", kept - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(0);
    let scientific = exponent < -4 || exponent >= significant as i64 - i64::from(with_fraction);
    let mut body = if scientific {
        mantissa.to_owned()
    } else {
        let decimals = (kept as i64 - 1 - exponent).max(0) as usize;
        format!("{x:.decimals$}")
    };
    if !body.contains('.') {
        body.push_str(if alternate { "." } else { "" });
    } else if !alternate {
        body.truncate(body.trim_end_matches('0').trim_end_matches('.').len());
    }
    out.push_str(&body)?;
    if scientific {
        return out.push_str(&exponent_text(letter, exponent));
    }
    if !with_fraction || body.contains('.') && !body.ends_with('.') {
        return Ok(());
    }
    out.push_str(if body.ends_with('.') { "0" } else { ".0" })
}

fn exponent_text(letter: char, exponent: i64) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{letter}{sign}{:02}", exponent.abs())
}
