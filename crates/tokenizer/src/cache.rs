//! The cache of words: text in any language repeats itself, and what a word became need not be worked out twice.
//!
//! One place per hash, the newest word wins: memory is bounded and nothing a text contains makes it slow. The table starts
//! small and grows with the number of new words, so that short texts do not pay for long ones.

use crate::TokenId;
use crate::hash::up_to_16;

/// Longest word that is kept, in bytes.
pub(crate) const MAX_WORD: usize = 24;
/// Most tokens a kept word may have.
pub(crate) const MAX_TOKENS: usize = 9;
/// log2 of the number of places at first: 64 bytes each, 64 kB in all.
const LOG_FIRST: u32 = 10;
/// log2 of the number of places at most: 8 MB.
const LOG_LAST: u32 = 17;

/// One cache line: the word, both lengths and the tokens.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Place {
    word: [u64; 3],
    word_len: u8,
    n_tokens: u8,
    tokens: [TokenId; MAX_TOKENS],
}

const EMPTY: Place = Place { word: [0; 3], word_len: 0, n_tokens: 0, tokens: [0; MAX_TOKENS] };

/// Words and their tokens. Belongs to one vocabulary; filled by one thread at a time.
#[derive(Default)]
pub(crate) struct WordCache {
    /// None, or a power of two.
    places: Vec<Place>,
    /// Words kept since the table grew.
    n_new: usize,
}

/// Where a word belongs.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    word: [u64; 3],
    len: u8,
    hash: u64,
}

impl Key {
    #[inline]
    fn new(word: [u64; 3], len: u8) -> Self {
        let mixed = word[0].wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ word[1].wrapping_mul(0xC2B2_AE3D_27D4_EB4F).rotate_left(29)
            ^ word[2].wrapping_mul(0x1656_67B1_9E37_79F9).rotate_left(47)
            ^ (len as u64) << 56;
        let hash = (mixed ^ mixed >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 32;
        Self { word, len, hash }
    }
}

impl WordCache {
    /// Place of `word`; none if it is empty or too long to be kept.
    #[inline]
    pub(crate) fn key(word: &[u8]) -> Option<Key> {
        let len = word.len();
        if len == 0 || len > MAX_WORD {
            return None;
        }
        let words = if let Some(head) = word.first_chunk::<16>() {
            let (a, b) = up_to_16(head);
            let last = word.last_chunk::<8>().map_or(0, |last| u64::from_le_bytes(*last));
            [a, b, last]
        } else {
            let (a, b) = up_to_16(word);
            [a, b, 0]
        };
        Some(Key::new(words, len as u8))
    }

    /// The high bits of the hash: words stay in order when the table grows. Without places any number will do.
    #[inline]
    fn index(&self, key: &Key) -> usize {
        ((key.hash * self.places.len() as u64) >> 32) as usize
    }

    /// More places, and the words that are kept in their new ones.
    #[cold]
    fn grow(&mut self) {
        let n = (4 * self.places.len()).clamp(1 << LOG_FIRST, 1 << LOG_LAST);
        let old = std::mem::replace(&mut self.places, vec![EMPTY; n]);
        self.n_new = 0;
        for place in old.iter().filter(|place| place.word_len > 0) {
            let index = self.index(&Key::new(place.word, place.word_len));
            self.places[index] = *place;
        }
    }

    /// Tokens of the word at `key`, if it is kept.
    #[inline]
    pub(crate) fn get(&self, key: &Key) -> Option<&[TokenId]> {
        let place = self.places.get(self.index(key))?;
        let hit = place.word == key.word && place.word_len == key.len;
        hit.then(|| &place.tokens[..usize::from(place.n_tokens).min(MAX_TOKENS)])
    }

    /// Keeps what a word became, unless that is too much.
    #[inline]
    pub(crate) fn put(&mut self, key: &Key, tokens: &[TokenId]) {
        if tokens.len() > MAX_TOKENS {
            return;
        }
        self.n_new += 1;
        if self.n_new > self.places.len() && self.places.len() < 1 << LOG_LAST {
            self.grow();
        }
        let index = self.index(key);
        let place = &mut self.places[index];
        place.word = key.word;
        place.word_len = key.len;
        place.n_tokens = tokens.len() as u8;
        place.tokens[..tokens.len()].copy_from_slice(tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart() {
        let mut cache = WordCache::default();
        let words: Vec<Vec<u8>> = (1..=MAX_WORD)
            .flat_map(|len| {
                (0..len).map(move |i| {
                    let mut word = vec![b'a'; len];
                    word[i] = b'b';
                    word
                })
            })
            .collect();
        for (n, word) in words.iter().enumerate() {
            let key = WordCache::key(word).expect("short enough");
            cache.put(&key, &[n as TokenId]);
            for (other_n, other) in words.iter().enumerate() {
                let found = cache.get(&WordCache::key(other).expect("short enough"));
                assert!(found.is_none_or(|ids| ids == [other_n as TokenId]), "{n} {other_n}");
            }
            assert_eq!(cache.get(&key), Some([n as TokenId].as_slice()));
        }
        assert!(WordCache::key(b"").is_none() && WordCache::key(&[b'a'; MAX_WORD + 1]).is_none());
        assert_eq!(size_of::<Place>(), 64);
    }
}
