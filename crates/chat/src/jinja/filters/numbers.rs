//! Filters that make numbers.

use num_bigint::BigInt;
use num_traits::{FromPrimitive, Signed, Zero};

use crate::jinja::ast::BinaryOp;
use crate::jinja::integer::{self, div_mod, from_big, from_float, to_big, to_float, to_index};
use crate::jinja::interpreter::{Args, Interpreter};
use crate::jinja::meter::{FailKind, Res, fail, type_error, value_error};
use crate::jinja::unicode::is_space;
use crate::jinja::value::Value;

impl Interpreter<'_> {
    pub(super) fn number_filter(&mut self, name: &str, value: &Value, args: Args) -> Res<Value> {
        match name {
            "abs" => {
                let [] = args.positional_only(name, 0)?;
                match value {
                    Value::Float(x) => Ok(Value::Float(x.abs())),
                    other => match to_big(other) {
                        Some(n) => from_big(n.abs()),
                        None => type_error(format!("bad operand type for abs(): '{}'", self.type_of(other))),
                    },
                }
            }
            "int" => {
                let [default, base] = args.bind(name, ["default", "base"], 0)?;
                let base = base.as_ref().and_then(to_index).unwrap_or(10);
                if base != 0 && !(2..=36).contains(&base) {
                    return Ok(default.unwrap_or(Value::Int(0)));
                }
                self.to_int(value, default.unwrap_or(Value::Int(0)), base as u32)
            }
            "float" => {
                let [default] = args.bind(name, ["default"], 0)?;
                Self::refuse_undefined(value)?;
                let number = match value {
                    Value::Str(text) => parse_float(text.as_str()),
                    other => to_float(other)?,
                };
                Ok(number.map(Value::Float).or(default).unwrap_or(Value::Float(0.0)))
            }
            "round" => {
                let [precision, method] = args.bind(name, ["precision", "method"], 0)?;
                let method = match &method {
                    None => "common",
                    Some(method) => method.as_str().unwrap_or_default(),
                };
                self.round(value, &precision.unwrap_or(Value::Int(0)), method)
            }
            _ => {
                let [binary] = args.bind(name, ["binary"], 0)?;
                Self::refuse_undefined(value)?;
                let bytes = match value {
                    Value::Str(text) => parse_float(text.as_str()),
                    other => to_float(other)?,
                };
                let Some(bytes) = bytes else { return value_error("could not convert to float") };
                self.heap.str(&file_size(bytes, binary.is_some_and(|binary| binary.is_true())))
            }
        }
    }

    fn to_int(&mut self, value: &Value, default: Value, base: u32) -> Res<Value> {
        Self::refuse_undefined(value)?;
        match value {
            Value::Str(text) => {
                self.meter().text_step(text.as_str().len())?;
                if let Some(n) = integer::parse(text.as_str(), base) {
                    return from_big(n);
                }
                match parse_float(text.as_str()) {
                    Some(x) if x.is_finite() => from_float(x),
                    _ => Ok(default),
                }
            }
            Value::Float(x) if x.is_nan() => Ok(default),
            Value::Float(x) => from_float(*x),
            other => match to_big(other) {
                Some(n) => from_big(n),
                None => Ok(default),
            },
        }
    }

    fn round(&mut self, value: &Value, precision: &Value, method: &str) -> Res<Value> {
        if !matches!(method, "common" | "ceil" | "floor") {
            return fail(FailKind::Template, "method must be common, ceil or floor");
        }
        if method != "common" {
            let scale = self.binary(BinaryOp::Pow, &Value::Int(10), precision)?;
            let scaled = self.binary(BinaryOp::Mul, value, &scale)?;
            let whole = match &scaled {
                Value::Float(x) => from_float(if method == "ceil" { x.ceil() } else { x.floor() })?,
                other if to_big(other).is_some() => other.clone(),
                other => return type_error(format!("must be real number, not {}", self.type_of(other))),
            };
            return self.binary(BinaryOp::Div, &whole, &scale);
        }
        let Some(digits) = to_index(precision) else {
            let name = self.type_of(precision);
            return type_error(format!("'{name}' object cannot be interpreted as an integer"));
        };
        if let Value::Float(x) = value {
            return Ok(Value::Float(round_float(*x, digits)));
        }
        let Some(n) = to_big(value) else {
            Self::refuse_undefined(value)?;
            return type_error(format!("type {} doesn't define __round__ method", self.type_of(value)));
        };
        if digits >= 0 {
            return from_big(n);
        }
        // Half to even, like floats.
        let power = digits.unsigned_abs();
        if power > 20_000 {
            return Ok(Value::Int(0));
        }
        let unit = BigInt::from(10).pow(power as u32);
        let (mut quotient, remainder) = div_mod(&n, &unit)?;
        let twice = remainder * 2;
        if twice > unit || (twice == unit && quotient.bit(0)) {
            quotient += 1;
        }
        from_big(quotient * unit)
    }
}

/// Python's `round(x, digits)`: exact, half to even.
fn round_float(x: f64, digits: i64) -> f64 {
    if !x.is_finite() || digits > 323 {
        return x;
    }
    if digits >= 0 {
        return format!("{x:.*}", digits as usize).parse().unwrap_or(x);
    }
    if digits < -308 {
        return 0f64.copysign(x);
    }
    // A whole number of units: the fraction cannot make a half.
    let unit = BigInt::from(10).pow(digits.unsigned_abs() as u32);
    let Some(whole) = BigInt::from_f64(x.abs().trunc()) else { return x };
    let quotient = &whole / &unit;
    let twice = (&whole - &quotient * &unit) * 2;
    let above = twice > unit || (twice == unit && (x.fract() != 0.0 || quotient.bit(0)));
    let rounded = if above { quotient + 1 } else { quotient } * unit;
    let magnitude =
        if rounded.is_zero() { 0.0 } else { rounded.to_string().parse().unwrap_or(f64::INFINITY) };
    magnitude.copysign(x)
}

/// Python's `float(text)`.
fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(is_space);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    if !matches!(lower.as_str(), "inf" | "infinity" | "nan") {
        // Digits, single underscores between digits, a point, an exponent.
        let bytes = unsigned.as_bytes();
        for (at, c) in bytes.iter().enumerate() {
            let ok = match c {
                b'0'..=b'9' | b'.' => true,
                b'e' | b'E' => at > 0,
                b'+' | b'-' => at > 0 && matches!(bytes[at - 1], b'e' | b'E'),
                b'_' => {
                    at > 0
                        && bytes[at - 1].is_ascii_digit()
                        && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
                }
                _ => false,
            };
            if !ok {
                return None;
            }
        }
    }
    text.replace('_', "").parse().ok()
}

fn file_size(bytes: f64, binary: bool) -> String {
    let base = if binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return "1 Byte".to_owned();
    }
    if bytes < base {
        // An integer has no sign at zero.
        return format!("{} Bytes", bytes.trunc() + 0.0);
    }
    let prefixes = if binary {
        ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"]
    } else {
        ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"]
    };
    let mut unit = base;
    for prefix in prefixes {
        unit *= base;
        if bytes < unit {
            return format!("{:.1} {prefix}", base * bytes / unit);
        }
    }
    format!("{:.1} {}", base * bytes / unit, prefixes[7])
}
