//! The types of gemma.cpp's tensors.

use std::fmt;

use crate::fields::FieldEnum;

/// A tensor type. Answers to `gcpp::Type`; the numbers are those of the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // the names say it
#[repr(u32)]
pub enum Type {
    #[default]
    Unknown = 0,
    F32 = 1,
    Bf16 = 2,
    Sfp = 3,
    Nuq = 4,
    F64 = 5,
    U32 = 6,
    U64 = 7,
    I8 = 8,
}

impl Type {
    /// Every type, in the order of its number.
    pub const ALL: [Type; 9] = [
        Type::Unknown,
        Type::F32,
        Type::Bf16,
        Type::Sfp,
        Type::Nuq,
        Type::F64,
        Type::U32,
        Type::U64,
        Type::I8,
    ];

    /// Its name in specifiers (`TypeName`).
    pub const fn name(self) -> &'static str {
        match self {
            Type::Unknown => "unknown",
            Type::F32 => "f32",
            Type::Bf16 => "bf16",
            Type::Sfp => "sfp",
            Type::Nuq => "nuq",
            Type::F64 => "f64",
            Type::U32 => "u32",
            Type::U64 => "u64",
            Type::I8 => "i8",
        }
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Type> {
        Type::ALL.into_iter().find(|t| t.name() == name)
    }

    /// Bits of a value, tables not counted (`TypeBits`).
    pub const fn bits(self) -> u32 {
        match self {
            Type::Unknown => 0,
            Type::F32 | Type::U32 => 32,
            Type::Bf16 => 16,
            Type::Sfp | Type::I8 => 8,
            Type::Nuq => 4,
            Type::F64 | Type::U64 => 64,
        }
    }

    /// Bytes of a stored element; see [`Type::n_elements`].
    pub const fn element_bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    /// Stored elements for that many values: more for I8, whose tables count as elements, and fewer for NUQ, of which
    /// an element is a byte (`MatPtr::ComputeNumElements`).
    pub const fn n_elements(self, n_values: u64) -> u64 {
        match self {
            Type::Nuq => n_values.div_ceil(256) * 16 + n_values.div_ceil(2),
            Type::I8 => n_values.div_ceil(128) * 4 + n_values,
            _ => n_values,
        }
    }

    /// Bytes of that many values in one stream, or `None` if there is no such number.
    pub fn n_bytes(self, n_values: u64) -> Option<u64> {
        if n_values > u64::MAX / 16 {
            return None;
        }
        self.n_elements(n_values).checked_mul(u64::from(self.element_bytes()))
    }

    /// The type of a tensor in files of before 2025, by the first letter of its blob's name (`TypeFromChar`).
    pub(crate) fn from_prefix(letter: u8) -> Type {
        match letter {
            b'F' => Type::F32,
            b'B' => Type::Bf16,
            b'$' => Type::Sfp,
            b'2' => Type::Nuq,
            b'I' => Type::I8,
            _ => Type::Unknown,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FieldEnum for Type {
    const WHAT: &'static str = "tensor type";
    const EXPECTED: &'static str = "0 to 8";

    fn number(self) -> u32 {
        self as u32
    }

    fn from_number(number: u32) -> Option<Type> {
        Type::ALL.get(number as usize).copied()
    }
}
