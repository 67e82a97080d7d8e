//! Equality and order, as Python has them.

use std::cmp::Ordering;
use std::rc::Rc;

use num_bigint::BigInt;
use num_traits::FromPrimitive;

use super::ast::CompareOp;
use super::interpreter::Interpreter;
use super::meter::{Meter, Res, type_error};
use super::value::{Value, View};

/// Order of two numbers; None where one is not a number or is NaN.
fn numbers(a: &Value, b: &Value) -> Option<Option<Ordering>> {
    use super::integer::{to_big, to_small};
    if let (Some(a), Some(b)) = (to_small(a), to_small(b)) {
        return Some(Some(a.cmp(&b)));
    }
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => Some(a.partial_cmp(b)),
        (Value::Float(a), b) => Some(float_with_integer(*a, &to_big(b)?)),
        (a, Value::Float(b)) => Some(float_with_integer(*b, &to_big(a)?).map(Ordering::reverse)),
        (a, b) => Some(Some(to_big(a)?.cmp(&to_big(b)?))),
    }
}

/// Exact, however large the integer is.
fn float_with_integer(x: f64, n: &BigInt) -> Option<Ordering> {
    if x.is_nan() {
        return None;
    }
    if x.is_infinite() {
        return Some(if x > 0.0 { Ordering::Greater } else { Ordering::Less });
    }
    let whole = BigInt::from_f64(x.trunc())?;
    Some(whole.cmp(n).then_with(|| {
        let fraction = x.fract();
        if fraction > 0.0 {
            Ordering::Greater
        } else if fraction < 0.0 {
            Ordering::Less
        } else {
            Ordering::Equal
        }
    }))
}

/// Equality of values that are keys; what they cost was counted when they became keys.
pub(crate) fn keys_equal(a: &Value, b: &Value) -> bool {
    if let Some(order) = numbers(a, b) {
        return order == Some(Ordering::Equal);
    }
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => a.as_str() == b.as_str(),
        (Value::None, Value::None) | (Value::Undefined(_), Value::Undefined(_)) => true,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Tuple(a) | Value::Group(a), Value::Tuple(b) | Value::Group(b)) => {
            Rc::ptr_eq(a, b)
                || (a.items().len() == b.items().len()
                    && a.items().iter().zip(b.items()).all(|(a, b)| keys_equal(a, b)))
        }
        (Value::Range(a), Value::Range(b)) => {
            a.len == b.len && (a.len == 0 || (a.start == b.start && (a.len == 1 || a.step == b.step)))
        }
        (a, b) => a.is(b),
    }
}

/// `a == b`.
pub(crate) fn equal(a: &Value, b: &Value, meter: &Rc<Meter>) -> Res<bool> {
    meter.step(1)?;
    if let Some(order) = numbers(a, b) {
        return Ok(order == Some(Ordering::Equal));
    }
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => {
            if a.as_str().len() == b.as_str().len() {
                meter.text_step(a.as_str().len())?;
            }
            Ok(a.as_str() == b.as_str())
        }
        (Value::List(a), Value::List(b))
        | (Value::Tuple(a) | Value::Group(a), Value::Tuple(b) | Value::Group(b)) => {
            if a.items().len() != b.items().len() {
                return Ok(false);
            }
            let _level = meter.deeper()?;
            for (a, b) in a.items().iter().zip(b.items()) {
                if !same_or_equal(a, b, meter)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Dict(a), Value::Dict(b)) => {
            if a.entries().len() != b.entries().len() {
                return Ok(false);
            }
            let _level = meter.deeper()?;
            for (key, value) in a.entries() {
                meter.step(key.cost)?;
                match b.entries().get(key) {
                    Some(other) if same_or_equal(value, other, meter)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
        (Value::View(View::Keys, a), Value::View(View::Keys, b)) => {
            meter.step(a.entries().keys().map(|key| key.cost).sum())?;
            Ok(a.entries().len() == b.entries().len()
                && a.entries().keys().all(|key| b.entries().contains_key(key)))
        }
        (Value::View(View::Items, a), Value::View(View::Items, b)) => {
            equal(&Value::Dict(Rc::clone(a)), &Value::Dict(Rc::clone(b)), meter)
        }
        _ => Ok(keys_equal(a, b)),
    }
}

/// How Python compares elements: the same object is equal to itself, NaN too.
pub(crate) fn same_or_equal(a: &Value, b: &Value, meter: &Rc<Meter>) -> Res<bool> {
    Ok(a.is(b) || equal(a, b, meter)?)
}

/// `a < b` and its kin.
pub(crate) fn ordered(op: CompareOp, a: &Value, b: &Value, meter: &Rc<Meter>) -> Res<bool> {
    meter.step(1)?;
    let holds = |order: Ordering| match op {
        CompareOp::Lt => order.is_lt(),
        CompareOp::Le => order.is_le(),
        CompareOp::Gt => order.is_gt(),
        _ => order.is_ge(),
    };
    if let Some(order) = numbers(a, b) {
        return Ok(order.is_some_and(holds));
    }
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => {
            meter.text_step(a.as_str().len().min(b.as_str().len()))?;
            Ok(holds(a.as_str().cmp(b.as_str())))
        }
        (Value::Bytes(a), Value::Bytes(b)) => Ok(holds(a.cmp(b))),
        (Value::List(a), Value::List(b))
        | (Value::Tuple(a) | Value::Group(a), Value::Tuple(b) | Value::Group(b)) => {
            let _level = meter.deeper()?;
            for (a, b) in a.items().iter().zip(b.items()) {
                if !same_or_equal(a, b, meter)? {
                    return ordered(op, a, b, meter);
                }
            }
            Ok(holds(a.items().len().cmp(&b.items().len())))
        }
        (Value::View(View::Keys, a), Value::View(View::Keys, b)) => {
            meter.step(a.entries().keys().chain(b.entries().keys()).map(|key| key.cost).sum())?;
            let within = a.entries().keys().all(|key| b.entries().contains_key(key));
            let around = b.entries().keys().all(|key| a.entries().contains_key(key));
            Ok(match op {
                CompareOp::Lt => within && !around,
                CompareOp::Le => within,
                CompareOp::Gt => around && !within,
                _ => around,
            })
        }
        _ => {
            Interpreter::refuse_undefined(a)?;
            Interpreter::refuse_undefined(b)?;
            let sign = match op {
                CompareOp::Lt => "<",
                CompareOp::Le => "<=",
                CompareOp::Gt => ">",
                _ => ">=",
            };
            type_error(format!(
                "'{sign}' not supported between instances of '{}' and '{}'",
                a.type_name(),
                b.type_name()
            ))
        }
    }
}

/// A stable sort by Python's `<`, which may fail.
pub(crate) fn sort<T>(
    items: Vec<T>,
    reverse: bool,
    meter: &Rc<Meter>,
    key: impl Fn(&T) -> &Value,
) -> Res<Vec<T>> {
    let mut failed = None;
    let mut order: Vec<T> = items;
    if reverse {
        order.reverse();
    }
    // The standard sort wants a total order and says so by panicking; a merge sort of our own takes any answers.
    let mut runs: Vec<Vec<T>> = order.into_iter().map(|item| vec![item]).collect();
    while runs.len() > 1 {
        let mut merged = Vec::with_capacity(runs.len().div_ceil(2));
        let mut pairs = runs.into_iter();
        while let Some(left) = pairs.next() {
            let Some(right) = pairs.next() else {
                merged.push(left);
                break;
            };
            let mut out = Vec::with_capacity(left.len() + right.len());
            let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
            while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
                let takes_right = match ordered(CompareOp::Lt, key(b), key(a), meter) {
                    Ok(less) => less,
                    Err(error) => {
                        failed.get_or_insert(error);
                        break;
                    }
                };
                out.extend(if takes_right { right.next() } else { left.next() });
            }
            if let Some(error) = failed {
                return Err(error);
            }
            out.extend(left);
            out.extend(right);
            merged.push(out);
        }
        runs = merged;
    }
    let mut sorted = runs.pop().unwrap_or_default();
    if reverse {
        sorted.reverse();
    }
    Ok(sorted)
}
