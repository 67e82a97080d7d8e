//! Code points: decoding, classes, lower case and decomposition (unicode.cpp).
//!
//! Splitting rules live in `split`; here is only what is true of one code point.

use std::borrow::Cow;
use std::sync::OnceLock;

use crate::unicode_tables::{CLASS_RANGES, LOWERCASE_RUNS, NFD_RANGES};

/// Class bits of a code point. Every code point has exactly one (whitespace goes before its category); 0 means "past the end" to the splitters.
pub(crate) mod class {
    /// `\p{L}`
    pub(crate) const LETTER: u8 = 0x01;
    /// `\p{N}`
    pub(crate) const NUMBER: u8 = 0x02;
    /// `\s`
    pub(crate) const WHITESPACE: u8 = 0x04;
    /// `\p{P}`
    pub(crate) const PUNCTUATION: u8 = 0x08;
    /// `\p{M}`
    pub(crate) const MARK: u8 = 0x10;
    /// `\p{S}`
    pub(crate) const SYMBOL: u8 = 0x20;
    /// `\p{C}` but for unassigned code points
    pub(crate) const CONTROL: u8 = 0x40;
    /// Unassigned.
    pub(crate) const UNDEFINED: u8 = 0x80;
}

const N_CODEPOINTS: usize = 0x11_0000;
const PAGE: usize = 256;
/// What stands for a byte that is not part of valid UTF-8.
pub(crate) const REPLACEMENT: u32 = 0xFFFD;

/// Classes of all code points, as pages of 256; equal pages are stored once.
#[derive(Debug)]
pub(crate) struct ClassTable {
    page_of: Vec<u16>,
    pages: Vec<u8>,
}

impl ClassTable {
    fn build() -> Self {
        let mut flat = vec![class::UNDEFINED; N_CODEPOINTS];
        for (i, &entry) in CLASS_RANGES.iter().enumerate() {
            let end = CLASS_RANGES.get(i + 1).map_or(N_CODEPOINTS, |next| (next >> 8) as usize);
            flat[(entry >> 8) as usize..end].fill(entry as u8);
        }
        let mut seen = std::collections::HashMap::new();
        let mut table = Self { page_of: Vec::with_capacity(N_CODEPOINTS / PAGE), pages: Vec::new() };
        for page in flat.as_chunks::<PAGE>().0 {
            let index = *seen.entry(*page).or_insert_with(|| {
                table.pages.extend_from_slice(page);
                (table.pages.len() / PAGE) as u16 - 1
            });
            table.page_of.push(index);
        }
        table
    }

    /// Class bits of `cpt`; code points beyond U+10FFFF are undefined.
    #[inline]
    pub(crate) fn of(&self, cpt: u32) -> u8 {
        match self.page_of.get((cpt >> 8) as usize) {
            Some(&page) => self.pages[usize::from(page) << 8 | (cpt & 0xFF) as usize],
            None => class::UNDEFINED,
        }
    }
}

/// The table, built at the first call.
pub(crate) fn classes() -> &'static ClassTable {
    static TABLE: OnceLock<ClassTable> = OnceLock::new();
    TABLE.get_or_init(ClassTable::build)
}

/// Classes of the ASCII code points; bytes beyond are 0.
pub(crate) static ASCII_CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut b = 0u8;
    while b < 0x80 {
        table[b as usize] = match b {
            b'a'..=b'z' | b'A'..=b'Z' => class::LETTER,
            b'0'..=b'9' => class::NUMBER,
            b' ' | 0x09..=0x0D => class::WHITESPACE,
            b'$' | b'+' | b'<'..=b'>' | b'^' | b'`' | b'|' | b'~' => class::SYMBOL,
            b'!'..=b'~' => class::PUNCTUATION,
            _ => class::CONTROL,
        };
        b += 1;
    }
    table
};

/// Class bits of `cpt`; code points beyond U+10FFFF are undefined.
pub(crate) fn class_of(cpt: u32) -> u8 {
    classes().of(cpt)
}

/// Lower-case code point of `cpt`, by the simple one-to-one mapping (`unicode_tolower`).
pub(crate) fn to_lower(cpt: u32) -> u32 {
    let at = LOWERCASE_RUNS.partition_point(|run| run.0 <= cpt);
    let Some(&(first, last, step, delta)) = at.checked_sub(1).map(|i| &LOWERCASE_RUNS[i]) else { return cpt };
    if cpt <= last && (cpt - first).is_multiple_of(step) { cpt.wrapping_add_signed(delta) } else { cpt }
}

/// First code point of the canonical decomposition of `cpt`.
///
/// The reference's normalization keeps only that one (`unicode_cpts_normalize_nfd`), which strips accents.
pub(crate) fn nfd_first(cpt: u32) -> u32 {
    let at = NFD_RANGES.partition_point(|range| range.0 <= cpt);
    match at.checked_sub(1).map(|i| NFD_RANGES[i]) {
        Some((_, last, target)) if cpt <= last => target,
        _ => cpt,
    }
}

/// Length of the UTF-8 sequence that `byte` begins, judged by its high bits alone (`unicode_len_utf8`).
pub(crate) fn utf8_len(byte: u8) -> usize {
    match byte >> 4 {
        0x0..=0xB => 1,
        0xC | 0xD => 2,
        0xE => 3,
        _ => 4,
    }
}

/// Length of the UTF-8 sequence that `bytes` begins with, if it is whole (`unicode_cpt_from_utf8`).
///
/// As lenient as the reference: overlong forms, surrogates and values beyond U+10FFFF are whole.
pub(crate) fn sequence_len(bytes: &[u8]) -> Option<usize> {
    let len = match bytes.first()? {
        0x00..=0x7F => return Some(1),
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => return None,
    };
    bytes.get(1..len)?.iter().all(|b| b & 0xC0 == 0x80).then_some(len)
}

/// Decodes the code point at the start of `bytes`, which are not empty, and its length.
///
/// As lenient as the reference: overlong forms and surrogates pass, every byte of anything else stands for
/// U+FFFD. Values beyond U+10FFFF, on which the reference throws later, are treated as invalid here.
pub(crate) fn decode_one(bytes: &[u8]) -> (u32, usize) {
    match sequence_len(bytes) {
        Some(len) => match decode_sound(bytes, 0).0 {
            cpt if cpt < N_CODEPOINTS as u32 => (cpt, len),
            _ => (REPLACEMENT, 1),
        },
        None => (REPLACEMENT, 1),
    }
}

/// Decodes the code point at `i` of bytes that [`sanitize`] has passed, and its length. Nothing is checked.
#[inline]
pub(crate) fn decode_sound(bytes: &[u8], i: usize) -> (u32, usize) {
    let tail = |k: usize| bytes.get(i + k).map_or(0, |b| u32::from(b & 0x3F));
    let first = u32::from(bytes[i]);
    match first {
        0..=0x7F => (first, 1),
        0x80..=0xDF => ((first & 0x1F) << 6 | tail(1), 2),
        0xE0..=0xEF => ((first & 0x0F) << 12 | tail(1) << 6 | tail(2), 3),
        _ => ((first & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4),
    }
}

/// The text as the reference's code points spell it: invalid bytes become U+FFFD, overlong forms short ones.
/// Surrogates stay. Sound text is not copied.
pub(crate) fn sanitize(raw: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(raw).is_ok() {
        return Cow::Borrowed(raw);
    }
    let mut text = Vec::with_capacity(raw.len() + raw.len() / 4);
    let mut rest = raw;
    while !rest.is_empty() {
        let (cpt, len) = decode_one(rest);
        push_utf8(cpt, &mut text);
        rest = &rest[len..];
    }
    Cow::Owned(text)
}

/// Appends the UTF-8 form of `cpt`, surrogates included, which `char` cannot hold.
pub(crate) fn push_utf8(cpt: u32, out: &mut Vec<u8>) {
    let tail = |shift: u32| 0x80 | (cpt >> shift & 0x3F) as u8;
    match cpt {
        0..=0x7F => out.push(cpt as u8),
        0x80..=0x7FF => out.extend([0xC0 | (cpt >> 6) as u8, tail(0)]),
        0x800..=0xFFFF => out.extend([0xE0 | (cpt >> 12) as u8, tail(6), tail(0)]),
        _ => out.extend([0xF0 | (cpt >> 18) as u8, tail(12), tail(6), tail(0)]),
    }
}

/// The printable code point by which byte-level BPE vocabularies write `byte` (`unicode_byte_to_utf8`).
pub(crate) fn byte_to_char(byte: u8) -> char {
    match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
        0..=0x20 => char::from_u32(0x100 + u32::from(byte)).expect("below the surrogates"),
        0x7F..=0xA0 => char::from_u32(0x100 + 0x21 + u32::from(byte - 0x7F)).expect("below the surrogates"),
        0xAD => '\u{143}',
    }
}

/// The byte that `cpt` stands for in byte-level BPE vocabularies (`unicode_utf8_to_byte`).
pub(crate) fn char_to_byte(cpt: u32) -> Option<u8> {
    match cpt {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => Some(cpt as u8),
        0x100..=0x120 => Some((cpt - 0x100) as u8),
        0x121..=0x142 => Some((cpt - 0x121) as u8 + 0x7F),
        0x143 => Some(0xAD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_chars_are_a_bijection() {
        let mut seen = std::collections::BTreeSet::new();
        for byte in 0..=255u8 {
            let c = byte_to_char(byte);
            assert!(seen.insert(c));
            assert_eq!(char_to_byte(u32::from(c)), Some(byte));
        }
        assert_eq!(byte_to_char(b' '), 'Ġ');
        assert_eq!(byte_to_char(b'\n'), 'Ċ');
        assert_eq!(char_to_byte(0x20), None);
    }

    #[test]
    fn decoding_is_lenient_like_the_reference() {
        assert_eq!(decode_one("é".as_bytes()), (0xE9, 2));
        assert_eq!(decode_one(b"\xC0\x80"), (0, 2));
        assert_eq!(decode_one(b"\xED\xA0\x80"), (0xD800, 3));
        assert_eq!(decode_one(b"\xE2\x82A"), (REPLACEMENT, 1));
        assert_eq!(decode_one(b"\x82"), (REPLACEMENT, 1));
        assert_eq!(decode_one(b"\xF4\x90\x80\x80"), (REPLACEMENT, 1));
        for c in ['\0', 'a', 'é', '€', '😀', '\u{10FFFF}'] {
            let mut bytes = Vec::new();
            push_utf8(u32::from(c), &mut bytes);
            assert_eq!(bytes, c.to_string().as_bytes());
            assert_eq!(decode_one(&bytes), (u32::from(c), bytes.len()));
            assert_eq!(utf8_len(bytes[0]), bytes.len());
        }
    }

    #[test]
    fn text_is_sanitized() {
        assert!(matches!(sanitize("aé€😀".as_bytes()), Cow::Borrowed(_)));
        assert_eq!(*sanitize(b"a\xFFb"), *"a\u{FFFD}b".as_bytes());
        assert_eq!(*sanitize(b"\xC1\xA1\xED\xA0\x80"), *b"a\xED\xA0\x80");
        for c in ['\0', 'a', 'é', '€', '😀', '\u{10FFFF}'] {
            let text = format!(" {c}");
            assert_eq!(decode_sound(text.as_bytes(), 1), (u32::from(c), c.len_utf8()));
        }
    }

    #[test]
    fn ascii_classes_and_case_agree_with_the_tables() {
        for b in 0..0x80u8 {
            assert_eq!(ASCII_CLASS[usize::from(b)], class_of(u32::from(b)), "{b:#x}");
        }
        // Contractions are matched on bytes: no other code point may lower to their letters.
        for cpt in 0x80..0x11_0000 {
            assert!(!b"stmdrevl".contains(&(to_lower(cpt).min(0xFF) as u8)), "U+{cpt:04X}");
        }
    }

    #[test]
    fn classes_and_mappings() {
        assert_eq!(class_of(u32::from('a')), class::LETTER);
        assert_eq!(class_of(u32::from('٣')), class::NUMBER);
        assert_eq!(class_of(u32::from('\u{3000}')), class::WHITESPACE);
        assert_eq!(class_of(u32::from('\n')), class::WHITESPACE);
        assert_eq!(class_of(u32::from('¿')), class::PUNCTUATION);
        assert_eq!(class_of(0x0301), class::MARK);
        assert_eq!(class_of(u32::from('€')), class::SYMBOL);
        assert_eq!(class_of(0x10_FFFF), class::UNDEFINED);
        assert_eq!(class_of(u32::MAX), class::UNDEFINED);
        assert_eq!(to_lower(u32::from('Ä')), u32::from('ä'));
        assert_eq!(to_lower(u32::from('ā')), u32::from('ā'));
        assert_eq!(to_lower(u32::from('Ā')), u32::from('ā'));
        assert_eq!(to_lower(0), 0);
        assert_eq!(nfd_first(u32::from('é')), u32::from('e'));
        assert_eq!(nfd_first(u32::from('한')), 0x1112);
        assert_eq!(nfd_first(u32::from('z')), u32::from('z'));
    }
}
