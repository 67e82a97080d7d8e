//! A text prepared for splitting: its code points, their classes and where they lie in the bytes.

use std::ops::Range;

use crate::unicode::{class_of, decode_one, push_utf8};

/// Decoded text. Invalid input bytes have become U+FFFD in `bytes` too, as in the reference's words.
#[derive(Default)]
pub(crate) struct Text {
    /// UTF-8 of the code points, end to end.
    bytes: Vec<u8>,
    /// Byte offset of each code point, and of the end.
    starts: Vec<u32>,
    cpts: Vec<u32>,
    classes: Vec<u8>,
}

impl Text {
    /// Decodes `raw` (`unicode_cpts_from_utf8`); at most 2^30 bytes, which the caller has checked.
    pub(crate) fn decode(raw: &[u8]) -> Self {
        let mut text = Self::default();
        text.bytes.reserve(raw.len());
        text.cpts.reserve(raw.len());
        text.classes.reserve(raw.len());
        text.starts.reserve(raw.len() + 1);
        let mut rest = raw;
        while !rest.is_empty() {
            let (cpt, len) = decode_one(rest);
            text.starts.push(text.bytes.len() as u32);
            text.cpts.push(cpt);
            text.classes.push(class_of(cpt));
            push_utf8(cpt, &mut text.bytes);
            rest = &rest[len..];
        }
        text.starts.push(text.bytes.len() as u32);
        text
    }

    /// Number of code points.
    pub(crate) fn len(&self) -> usize {
        self.cpts.len()
    }

    /// The code points `range` as a piece to split.
    pub(crate) fn piece(&self, range: Range<usize>) -> Piece<'_> {
        Piece { cpts: &self.cpts[range.clone()], classes: &self.classes[range] }
    }

    /// UTF-8 of the code points `range`.
    pub(crate) fn word(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[self.starts[range.start] as usize..self.starts[range.end] as usize]
    }
}

/// A run of code points; looking past its end yields class 0 and code point `u32::MAX`.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    cpts: &'a [u32],
    classes: &'a [u8],
}

impl Piece<'_> {
    pub(crate) fn len(&self) -> usize {
        self.cpts.len()
    }

    pub(crate) fn cpt(&self, i: usize) -> u32 {
        self.cpts.get(i).copied().unwrap_or(u32::MAX)
    }

    pub(crate) fn class(&self, i: usize) -> u8 {
        self.classes.get(i).copied().unwrap_or(0)
    }

    /// Whether code point `i` has one of the class bits in `mask`.
    pub(crate) fn is(&self, i: usize, mask: u8) -> bool {
        self.class(i) & mask != 0
    }

    /// First position from `i` on whose class has no bit of `mask`.
    pub(crate) fn skip(&self, mut i: usize, mask: u8) -> usize {
        while self.is(i, mask) {
            i += 1;
        }
        i
    }
}
