//! Tests: `x is ...`.

use num_bigint::BigInt;

use super::ast::{BinaryOp, CompareOp};
use super::compare::equal;
use super::filters::is_filter;
use super::interpreter::{Args, Interpreter, Object};
use super::meter::{FailKind, Res, fail, type_error};
use super::str_methods::{is_lower, is_upper};
use super::value::Value;

const TESTS: [&str; 39] = [
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// Whether a test has this name.
pub(crate) fn is_test(name: &str) -> bool {
    TESTS.binary_search(&name).is_ok()
}

impl Interpreter<'_> {
    /// `value is name(args)`.
    pub fn test(&mut self, name: &str, value: &Value, args: Args) -> Res<bool> {
        let op = match name {
            "==" | "eq" | "equalto" => Some(CompareOp::Eq),
            "!=" | "ne" => Some(CompareOp::Ne),
            "<" | "lt" | "lessthan" => Some(CompareOp::Lt),
            "<=" | "le" => Some(CompareOp::Le),
            ">" | "gt" | "greaterthan" => Some(CompareOp::Gt),
            ">=" | "ge" => Some(CompareOp::Ge),
            _ => None,
        };
        if let Some(op) = op {
            let [other] = args.positional_only(name, 1)?;
            return self.compare(op, value, &other.unwrap_or(Value::None));
        }
        match name {
            "in" => {
                let [container] = args.bind(name, ["seq"], 1)?;
                return self.contains(&container.unwrap_or(Value::None), value);
            }
            "sameas" => {
                let [other] = args.bind(name, ["other"], 1)?;
                return Ok(value.is(&other.unwrap_or(Value::None)));
            }
            "divisibleby" => {
                let [number] = args.bind(name, ["num"], 1)?;
                let rest = self.binary(BinaryOp::Mod, value, &number.unwrap_or(Value::None))?;
                return equal(&rest, &Value::Int(0), self.meter());
            }
            _ => {}
        }
        let [] = args.bind(name, [], 0)?;
        Ok(match name {
            "odd" | "even" => {
                let rest = self.binary(BinaryOp::Mod, value, &self.heap.big(BigInt::from(2))?)?;
                equal(&rest, &Value::Int(i64::from(name == "odd")), self.meter())?
            }
            "defined" => !value.is_undefined(),
            "undefined" => value.is_undefined(),
            "filter" | "test" => match value {
                Value::Str(text) if name == "filter" => is_filter(text.as_str()),
                Value::Str(text) => is_test(text.as_str()),
                Value::List(_) | Value::Dict(_) => {
                    return type_error(format!("unhashable type: '{}'", value.type_name()));
                }
                _ => false,
            },
            "none" => matches!(value, Value::None),
            "boolean" => matches!(value, Value::Bool(_)),
            "true" => matches!(value, Value::Bool(true)),
            "false" => matches!(value, Value::Bool(false)),
            "integer" => matches!(value, Value::Int(_) | Value::Big(_)),
            "float" => matches!(value, Value::Float(_)),
            "number" => matches!(value, Value::Int(_) | Value::Big(_) | Value::Float(_) | Value::Bool(_)),
            "string" => matches!(value, Value::Str(_)),
            "mapping" => matches!(value, Value::Dict(_)),
            "escaped" => value.is_safe(),
            "callable" => self.is_callable(value),
            "lower" | "upper" => {
                let text = self.to_str(value)?;
                let text = text.as_str().unwrap_or_default();
                self.meter().text_step(text.len().saturating_mul(8))?;
                if name == "lower" { is_lower(text) } else { is_upper(text) }
            }
            "sequence" => matches!(
                value,
                Value::Undefined(_)
                    | Value::Str(_)
                    | Value::Bytes(_)
                    | Value::List(_)
                    | Value::Tuple(_)
                    | Value::Group(_)
                    | Value::Dict(_)
                    | Value::Range(_)
            ),
            "iterable" => match value {
                Value::Object(id) => matches!(self.object(*id), Object::Iterator { .. } | Object::Loop(_)),
                other => self.iter(other).is_ok(),
            },
            other => return fail(FailKind::Template, format!("No test named '{other}'.")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::TESTS;

    #[test]
    fn the_names_are_in_order() {
        assert!(TESTS.is_sorted());
    }
}
