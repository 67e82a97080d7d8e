//! Metadata values: the thirteen GGUF types, and arrays held flat.

use std::fmt;

use crate::MAX_STRING_LEN;

/// The type of a metadata value, with GGUF's ids. Answers to `gguf_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[allow(missing_docs)] // the variants are what they say
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    const ALL: [ValueType; 13] = [
        ValueType::U8,
        ValueType::I8,
        ValueType::U16,
        ValueType::I16,
        ValueType::U32,
        ValueType::I32,
        ValueType::F32,
        ValueType::Bool,
        ValueType::String,
        ValueType::Array,
        ValueType::U64,
        ValueType::I64,
        ValueType::F64,
    ];

    /// The type with GGUF id `id`.
    pub fn from_id(id: u32) -> Option<ValueType> {
        ValueType::ALL.get(id as usize).copied()
    }

    /// GGUF's id of this type.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// GGUF's name of this type (`gguf_type_name`).
    pub const fn name(self) -> &'static str {
        match self {
            ValueType::U8 => "u8",
            ValueType::I8 => "i8",
            ValueType::U16 => "u16",
            ValueType::I16 => "i16",
            ValueType::U32 => "u32",
            ValueType::I32 => "i32",
            ValueType::F32 => "f32",
            ValueType::Bool => "bool",
            ValueType::String => "str",
            ValueType::Array => "arr",
            ValueType::U64 => "u64",
            ValueType::I64 => "i64",
            ValueType::F64 => "f64",
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A metadata value. Strings are bytes: GGUF does not promise UTF-8.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the variants are what they say
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(Vec<u8>),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl Value {
    /// The value's type; `Array` for every array.
    pub const fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::F32(_) => ValueType::F32,
            Value::Bool(_) => ValueType::Bool,
            Value::String(_) => ValueType::String,
            Value::Array(_) => ValueType::Array,
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F64(_) => ValueType::F64,
        }
    }

    /// The type in words, with the element type of arrays: `arr[str]`.
    pub fn type_name(&self) -> String {
        match self {
            Value::Array(a) => format!("arr[{}]", a.element_type()),
            _ => self.value_type().name().to_owned(),
        }
    }

    /// Any integer type, widened; `None` for the rest.
    pub fn as_integer(&self) -> Option<i128> {
        match *self {
            Value::U8(v) => Some(v.into()),
            Value::I8(v) => Some(v.into()),
            Value::U16(v) => Some(v.into()),
            Value::I16(v) => Some(v.into()),
            Value::U32(v) => Some(v.into()),
            Value::I32(v) => Some(v.into()),
            Value::U64(v) => Some(v.into()),
            Value::I64(v) => Some(v.into()),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.as_bytes().to_vec())
    }
}

/// An array of one element type, held flat.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the variants are what they say
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(StringArray),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Array {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(v) => v.len(),
            Array::I8(v) => v.len(),
            Array::U16(v) => v.len(),
            Array::I16(v) => v.len(),
            Array::U32(v) => v.len(),
            Array::I32(v) => v.len(),
            Array::F32(v) => v.len(),
            Array::Bool(v) => v.len(),
            Array::String(v) => v.len(),
            Array::U64(v) => v.len(),
            Array::I64(v) => v.len(),
            Array::F64(v) => v.len(),
        }
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Type of the elements.
    pub const fn element_type(&self) -> ValueType {
        match self {
            Array::U8(_) => ValueType::U8,
            Array::I8(_) => ValueType::I8,
            Array::U16(_) => ValueType::U16,
            Array::I16(_) => ValueType::I16,
            Array::U32(_) => ValueType::U32,
            Array::I32(_) => ValueType::I32,
            Array::F32(_) => ValueType::F32,
            Array::Bool(_) => ValueType::Bool,
            Array::String(_) => ValueType::String,
            Array::U64(_) => ValueType::U64,
            Array::I64(_) => ValueType::I64,
            Array::F64(_) => ValueType::F64,
        }
    }

    /// Element `i` of an integer array, widened; `None` beyond the end or for other element types.
    pub fn integer(&self, i: usize) -> Option<i128> {
        match self {
            Array::U8(v) => v.get(i).map(|&v| v.into()),
            Array::I8(v) => v.get(i).map(|&v| v.into()),
            Array::U16(v) => v.get(i).map(|&v| v.into()),
            Array::I16(v) => v.get(i).map(|&v| v.into()),
            Array::U32(v) => v.get(i).map(|&v| v.into()),
            Array::I32(v) => v.get(i).map(|&v| v.into()),
            Array::U64(v) => v.get(i).map(|&v| v.into()),
            Array::I64(v) => v.get(i).map(|&v| v.into()),
            _ => None,
        }
    }
}

/// Byte strings stored end to end: two allocations however many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StringArray {
    data: Vec<u8>,
    /// End of each string in `data`; it starts where the one before ends.
    ends: Vec<usize>,
}

impl StringArray {
    /// An empty array with room for `n` strings.
    pub fn with_capacity(n: usize) -> Self {
        StringArray { data: Vec::new(), ends: Vec::with_capacity(n) }
    }

    /// Reads `n` strings as a file holds them, each behind its length as u64, and says how many bytes they took;
    /// `None` if one is too long or goes beyond `bytes`. `bytes` must have room for `n` lengths.
    ///
    /// Measured first and copied second: nothing is allocated beyond the table of ends before all lengths are
    /// known, and then exactly enough.
    pub(crate) fn from_length_prefixed(bytes: &[u8], n: usize) -> Option<(Self, usize)> {
        let mut ends = Vec::with_capacity(n);
        let (mut at, mut total) = (0usize, 0usize);
        for _ in 0..n {
            let len = u64::from_le_bytes(*bytes.get(at..)?.first_chunk::<8>()?);
            if len > MAX_STRING_LEN {
                return None;
            }
            // Neither overflows: `at` was within the bytes, and a string is at most 2^30 long.
            at += 8 + len as usize;
            total += len as usize;
            ends.push(total);
        }
        if at > bytes.len() {
            return None;
        }
        let mut data = Vec::with_capacity(total);
        let (mut from, mut start) = (0, 0);
        for &end in &ends {
            from += 8;
            let to = from + (end - start);
            data.extend_from_slice(&bytes[from..to]);
            (from, start) = (to, end);
        }
        Some((StringArray { data, ends }, at))
    }

    /// Appends a string.
    pub fn push(&mut self, s: &[u8]) {
        self.data.extend_from_slice(s);
        self.ends.push(self.data.len());
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True without strings.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String `i`.
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        let end = *self.ends.get(i)?;
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        Some(&self.data[start..end])
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| &self.data[std::mem::replace(&mut start, end)..end])
    }
}

impl<S: AsRef<[u8]>> FromIterator<S> for StringArray {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut array = StringArray::default();
        for s in strings {
            array.push(s.as_ref());
        }
        array
    }
}
