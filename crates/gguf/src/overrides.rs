//! Metadata overrides: what a user says a key is, whatever the file says. Text form `KEY=TYPE:VALUE`.

use std::fmt;

use crate::{Error, Metadata, Result, Value};

/// Longest key and longest text of an override in bytes, as the reference's structure has room for.
const MAX_LEN: usize = 127;

/// The value of an override. Answers to `llama_model_kv_override`'s tag and union.
#[derive(Clone, Debug, PartialEq)]
pub enum OverrideValue {
    /// For keys of any integer type.
    Int(i64),
    /// For f32 and f64.
    Float(f64),
    /// For bool.
    Bool(bool),
    /// For strings.
    Str(String),
}

impl OverrideValue {
    /// The type in the text form: `int`, `float`, `bool` or `str`.
    pub const fn type_name(&self) -> &'static str {
        match self {
            OverrideValue::Int(_) => "int",
            OverrideValue::Float(_) => "float",
            OverrideValue::Bool(_) => "bool",
            OverrideValue::Str(_) => "str",
        }
    }
}

/// One override. Answers to `llama_model_kv_override`.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataOverride {
    /// The metadata key.
    pub key: String,
    /// What it shall be.
    pub value: OverrideValue,
}

/// An override that was not applied, because the file has the key with a value of another kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredOverride {
    /// The metadata key.
    pub key: String,
    /// Type of the file's value.
    pub found: String,
    /// Type of the override.
    pub given: &'static str,
}

impl fmt::Display for IgnoredOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let IgnoredOverride { key, found, given } = self;
        write!(
            f,
            "override of metadata key '{}' is of type {given}, but the file has {found}: ignored",
            key.escape_debug()
        )
    }
}

impl std::str::FromStr for MetadataOverride {
    type Err = Error;

    /// Parses `KEY=TYPE:VALUE` as `--override-kv` takes it: TYPE is int, float, bool or str; key and string at
    /// most 127 bytes. Answers to `string_parse_kv_override`, except that a number must be one: the
    /// reference reads what is none as 0.
    fn from_str(text: &str) -> Result<MetadataOverride> {
        let bad = |expected| Error::BadOverride { text: text.to_owned(), expected };
        let (key, typed) = text.split_once('=').ok_or_else(|| bad("KEY=TYPE:VALUE"))?;
        if key.is_empty() || key.len() > MAX_LEN || key.contains('\0') {
            return Err(bad("a key of 1 to 127 bytes without NUL"));
        }
        let value = if let Some(number) = typed.strip_prefix("int:") {
            OverrideValue::Int(number.trim().parse().map_err(|_| bad("a 64-bit integer after int:"))?)
        } else if let Some(number) = typed.strip_prefix("float:") {
            OverrideValue::Float(number.trim().parse().map_err(|_| bad("a number after float:"))?)
        } else if let Some(truth) = typed.strip_prefix("bool:") {
            OverrideValue::Bool(truth.parse().map_err(|_| bad("true or false after bool:"))?)
        } else if let Some(text) = typed.strip_prefix("str:") {
            if text.len() > MAX_LEN {
                return Err(bad("at most 127 bytes after str:"));
            }
            OverrideValue::Str(text.to_owned())
        } else {
            return Err(bad("int:, float:, bool: or str: after the ="));
        };
        Ok(MetadataOverride { key: key.to_owned(), value })
    }
}

impl Metadata {
    /// Applies overrides; of several for one key the first counts.
    ///
    /// A key of the file keeps its place and type, an integer is cut to it; one of another kind, or an array, is
    /// left alone and returned. A new key is appended as u32, f32, bool or string, the types models
    /// are asked in (`split.no` and `split.count` as u16, `split.tensors.count` as i32). Answers to
    /// `GGUFMeta::GKV::try_override`, which does this whenever a value is asked for. The alignment a file was
    /// read with stays.
    pub fn apply_overrides(&mut self, overrides: &[MetadataOverride]) -> Vec<IgnoredOverride> {
        let mut ignored = Vec::new();
        for (i, given) in overrides.iter().enumerate() {
            if overrides[..i].iter().any(|earlier| earlier.key == given.key) {
                continue;
            }
            let Some(found) = self.get_mut(&given.key) else {
                self.set(&given.key, new_value(&given.key, &given.value));
                continue;
            };
            if !replace(found, &given.value) {
                let (key, found) = (given.key.clone(), found.type_name());
                ignored.push(IgnoredOverride { key, found, given: given.value.type_name() });
            }
        }
        ignored
    }
}

/// The value of a key that the file lacks.
fn new_value(key: &str, value: &OverrideValue) -> Value {
    use crate::split_set::{SPLIT_COUNT, SPLIT_NO, SPLIT_TENSORS_COUNT};
    match value {
        OverrideValue::Int(v) if [SPLIT_NO, SPLIT_COUNT].contains(&key) => Value::U16(*v as u16),
        OverrideValue::Int(v) if key == SPLIT_TENSORS_COUNT => Value::I32(*v as i32),
        OverrideValue::Int(v) => Value::U32(*v as u32),
        OverrideValue::Float(v) => Value::F32(*v as f32),
        OverrideValue::Bool(v) => Value::Bool(*v),
        OverrideValue::Str(v) => Value::from(v.as_str()),
    }
}

/// Puts `new` in the place of a value of its kind; false if that is of another kind.
fn replace(value: &mut Value, new: &OverrideValue) -> bool {
    match (value, new) {
        (Value::U8(v), OverrideValue::Int(new)) => *v = *new as u8,
        (Value::I8(v), OverrideValue::Int(new)) => *v = *new as i8,
        (Value::U16(v), OverrideValue::Int(new)) => *v = *new as u16,
        (Value::I16(v), OverrideValue::Int(new)) => *v = *new as i16,
        (Value::U32(v), OverrideValue::Int(new)) => *v = *new as u32,
        (Value::I32(v), OverrideValue::Int(new)) => *v = *new as i32,
        (Value::U64(v), OverrideValue::Int(new)) => *v = *new as u64,
        (Value::I64(v), OverrideValue::Int(new)) => *v = *new,
        (Value::F32(v), OverrideValue::Float(new)) => *v = *new as f32,
        (Value::F64(v), OverrideValue::Float(new)) => *v = *new,
        (Value::Bool(v), OverrideValue::Bool(new)) => *v = *new,
        (Value::String(v), OverrideValue::Str(new)) => *v = new.as_bytes().to_vec(),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<MetadataOverride> {
        text.parse()
    }

    #[test]
    fn text_forms() {
        let value = |text: &str| parse(text).unwrap().value;
        assert_eq!(value("a.b=int:-7"), OverrideValue::Int(-7));
        assert_eq!(value("a=float:1e-5"), OverrideValue::Float(1e-5));
        assert_eq!(value("a=float:2"), OverrideValue::Float(2.0));
        assert_eq!(value("a=bool:false"), OverrideValue::Bool(false));
        assert_eq!(value("a=str:x=y:z"), OverrideValue::Str("x=y:z".to_owned()));
        assert_eq!(value("a=str:"), OverrideValue::Str(String::new()));
        let long = "k".repeat(127);
        assert_eq!(parse(&format!("{long}=int:1")).unwrap().key, long);
    }

    #[test]
    fn malformed_texts_are_refused() {
        for text in [
            "",
            "a",
            "=int:1",
            "a=1",
            "a=int:",
            "a=int:12x",
            "a=float:x",
            "a=bool:1",
            "a=bool:",
            "a=Int:1",
            "a=int:9223372036854775808",
        ] {
            let error = parse(text).expect_err(text);
            assert!(matches!(error, Error::BadOverride { .. }), "{text}");
        }
        assert!(parse(&format!("{}=int:1", "k".repeat(128))).is_err());
        assert!(parse(&format!("a=str:{}", "v".repeat(128))).is_err());
    }

    #[test]
    fn overrides_keep_the_files_types() {
        let mut metadata = Metadata::default();
        metadata.set("n", Value::U32(1));
        metadata.set("w", Value::U16(1));
        metadata.set("f", Value::F32(1.0));
        metadata.set("s", Value::from("old"));
        metadata.set("a", Value::Array(crate::Array::U32(vec![1])));
        let texts = [
            "n=int:-1",
            "w=int:70000",
            "f=float:0.5",
            "s=int:3",
            "a=int:3",
            "n=int:5",
            "new=int:9",
            "split.count=int:2",
        ];
        let overrides: Vec<MetadataOverride> = texts.iter().map(|t| parse(t).unwrap()).collect();
        let ignored = metadata.apply_overrides(&overrides);
        let names: Vec<&str> = ignored.iter().map(|i| i.key.as_str()).collect();
        assert_eq!(names, ["s", "a"]);
        let keys: Vec<&str> = metadata.iter().map(|(k, _)| k).collect();
        assert_eq!(keys, ["n", "w", "f", "s", "a", "new", "split.count"]);
        assert_eq!(metadata.get("n"), Some(&Value::U32(u32::MAX)));
        assert_eq!(metadata.get("w"), Some(&Value::U16(4464)));
        assert_eq!(metadata.get("f"), Some(&Value::F32(0.5)));
        assert_eq!(metadata.get("s"), Some(&Value::from("old")));
        assert_eq!(metadata.get("new"), Some(&Value::U32(9)));
        assert_eq!(metadata.get("split.count"), Some(&Value::U16(2)));
    }
}
