//! JSON text as the reference's library writes it, and GBNF literals.

use std::fmt::Write as _;

use serde_json::{Number, Value};

/// Compact JSON; numbers with a fraction in that library's notation.
pub(super) fn dump(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Number(n) => number(n, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (i, (key, member)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(&Value::String(key.clone()), out);
                out.push(':');
                write(member, out);
            }
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

fn number(n: &Number, out: &mut String) {
    let Some(value) = n.as_f64().filter(|_| n.is_f64()) else {
        out.push_str(&n.to_string());
        return;
    };
    if !value.is_finite() {
        out.push_str("null");
        return;
    }
    if value.is_sign_negative() {
        out.push('-');
    }
    if value == 0.0 {
        out.push_str("0.0");
        return;
    }
    // The shortest digits that lead back to the value, and where the point stands in them.
    let scientific = format!("{:e}", value.abs());
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    let len = digits.len() as i32;
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    if len <= point && point <= 15 {
        out.push_str(&digits);
        out.extend(std::iter::repeat_n('0', (point - len) as usize));
        out.push_str(".0");
    } else if 0 < point && point <= 15 {
        let (whole, fraction) = digits.split_at(point as usize);
        let _ = write!(out, "{whole}.{fraction}");
    } else if -4 < point && point <= 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', -point as usize));
        out.push_str(&digits);
    } else {
        let (first, rest) = digits.split_at(1);
        out.push_str(first);
        if !rest.is_empty() {
            let _ = write!(out, ".{rest}");
        }
        let exponent = point - 1;
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "e{sign}{:02}", exponent.abs());
    }
}

/// A GBNF literal (`gbnf_format_literal`).
pub(super) fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\r' => out.push_str("\\r"),
            '\n' => out.push_str("\\n"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_the_notation_of_the_reference() {
        let text =
            "[1,-7,18446744073709551615,0.5,1.0,1e15,1e14,1e16,1.5e-5,0.0001,1e100,-2.25,123456789.5e3]";
        let want = "[1,-7,18446744073709551615,0.5,1.0,1e+15,100000000000000.0,1e+16,1.5e-05,0.0001,1e+100,-2.25,\
                    123456789500.0]";
        assert_eq!(dump(&serde_json::from_str(text).unwrap()), want);
    }

    #[test]
    fn texts_and_literals() {
        let value = serde_json::json!({"a\"b": ["\u{1}é", null, true], "n": {}});
        assert_eq!(dump(&value), r#"{"a\"b":["\u0001é",null,true],"n":{}}"#);
        assert_eq!(literal("a\"\\\n"), r#""a\"\\\n""#);
    }
}
