//! DRY: penalises tokens that would go on repeating an earlier stretch of text.

use std::collections::{HashMap, VecDeque};

use crate::{Candidates, Error, Sampler, TokenId, Vocabulary};

/// Bytes of a sequence breaker that count.
const MAX_BREAKER_BYTES: usize = 40;
/// Tokens of a sequence breaker that count, after its first.
const MAX_BREAKER_TOKENS: usize = 20;
/// Natural logarithm of the largest `f32`.
const MAX_LOG: f32 = 88.722_84;

/// Sequences that stop a repetition: first token, then what must follow it.
type Breakers = HashMap<TokenId, Vec<Vec<TokenId>>>;

/// "Don't repeat yourself" (`llama_sampler_init_dry`): a token that would extend a repetition of `n` tokens, `n` at
/// least `allowed_length`, loses `multiplier * base ^ (n - allowed_length)`.
///
/// Looks at the last `last_n` accepted tokens. Sequence breakers bound a repetition: no match reaches back across
/// one. When it acts the array no longer counts as sorted. Disabled when `multiplier` or `last_n` is 0 (negative
/// counts as 0) or `base` is below 1.
#[derive(Debug, Clone)]
pub struct Dry {
    multiplier: f32,
    base: f32,
    allowed_length: i32,
    last_n: usize,
    breakers: Breakers,
    /// The last accepted tokens, latest first.
    last: VecDeque<TokenId>,
    /// Scratch: for each of the last tokens, oldest first, how long the repetition that ends there is.
    repeats: Vec<i32>,
    /// Scratch: the longest repetition each token would extend.
    extends: HashMap<TokenId, i32>,
}

impl Dry {
    /// `breakers` are texts; empty ones are skipped, long ones cut to 40 bytes. Each is turned into every
    /// sequence of tokens of `vocabulary` that begins within a token and spells it.
    pub fn new(
        vocabulary: &dyn Vocabulary,
        multiplier: f32,
        base: f32,
        allowed_length: i32,
        last_n: i32,
        breakers: &[impl AsRef<[u8]>],
    ) -> Self {
        let mut dry = Self::with_token_breakers(multiplier, base, allowed_length, last_n, &[]);
        if !dry.is_disabled() {
            for text in breakers.iter().map(AsRef::as_ref).filter(|text| !text.is_empty()) {
                let text = &text[..text.len().min(MAX_BREAKER_BYTES)];
                add_breakers(vocabulary, text, &mut dry.breakers);
            }
        }
        dry
    }

    /// With breakers given as token sequences (`llama_sampler_init_dry_testing`).
    pub fn with_token_breakers(
        multiplier: f32,
        base: f32,
        allowed_length: i32,
        last_n: i32,
        breakers: &[Vec<TokenId>],
    ) -> Self {
        let mut heads = Breakers::new();
        for (head, tail) in breakers.iter().filter_map(|b| b.split_first()) {
            heads.entry(*head).or_default().push(tail.to_vec());
        }
        Self {
            multiplier,
            base,
            allowed_length,
            last_n: usize::try_from(last_n).unwrap_or(0),
            breakers: heads,
            last: VecDeque::new(),
            repeats: Vec::new(),
            extends: HashMap::new(),
        }
    }

    /// How many of the latest tokens lie after the latest breaker: repetitions are not longer.
    fn limit(&self, n: usize) -> usize {
        for i in 0..n {
            let Some(tails) = self.breakers.get(&self.last[i]) else { continue };
            let fits = |tail: &&Vec<TokenId>| {
                tail.len() <= i && tail.iter().enumerate().all(|(k, &token)| token == self.last[i - k - 1])
            };
            if let Some(longest) = tails.iter().filter(fits).map(Vec::len).max() {
                return i - longest;
            }
        }
        n
    }

    /// Fills `repeats` by the Z algorithm over the reversed text: `repeats[n - 1 - k]` is how many tokens before
    /// (and with) the one `k` back equal the latest ones, at most `limit`.
    fn find_repeats(&mut self, n: usize, limit: i32) {
        let last = &self.last;
        self.repeats.clear();
        self.repeats.resize(n, 0);
        let (mut left, mut right) = (0_usize, 0_usize);
        for k in 1..n {
            let place = n - 1 - k;
            if k > right {
                let len = (0..n - k).take_while(|&i| last[i] == last[i + k]).count();
                self.repeats[place] = (len as i32).min(limit);
                if len > 0 {
                    left = k;
                    right = k + len - 1;
                }
                continue;
            }
            let pair = self.repeats[n - 1 - (k - left)];
            if pair < (right - k + 1) as i32 {
                self.repeats[place] = pair.min(limit);
            } else {
                let mut i = right + 1;
                while i < n && last[i] == last[i - k] {
                    i += 1;
                }
                self.repeats[place] = ((i - k) as i32).min(limit);
                left = k;
                right = i - 1;
            }
        }
    }
}

/// Adds every way in which `text` can begin within a token and go on in the next ones.
fn add_breakers(vocabulary: &dyn Vocabulary, text: &[u8], breakers: &mut Breakers) {
    // The rest of the text after each number of bytes already spelt, tokenized when first needed.
    let mut tails: Vec<Option<Vec<TokenId>>> = vec![None; text.len() + 1];
    for token in 0..TokenId::try_from(vocabulary.n_tokens()).unwrap_or(TokenId::MAX) {
        let word = vocabulary.detokenize(token);
        if word.windows(text.len()).any(|window| window == text) {
            breakers.entry(token).or_default().push(Vec::new());
            continue;
        }
        for at in (0..word.len()).filter(|&at| text.starts_with(&word[at..])) {
            let spelt = word.len() - at;
            let tail = tails[spelt].get_or_insert_with(|| {
                let mut ids = vocabulary.tokenize(&text[spelt..], false);
                ids.truncate(MAX_BREAKER_TOKENS);
                ids
            });
            let known = breakers.entry(token).or_default();
            if !known.contains(tail) {
                known.push(tail.clone());
            }
        }
    }
}

impl Sampler for Dry {
    fn name(&self) -> &'static str {
        if self.multiplier == 0.0 || self.base < 1.0 || self.last_n == 0 { "?dry" } else { "dry" }
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        if self.is_disabled() {
            return Ok(());
        }
        let n = self.last.len();
        if n as i64 <= i64::from(self.allowed_length) {
            return Ok(());
        }
        let limit = self.limit(n) as i32;
        if limit < self.allowed_length {
            return Ok(());
        }
        self.find_repeats(n, limit);

        self.extends.clear();
        for (i, &length) in self.repeats.iter().enumerate().take(n.saturating_sub(1)) {
            if length >= self.allowed_length {
                let next = self.extends.entry(self.last[n - 2 - i]).or_insert(length);
                *next = length.max(*next);
            }
        }
        let max_exponent = if self.base > 1.000_001 { (MAX_LOG / self.base.ln()) as i32 } else { 0 };
        for c in &mut candidates.data {
            let Some(&length) = self.extends.get(&c.id) else { continue };
            if self.breakers.get(&c.id).is_some_and(|tails| tails.iter().any(Vec::is_empty)) {
                continue;
            }
            let mut exponent = length.wrapping_sub(self.allowed_length);
            if max_exponent > 0 && exponent > max_exponent {
                exponent = max_exponent;
            }
            let penalty = f64::from(self.multiplier) * f64::from(self.base).powf(f64::from(exponent));
            c.logit -= penalty as f32;
        }
        candidates.sorted = false;
        Ok(())
    }

    fn accept(&mut self, token: TokenId) {
        if self.is_disabled() {
            return;
        }
        self.last.truncate(self.last_n - 1);
        self.last.push_front(token);
    }

    fn reset(&mut self) {
        self.last.clear();
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Texts;

    fn penalties(s: &mut Dry, accepted: &[TokenId]) -> Vec<f32> {
        s.reset();
        for &t in accepted {
            s.accept(t);
        }
        let mut c = Candidates::from_logits(&[0.0; 6]);
        s.apply(&mut c).unwrap();
        c.data.iter().map(|c| -c.logit).collect()
    }

    #[test]
    fn what_extends_a_repetition_pays() {
        let mut s = Dry::with_token_breakers(1.0, 2.0, 2, 100, &[]);
        // "1 2 3 4 1 2 3": 4 would make four of a kind.
        assert_eq!(penalties(&mut s, &[1, 2, 3, 4, 1, 2, 3]), [0.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
        assert_eq!(penalties(&mut s, &[1, 2, 5, 4, 1, 2]), [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(penalties(&mut s, &[1, 2, 3]), [0.0; 6]);
        assert_eq!(penalties(&mut s, &[3, 3, 3, 3]), [0.0, 0.0, 0.0, 2.0, 0.0, 0.0]);
    }

    #[test]
    fn breakers_bound_the_repetition() {
        let mut s = Dry::with_token_breakers(1.0, 2.0, 2, 100, &[vec![2]]);
        assert_eq!(penalties(&mut s, &[1, 2, 3, 4, 1, 2, 3]), [0.0; 6]);
        let mut s = Dry::with_token_breakers(1.0, 2.0, 1, 100, &[vec![1, 2]]);
        assert_eq!(penalties(&mut s, &[1, 2, 3, 4, 1, 2, 3]), [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        let mut s = Dry::with_token_breakers(1.0, 2.0, 1, 100, &[vec![4]]);
        assert_eq!(penalties(&mut s, &[1, 2, 3, 4, 1, 2, 3]), [0.0; 6], "a breaker itself is not penalised");
    }

    #[test]
    fn the_window_and_the_exponent_are_bounded() {
        let mut s = Dry::with_token_breakers(1.0, 2.0, 1, 3, &[]);
        assert_eq!(penalties(&mut s, &[1, 2, 3, 4, 1, 2, 3]), [0.0; 6]);
        let mut s = Dry::with_token_breakers(1.0, 2.0, 1, 1000, &[]);
        assert!(penalties(&mut s, &[0; 900])[0] > 1e38);
        let mut s = Dry::with_token_breakers(1.0, 2.0, -1, 9, &[]);
        assert_eq!(penalties(&mut s, &[]), [0.0; 6]);
        for (multiplier, base, last_n) in [(0.0, 2.0, 9), (1.0, 0.9, 9), (1.0, 2.0, 0), (1.0, 2.0, -1)] {
            assert_eq!(Dry::with_token_breakers(multiplier, base, 1, last_n, &[]).name(), "?dry");
        }
    }

    #[test]
    fn breakers_are_found_within_and_across_tokens() {
        let vocabulary = Texts::new(&["a\n", "x:", ":", "y", "\nz", "z"]);
        let s = Dry::new(&vocabulary, 1.0, 2.0, 1, 10, &[":\nz", "\n", ""]);
        assert_eq!(s.breakers[&0], [Vec::<TokenId>::new()]);
        assert_eq!(s.breakers[&1], [vec![4]]);
        assert_eq!(s.breakers[&2], [vec![4]]);
        assert_eq!(s.breakers[&4], [Vec::<TokenId>::new()]);
        assert!(!s.breakers.contains_key(&3) && !s.breakers.contains_key(&5));
    }
}
