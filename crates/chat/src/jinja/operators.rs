//! Arithmetic, repetition, membership and escaping.

use std::rc::Rc;

use num_bigint::BigInt;
use num_traits::{Signed, Zero};

use super::ast::BinaryOp;
use super::compare::same_or_equal;
use super::integer::{div_mod, from_big, power, to_big, to_float, to_index, to_small};
use super::interpreter::{Interpreter, Object};
use super::meter::{FailKind, Res, fail, type_error};
use super::value::{Key, Value, View};

fn sign_of(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "+",
        BinaryOp::Sub => "-",
        BinaryOp::Mul => "*",
        BinaryOp::Div => "/",
        BinaryOp::FloorDiv => "//",
        BinaryOp::Mod => "%",
        BinaryOp::Pow => "** or pow()",
    }
}

impl Interpreter<'_> {
    pub fn negative(&self, value: &Value) -> Res<Value> {
        Self::refuse_undefined(value)?;
        match value {
            Value::Float(x) => Ok(Value::Float(-x)),
            other => match to_big(other) {
                Some(n) => from_big(-n),
                None => type_error(format!("bad operand type for unary -: '{}'", value.type_name())),
            },
        }
    }

    pub fn positive(&self, value: &Value) -> Res<Value> {
        Self::refuse_undefined(value)?;
        match value {
            Value::Float(_) | Value::Int(_) | Value::Big(_) => Ok(value.clone()),
            Value::Bool(b) => Ok(Value::Int(i64::from(*b))),
            _ => type_error(format!("bad operand type for unary +: '{}'", value.type_name())),
        }
    }

    pub fn binary(&mut self, op: BinaryOp, left: &Value, right: &Value) -> Res<Value> {
        if let (BinaryOp::Mod, Value::Str(template)) = (op, left) {
            return self.percent(&Rc::clone(template), right);
        }
        Self::refuse_undefined(left)?;
        Self::refuse_undefined(right)?;
        if let Some(value) = self.arithmetic(op, left, right)? {
            return Ok(value);
        }
        if let Some(value) = self.sequences(op, left, right)? {
            return Ok(value);
        }
        type_error(format!(
            "unsupported operand type(s) for {}: '{}' and '{}'",
            sign_of(op),
            self.type_of(left),
            self.type_of(right)
        ))
    }

    /// Numbers; None where one is not.
    fn arithmetic(&self, op: BinaryOp, left: &Value, right: &Value) -> Res<Option<Value>> {
        if let (Some(a), Some(b)) = (to_small(left), to_small(right)) {
            let small = match op {
                BinaryOp::Add => a.checked_add(b),
                BinaryOp::Sub => a.checked_sub(b),
                BinaryOp::Mul => a.checked_mul(b),
                _ => None,
            };
            if let Some(value) = small {
                return Ok(Some(Value::Int(value)));
            }
        }
        if let (Some(a), Some(b)) = (to_big(left), to_big(right)) {
            return self.integers(op, &a, &b).map(Some);
        }
        let is_number = |value: &Value| matches!(value, Value::Float(_)) || to_big(value).is_some();
        if !is_number(left) || !is_number(right) {
            return Ok(None);
        }
        let (Some(a), Some(b)) = (to_float(left)?, to_float(right)?) else { return Ok(None) };
        floats(op, a, b).map(Some)
    }

    fn integers(&self, op: BinaryOp, a: &BigInt, b: &BigInt) -> Res<Value> {
        let words = ((a.bits() + b.bits()) / 64) as usize;
        self.step(1 + words * words / 64)?;
        match op {
            BinaryOp::Add => from_big(a + b),
            BinaryOp::Sub => from_big(a - b),
            BinaryOp::Mul => from_big(a * b),
            BinaryOp::FloorDiv => from_big(div_mod(a, b)?.0),
            BinaryOp::Mod => from_big(div_mod(a, b)?.1),
            BinaryOp::Pow if b.is_negative() => {
                let (Some(base), Some(exponent)) =
                    (to_float(&from_big(a.clone())?)?, to_float(&from_big(b.clone())?)?)
                else {
                    return type_error("not a number");
                };
                floats(BinaryOp::Pow, base, exponent)
            }
            BinaryOp::Pow => power(a, b, self.meter()),
            BinaryOp::Div => {
                if b.is_zero() {
                    return fail(FailKind::ZeroDivision, "division by zero");
                }
                divide(a, b)
            }
        }
    }

    /// Joining and repeating; None where the operands are of other types.
    fn sequences(&mut self, op: BinaryOp, left: &Value, right: &Value) -> Res<Option<Value>> {
        match (op, left, right) {
            (BinaryOp::Add, Value::Str(a), Value::Str(b)) => {
                let safe = a.safe || b.safe;
                let mut out = self.heap.buffer();
                for side in [left, right] {
                    if safe && !side.is_safe() {
                        let escaped = self.escape(side)?;
                        out.push_str(escaped.as_str().unwrap_or_default())?;
                    } else {
                        out.push_str(side.as_str().unwrap_or_default())?;
                    }
                }
                out.finish(safe).map(Some)
            }
            (BinaryOp::Add, Value::List(a), Value::List(b)) => {
                let mut items = self.heap.items();
                items.extend(a.items())?;
                items.extend(b.items())?;
                self.heap.list(items).map(Some)
            }
            (BinaryOp::Add, Value::Tuple(a) | Value::Group(a), Value::Tuple(b) | Value::Group(b)) => {
                let mut items = self.heap.items();
                items.extend(a.items())?;
                items.extend(b.items())?;
                self.heap.tuple(items).map(Some)
            }
            (BinaryOp::Mul, sequence @ (Value::Str(_) | Value::List(_) | Value::Tuple(_)), times)
            | (BinaryOp::Mul, times, sequence @ (Value::Str(_) | Value::List(_) | Value::Tuple(_))) => {
                let Some(times) = to_index(times) else {
                    return type_error(format!(
                        "can't multiply sequence by non-int of type '{}'",
                        self.type_of(times)
                    ));
                };
                self.repeat(sequence, usize::try_from(times).unwrap_or(0)).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn repeat(&mut self, sequence: &Value, times: usize) -> Res<Value> {
        if let Value::Str(text) = sequence {
            let mut out = self.heap.buffer();
            out.repeat(text.as_str(), times)?;
            return out.finish(text.safe);
        }
        let mut items = self.heap.items();
        let known = sequence.as_seq().unwrap_or_default();
        if !known.is_empty() {
            // What does not fit fails before anything is copied.
            let bytes = known.len().saturating_mul(times).saturating_mul(super::value::ITEM_BYTES);
            self.meter().take(bytes)?;
            self.meter().give(bytes);
            for _ in 0..times {
                items.extend(known)?;
            }
        }
        if matches!(sequence, Value::List(_)) { self.heap.list(items) } else { self.heap.tuple(items) }
    }

    /// `item in container`.
    pub fn contains(&mut self, container: &Value, item: &Value) -> Res<bool> {
        match (container, item) {
            (Value::Str(text), Value::Str(part)) => {
                self.meter().text_step(text.as_str().len())?;
                Ok(text.as_str().contains(part.as_str()))
            }
            (Value::Str(_), other) => type_error(format!(
                "'in <string>' requires string as left operand, not {}",
                self.type_of(other)
            )),
            (Value::Dict(dict) | Value::View(View::Keys, dict), item) => {
                let key = Key::new(item.clone(), self.meter())?;
                Ok(dict.entries().contains_key(&key))
            }
            (Value::Range(range), item) if to_small(item).is_some() => {
                let offset = i128::from(to_small(item).unwrap_or(0)) - i128::from(range.start);
                let step = i128::from(range.step);
                Ok(offset % step == 0 && (0..range.len as i128).contains(&(offset / step)))
            }
            (container, item) => {
                let mut iter = match self.iter(container) {
                    Err(error) if error.kind == FailKind::Type => {
                        let name = self.type_of(container);
                        return type_error(format!("argument of type '{name}' is not iterable"));
                    }
                    other => other?,
                };
                while let Some(next) = self.next_item(&mut iter)? {
                    if same_or_equal(&next, item, self.meter())? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// `escape(value)` of markupsafe.
    pub fn escape(&mut self, value: &Value) -> Res<Value> {
        if value.is_safe() {
            return Ok(value.clone());
        }
        let text = self.to_str(value)?;
        let mut out = self.heap.buffer();
        let text = text.as_str().unwrap_or_default();
        let mut from = 0;
        for (at, c) in text.bytes().enumerate() {
            let entity = match c {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&#34;",
                b'\'' => "&#39;",
                _ => continue,
            };
            out.push_str(&text[from..at])?;
            out.push_str(entity)?;
            from = at + 1;
        }
        out.push_str(&text[from..])?;
        out.finish(true)
    }

    /// Whether a value can be called.
    pub fn is_callable(&self, value: &Value) -> bool {
        match value {
            Value::Function(_) | Value::Method(_) | Value::Undefined(_) => true,
            Value::Object(id) => {
                matches!(self.object(*id), Object::Macro { .. } | Object::Joiner { .. } | Object::Loop(_))
            }
            _ => false,
        }
    }
}

/// Integers divided to the nearest float.
fn divide(a: &BigInt, b: &BigInt) -> Res<Value> {
    let exact = |n: &BigInt| n.bits() <= 53;
    if exact(a) && exact(b) {
        return match (to_float(&from_big(a.clone())?)?, to_float(&from_big(b.clone())?)?) {
            (Some(a), Some(b)) => Ok(Value::Float(a / b)),
            _ => type_error("not a number"),
        };
    }
    // Scaled so that the quotient has 64 bits or more, the last one sticky: one rounding, at the end.
    let negative = a.is_negative() != b.is_negative();
    let (a, b) = (a.magnitude(), b.magnitude());
    let shift = 66 + b.bits() as i64 - a.bits() as i64;
    let (numerator, denominator) =
        if shift >= 0 { (a << shift as u64, b.clone()) } else { (a.clone(), b << shift.unsigned_abs()) };
    let mut quotient = &numerator / &denominator;
    if &quotient * &denominator != numerator {
        quotient |= num_bigint::BigUint::from(1u8);
    }
    let mantissa = num_traits::ToPrimitive::to_f64(&quotient).unwrap_or(f64::INFINITY);
    // Results below the normal range would round twice; two steps keep 2^shift finite.
    let half = -shift / 2;
    let value = mantissa * 2f64.powi(half as i32) * 2f64.powi((-shift - half) as i32);
    if value.is_infinite() {
        return fail(FailKind::Overflow, "integer division result too large for a float");
    }
    Ok(Value::Float(if negative { -value } else { value }))
}

fn floats(op: BinaryOp, a: f64, b: f64) -> Res<Value> {
    let zero = || fail(FailKind::ZeroDivision, "float division by zero");
    Ok(Value::Float(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div if b == 0.0 => return zero(),
        BinaryOp::Div => a / b,
        BinaryOp::FloorDiv | BinaryOp::Mod if b == 0.0 => return zero(),
        BinaryOp::FloorDiv => float_div_mod(a, b).0,
        BinaryOp::Mod => float_div_mod(a, b).1,
        BinaryOp::Pow => {
            if a == 0.0 && b < 0.0 {
                return fail(FailKind::ZeroDivision, "0.0 cannot be raised to a negative power");
            }
            if a < 0.0 && b.fract() != 0.0 && a.is_finite() && b.is_finite() {
                return fail(FailKind::Value, "complex numbers are not supported");
            }
            let value = a.powf(b);
            if value.is_infinite() && a.is_finite() && b.is_finite() {
                return fail(FailKind::Overflow, "(34, 'Numerical result out of range')");
            }
            value
        }
    }))
}

/// Python's `divmod` of floats: the remainder has the divisor's sign.
fn float_div_mod(a: f64, b: f64) -> (f64, f64) {
    let mut remainder = a % b;
    let mut quotient = (a - remainder) / b;
    if remainder == 0.0 {
        remainder = 0f64.copysign(b);
    } else if (b < 0.0) != (remainder < 0.0) {
        remainder += b;
        quotient -= 1.0;
    }
    let floor = if quotient == 0.0 {
        0f64.copysign(a / b)
    } else {
        let floor = quotient.floor();
        if quotient - floor > 0.5 { floor + 1.0 } else { floor }
    };
    (floor, remainder)
}
