//! Field serialisation: structs as arrays of u32 that old and new programs both can read.
//!
//! Answers to gemma.cpp's `io/fields`. A struct is a length followed by its fields in an order that never changes; new
//! ones are added at the end. Who knows more fields than were stored keeps the defaults of the rest; who knows fewer
//! skips what is left. A struct names its fields once, in [`Fields::visit`], for reading and for writing.
//!
//! Two faults of the reference are not here: it looks for the end of a nested struct at the end of the whole array
//! where it should look at the enclosing struct, and does not skip the unknown fields of a nested struct. Files that it
//! writes are read alike. A list's length is compared with what is left before anything is allocated.

/// What is wrong with serialised fields. Positions count u32 from the blob's start.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // the fields are what the messages say
#[non_exhaustive]
pub enum FieldError {
    #[error("{found} bytes, expected a multiple of 4")]
    NotU32 { found: usize },
    #[error("{what} at u32 {pos} has {needed} u32, but {remaining} remain")]
    TooLong { what: &'static str, pos: usize, needed: u32, remaining: usize },
    #[error("bool at u32 {pos} is {found}, expected 0 or 1")]
    Bool { pos: usize, found: u32 },
    #[error("{what} at u32 {pos} is {found}, expected one of {expected}")]
    Enum { what: &'static str, pos: usize, found: u32, expected: &'static str },
    #[error("float at u32 {pos} is {found}, expected a finite number")]
    Float { pos: usize, found: f32 },
    #[error("text at u32 {pos} has {found} u32, expected at most 64")]
    StringLength { pos: usize, found: u32 },
    #[error("text at u32 {pos} has the characters {found:#010x}, expected ASCII and not four NUL")]
    StringBytes { pos: usize, found: u32 },
    #[error("list at u32 {pos} has {found} elements, expected at most 65536")]
    VectorLength { pos: usize, found: u32 },
}

/// A struct that can be stored. Answers to `IFields`.
pub trait Fields {
    /// Shows all fields to `visitor`, in the order in which they are stored.
    ///
    /// # Errors
    /// The visitor's.
    fn visit(&mut self, visitor: &mut Visitor<'_>) -> Result<(), FieldError>;
}

/// An enumeration that is stored as its number.
pub trait FieldEnum: Copy + Sized {
    /// What it is called in messages.
    const WHAT: &'static str;
    /// The numbers there are, for messages.
    const EXPECTED: &'static str;

    /// The stored number.
    fn number(self) -> u32;

    /// What the number means, if anything.
    fn from_number(number: u32) -> Option<Self>;
}

/// Longest text, in u32 (`CheckStringLength`).
const MAX_STRING: u32 = 64;
/// Most elements of a list.
const MAX_VECTOR: u32 = 64 * 1024;

/// What [`read`] found. Answers to `IFields::ReadResult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// The first u32 behind the struct.
    pub end: usize,
    /// Fields that were not stored: the data is older than this program.
    pub missing_fields: u32,
    /// u32 that were skipped: the data is newer than this program.
    pub extra_u32: u32,
}

/// Reads `fields` from `data[pos..]`.
///
/// # Errors
/// [`FieldError`]; then the fields may be half read.
pub fn read(fields: &mut dyn Fields, data: &[u32], pos: usize) -> Result<Read, FieldError> {
    let mut visitor = Visitor(Mode::Read(Reader { data, pos, end: data.len(), missing: 0, extra: 0 }));
    visitor.fields(fields)?;
    let Visitor(Mode::Read(reader)) = visitor else { unreachable!("a visitor keeps its mode") };
    Ok(Read { end: reader.pos, missing_fields: reader.missing, extra_u32: reader.extra })
}

/// Appends `fields` to `out` (`IFields::AppendTo`). Takes a copy, as the visit is one for reading and writing.
///
/// # Errors
/// Texts that are too long or not ASCII, numbers that are not finite.
pub fn write<F: Fields + Clone>(fields: &F, out: &mut Vec<u32>) -> Result<(), FieldError> {
    Visitor(Mode::Write(out)).fields(&mut fields.clone())
}

/// The u32 of a blob.
///
/// # Errors
/// [`FieldError::NotU32`].
pub fn u32s(bytes: &[u8]) -> Result<Vec<u32>, FieldError> {
    let (words, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(FieldError::NotU32 { found: bytes.len() });
    }
    Ok(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
}

/// The bytes of a blob.
pub fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Reads or writes the fields that it is shown. Answers to `IFieldsVisitor`.
#[derive(Debug)]
pub struct Visitor<'a>(Mode<'a>);

#[derive(Debug)]
enum Mode<'a> {
    Read(Reader<'a>),
    Write(&'a mut Vec<u32>),
}

#[derive(Debug)]
struct Reader<'a> {
    data: &'a [u32],
    pos: usize,
    /// End of the struct that is being read.
    end: usize,
    missing: u32,
    extra: u32,
}

impl Reader<'_> {
    /// The next u32; `None` at the struct's end.
    fn next(&mut self) -> Option<u32> {
        if self.pos >= self.end {
            self.missing += 1;
            return None;
        }
        self.pos += 1;
        Some(self.data[self.pos - 1])
    }

    fn remaining(&self) -> usize {
        self.end - self.pos
    }
}

impl Visitor<'_> {
    /// A number.
    ///
    /// # Errors
    /// None.
    pub fn u32(&mut self, value: &mut u32) -> Result<(), FieldError> {
        match &mut self.0 {
            Mode::Read(reader) => *value = reader.next().unwrap_or(*value),
            Mode::Write(out) => out.push(*value),
        }
        Ok(())
    }

    /// A signed number.
    ///
    /// # Errors
    /// None.
    pub fn i32(&mut self, value: &mut i32) -> Result<(), FieldError> {
        let mut bits = value.cast_unsigned();
        self.u32(&mut bits)?;
        *value = bits.cast_signed();
        Ok(())
    }

    /// A long number, the lower half first.
    ///
    /// # Errors
    /// None.
    pub fn u64(&mut self, value: &mut u64) -> Result<(), FieldError> {
        let (mut lower, mut upper) = (*value as u32, (*value >> 32) as u32);
        self.u32(&mut lower)?;
        self.u32(&mut upper)?;
        *value = u64::from(lower) | (u64::from(upper) << 32);
        Ok(())
    }

    /// A finite float.
    ///
    /// # Errors
    /// [`FieldError::Float`].
    pub fn f32(&mut self, value: &mut f32) -> Result<(), FieldError> {
        let pos = self.pos();
        let mut bits = value.to_bits();
        self.u32(&mut bits)?;
        let found = f32::from_bits(bits);
        if !found.is_finite() {
            return Err(FieldError::Float { pos, found });
        }
        *value = found;
        Ok(())
    }

    /// A truth value, 0 or 1.
    ///
    /// # Errors
    /// [`FieldError::Bool`].
    pub fn bool(&mut self, value: &mut bool) -> Result<(), FieldError> {
        let pos = self.pos();
        let mut number = u32::from(*value);
        self.u32(&mut number)?;
        if number > 1 {
            return Err(FieldError::Bool { pos, found: number });
        }
        *value = number == 1;
        Ok(())
    }

    /// One of several.
    ///
    /// # Errors
    /// [`FieldError::Enum`].
    pub fn one_of<E: FieldEnum>(&mut self, value: &mut E) -> Result<(), FieldError> {
        let pos = self.pos();
        let mut number = value.number();
        self.u32(&mut number)?;
        *value = E::from_number(number).ok_or(FieldError::Enum {
            what: E::WHAT,
            pos,
            found: number,
            expected: E::EXPECTED,
        })?;
        Ok(())
    }

    /// A text: ASCII, at most 256 bytes, filled up with NUL to whole u32.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn string(&mut self, value: &mut String) -> Result<(), FieldError> {
        let pos = self.pos();
        match &mut self.0 {
            Mode::Read(reader) => {
                let Some(n) = reader.next() else { return Ok(()) };
                if n > MAX_STRING {
                    return Err(FieldError::StringLength { pos, found: n });
                }
                if n as usize > reader.remaining() {
                    let remaining = reader.remaining();
                    return Err(FieldError::TooLong { what: "text", pos, needed: n, remaining });
                }
                let words = &reader.data[reader.pos..reader.pos + n as usize];
                reader.pos += n as usize;
                let mut text = String::with_capacity(words.len() * 4);
                for &word in words {
                    check_characters(word, pos)?;
                    text.extend(word.to_le_bytes().map(char::from));
                }
                text.truncate(text.trim_end_matches('\0').len());
                *value = text;
            }
            Mode::Write(out) => {
                let n = value.len().div_ceil(4);
                if n > MAX_STRING as usize {
                    return Err(FieldError::StringLength { pos, found: n as u32 });
                }
                out.push(n as u32);
                for piece in value.as_bytes().chunks(4) {
                    let mut word = [0; 4];
                    word[..piece.len()].copy_from_slice(piece);
                    let word = u32::from_le_bytes(word);
                    check_characters(word, pos)?;
                    out.push(word);
                }
            }
        }
        Ok(())
    }

    /// A list; `element` shows each.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn list<T: Default>(
        &mut self,
        values: &mut Vec<T>,
        mut element: impl FnMut(&mut Self, &mut T) -> Result<(), FieldError>,
    ) -> Result<(), FieldError> {
        let pos = self.pos();
        match &mut self.0 {
            Mode::Read(reader) => {
                let Some(n) = reader.next() else { return Ok(()) };
                if n > MAX_VECTOR {
                    return Err(FieldError::VectorLength { pos, found: n });
                }
                // An element of any kind is one u32 or more.
                let remaining = reader.remaining();
                if n as usize > remaining {
                    return Err(FieldError::TooLong { what: "list", pos, needed: n, remaining });
                }
                values.resize_with(n as usize, T::default);
            }
            Mode::Write(out) => {
                if values.len() > MAX_VECTOR as usize {
                    return Err(FieldError::VectorLength { pos, found: values.len() as u32 });
                }
                out.push(values.len() as u32);
            }
        }
        values.iter_mut().try_for_each(|value| element(self, value))
    }

    /// A struct within the struct, with its own length.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn fields(&mut self, fields: &mut dyn Fields) -> Result<(), FieldError> {
        let pos = self.pos();
        let enclosing = match &mut self.0 {
            Mode::Read(reader) => {
                let Some(n) = reader.next() else { return Ok(()) };
                let remaining = reader.remaining();
                if n as usize > remaining {
                    return Err(FieldError::TooLong { what: "struct", pos, needed: n, remaining });
                }
                std::mem::replace(&mut reader.end, reader.pos + n as usize)
            }
            Mode::Write(out) => {
                out.push(0);
                0
            }
        };
        fields.visit(self)?;
        match &mut self.0 {
            Mode::Read(reader) => {
                reader.extra += (reader.end - reader.pos) as u32;
                reader.pos = reader.end;
                reader.end = enclosing;
            }
            Mode::Write(out) => out[pos] = (out.len() - pos - 1) as u32,
        }
        Ok(())
    }

    /// Where the next field is.
    fn pos(&self) -> usize {
        match &self.0 {
            Mode::Read(reader) => reader.pos,
            Mode::Write(out) => out.len(),
        }
    }
}

fn check_characters(word: u32, pos: usize) -> Result<(), FieldError> {
    if word == 0 || word & 0x8080_8080 != 0 {
        return Err(FieldError::StringBytes { pos, found: word });
    }
    Ok(())
}
