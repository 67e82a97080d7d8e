//! Penalties for tokens that were chosen recently.

use std::collections::VecDeque;

use crate::{Candidates, Error, Sampler, TokenData, TokenId};

/// Repeat, frequency and presence penalties over the last accepted tokens (`llama_sampler_init_penalties`).
///
/// A candidate seen `count > 0` times among the last `last_n` accepted tokens has its logit divided by `repeat`
/// (multiplied when not positive), then lowered by `count * freq + present`. Afterwards the array no longer counts
/// as sorted, even when nothing changed. Disabled when `last_n` is 0 or every penalty is neutral.
#[derive(Debug, Clone)]
pub struct Penalties {
    last_n: usize,
    repeat: f32,
    freq: f32,
    present: f32,
    /// The last accepted tokens, oldest first, at most `last_n`.
    prev: VecDeque<TokenId>,
    /// `counts[id]`: how often `id` is in `prev`. Ids outside of the vocabulary are not counted.
    counts: Vec<u32>,
    /// Scratch: the distinct tokens of the window.
    window: Vec<TokenId>,
}

impl Penalties {
    /// `n_vocab` bounds the token ids that can be penalised; `last_n` is the window (negative means 0, disabled).
    /// `repeat` 1, `freq` 0 and `present` 0 are neutral. The values are not checked, see
    /// [`crate::SamplerParams::validate`].
    pub fn new(n_vocab: usize, last_n: i32, repeat: f32, freq: f32, present: f32) -> Self {
        let last_n = usize::try_from(last_n).unwrap_or(0);
        let neutral = repeat == 1.0 && freq == 0.0 && present == 0.0;
        let last_n = if neutral { 0 } else { last_n };
        let n_counts = if last_n == 0 { 0 } else { n_vocab };
        // The window grows to `last_n` as tokens come in: a caller may ask for far more than is ever generated.
        Self {
            last_n,
            repeat,
            freq,
            present,
            prev: VecDeque::new(),
            counts: vec![0; n_counts],
            window: Vec::new(),
        }
    }

    fn penalise(&self, c: &mut TokenData, count: u32) {
        if c.logit <= 0.0 {
            c.logit *= self.repeat;
        } else {
            c.logit /= self.repeat;
        }
        c.logit -= count as f32 * self.freq + self.present;
    }

    fn count_mut(&mut self, token: TokenId) -> Option<&mut u32> {
        self.counts.get_mut(token as usize)
    }
}

impl Sampler for Penalties {
    fn name(&self) -> &'static str {
        if self.last_n == 0 { "?penalties" } else { "penalties" }
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        if self.last_n == 0 {
            return Ok(());
        }
        for c in &mut candidates.data {
            let count = self.counts.get(c.id as usize).copied().unwrap_or(0);
            if count > 0 {
                self.penalise(c, count);
            }
        }
        candidates.sorted = false;
        Ok(())
    }

    /// Touches only the tokens of the window: in a row they lie where their ids say.
    fn apply_to_row(&mut self, logits: &[f32], candidates: &mut Candidates) -> Result<(), Error> {
        candidates.load(logits);
        self.window.clear();
        self.window.extend(&self.prev);
        self.window.sort_unstable();
        self.window.dedup();
        for &token in &self.window {
            let i = token as usize;
            if let (Some(c), Some(&count)) = (candidates.data.get_mut(i), self.counts.get(i)) {
                self.penalise(c, count);
            }
        }
        Ok(())
    }

    fn accept(&mut self, token: TokenId) {
        if self.last_n == 0 {
            return;
        }
        if self.prev.len() == self.last_n
            && let Some(oldest) = self.prev.pop_front()
            && let Some(count) = self.count_mut(oldest)
        {
            *count -= 1;
        }
        self.prev.push_back(token);
        if let Some(count) = self.count_mut(token) {
            *count += 1;
        }
    }

    fn reset(&mut self) {
        self.prev.clear();
        self.counts.fill(0);
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(s: &mut Penalties, logits: &[f32]) -> Vec<f32> {
        let mut c = Candidates::from_logits(logits);
        c.sorted = true;
        s.apply(&mut c).unwrap();
        assert_eq!(c.sorted, s.last_n == 0);
        c.data.iter().map(|c| c.logit).collect()
    }

    fn accept_all(s: &mut Penalties, tokens: &[TokenId]) {
        for &t in tokens {
            s.accept(t);
        }
    }

    #[test]
    fn each_penalty_on_its_own() {
        let mut s = Penalties::new(4, 8, 2.0, 0.0, 0.0);
        accept_all(&mut s, &[0, 1, 1]);
        assert_eq!(logits(&mut s, &[4.0, -4.0, 4.0, 0.0]), [2.0, -8.0, 4.0, 0.0]);
        let mut s = Penalties::new(4, 8, 1.0, 0.5, 0.0);
        accept_all(&mut s, &[0, 1, 1]);
        assert_eq!(logits(&mut s, &[4.0, 4.0, 4.0, 4.0]), [3.5, 3.0, 4.0, 4.0]);
        let mut s = Penalties::new(4, 8, 1.0, 0.0, 0.5);
        accept_all(&mut s, &[0, 1, 1]);
        assert_eq!(logits(&mut s, &[4.0, 4.0, 4.0, 4.0]), [3.5, 3.5, 4.0, 4.0]);
    }

    #[test]
    fn the_window_forgets() {
        let mut s = Penalties::new(4, 2, 1.0, 1.0, 0.0);
        accept_all(&mut s, &[3, 3, 1]);
        assert_eq!(logits(&mut s, &[0.0; 4]), [0.0, -1.0, 0.0, -1.0]);
        s.accept(1);
        assert_eq!(logits(&mut s, &[0.0; 4]), [0.0, -2.0, 0.0, 0.0]);
        s.reset();
        assert_eq!(logits(&mut s, &[0.0; 4]), [0.0; 4]);
    }

    #[test]
    fn a_row_is_penalised_like_the_candidates_of_it() {
        let row: Vec<f32> = (0..50).map(|i| i as f32 - 25.0).collect();
        let mut s = Penalties::new(50, 8, 1.3, 0.2, 0.1);
        accept_all(&mut s, &[3, 3, 49, TokenId::MAX, 70, 12, 3]);
        let mut got = Candidates::new();
        s.apply_to_row(&row, &mut got).unwrap();
        assert_eq!(got.data.iter().map(|c| c.logit).collect::<Vec<_>>(), logits(&mut s, &row));
    }

    #[test]
    fn neutral_is_disabled_and_strange_tokens_do_nothing() {
        assert_eq!(Penalties::new(4, 64, 1.0, 0.0, 0.0).name(), "?penalties");
        assert_eq!(Penalties::new(4, -1, 2.0, 0.0, 0.0).name(), "?penalties");
        let mut s = Penalties::new(4, 2, 2.0, 0.0, 0.0);
        accept_all(&mut s, &[TokenId::MAX, 1 << 31, i32::MAX as TokenId, 4]);
        assert_eq!(logits(&mut s, &[1.0; 4]), [1.0; 4]);
    }
}
