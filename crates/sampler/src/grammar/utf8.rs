//! Decoding UTF-8 that is cut between tokens, with the reference's tolerance.

/// A sequence of which bytes are missing (`llama_partial_utf8`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Partial {
    /// Bits so far.
    pub(crate) value: u32,
    /// Bytes missing; -1 after an invalid sequence.
    pub(crate) n_remain: i32,
}

/// What one more byte leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Within a sequence.
    More(Partial),
    /// A code point is complete.
    Char(u32),
    /// No UTF-8.
    Invalid,
}

impl Partial {
    /// Whether UTF-8 allows this byte here; what comes out of it beyond the last code point or between surrogates is
    /// left to the grammar.
    fn is_sound(self, byte: u8) -> bool {
        match (self.n_remain, self.value) {
            (1.., _) if byte >> 6 != 2 => false,
            // Longer forms of what has a shorter one.
            (2, 0) => byte >= 0xA0,
            (3, 0) => byte >= 0x90,
            (1.., _) => true,
            _ => !matches!(byte, 0xC0 | 0xC1 | 0xF5..),
        }
    }

    /// Takes one byte. Within a sequence that began in an earlier token (`carried`) only continuation bytes
    /// are taken; within one that began in this token any byte is, as in the reference, unless `strict`.
    pub(crate) fn step(self, byte: u8, carried: bool, strict: bool) -> Step {
        if strict && !self.is_sound(byte) {
            return Step::Invalid;
        }
        let mut next = self;
        if self.n_remain > 0 {
            if carried && byte >> 6 != 2 {
                return Step::Invalid;
            }
            next.value = (self.value << 6).wrapping_add(u32::from(byte & 0x3F));
            next.n_remain -= 1;
        } else {
            next.n_remain = match byte >> 4 {
                0..8 => 0,
                8..12 => return Step::Invalid,
                12 | 13 => 1,
                14 => 2,
                _ => 3,
            };
            next.value = u32::from(byte) & ((1 << (7 - next.n_remain)) - 1);
        }
        if next.n_remain == 0 { Step::Char(next.value) } else { Step::More(next) }
    }
}

/// What a C string of these bytes has: all before the first NUL.
pub(crate) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.iter().position(|b| *b == 0).map_or(bytes, |end| &bytes[..end])
}

/// Code points of a token's bytes after `start`, and what is left over at its end (`decode_utf8`). No code points
/// and -1 missing bytes for an invalid token. If `strict`, a NUL is a character like others.
pub(crate) fn decode(bytes: &[u8], start: Partial, chars: &mut Vec<u32>, strict: bool) -> Partial {
    chars.clear();
    let mut partial = start;
    let mut carried = start.n_remain > 0;
    for &byte in if strict { bytes } else { until_nul(bytes) } {
        match partial.step(byte, carried, strict) {
            Step::More(next) => partial = next,
            Step::Char(c) => {
                chars.push(c);
                partial = Partial { value: c, n_remain: 0 };
                carried = false;
            }
            Step::Invalid => {
                chars.clear();
                return Partial { value: 0, n_remain: -1 };
            }
        }
    }
    partial
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], start: Partial) -> (Vec<u32>, Partial) {
        let mut chars = Vec::new();
        let end = decode(bytes, start, &mut chars, false);
        (chars, end)
    }

    #[test]
    fn strictly_only_utf8_is_taken() {
        // Every sequence of up to three bytes, and of four from some that decide.
        let lead =
            [0x00, 0x41, 0x7F, 0x80, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF];
        let next = [0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC2];
        for n in 0..lead.len() * next.len().pow(3) {
            let at = |i: u32| next[n / lead.len() / next.len().pow(i) % next.len()];
            let bytes = [lead[n % lead.len()], at(0), at(1), at(2)];
            let mut chars = Vec::new();
            let end = decode(&bytes, Partial::default(), &mut chars, true);
            let sound = end.n_remain == 0 && chars.iter().all(|c| char::from_u32(*c).is_some());
            assert_eq!(sound, std::str::from_utf8(&bytes).is_ok(), "{bytes:x?}");
        }
    }

    #[test]
    fn characters_cut_anywhere() {
        let text = "aé€😀";
        let want: Vec<u32> = text.chars().map(u32::from).collect();
        for cut in 0..=text.len() {
            let (mut chars, partial) = decoded(&text.as_bytes()[..cut], Partial::default());
            let (rest, end) = decoded(&text.as_bytes()[cut..], partial);
            chars.extend(rest);
            assert_eq!(chars, want);
            assert_eq!(end.n_remain, 0);
        }
    }

    #[test]
    fn what_is_invalid() {
        let invalid = Partial { value: 0, n_remain: -1 };
        assert_eq!(decoded(b"\x80", Partial::default()), (vec![], invalid));
        assert_eq!(decoded(b"ab\x80", Partial::default()), (vec![], invalid));
        let (_, cut) = decoded(b"\xE2\x82", Partial::default());
        assert_eq!(decoded(b"a", cut), (vec![], invalid));
        assert_eq!(decoded(b"\xC3a", Partial::default()).0, [0xC0 | 0x21]);
        assert_eq!(decoded(b"a\0b", Partial::default()).0, [97]);
    }
}
