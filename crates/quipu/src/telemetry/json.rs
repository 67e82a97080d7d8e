//! JSON lines by hand: one flat object for each span that closed and each event.

use std::fmt::Write;

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    U64(u64),
    I64(i64),
    F64(f64),
    Bool(bool),
    Text(String),
}

impl Value {
    /// As a count; 0 if it is none.
    pub fn count(&self) -> u64 {
        match self {
            Value::U64(value) => *value,
            Value::I64(value) => u64::try_from(*value).unwrap_or(0),
            _ => 0,
        }
    }

    /// As a number of seconds; 0 if it is none.
    pub fn seconds(&self) -> f64 {
        match self {
            Value::F64(value) if value.is_finite() && *value >= 0.0 => *value,
            _ => 0.0,
        }
    }
}

/// Writes `{"t_us":..,"name":..,fields}` and a line break; `busy_us` is the time inside of a span.
pub(crate) fn line(
    out: &mut String,
    t_us: u128,
    name: &str,
    busy_us: Option<f64>,
    fields: &[(&'static str, Value)],
) {
    // Writing to a String does not fail.
    let _ = write!(out, "{{\"t_us\":{t_us},\"name\":");
    string(out, name);
    if let Some(busy_us) = busy_us {
        let _ = write!(out, ",\"us\":{busy_us:.3}");
    }
    for (key, value) in fields {
        out.push(',');
        string(out, key);
        out.push(':');
        let _ = match value {
            Value::U64(value) => write!(out, "{value}"),
            Value::I64(value) => write!(out, "{value}"),
            Value::F64(value) if value.is_finite() => write!(out, "{value}"),
            // JSON has no word for them.
            Value::F64(_) => write!(out, "null"),
            Value::Bool(value) => write!(out, "{value}"),
            Value::Text(value) => {
                string(out, value);
                Ok(())
            }
        };
    }
    out.push_str("}\n");
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_json() {
        let fields = [
            ("a", Value::U64(u64::MAX)),
            ("b", Value::I64(-1)),
            ("c", Value::F64(1e-9)),
            ("d", Value::F64(f64::NAN)),
            ("e", Value::Bool(true)),
            ("f", Value::Text("\"\\\n\u{1}é\u{2028}".to_owned())),
        ];
        let mut out = String::new();
        line(&mut out, 12, "x", Some(1.5), &fields);
        assert!(out.ends_with("}\n") && out.lines().count() == 1, "{out}");
        let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(json["t_us"], 12);
        assert_eq!(json["us"], 1.5);
        assert_eq!(json["a"], u64::MAX);
        assert_eq!(json["b"], -1);
        assert_eq!(json["c"], 1e-9);
        assert!(json["d"].is_null());
        assert_eq!(json["e"], true);
        assert_eq!(json["f"], "\"\\\n\u{1}é\u{2028}");
    }
}
