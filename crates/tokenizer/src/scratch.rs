//! Buffers that calls take turns in using, and the words they remember.

use std::sync::{Mutex, PoisonError};

use crate::TokenId;
use crate::cache::WordCache;
use crate::merge::Merger;

/// The best way to get to a position, in a unigram vocabulary.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Best {
    pub score: f64,
    pub from: u32,
    pub token: TokenId,
}

/// The cheapest way from a position to the end, in a PLaMo-2 vocabulary.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub cost: i64,
    /// Bytes to the next position.
    pub len: u32,
    pub token: TokenId,
}

/// What a call needs besides the vocabulary; belongs to one vocabulary.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) cache: WordCache,
    pub(crate) merger: Merger,
    pub(crate) encoded: Vec<u8>,
    pub(crate) text: Vec<u8>,
    pub(crate) unigram: Vec<Best>,
    pub(crate) plamo2: Vec<Step>,
}

/// Scratches not in use: as many as calls have run at the same time.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Scratch>>,
}

/// Longest buffers that are kept between calls, in bytes or entries.
const KEEP: usize = 1 << 20;

impl Pool {
    /// Runs `work` with a scratch nobody else has.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Scratch) -> T) -> T {
        // A poisoned lock holds nothing but buffers.
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut scratch = idle.unwrap_or_default();
        let result = work(&mut scratch);
        scratch.merger.shrink();
        if scratch.text.capacity() > KEEP {
            scratch.text = Vec::new();
        }
        if scratch.unigram.capacity() > KEEP {
            scratch.unigram = Vec::new();
        }
        if scratch.plamo2.capacity() > KEEP {
            scratch.plamo2 = Vec::new();
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        result
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pool")
    }
}
