//! Reading request bodies: strictly, with messages that name the field.

use quipu::TokenId;
use serde_json::{Map, Value};

use crate::api_error::ApiError;

/// A JSON object of a request. `null` is as good as absent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// The fields of a body.
    pub fn new(map: &'a Map<String, Value>) -> Fields<'a> {
        Fields(map)
    }

    /// A field's value.
    pub fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// The first of these fields that is there, and its name.
    pub fn first(self, names: &[&'static str]) -> Option<(&'static str, &'a Value)> {
        names.iter().find_map(|name| Some((*name, self.get(name)?)))
    }

    /// A flag, if it is there.
    pub fn flag(self, name: &'static str) -> Result<Option<bool>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(on)) => Ok(Some(*on)),
            Some(other) => Err(wrong_type(name, "boolean", other)),
        }
    }

    /// A whole number from `least` to `most`; what is outside is refused.
    pub fn integer(self, names: &[&'static str], least: i64, most: i64) -> Result<Option<i64>, ApiError> {
        let Some((name, value)) = self.first(names) else { return Ok(None) };
        let n = whole(name, value)?;
        if n < least || n > most {
            return Err(field(
                name,
                &format!("Value must be between {least} <= value <= {most}, but got {n}"),
            ));
        }
        Ok(Some(n))
    }

    /// A whole number, moved into `least` to `most`.
    pub fn integer_within(self, name: &'static str, least: i64, most: i64) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        Ok(Some(whole(name, value)?.clamp(least, most)))
    }

    /// A number, moved into `least` to `most`.
    pub fn number(self, name: &'static str, least: f32, most: f32) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let x = match value {
            Value::Bool(on) => f64::from(u8::from(*on)),
            Value::Number(n) => n.as_f64().unwrap_or(f64::INFINITY),
            other => return Err(wrong_type(name, "number", other)),
        };
        let x = x as f32;
        if !x.is_finite() {
            return Err(field(name, &format!("{value} is out of range")));
        }
        Ok(Some(x.clamp(least, most)))
    }

    /// A text.
    pub fn text(self, name: &'static str) -> Result<Option<&'a str>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(name, "string", other)),
        }
    }

    /// A list of texts.
    pub fn texts(self, name: &'static str) -> Result<Option<Vec<String>>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let Value::Array(all) = value else { return Err(wrong_type(name, "array", value)) };
        let texts = all.iter().map(|one| match one {
            Value::String(text) => Ok(text.clone()),
            other => Err(wrong_type(name, "string", other)),
        });
        texts.collect::<Result<_, _>>().map(Some)
    }

    /// An object.
    pub fn object(self, name: &'static str) -> Result<Option<Fields<'a>>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields(map))),
            Some(other) => Err(wrong_type(name, "object", other)),
        }
    }
}

/// The object in a body.
///
/// # Errors
/// It is not JSON, or not an object. llama-server answers 500 where the body is no JSON; it is the client's mistake all the same.
pub(crate) fn parse(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(ApiError::invalid(format!("the body is {}, expected a JSON object", kind(&other)))),
        Err(error) => Err(ApiError::invalid(format!("the body is not JSON: {error}"))),
    }
}

/// A schema as the reference reads it: one that says nothing is one of objects.
pub(crate) fn schema_of_object(schema: &Value) -> Value {
    match schema {
        Value::Object(map) if map.is_empty() => serde_json::json!({ "type": "object" }),
        other => other.clone(),
    }
}

/// A field and what is wrong with it.
pub(crate) fn field(name: &str, what: &str) -> ApiError {
    ApiError::invalid(format!("Field '{name}': {what}"))
}

/// A field of another type than it should be.
pub(crate) fn wrong_type(name: &str, expected: &str, found: &Value) -> ApiError {
    field(name, &format!("type must be {expected}, but is {}", kind(found)))
}

/// A token id, if that is what it is.
pub(crate) fn token(value: &Value) -> Option<TokenId> {
    value.as_u64().and_then(|n| TokenId::try_from(n).ok())
}

fn whole(name: &str, value: &Value) -> Result<i64, ApiError> {
    let number = match value {
        Value::Bool(on) => return Ok(i64::from(*on)),
        Value::Number(number) => number,
        other => return Err(wrong_type(name, "number", other)),
    };
    // A fraction is cut off, as a conversion in C++ does.
    let cut = || number.as_f64().filter(|x| x.abs() < 9e15).map(|x| x as i64);
    number.as_i64().or_else(cut).ok_or_else(|| field(name, &format!("{value} is out of range")))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(error: &ApiError) -> String {
        error.to_json()["message"].as_str().unwrap_or_default().to_owned()
    }

    #[test]
    fn numbers_convert_as_in_the_reference_and_null_is_absent() {
        let map = parse(br#"{"a":3.7,"b":true,"c":null,"d":"x","e":99999999999999999999,"f":5}"#)
            .expect("an object");
        let fields = Fields::new(&map);
        assert_eq!(fields.integer(&["a"], 0, 9), Ok(Some(3)));
        assert_eq!(fields.integer(&["b"], 0, 9), Ok(Some(1)));
        assert_eq!(fields.integer(&["c", "f"], 0, 9), Ok(Some(5)));
        let error = fields.integer(&["d"], 0, 9).expect_err("a text");
        assert_eq!(message(&error), "Field 'd': type must be number, but is string");
        let error = fields.integer(&["e"], 0, 9).expect_err("too wide");
        assert_eq!(message(&error), "Field 'e': 1e+20 is out of range");
        let error = fields.integer(&["f"], 6, 9).expect_err("too small");
        assert_eq!(message(&error), "Field 'f': Value must be between 6 <= value <= 9, but got 5");
        assert_eq!(fields.integer_within("f", 6, 9), Ok(Some(6)));
        assert_eq!(fields.number("a", 0.0, 1.0), Ok(Some(1.0)));
        assert!(fields.number("d", 0.0, 1.0).is_err() && fields.flag("f").is_err());
    }

    #[test]
    fn bodies_that_are_no_objects_are_the_clients_mistake() {
        for body in ["", "{", "[]", "1e999", "\"x\"", "{\"a\":1e999}", &"[".repeat(5000)] {
            let error = parse(body.as_bytes()).expect_err(body);
            assert_eq!(error.to_json()["code"], 400, "{body}");
        }
        assert!(parse(b"{\"a\":\"\xff\"}").is_err());
    }
}
