//! Seeds: a fixed one is used as it is, the default one asks the system.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

/// The seed that means "choose one at random" (`LLAMA_DEFAULT_SEED`).
pub const DEFAULT_SEED: u32 = 0xFFFF_FFFF;

/// Returns `seed`, or for [`DEFAULT_SEED`] a fresh random one on every call (`get_rng_seed`).
///
/// The randomness is the standard library's hash keys, which come from the operating system, mixed with the clock.
/// It is not for cryptography.
pub fn resolve_seed(seed: u32) -> u32 {
    if seed != DEFAULT_SEED {
        return seed;
    }
    let mut hasher = RandomState::new().build_hasher();
    if let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) {
        hasher.write_u128(now.as_nanos());
    }
    let h = hasher.finish();
    (h ^ (h >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_seeds_pass_through_and_the_default_varies() {
        assert_eq!(resolve_seed(0), 0);
        assert_eq!(resolve_seed(DEFAULT_SEED - 1), DEFAULT_SEED - 1);
        let drawn: std::collections::HashSet<u32> = (0..16).map(|_| resolve_seed(DEFAULT_SEED)).collect();
        assert!(drawn.len() > 8);
    }
}
