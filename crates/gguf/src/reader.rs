//! A cursor over the bytes of a file that checks every length against what remains before it allocates.

use crate::{Array, Error, MAX_ARRAY_LEN, MAX_STRING_LEN, Result, StringArray, ValueType};

/// Reads little-endian values from a file's first bytes; `what` arguments name the thing read, for the error.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    /// The file's first bytes, or all of them.
    bytes: &'a [u8],
    at: usize,
    /// Length of the whole file, at least `bytes.len()`: what claims are held against.
    file_len: u64,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], file_len: u64) -> Self {
        Reader { bytes, at: 0, file_len: file_len.max(bytes.len() as u64) }
    }

    /// Offset of the next byte from the file's start.
    pub(crate) fn offset(&self) -> u64 {
        self.at as u64
    }

    /// Bytes of the file that were not read, in memory or not.
    pub(crate) fn remaining(&self) -> u64 {
        self.file_len - self.offset()
    }

    fn truncated(&self, what: &dyn Fn() -> String, needed: u64) -> Error {
        Error::Truncated { what: what(), offset: self.offset(), needed, remaining: self.remaining() }
    }

    /// Checks that the file has `len` more bytes and that they are in memory.
    fn need(&self, len: u64, what: &dyn Fn() -> String) -> Result<()> {
        if len > self.remaining() {
            return Err(self.truncated(what, len));
        }
        let have = self.bytes.len() as u64;
        // What remains fits into the file, so the sum fits.
        let needed = self.offset() + len;
        if needed > have { Err(Error::PrefixTooShort { have, needed }) } else { Ok(()) }
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: u64, what: &dyn Fn() -> String) -> Result<&'a [u8]> {
        self.need(len, what)?;
        let start = self.at;
        self.at += len as usize;
        Ok(&self.bytes[start..self.at])
    }

    fn take_array<const N: usize>(&mut self, what: &dyn Fn() -> String) -> Result<[u8; N]> {
        let bytes = self.take(N as u64, what)?;
        Ok(bytes.try_into().expect("take returns as many bytes as asked for"))
    }

    pub(crate) fn u16(&mut self, what: &dyn Fn() -> String) -> Result<u16> {
        self.take_array(what).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, what: &dyn Fn() -> String) -> Result<u32> {
        self.take_array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self, what: &dyn Fn() -> String) -> Result<i32> {
        self.take_array(what).map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &dyn Fn() -> String) -> Result<u64> {
        self.take_array(what).map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self, what: &dyn Fn() -> String) -> Result<i64> {
        self.take_array(what).map(i64::from_le_bytes)
    }

    /// A string: u64 length, then the bytes.
    pub(crate) fn string(&mut self, what: &dyn Fn() -> String) -> Result<&'a [u8]> {
        let offset = self.offset();
        let len = self.u64(&|| format!("length of {}", what()))?;
        if len > MAX_STRING_LEN {
            return Err(Error::StringTooLong { what: what(), offset, len });
        }
        self.take(len, what)
    }

    /// `n` numbers of `N` bytes.
    fn numbers<T, const N: usize>(
        &mut self,
        n: u64,
        what: &dyn Fn() -> String,
        from_bytes: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        // `n` is at most 2^30 here, so the product fits.
        let bytes = self.take(n * N as u64, what)?;
        let (chunks, _) = bytes.as_chunks::<N>();
        Ok(chunks.iter().map(|&b| from_bytes(b)).collect())
    }

    fn strings(&mut self, n: u64, what: &dyn Fn() -> String) -> Result<StringArray> {
        // Each string takes 8 bytes for its length at least.
        self.need(n * 8, what)?;
        if let Some((strings, len)) = StringArray::from_length_prefixed(&self.bytes[self.at..], n as usize) {
            self.at += len;
            return Ok(strings);
        }
        // One of them is wrong or not in memory: which, and how.
        for i in 0..n {
            self.string(&|| format!("element {i} of {}", what()))?;
        }
        Err(self.truncated(what, n))
    }

    /// `n` elements of `element`, which is not `Array`; `key` and `offset` locate the length.
    pub(crate) fn array(&mut self, element: ValueType, n: u64, key: &str, offset: u64) -> Result<Array> {
        if n > MAX_ARRAY_LEN {
            return Err(Error::ArrayTooLong { key: key.to_owned(), offset, len: n });
        }
        let what: &dyn Fn() -> String = &|| format!("value of metadata key '{key}'");
        Ok(match element {
            ValueType::U8 => Array::U8(self.take(n, what)?.to_vec()),
            ValueType::I8 => Array::I8(self.numbers(n, what, i8::from_le_bytes)?),
            ValueType::U16 => Array::U16(self.numbers(n, what, u16::from_le_bytes)?),
            ValueType::I16 => Array::I16(self.numbers(n, what, i16::from_le_bytes)?),
            ValueType::U32 => Array::U32(self.numbers(n, what, u32::from_le_bytes)?),
            ValueType::I32 => Array::I32(self.numbers(n, what, i32::from_le_bytes)?),
            ValueType::F32 => Array::F32(self.numbers(n, what, f32::from_le_bytes)?),
            ValueType::Bool => Array::Bool(self.numbers(n, what, |b: [u8; 1]| b[0] != 0)?),
            ValueType::String => Array::String(self.strings(n, what)?),
            ValueType::U64 => Array::U64(self.numbers(n, what, u64::from_le_bytes)?),
            ValueType::I64 => Array::I64(self.numbers(n, what, i64::from_le_bytes)?),
            ValueType::F64 => Array::F64(self.numbers(n, what, f64::from_le_bytes)?),
            ValueType::Array => return Err(Error::NestedArray { key: key.to_owned(), offset }),
        })
    }
}
