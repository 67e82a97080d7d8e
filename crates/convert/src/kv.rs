//! The metadata list in the making: an ordered map in which a key that is set again keeps its place, and
//! the narrowing of JSON numbers to GGUF's types. Answers to the `add_*` half of gguf-py's `GGUFWriter`.

use std::collections::HashMap;

use quipu_gguf::{Array, Metadata, StringArray, Value};
use serde_json::Value as Json;

use super::error::{ConvertError, Result};
use super::json::{JsonFile, float, integer};

/// Keys and values in the order of their first setting.
#[derive(Debug, Default)]
pub(super) struct KeyValues {
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl KeyValues {
    /// Sets `key`; one that is present keeps its place.
    pub(super) fn set(&mut self, key: &str, value: Value) {
        if let Some(&at) = self.index.get(key) {
            self.entries[at].1 = value;
        } else {
            self.index.insert(key.to_owned(), self.entries.len());
            self.entries.push((key.to_owned(), value));
        }
    }

    /// Sets a string; an empty one is left out.
    pub(super) fn string(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.set(key, Value::from(text));
        }
    }

    /// Sets an array of strings; an empty one is left out.
    pub(super) fn strings<'a>(&mut self, key: &str, items: impl ExactSizeIterator<Item = &'a [u8]>) {
        if items.len() == 0 {
            return;
        }
        let mut array = StringArray::with_capacity(items.len());
        items.for_each(|item| array.push(item));
        self.set(key, Value::Array(Array::String(array)));
    }

    /// Sets an array; an empty one is left out.
    pub(super) fn array(&mut self, key: &str, array: Array) {
        if !array.is_empty() {
            self.set(key, Value::Array(array));
        }
    }

    /// The list as GGUF metadata.
    pub(super) fn into_metadata(self) -> Metadata {
        let mut metadata = Metadata::default();
        for (key, value) in self.entries {
            metadata.set(&key, value);
        }
        metadata
    }
}

/// `value` of `file`'s `key` as u32.
pub(super) fn u32_of(file: &JsonFile, key: &str, value: &Json) -> Result<u32> {
    integer(value)
        .and_then(|n| u32::try_from(n).ok())
        .ok_or_else(|| file.wrong(key, value, "an integer of 32 bits without sign"))
}

/// `value` of `file`'s `key` as i32.
pub(super) fn i32_of(file: &JsonFile, key: &str, value: &Json) -> Result<i32> {
    integer(value)
        .and_then(|n| i32::try_from(n).ok())
        .ok_or_else(|| file.wrong(key, value, "an integer of 32 bits"))
}

/// `value` of `file`'s `key` as a positive size.
pub(super) fn size_of(file: &JsonFile, key: &str, value: &Json) -> Result<usize> {
    match u32_of(file, key, value)? {
        0 => Err(file.wrong(key, value, "a positive integer")),
        n => Ok(n as usize),
    }
}

/// `value` of `file`'s `key`, narrowed to f32; what overflows f32 is an error, as in Python's `struct`.
pub(super) fn f32_of(file: &JsonFile, key: &str, value: &Json) -> Result<f32> {
    float(value)
        .map(|x| (x, x as f32))
        .filter(|(wide, narrow)| narrow.is_finite() || !wide.is_finite())
        .map(|(_, narrow)| narrow)
        .ok_or_else(|| file.wrong(key, value, "a number that fits 32 bits"))
}

/// `value` of `file`'s `key` as text.
pub(super) fn str_of<'a>(file: &JsonFile, key: &str, value: &'a Json) -> Result<&'a str> {
    value.as_str().ok_or_else(|| file.wrong(key, value, "a string"))
}

/// A scalar or an array of integers, as head counts may be.
pub(super) fn u32_or_array(file: &JsonFile, key: &str, value: &Json) -> Result<Value> {
    match value {
        Json::Array(items) if !items.is_empty() => {
            let items: Result<Vec<i32>> = items.iter().map(|item| i32_of(file, key, item)).collect();
            Ok(Value::Array(Array::I32(items?)))
        }
        Json::Number(_) => u32_of(file, key, value).map(Value::U32),
        _ => Err::<Value, ConvertError>(file.wrong(key, value, "an integer or a list of integers")),
    }
}
