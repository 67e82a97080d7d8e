//! Python's integers: `i64` where they fit, larger ones bounded.

use std::rc::Rc;

use num_bigint::{BigInt, Sign};
use num_traits::{Signed, ToPrimitive, Zero};

use super::meter::{FailKind, INTEGER_BITS_MAX, Meter, Res, fail, too_large_integer, value_error};
use super::value::Value;

/// Most digits that Python writes or reads.
const DIGITS_MAX: usize = 4_300;

/// An integer as a value.
pub(crate) fn from_big(value: BigInt) -> Res<Value> {
    if let Some(small) = value.to_i64() {
        return Ok(Value::Int(small));
    }
    if value.bits() > INTEGER_BITS_MAX {
        return too_large_integer();
    }
    Ok(Value::Big(Rc::new(value)))
}

/// A bool or an integer as an integer.
pub(crate) fn to_big(value: &Value) -> Option<BigInt> {
    match value {
        Value::Bool(b) => Some(BigInt::from(i64::from(*b))),
        Value::Int(n) => Some(BigInt::from(*n)),
        Value::Big(n) => Some(BigInt::clone(n)),
        _ => None,
    }
}

/// A bool or an integer that fits.
pub(crate) fn to_small(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(b) => Some(i64::from(*b)),
        Value::Int(n) => Some(*n),
        _ => None,
    }
}

/// An index or count: bools count, what does not fit is cut to the ends of `i64`.
pub(crate) fn to_index(value: &Value) -> Option<i64> {
    match value {
        Value::Big(n) => Some(if n.is_negative() { i64::MIN } else { i64::MAX }),
        other => to_small(other),
    }
}

/// A number as a float.
pub(crate) fn to_float(value: &Value) -> Res<Option<f64>> {
    Ok(match value {
        Value::Float(x) => Some(*x),
        Value::Bool(b) => Some(f64::from(u8::from(*b))),
        Value::Int(n) => Some(*n as f64),
        Value::Big(n) => match n.to_f64() {
            Some(x) if x.is_finite() => Some(x),
            _ => return fail(FailKind::Overflow, "int too large to convert to float"),
        },
        _ => None,
    })
}

/// The digits of an integer.
pub(crate) fn to_text(value: &BigInt) -> Res<String> {
    // log10(2) is above 0.301.
    if value.bits() as usize > DIGITS_MAX * 4 {
        return value_error(format!("Exceeds the limit ({DIGITS_MAX} digits) for integer string conversion"));
    }
    let text = value.to_string();
    if text.trim_start_matches('-').len() > DIGITS_MAX {
        return value_error(format!("Exceeds the limit ({DIGITS_MAX} digits) for integer string conversion"));
    }
    Ok(text)
}

/// `a // b` and `a % b`, rounded down as in Python.
pub(crate) fn div_mod(a: &BigInt, b: &BigInt) -> Res<(BigInt, BigInt)> {
    if b.is_zero() {
        return fail(FailKind::ZeroDivision, "integer division or modulo by zero");
    }
    let mut quotient = a / b;
    let mut remainder = a - &quotient * b;
    if !remainder.is_zero() && (remainder.sign() == Sign::Minus) != (b.sign() == Sign::Minus) {
        quotient -= 1;
        remainder += b;
    }
    Ok((quotient, remainder))
}

/// `base ** exponent`, the exponent not negative.
pub(crate) fn power(base: &BigInt, exponent: &BigInt, meter: &Meter) -> Res<Value> {
    let small = base.magnitude().to_u64().is_some_and(|m| m <= 1);
    let Some(exponent) = exponent.to_u64() else {
        if small {
            let odd = exponent.bit(0);
            return from_big(if odd || base.is_zero() { base.clone() } else { base * base });
        }
        return too_large_integer();
    };
    if small {
        let power = if exponent == 0 { 1 } else { exponent % 2 + 2 };
        return from_big(base.pow(power as u32));
    }
    let bits = (base.bits() - 1).max(1).saturating_mul(exponent);
    if bits > INTEGER_BITS_MAX {
        return too_large_integer();
    }
    meter.step((bits as usize / 64).pow(2) / 64)?;
    from_big(base.pow(exponent as u32))
}

/// `int(text, base)`, or None where Python raises a `ValueError`.
pub(crate) fn parse(text: &str, base: u32) -> Option<BigInt> {
    let text = text.trim_matches(super::unicode::is_space);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefix = digits.get(..2).map(str::to_ascii_lowercase);
    let prefixed = match prefix.as_deref() {
        Some("0b") => 2,
        Some("0o") => 8,
        Some("0x") => 16,
        _ => 0,
    };
    let mut radix = base;
    let mut digits = digits.to_owned();
    if prefixed != 0 && (base == prefixed || base == 0) {
        radix = prefixed;
        digits.drain(..2);
        if digits.starts_with('_') {
            digits.remove(0);
        }
    } else if base == 0 {
        radix = 10;
        // `int("010", 0)` is refused.
        if digits.len() > 1 && digits.starts_with('0') && digits.contains(|c: char| !matches!(c, '0' | '_')) {
            return None;
        }
    }
    if digits.is_empty() || digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let mut plain = String::with_capacity(digits.len());
    for c in digits.chars().filter(|c| *c != '_') {
        let c = super::unicode::decimal_value(c).and_then(|d| char::from_digit(d, 10)).unwrap_or(c);
        if !c.is_digit(radix) {
            return None;
        }
        plain.push(c);
    }
    if plain.len() > DIGITS_MAX && !radix.is_power_of_two() {
        return None;
    }
    let value = BigInt::parse_bytes(plain.as_bytes(), radix)?;
    Some(if negative { -value } else { value })
}

/// A float that is a whole number, as an integer.
pub(crate) fn from_float(x: f64) -> Res<Value> {
    if x.is_nan() {
        return value_error("cannot convert float NaN to integer");
    }
    if x.is_infinite() {
        return fail(FailKind::Overflow, "cannot convert float infinity to integer");
    }
    from_big(num_traits::FromPrimitive::from_f64(x.trunc()).unwrap_or_else(BigInt::zero))
}
