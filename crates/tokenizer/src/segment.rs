//! Where text may be cut before it is tokenized, for families whose tokens may contain anything.
//!
//! If no token contains two characters next to each other, no token can lie across them: what is left of that
//! point and what is right of it can be tokenized apart, and looked up in the cache of words. Answers to nothing
//! in the reference; ids are not changed by it.

use crate::hash::Keys;
use crate::unicode::{decode_one, decode_sound};

/// log2 of the number of bits that stand for pairs with a character beyond ASCII.
const LOG_BITS: u32 = 20;
/// U+2581, by which these vocabularies write a space.
pub(crate) const SPACE: &[u8] = "▁".as_bytes();
const SPACE_CPT: u32 = 0x2581;

/// The pairs of neighbouring characters that occur in tokens; some that do not may be counted in.
#[derive(Debug)]
pub(crate) struct Neighbours {
    /// Bit `right` of `ascii[left]`, in two halves; the escaped space is the space.
    ascii: [[u64; 2]; 128],
    keys: Keys,
    others: Vec<u64>,
}

impl Neighbours {
    /// Pairs within each of `texts`. Where `escaped`, U+2581 and the space are one.
    pub(crate) fn new<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut pairs =
            Self { ascii: [[0; 2]; 128], keys: Keys::default(), others: vec![0; 1 << (LOG_BITS - 6)] };
        for text in texts {
            let mut rest = text;
            let mut left = None;
            while !rest.is_empty() {
                let (right, len) = character(rest);
                if let Some(left) = left {
                    pairs.insert(left, right);
                }
                left = Some(right);
                rest = &rest[len..];
            }
        }
        pairs
    }

    fn insert(&mut self, left: u32, right: u32) {
        if left | right < 0x80 {
            self.ascii[left as usize][right as usize >> 6] |= 1 << (right & 63);
        } else {
            let (word, bit) = self.bit(left, right);
            self.others[word] |= bit;
        }
    }

    /// Whether some token may have `right` behind `left`; the escaped space is the space.
    #[inline]
    pub(crate) fn contains(&self, left: u32, right: u32) -> bool {
        if left | right < 0x80 {
            self.ascii[left as usize][right as usize >> 6] >> (right & 63) & 1 != 0
        } else {
            let (word, bit) = self.bit(left, right);
            self.others[word] & bit != 0
        }
    }

    #[inline]
    fn bit(&self, left: u32, right: u32) -> (usize, u64) {
        let hash = self.keys.number(u64::from(left) << 32 | u64::from(right)) >> (64 - LOG_BITS);
        ((hash >> 6) as usize, 1 << (hash & 63))
    }

    /// End of the segment of `text` that begins at `start`, which is not the end. `text` is sound.
    #[inline]
    pub(crate) fn end(&self, text: &[u8], start: usize) -> usize {
        let (mut left, len) = sound_character(text, start);
        let mut i = start + len;
        while i < text.len() {
            let (right, len) = sound_character(text, i);
            if !self.contains(left, right) {
                return i;
            }
            left = right;
            i += len;
        }
        text.len()
    }
}

/// The character that `text` begins with and its length; the escaped space is a space.
fn character(text: &[u8]) -> (u32, usize) {
    let (cpt, len) = decode_one(text);
    (if cpt == SPACE_CPT { u32::from(b' ') } else { cpt }, len)
}

/// As [`character`], at `i` of sound text.
#[inline]
pub(crate) fn sound_character(text: &[u8], i: usize) -> (u32, usize) {
    if text[i] < 0x80 {
        return (u32::from(text[i]), 1);
    }
    let (cpt, len) = decode_sound(text, i);
    (if cpt == SPACE_CPT { u32::from(b' ') } else { cpt }, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_where_no_token_reaches_across() {
        let pairs = Neighbours::new(["▁ab", "cd", "é中", "x▁"].iter().map(|text| text.as_bytes()));
        let text = "ab abcdé中中ax y".as_bytes();
        let mut cuts = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let end = pairs.end(text, at);
            cuts.push(std::str::from_utf8(&text[at..end]).expect("whole characters"));
            at = end;
        }
        assert_eq!(cuts, ["ab", " ab", "cd", "é中", "中", "a", "x ", "y"]);
    }
}
