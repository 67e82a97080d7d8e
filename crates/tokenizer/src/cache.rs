//! The cache of words: text in any language repeats itself, and what a word became need not be worked out twice.
//!
//! One place per hash, the newest word wins: memory is bounded and nothing a text contains makes it slow. The table starts
//! small and grows with the number of new words, so that short texts do not pay for long ones.

use crate::TokenId;

/// Longest word that is kept, in bytes.
pub(crate) const MAX_WORD: usize = 24;
/// Most tokens a kept word may have.
pub(crate) const MAX_TOKENS: usize = 9;
/// log2 of the number of places at first: 64 bytes each, 64 kB in all.
const LOG_FIRST: u32 = 10;
/// log2 of the number of places at most: 8 MB.
const LOG_LAST: u32 = 17;

/// For each length the bits of a word that belong to it.
const MASKS: [[u64; 3]; MAX_WORD + 1] = {
    let mut masks = [[0; 3]; MAX_WORD + 1];
    let mut len = 1;
    while len <= MAX_WORD {
        masks[len] = masks[len - 1];
        let bit = 8 * (len - 1);
        masks[len][bit / 64] |= 0xFF << (bit % 64);
        len += 1;
    }
    masks
};

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

/// At most 8 bytes as a number, the first one lowest.
#[inline]
fn up_to_8(bytes: &[u8]) -> u64 {
    let shift = |n: usize| 8 * (bytes.len() - n);
    if let Some(all) = bytes.first_chunk::<8>() {
        return u64::from_le_bytes(*all);
    }
    // Both ends, which may overlap.
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << shift(4);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<2>(), bytes.last_chunk::<2>()) {
        return u64::from(u16::from_le_bytes(*first)) | u64::from(u16::from_le_bytes(*last)) << shift(2);
    }
    bytes.first().copied().map_or(0, u64::from)
}

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
        Self::key_in(word, 0, word.len())
    }

    /// Place of the word from `start` to `end` of `text`. With text behind the word this is quicker than [`key`](Self::key):
    /// the bytes are loaded at once, whatever their number.
    #[inline(always)]
    pub(crate) fn key_in(text: &[u8], start: usize, end: usize) -> Option<Key> {
        let len = end - start;
        if len == 0 || len > MAX_WORD {
            return None;
        }
        let word = match text[start..].first_chunk::<MAX_WORD>() {
            Some(chunk) => {
                let (words, _) = chunk.as_chunks::<8>();
                std::array::from_fn(|i| u64::from_le_bytes(words[i]) & MASKS[len][i])
            }
            None => {
                std::array::from_fn(|i| up_to_8(&text[end.min(start + 8 * i)..end.min(start + 8 * i + 8)]))
            }
        };
        Some(Key::new(word, len as u8))
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

    /// Appends the tokens of the word at `key`, if it is kept.
    #[inline]
    pub(crate) fn copy(&self, key: &Key, out: &mut Vec<TokenId>) -> bool {
        let Some(place) = self.places.get(self.index(key)) else { return false };
        // Number by number: a comparison of the whole would send the key through memory.
        let differs =
            (0..3).fold(u64::from(place.word_len ^ key.len), |bits, i| bits | place.word[i] ^ key.word[i]);
        if differs != 0 {
            return false;
        }
        // All of them, whatever their number: a branch on it would wait for memory.
        let n = out.len() + usize::from(place.n_tokens);
        out.extend_from_slice(&place.tokens);
        out.truncate(n);
        true
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
                let mut found = Vec::new();
                let hit = cache.copy(&WordCache::key(other).expect("short enough"), &mut found);
                assert_eq!(found, if hit { vec![other_n as TokenId] } else { Vec::new() }, "{n} {other_n}");
            }
            let mut found = Vec::new();
            assert!(cache.copy(&key, &mut found));
            assert_eq!(found, [n as TokenId]);
        }
        for len in 1..=MAX_WORD {
            let text: Vec<u8> = (1..=60).collect();
            let (long, short) = (WordCache::key_in(&text, 3, 3 + len), WordCache::key(&text[3..3 + len]));
            let (long, short) = (long.expect("short enough"), short.expect("short enough"));
            assert_eq!((long.word, long.hash), (short.word, short.hash), "{len}");
        }
        assert!(WordCache::key(b"").is_none() && WordCache::key(&[b'a'; MAX_WORD + 1]).is_none());
        assert_eq!(size_of::<Place>(), 64);
    }
}
