//! Integers between bounds, as alternatives over digits.

use std::fmt::Write as _;

use crate::{Error, json_schema::fail};

/// Digits a number without bound may have.
const MAX_DIGITS: i32 = 16;

/// The rule for integers from `min` to `max`; `i64::MIN` and `i64::MAX` are no bounds.
pub(super) fn between(min: i64, max: i64) -> Result<String, Error> {
    let mut out = String::new();
    write(min, max, MAX_DIGITS, true, &mut out)?;
    Ok(out)
}

fn write(mut min: i64, max: i64, decimals: i32, top: bool, out: &mut String) -> Result<(), Error> {
    let fewer = (decimals - 1).max(1);
    match (min != i64::MIN, max != i64::MAX) {
        (true, true) => {
            if min < 0 && max < 0 {
                out.push_str("\"-\" (");
                write(max.wrapping_neg(), min.wrapping_neg(), decimals, true, out)?;
                out.push(')');
                return Ok(());
            }
            if min < 0 {
                out.push_str("\"-\" (");
                write(0, min.wrapping_neg(), decimals, true, out)?;
                out.push_str(") | ");
                min = 0;
            }
            let (mut from, to) = (min.to_string(), max.to_string());
            for n_digits in from.len()..to.len() {
                uniform(from.as_bytes(), "9".repeat(n_digits).as_bytes(), out);
                from = format!("1{}", "0".repeat(n_digits));
                out.push_str(" | ");
            }
            uniform(from.as_bytes(), to.as_bytes(), out);
        }
        (true, false) => at_least(min, decimals, top, out)?,
        (false, true) => {
            if max >= 0 {
                if top {
                    out.push_str("\"-\" [1-9] ");
                    digits(0, fewer, out);
                    out.push_str(" | ");
                }
                write(0, max, decimals, true, out)?;
            } else {
                out.push_str("\"-\" (");
                write(max.wrapping_neg(), i64::MAX, decimals, false, out)?;
                out.push(')');
            }
        }
        (false, false) => return fail("an integer needs a minimum or a maximum within 64 bits"),
    }
    Ok(())
}

fn at_least(min: i64, decimals: i32, top: bool, out: &mut String) -> Result<(), Error> {
    let fewer = (decimals - 1).max(1);
    if min < 0 {
        out.push_str("\"-\" (");
        write(i64::MIN, min.wrapping_neg(), decimals, false, out)?;
        out.push_str(") | [0] | [1-9] ");
        digits(0, decimals - 1, out);
    } else if min == 0 {
        if top {
            out.push_str("[0] | [1-9] ");
            digits(0, fewer, out);
        } else {
            digits(1, decimals, out);
        }
    } else if min <= 9 {
        let c = b'0' + min as u8;
        let first = if top { b'1' } else { b'0' };
        if c > first {
            range(first, c - 1, out);
            out.push(' ');
            digits(1, fewer, out);
            out.push_str(" | ");
        }
        range(c, b'9', out);
        out.push(' ');
        digits(0, fewer, out);
    } else {
        let text = min.to_string();
        let (len, c) = (text.len() as i32, text.as_bytes()[0]);
        if c > b'1' {
            range(if top { b'1' } else { b'0' }, c - 1, out);
            out.push(' ');
            digits(len, fewer, out);
            out.push_str(" | ");
        }
        range(c, c, out);
        out.push_str(" (");
        write(text[1..].parse().unwrap_or(0), i64::MAX, fewer, false, out)?;
        out.push(')');
        if c < b'9' {
            out.push_str(" | ");
            range(c + 1, b'9', out);
            out.push(' ');
            digits(len - 1, fewer, out);
        }
    }
    Ok(())
}

/// One digit.
fn range(from: u8, to: u8, out: &mut String) {
    out.push('[');
    out.push(char::from(from));
    if from != to {
        out.push('-');
        out.push(char::from(to));
    }
    out.push(']');
}

/// `least` to `most` digits.
fn digits(least: i32, most: i32, out: &mut String) {
    out.push_str("[0-9]");
    if least == most && least == 1 {
        return;
    }
    let _ = write!(out, "{{{least}");
    if most != least {
        let _ = write!(out, ",{most}");
    }
    out.push('}');
}

/// Numbers between two with equally many digits.
fn uniform(from: &[u8], to: &[u8], out: &mut String) {
    let i = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    if i > 0 {
        out.push('"');
        out.extend(from[..i].iter().map(|d| char::from(*d)));
        out.push('"');
    }
    let (Some(&low), Some(&high)) = (from.get(i), to.get(i)) else {
        return;
    };
    if i > 0 {
        out.push(' ');
    }
    let n_rest = from.len() - i - 1;
    if n_rest == 0 {
        let _ = write!(out, "[{}-{}]", char::from(low), char::from(high));
        return;
    }
    let (rest_from, rest_to) = (&from[i + 1..], to.get(i + 1..).unwrap_or_default());
    let (zeros, nines) = ("0".repeat(n_rest), "9".repeat(n_rest));
    let mut reached = false;
    out.push('(');
    if rest_from == zeros.as_bytes() {
        range(low, high - 1, out);
        out.push(' ');
        digits(n_rest as i32, n_rest as i32, out);
    } else {
        let _ = write!(out, "[{}] (", char::from(low));
        uniform(rest_from, nines.as_bytes(), out);
        out.push(')');
        if low < high - 1 {
            out.push_str(" | ");
            reached = rest_to == nines.as_bytes();
            range(low + 1, if reached { high } else { high - 1 }, out);
            out.push(' ');
            digits(n_rest as i32, n_rest as i32, out);
        }
    }
    if !reached {
        out.push_str(" | ");
        range(high, high, out);
        out.push(' ');
        uniform(zeros.as_bytes(), rest_to, out);
    }
    out.push(')');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_bounds() {
        assert_eq!(between(0, 9).unwrap(), "[0-9]");
        assert_eq!(between(3, i64::MAX).unwrap(), "[1-2] [0-9]{1,15} | [3-9] [0-9]{0,15}");
        assert_eq!(between(-10, 10).unwrap(), "\"-\" ([0-9] | \"10\") | [0-9] | \"10\"");
        assert!(between(i64::MIN, i64::MAX).is_err());
    }

    #[test]
    fn no_bounds_panic() {
        let edges = [
            i64::MIN,
            i64::MIN + 1,
            -101,
            -100,
            -99,
            -10,
            -1,
            0,
            1,
            9,
            10,
            11,
            99,
            100,
            12345,
            i64::MAX - 1,
            i64::MAX,
        ];
        for min in edges {
            for max in edges {
                let _ = between(min, max);
            }
        }
    }
}
