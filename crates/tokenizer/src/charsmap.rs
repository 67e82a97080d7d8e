//! The precompiled character map of SentencePiece: prefixes of the text and what replaces them
//! (`llm_tokenizer_ugm_session::normalize_prefix`).
//!
//! A blob from the model's file: the size of a double array in bytes, the array (see `Array`), and replacements
//! ended by NUL. Every index from it is checked.

use crate::Error;
use crate::unicode::{push_utf8, utf8_len};

/// A checked header over unchecked contents.
#[derive(Debug, Default)]
pub(crate) struct Charsmap {
    array: Vec<u32>,
    replacements: Vec<u8>,
    /// Whether an ASCII character may begin a replaced prefix when this byte follows: bit `next & 63` of
    /// `[first][next >> 6]`.
    begins: Vec<[u64; 4]>,
    /// What becomes of the characters from U+0080 to U+FFFF.
    others: Vec<Fate>,
}

/// What becomes of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It stays, whatever follows.
    Stays,
    /// That depends on what follows.
    Depends,
    /// It is replaced.
    Changes,
}

/// Units of the array: bits 10 to 30 are the base (8 bits further up if bit 9 is set), bits 0 to 7 the label, bit 8
/// says that the unit at the base holds a value; a value has bit 31 set, which no label has.
const VALUE: u32 = 1 << 31;

impl Charsmap {
    /// The map in `blob`; an absent one replaces nothing.
    pub(crate) fn new(blob: Option<&[u8]>) -> Result<Self, Error> {
        let Some(blob) = blob.filter(|blob| !blob.is_empty()) else { return Ok(Self::default()) };
        let bad = |what| Error::BadCharsmap { what, size: blob.len() };
        let (size, rest) = blob.split_first_chunk::<4>().ok_or_else(|| bad("no size of its array"))?;
        let size = u32::from_le_bytes(*size) as usize;
        // The reference wants at least one byte of replacements.
        if size >= rest.len() {
            return Err(bad("an array that does not leave room for replacements"));
        }
        let (array, replacements) = rest.split_at(size);
        let array = array.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        let mut map = Self { array, replacements: replacements.to_vec(), ..Self::default() };
        map.begins = (0..128).map(|first| map.followers(first)).collect();
        map.others = (0x80..0x1_0000).map(|cpt| map.fate(cpt)).collect();
        Ok(map)
    }

    /// Bytes after which `first` is not certain to stay as it is.
    fn followers(&self, first: u8) -> [u64; 4] {
        let mut bits = [0; 4];
        for next in 0..=255u8 {
            let changes = !matches!(self.longest(&[first, next]), Ok(None));
            // Three bytes may match where two do not: then the walk went on past the second.
            let goes_on = self.walk(&[first, next]).is_ok_and(|walk| walk.depth == 2);
            bits[usize::from(next >> 6)] |= u64::from(changes || goes_on) << (next & 63);
        }
        bits
    }

    fn fate(&self, cpt: u32) -> Fate {
        let mut text = Vec::with_capacity(4);
        push_utf8(cpt, &mut text);
        match self.walk(&text) {
            Ok(Walk { matched: 0, depth, .. }) if depth < text.len() => Fate::Stays,
            Ok(Walk { matched: 0, .. }) => Fate::Depends,
            _ => Fate::Changes,
        }
    }

    /// Whether the ASCII character `first`, followed by the byte `next`, is certainly unchanged.
    #[inline]
    pub(crate) fn keeps(&self, first: u8, next: u8) -> bool {
        match self.begins.get(usize::from(first)) {
            Some(bits) => bits[usize::from(next >> 6)] >> (next & 63) & 1 == 0,
            None => first < 0x80,
        }
    }

    /// Whether the character `cpt`, of `len` bytes at `i` of sound text, is certainly unchanged, and no replaced prefix
    /// reaches from it beyond the next character.
    #[inline]
    pub(crate) fn keeps_character(&self, text: &[u8], i: usize, cpt: u32, len: usize) -> bool {
        if cpt < 0x80 {
            return self.keeps(cpt as u8, text.get(i + 1).copied().unwrap_or(0));
        }
        if self.array.is_empty() {
            return true;
        }
        match self.others.get(cpt as usize - 0x80) {
            Some(Fate::Stays) => true,
            Some(Fate::Changes) => false,
            Some(Fate::Depends) | None => {
                let next_len = text.get(i + len).map_or(1, |byte| utf8_len(*byte));
                self.walk(&text[i..]).is_ok_and(|walk| walk.matched == 0 && walk.depth < len + next_len)
            }
        }
    }

    /// Whether a replaced prefix may have a space in it; `true` where that is not certain.
    pub(crate) fn may_replace_spaces(&self) -> bool {
        self.array.iter().any(|unit| unit & (VALUE | 0xFF) == u32::from(b' '))
    }

    /// Bytes of the longest replacement.
    pub(crate) fn longest_replacement(&self) -> usize {
        self.replacements.split(|&byte| byte == 0).map(<[u8]>::len).max().unwrap_or(0)
    }

    /// The longest prefix of `text` that is replaced: its length and the replacement.
    pub(crate) fn longest(&self, text: &[u8]) -> Result<Option<(usize, &[u8])>, Error> {
        let walk = self.walk(text)?;
        if walk.matched == 0 {
            return Ok(None);
        }
        let bad = |what| Error::BadCharsmap { what, size: self.replacements.len() };
        let rest = self
            .replacements
            .get(walk.value as usize..)
            .filter(|rest| !rest.is_empty())
            .ok_or_else(|| bad("a replacement beyond its end"))?;
        let end =
            rest.iter().position(|&byte| byte == 0).ok_or_else(|| bad("an unterminated replacement"))?;
        Ok(Some((walk.matched, &rest[..end])))
    }

    /// Follows `text` from the root for as long as there are children.
    fn walk(&self, text: &[u8]) -> Result<Walk, Error> {
        let mut walk = Walk { depth: 0, matched: 0, value: 0 };
        if self.array.is_empty() {
            return Ok(walk);
        }
        let unit = |at: u32| {
            self.array
                .get(at as usize)
                .copied()
                .ok_or(Error::BadCharsmap { what: "an index beyond its array", size: self.array.len() })
        };
        let base = |unit: u32| (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let mut at = base(unit(0)?);
        for (i, &byte) in text.iter().enumerate() {
            if byte == 0 {
                break;
            }
            at ^= u32::from(byte);
            let node = unit(at)?;
            if node & (VALUE | 0xFF) != u32::from(byte) {
                break;
            }
            walk.depth = i + 1;
            at ^= base(node);
            if node >> 8 & 1 == 1 {
                walk.matched = i + 1;
                walk.value = unit(at)? & !VALUE;
            }
        }
        Ok(walk)
    }
}

/// How far a walk went.
struct Walk {
    /// Bytes that have nodes.
    depth: usize,
    /// Bytes of the longest prefix with a value.
    matched: usize,
    /// That value: where its replacement begins.
    value: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_checked() {
        assert!(Charsmap::new(None).is_ok() && Charsmap::new(Some(&[])).is_ok());
        for blob in [&[1u8, 0][..], &[8, 0, 0, 0, 1, 2], &[4, 0, 0, 0, 1, 2, 3, 4], &[255; 7]] {
            assert!(matches!(Charsmap::new(Some(blob)), Err(Error::BadCharsmap { .. })), "{blob:?}");
        }
    }

    #[test]
    fn garbage_is_an_error_or_a_replacement() {
        let mut random = quipu_testing::SplitMix::new(3);
        for size in [4usize, 64, 1024] {
            for _ in 0..200 {
                let mut blob = (size as u32).to_le_bytes().to_vec();
                // Many zeros, so that indices often hit.
                blob.extend(
                    (0..size + 8).map(|_| if random.one_in(4) { random.next_u64() as u8 } else { 0 }),
                );
                let map = Charsmap::new(Some(&blob)).expect("a sound header");
                for byte in 0..=255u8 {
                    let _ = map.longest(&[byte, b'a', byte]);
                }
            }
        }
    }
}
