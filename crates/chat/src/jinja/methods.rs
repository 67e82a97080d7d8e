//! Methods of lists, dictionaries, numbers, loops and cyclers. Those of texts are in `str_methods`.

use std::rc::Rc;

use num_bigint::BigInt;
use num_traits::{FromPrimitive, Signed};

use super::compare::{equal, same_or_equal};
use super::integer::{from_big, to_big, to_index};
use super::interpreter::{Args, Interpreter, Object};
use super::meter::{FailKind, Res, fail, type_error, value_error};
use super::value::{Key, ObjectId, Value, View};

impl Interpreter<'_> {
    pub fn call_method(&mut self, object: &Value, name: &str, args: Args) -> Res<Value> {
        match object {
            Value::Str(text) => self.str_method(&Rc::clone(text), name, args),
            Value::List(_) | Value::Tuple(_) | Value::Group(_) | Value::Range(_) => {
                self.sequence_method(object, name, args)
            }
            Value::Dict(_) => self.dict_method(object, name, args),
            Value::Object(id) => self.object_method(*id, name, args),
            Value::Bytes(bytes) => {
                let [_encoding, _errors] = args.bind("decode", ["encoding", "errors"], 0)?;
                match std::str::from_utf8(bytes) {
                    Ok(text) => self.heap.str(text),
                    Err(error) => value_error(format!("'utf-8' codec can't decode: {error}")),
                }
            }
            _ => self.number_method(object, name, args),
        }
    }

    fn sequence_method(&mut self, object: &Value, name: &str, args: Args) -> Res<Value> {
        match name {
            "copy" => {
                let [] = args.positional_only("copy", 0)?;
                let items = self.collect(object)?;
                self.heap.list(items)
            }
            "count" => {
                let [wanted] = args.positional_only("count", 1)?;
                let wanted = wanted.unwrap_or(Value::None);
                let items = self.collect(object)?;
                let mut count = 0;
                for item in items.as_slice() {
                    count += i64::from(same_or_equal(item, &wanted, self.meter())?);
                }
                Ok(Value::Int(count))
            }
            _ => {
                let [wanted, start, stop] = args.positional_only("index", 1)?;
                let wanted = wanted.unwrap_or(Value::None);
                let items = self.collect(object)?;
                let len = items.len() as i64;
                let bound = |value: Option<Value>, otherwise: i64| {
                    let n = value.as_ref().and_then(to_index).unwrap_or(otherwise);
                    if n < 0 { n.saturating_add(len).max(0) } else { n.min(len) }
                };
                let (start, stop) = (bound(start, 0), bound(stop, len));
                for (at, item) in items.as_slice().iter().enumerate() {
                    if (start..stop).contains(&(at as i64)) && same_or_equal(item, &wanted, self.meter())? {
                        return Ok(Value::Int(at as i64));
                    }
                }
                let mut text = self.heap.buffer();
                self.push_repr(&wanted, &mut text)?;
                value_error(format!("{} is not in {}", text.as_str(), self.type_of(object)))
            }
        }
    }

    fn dict_method(&mut self, object: &Value, name: &str, args: Args) -> Res<Value> {
        let Value::Dict(dict) = object else { return type_error("not a dict") };
        match name {
            "get" => {
                let [key, default] = args.positional_only("get", 1)?;
                let key = Key::new(key.unwrap_or(Value::None), self.meter())?;
                Ok(dict.entries().get(&key).cloned().or(default).unwrap_or(Value::None))
            }
            "keys" | "values" | "items" => {
                let [] = args.positional_only(name, 0)?;
                let view = match name {
                    "keys" => View::Keys,
                    "values" => View::Values,
                    _ => View::Items,
                };
                Ok(Value::View(view, Rc::clone(dict)))
            }
            "fromkeys" => {
                let [keys, value] = args.positional_only("fromkeys", 1)?;
                let keys = self.collect(&keys.unwrap_or(Value::None))?;
                let mut entries = self.heap.entries();
                for key in keys.as_slice() {
                    entries.insert(key.clone(), value.clone().unwrap_or(Value::None))?;
                }
                self.heap.dict(entries)
            }
            _ => {
                let [] = args.positional_only("copy", 0)?;
                let mut entries = self.heap.entries();
                for (key, value) in dict.entries() {
                    entries.insert_key(key.clone(), value.clone())?;
                }
                self.heap.dict(entries)
            }
        }
    }

    fn object_method(&mut self, id: ObjectId, name: &str, args: Args) -> Res<Value> {
        match name {
            "next" | "reset" => {
                let [] = args.positional_only(name, 0)?;
                let Object::Cycler { items, at } = self.object_mut(id) else {
                    return type_error("not a cycler");
                };
                if name == "reset" {
                    *at = 0;
                    return Ok(Value::None);
                }
                let items = items.as_seq().unwrap_or_default();
                let item = items.get(*at).cloned();
                *at = (*at + 1) % items.len().max(1);
                Ok(item.unwrap_or(Value::None))
            }
            "cycle" => {
                let items = args.positional;
                if items.len() == 0 {
                    return type_error("no items for cycling given");
                }
                let Object::Loop(state) = self.object(id) else { return type_error("not a loop") };
                let at = state.index0.rem_euclid(items.len() as i64) as usize;
                Ok(items.as_slice()[at].clone())
            }
            _ => {
                let value = self.heap.tuple(args.positional)?;
                let Object::Loop(state) = self.object_mut(id) else { return type_error("not a loop") };
                let before = state.changed.replace(value.clone());
                Ok(Value::Bool(match before {
                    Some(before) => !equal(&before, &value, self.meter())?,
                    None => true,
                }))
            }
        }
    }

    fn number_method(&mut self, object: &Value, name: &str, args: Args) -> Res<Value> {
        let [] = args.positional_only(name, 0)?;
        if let Value::Float(x) = object {
            return match name {
                "is_integer" => Ok(Value::Bool(x.is_finite() && x.fract() == 0.0)),
                "as_integer_ratio" => self.integer_ratio(*x),
                _ => Ok(Value::Float(*x)),
            };
        }
        let Some(n) = to_big(object) else { return type_error(format!("no method '{name}'")) };
        match name {
            "bit_length" => Ok(Value::Int(n.bits() as i64)),
            "bit_count" => Ok(Value::Int(n.magnitude().count_ones() as i64)),
            "as_integer_ratio" => {
                let n = from_big(n)?;
                self.heap.pair(n, Value::Int(1))
            }
            _ => from_big(n),
        }
    }

    fn integer_ratio(&mut self, x: f64) -> Res<Value> {
        if !x.is_finite() {
            return fail(FailKind::Overflow, "cannot convert float to integer ratio");
        }
        let mut numerator = x;
        let mut denominator = BigInt::from(1);
        while numerator.fract() != 0.0 {
            numerator *= 2.0;
            denominator *= 2;
        }
        let numerator = BigInt::from_f64(numerator).unwrap_or_default();
        let (numerator, denominator) = (from_big(numerator)?, from_big(denominator.abs())?);
        self.heap.pair(numerator, denominator)
    }
}
