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
    /// Takes one byte. Within a sequence that began in an earlier token (`carried`) only continuation bytes
    /// are taken; within one that began in this token any byte is, as in the reference.
    pub(crate) fn step(self, byte: u8, carried: bool) -> Step {
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
/// and -1 missing bytes for an invalid token.
pub(crate) fn decode(bytes: &[u8], start: Partial, chars: &mut Vec<u32>) -> Partial {
    chars.clear();
    let mut partial = start;
    let mut carried = start.n_remain > 0;
    for &byte in until_nul(bytes) {
        match partial.step(byte, carried) {
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
        let end = decode(bytes, start, &mut chars);
        (chars, end)
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
