//! Fast hashes for texts and for pairs of symbols, and the table of pairs.
//!
//! Vocabularies are looked up for every word and merge tables for every pair in it; the standard hash costs more
//! than the rest of that step. Multiplications by random odd keys spread as well and stay unpredictable to a
//! hostile file.

use std::hash::{BuildHasher, RandomState};

/// Odd keys, drawn once per table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys([u64; 4]);

impl Default for Keys {
    fn default() -> Self {
        let random = RandomState::new();
        Self([0u8, 1, 2, 3].map(|i| random.hash_one(i) | 1))
    }
}

impl Keys {
    /// Hash of a text.
    #[inline]
    pub(crate) fn text(&self, text: &[u8]) -> u64 {
        let mut state = (text.len() as u64).wrapping_mul(self.0[3]);
        let mut rest = text;
        while rest.len() > 16 {
            let Some((head, tail)) = rest.split_first_chunk::<16>() else { break };
            let (a, b) = halves(head);
            state = fold(a ^ self.0[0] ^ state, b ^ self.0[1]);
            rest = tail;
        }
        let (a, b) = up_to_16(rest);
        fold(fold(a ^ self.0[0] ^ state, b ^ self.0[1]) ^ self.0[2], self.0[3])
    }

    /// Hash of a number.
    #[inline]
    pub(crate) fn number(&self, value: u64) -> u64 {
        fold(value ^ self.0[0], self.0[1])
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn halves(chunk: &[u8; 16]) -> (u64, u64) {
    let all = u128::from_le_bytes(*chunk);
    (all as u64, (all >> 64) as u64)
}

/// At most 16 bytes as two words; different texts of one length give different words.
#[inline]
fn up_to_16(text: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        return (u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32, 0);
    }
    match *text {
        [a] => (u64::from(a), 0),
        [a, b] => (u64::from(a) | u64::from(b) << 8, 0),
        [a, b, c] => (u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16, 0),
        _ => (0, 0),
    }
}

/// A map from pairs of symbols to a value, by open addressing.
#[derive(Debug, Clone)]
pub(crate) struct PairTable {
    keys: Keys,
    /// `[pair, value]`, at most half of them used; `[FREE, _]` is free.
    slots: Vec<[u64; 2]>,
    shift: u32,
}

/// No pair has this value: symbols are below 2^32 - 1.
const FREE: u64 = u64::MAX;
/// What [`PairTable::get`] returns for a pair that is not in the table.
pub(crate) const NO_VALUE: u64 = u64::MAX;

impl PairTable {
    pub(crate) fn with_capacity(n: usize) -> Self {
        let n_slots = (2 * n).next_power_of_two().max(16);
        Self {
            keys: Keys::default(),
            slots: vec![[FREE, NO_VALUE]; n_slots],
            shift: 64 - n_slots.trailing_zeros(),
        }
    }

    /// Enters `value` unless the pair has one. The table holds at most the pairs it was made for.
    pub(crate) fn insert_first(&mut self, left: u32, right: u32, value: u64) {
        let at = self.find(pair(left, right));
        if self.slots[at][0] == FREE {
            self.slots[at] = [pair(left, right), value];
        }
    }

    /// The pair's value, or [`NO_VALUE`].
    #[inline]
    pub(crate) fn get(&self, left: u32, right: u32) -> u64 {
        self.slots[self.find(pair(left, right))][1]
    }

    #[inline]
    fn find(&self, pair: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = (self.keys.number(pair) >> self.shift) as usize & mask;
        while self.slots[at][0] != pair && self.slots[at][0] != FREE {
            at = (at + 1) & mask;
        }
        at
    }
}

#[inline]
fn pair(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_are_told_apart() {
        let mut seen = std::collections::HashSet::new();
        for len in 0..=16usize {
            for i in 0..len.max(1) {
                let mut text = vec![b'x'; len];
                if let Some(byte) = text.get_mut(i) {
                    *byte = b'y';
                }
                assert!(seen.insert((len, up_to_16(&text))), "{len} {i}");
            }
        }
    }

    #[test]
    fn pairs_keep_their_first_value() {
        let mut table = PairTable::with_capacity(1000);
        for i in 0..1000u32 {
            table.insert_first(i, i * 7, u64::from(i));
            table.insert_first(i, i * 7, 0);
        }
        for i in 0..1000u32 {
            assert_eq!(table.get(i, i * 7), u64::from(i));
            assert_eq!(table.get(i, i * 7 + 1), NO_VALUE);
        }
    }
}
