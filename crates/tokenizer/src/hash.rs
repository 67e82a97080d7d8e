//! A fast hash for pairs of small numbers, keyed per table.
//!
//! Merge tables are looked up for every byte of every word. The standard hash costs more than the rest of that
//! step; a multiplication by a random odd key spreads pairs as well and stays unpredictable to a hostile file.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Makes [`PairHasher`]s that share one random key.
#[derive(Debug, Clone)]
pub(crate) struct PairHasherBuilder {
    key: u64,
}

impl Default for PairHasherBuilder {
    fn default() -> Self {
        Self { key: RandomState::new().hash_one(0u8) | 1 }
    }
}

impl BuildHasher for PairHasherBuilder {
    type Hasher = PairHasher;

    fn build_hasher(&self) -> PairHasher {
        PairHasher { key: self.key, state: 0 }
    }
}

/// Multiplies by the key and folds the 128-bit product.
pub(crate) struct PairHasher {
    key: u64,
    state: u64,
}

impl Hasher for PairHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // Half of the pair alone must reach all bits of the product.
        let mixed = (self.state ^ value).wrapping_add(0x9E37_79B9_7F4A_7C15);
        let product = u128::from(mixed) * u128::from(self.key);
        self.state = product as u64 ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.state
    }
}
