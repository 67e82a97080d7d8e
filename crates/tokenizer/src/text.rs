//! A piece of text under the eyes of a splitter: bytes, read by code points and their classes.

use crate::unicode::{ASCII_CLASS, ClassTable, classes, decode_sound};

/// A run of sanitized UTF-8 (see [`sanitize`](crate::unicode::sanitize)); positions are byte offsets at code
/// points. Looking past the end yields class 0 and byte 0xFF, which sound text never contains.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub(crate) bytes: &'a [u8],
    classes: &'static ClassTable,
}

impl<'a> Piece<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, classes: classes() }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// A part of the piece as a piece.
    pub(crate) fn part(&self, bytes: &'a [u8]) -> Self {
        Self { bytes, classes: self.classes }
    }

    /// The byte at `i`.
    #[inline]
    pub(crate) fn byte(&self, i: usize) -> u8 {
        self.bytes.get(i).copied().unwrap_or(0xFF)
    }

    /// Class of the code point at `i`, and where the next one begins.
    #[inline]
    pub(crate) fn class_next(&self, i: usize) -> (u8, usize) {
        match self.bytes.get(i) {
            None => (0, i),
            Some(&b) if b < 0x80 => (ASCII_CLASS[usize::from(b)], i + 1),
            Some(_) => {
                let (cpt, len) = decode_sound(self.bytes, i);
                (self.classes.of(cpt), i + len)
            }
        }
    }

    /// The code point at `i`; `u32::MAX` past the end.
    #[inline]
    pub(crate) fn cpt(&self, i: usize) -> u32 {
        if i < self.bytes.len() { decode_sound(self.bytes, i).0 } else { u32::MAX }
    }

    /// Where the code point after that at `i` begins; `i` itself at the end.
    #[inline]
    pub(crate) fn next(&self, i: usize) -> usize {
        match self.byte(i) {
            0..=0x7F => i + 1,
            0x80..=0xDF => i + 2,
            0xE0..=0xEF => i + 3,
            0xF0..=0xF7 => i + 4,
            _ => i,
        }
    }

    /// Where the code point before `i` begins; `i` is not 0.
    pub(crate) fn before(&self, mut i: usize) -> usize {
        i -= 1;
        while i > 0 && self.bytes[i] & 0xC0 == 0x80 {
            i -= 1;
        }
        i
    }

    /// Class of the code point at `i`.
    #[inline]
    pub(crate) fn class(&self, i: usize) -> u8 {
        self.class_next(i).0
    }

    /// Whether the code point at `i` has one of the class bits in `mask`.
    #[inline]
    pub(crate) fn is(&self, i: usize, mask: u8) -> bool {
        self.class(i) & mask != 0
    }

    /// First position from `i` on whose class has no bit of `mask`.
    #[inline]
    pub(crate) fn skip(&self, mut i: usize, mask: u8) -> usize {
        loop {
            let (class, next) = self.class_next(i);
            if class & mask == 0 {
                return i;
            }
            i = next;
        }
    }

    /// First position from `i` on that `member` does not hold for; `member` is false at the end.
    #[inline]
    pub(crate) fn run(&self, mut i: usize, member: impl Fn(usize) -> bool) -> usize {
        while member(i) {
            i = self.next(i);
        }
        i
    }

    /// First position from `i` on that is not one of the ASCII `bytes`.
    #[inline]
    pub(crate) fn skip_bytes(&self, mut i: usize, bytes: &[u8]) -> usize {
        while bytes.contains(&self.byte(i)) {
            i += 1;
        }
        i
    }
}
