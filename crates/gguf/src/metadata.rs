//! The ordered key/value list of a file, and typed questions to it.

use std::collections::BTreeMap;

use crate::{Array, Error, Result, StringArray, Value};

/// Keys and values in file order; looked up by name in logarithmic time.
///
/// Entries are boxed and the index is a tree, so that a file of very many tiny keys costs many small allocations,
/// none of them larger than the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    #[allow(clippy::vec_box)] // see above
    entries: Vec<Box<(String, Value)>>,
    index: BTreeMap<Box<str>, usize>,
}

impl Metadata {
    /// Number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|entry| (entry.0.as_str(), &entry.1))
    }

    /// Position of `key` in file order (`gguf_find_key`).
    pub fn position(&self, key: &str) -> Option<usize> {
        self.index.get(key).copied()
    }

    /// The value of `key`, whatever its type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.position(key).map(|i| &self.entries[i].1)
    }

    /// The value of `key`, to be changed in its place.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        let i = self.position(key)?;
        Some(&mut self.entries[i].1)
    }

    /// True if `key` is present.
    pub fn contains(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    /// Sets `key`, at the end of the order: a present key moves there, as with `gguf_set_val_*`.
    pub fn set(&mut self, key: &str, value: Value) {
        self.remove(key);
        self.push(key.to_owned(), value);
    }

    /// Removes `key` and returns its value (`gguf_remove_key`).
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.index.remove(key)?;
        let value = self.entries.remove(at).1;
        for i in self.index.values_mut().filter(|i| **i > at) {
            *i -= 1;
        }
        Some(value)
    }

    /// Appends a key known to be new.
    pub(crate) fn push(&mut self, key: String, value: Value) {
        self.index.insert(key.as_str().into(), self.entries.len());
        self.entries.push(Box::new((key, value)));
    }

    /// The value of `key` as exactly type `T` (no conversion between number types, as the reference).
    ///
    /// # Errors
    /// [`Error::WrongValueType`]; [`Error::ValueNotUtf8`] for `&str`. An absent key is `Ok(None)`.
    pub fn optional<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        if let Some(v) = T::from_value(value) {
            return Ok(Some(v));
        }
        if matches!(value, Value::String(_)) && T::EXPECTED == <&str>::EXPECTED {
            return Err(Error::ValueNotUtf8 { key: key.to_owned() });
        }
        Err(Error::WrongValueType { key: key.to_owned(), found: value.type_name(), expected: T::EXPECTED })
    }

    /// As [`Metadata::optional`], for a key that must be there.
    ///
    /// # Errors
    /// Also [`Error::MissingKey`].
    pub fn require<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T> {
        self.optional(key)?.ok_or_else(|| Error::MissingKey { key: key.to_owned(), expected: T::EXPECTED })
    }

    /// A required u32.
    pub fn u32(&self, key: &str) -> Result<u32> {
        self.require(key)
    }

    /// A required f32.
    pub fn f32(&self, key: &str) -> Result<f32> {
        self.require(key)
    }

    /// A required bool.
    pub fn bool(&self, key: &str) -> Result<bool> {
        self.require(key)
    }

    /// A required string that is UTF-8.
    pub fn str(&self, key: &str) -> Result<&str> {
        self.require(key)
    }

    /// A required array of strings.
    pub fn strings(&self, key: &str) -> Result<&StringArray> {
        self.require(key)
    }

    /// A value of any integer type, widened to i64; `None` if the key is absent.
    ///
    /// # Errors
    /// [`Error::WrongValueType`]; [`Error::ValueOutOfRange`] for a u64 above `i64::MAX`.
    pub fn optional_integer(&self, key: &str) -> Result<Option<i64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let wide = value.as_integer().ok_or_else(|| Error::WrongValueType {
            key: key.to_owned(),
            found: value.type_name(),
            expected: "an integer",
        })?;
        // Only a u64 can be out of range.
        i64::try_from(wide).map(Some).map_err(|_| Error::ValueOutOfRange {
            key: key.to_owned(),
            found: wide as u64,
            expected: "at most 2^63 - 1",
        })
    }

    /// As [`Metadata::optional_integer`], for a key that must be there.
    pub fn integer(&self, key: &str) -> Result<i64> {
        self.optional_integer(key)?
            .ok_or_else(|| Error::MissingKey { key: key.to_owned(), expected: "an integer" })
    }
}

/// Types a metadata value can be asked as.
pub trait FromValue<'a>: Sized {
    /// The type's name in messages.
    const EXPECTED: &'static str;

    /// The value, if it is of this type.
    fn from_value(value: &'a Value) -> Option<Self>;
}

/// Implements [`FromValue`] for the Rust type of one scalar variant and for slices of it.
macro_rules! from_number {
    ($rust:ty, $variant:ident, $name:literal) => {
        impl FromValue<'_> for $rust {
            const EXPECTED: &'static str = $name;
            fn from_value(value: &Value) -> Option<Self> {
                if let Value::$variant(v) = value { Some(*v) } else { None }
            }
        }
        impl<'a> FromValue<'a> for &'a [$rust] {
            const EXPECTED: &'static str = concat!("arr[", $name, "]");
            fn from_value(value: &'a Value) -> Option<Self> {
                if let Value::Array(Array::$variant(v)) = value { Some(v) } else { None }
            }
        }
    };
}

from_number!(u8, U8, "u8");
from_number!(i8, I8, "i8");
from_number!(u16, U16, "u16");
from_number!(i16, I16, "i16");
from_number!(u32, U32, "u32");
from_number!(i32, I32, "i32");
from_number!(f32, F32, "f32");
from_number!(bool, Bool, "bool");
from_number!(u64, U64, "u64");
from_number!(i64, I64, "i64");
from_number!(f64, F64, "f64");

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "str";
    fn from_value(value: &'a Value) -> Option<Self> {
        if let Value::String(s) = value { std::str::from_utf8(s).ok() } else { None }
    }
}

impl<'a> FromValue<'a> for &'a StringArray {
    const EXPECTED: &'static str = "arr[str]";
    fn from_value(value: &'a Value) -> Option<Self> {
        if let Value::Array(Array::String(s)) = value { Some(s) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a Array {
    const EXPECTED: &'static str = "arr";
    fn from_value(value: &'a Value) -> Option<Self> {
        if let Value::Array(a) = value { Some(a) } else { None }
    }
}
