//! The tokens of a sequence and how many of them the memory holds: the one place that knows positions.

use quipu_decoder::{Memory, SeqId};

use crate::TokenId;
use crate::error::Error;

/// Tokens by position; the memory holds the first [`Held::n_past`], the others are still to be computed.
#[derive(Debug, Default)]
pub(crate) struct Held {
    tokens: Vec<TokenId>,
    n_past: usize,
    /// Tokens from this one on were computed after others that are forgotten since: a prompt that begins with them
    /// must compute them again.
    shifted_from: Option<usize>,
}

impl Held {
    /// Tokens of which none is computed.
    pub fn new(tokens: Vec<TokenId>) -> Held {
        Held { tokens, n_past: 0, shifted_from: None }
    }

    /// Number of tokens the memory holds, which is the position of the next one.
    pub fn n_past(&self) -> usize {
        self.n_past
    }

    /// Number of tokens, computed or not.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// All tokens, computed or not.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// The tokens the memory holds.
    pub fn computed(&self) -> &[TokenId] {
        &self.tokens[..self.n_past]
    }

    /// The tokens that are still to be computed.
    pub fn pending(&self) -> &[TokenId] {
        &self.tokens[self.n_past..]
    }

    /// Makes room for more tokens.
    pub fn reserve(&mut self, n: usize) {
        self.tokens.reserve(n);
    }

    /// Adds a token to be computed.
    pub fn push(&mut self, token: TokenId) {
        self.tokens.push(token);
    }

    /// Replaces what is to be computed.
    pub fn set_pending(&mut self, tokens: &[TokenId]) {
        self.trim();
        self.tokens.extend_from_slice(tokens);
    }

    /// The memory holds the next `n` tokens too.
    pub fn advance(&mut self, n: usize) {
        self.n_past = self.tokens.len().min(self.n_past + n);
    }

    /// Forgets what is not computed.
    pub fn trim(&mut self) {
        self.tokens.truncate(self.n_past);
    }

    /// The memory lost all of it: everything is to be computed again.
    pub fn lost(&mut self) {
        self.n_past = 0;
        self.shifted_from = None;
    }

    /// Length of the longest beginning of `prompt` that the memory holds. The last token is never part of it: its
    /// logits are to be computed.
    pub fn common(&self, prompt: &[TokenId]) -> usize {
        let reusable = self.shifted_from.unwrap_or(usize::MAX).min(prompt.len().saturating_sub(1));
        self.computed().iter().zip(&prompt[..reusable]).take_while(|(a, b)| a == b).count()
    }

    /// Takes over what `cached` says of the memory of `seq_id`, as far as these tokens, of which none is computed,
    /// begin alike. The memory forgets the rest; `cached` is empty afterwards.
    pub fn adopt(&mut self, cached: &mut Held, seq_id: SeqId, memory: &mut dyn Memory) -> Result<(), Error> {
        let mut common = cached.common(&self.tokens);
        if common < cached.n_past && !remove(memory, seq_id, common, None)? {
            // A memory that cannot go back to the common beginning starts anew.
            remove(memory, seq_id, 0, None)?;
            common = 0;
        }
        *cached = Held::default();
        self.n_past = common;
        Ok(())
    }

    /// Forgets `n_discard` computed tokens after the first `n_keep`; those behind them move up. `false` if the memory
    /// refuses, and nothing has changed then. After an error everything is to be computed again.
    pub fn shift(
        &mut self,
        n_keep: usize,
        n_discard: usize,
        seq_id: SeqId,
        memory: &mut dyn Memory,
    ) -> Result<bool, Error> {
        let end = n_keep + n_discard;
        if !memory.can_shift() || !remove(memory, seq_id, n_keep, Some(end))? {
            return Ok(false);
        }
        let moved = memory.seq_add(seq_id, end as i32, self.n_past as i32, -(n_discard as i32));
        if let Err(error) = moved {
            self.lost();
            remove(memory, seq_id, 0, None)?;
            return Err(quipu_decoder::Error::from(error).into());
        }
        self.forget(n_keep, n_discard);
        Ok(true)
    }

    /// `n_discard` computed tokens after the first `n_keep` are forgotten, those behind them moved up.
    pub fn forget(&mut self, n_keep: usize, n_discard: usize) {
        self.tokens.drain(n_keep..n_keep + n_discard);
        self.n_past -= n_discard;
        self.shifted_from = Some(self.shifted_from.unwrap_or(usize::MAX).min(n_keep));
    }

    /// Forgets the tokens that no prompt can begin with, and makes the memory forget them.
    pub fn settle(&mut self, seq_id: SeqId, memory: &mut dyn Memory) -> Result<(), Error> {
        self.trim();
        let Some(first) = self.shifted_from.take().filter(|first| *first < self.n_past) else {
            return Ok(());
        };
        if !remove(memory, seq_id, first, None)? {
            return self.drop_all(seq_id, memory);
        }
        self.n_past = first;
        self.trim();
        Ok(())
    }

    /// Makes the memory forget all of it; the tokens are to be computed again.
    pub fn evict(&mut self, seq_id: SeqId, memory: &mut dyn Memory) -> Result<(), Error> {
        self.lost();
        remove(memory, seq_id, 0, None)?;
        Ok(())
    }

    /// Tokens that the memory holds all of.
    pub fn of_computed(tokens: Vec<TokenId>) -> Held {
        Held { n_past: tokens.len(), tokens, shifted_from: None }
    }

    /// Forgets all of it, and makes the memory forget it.
    pub fn drop_all(&mut self, seq_id: SeqId, memory: &mut dyn Memory) -> Result<(), Error> {
        remove(memory, seq_id, 0, None)?;
        *self = Held::default();
        Ok(())
    }

    /// Forgets all tokens; the memory lost them.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.lost();
    }

    /// Makes the memory forget what these tokens do not know of. `false` if it cannot.
    pub fn restore(&self, seq_id: SeqId, memory: &mut dyn Memory) -> bool {
        let agrees = |memory: &dyn Memory| i64::from(memory.seq_pos_max(seq_id)) + 1 == self.n_past as i64;
        agrees(memory) || matches!(remove(memory, seq_id, self.n_past, None), Ok(true)) && agrees(memory)
    }
}

/// Removes positions from `start` on, up to `end` if there is one; `false` if the memory refuses.
fn remove(memory: &mut dyn Memory, seq_id: SeqId, start: usize, end: Option<usize>) -> Result<bool, Error> {
    let end = end.map_or(-1, |end| end as i32);
    Ok(memory.seq_rm(seq_id, start as i32, end).map_err(quipu_decoder::Error::from)?)
}

#[cfg(test)]
mod tests {
    use quipu_backend::BufferTable;
    use quipu_batch::CheckedBatch;
    use quipu_decoder::{Pos, StateRead, StateWrite};
    use quipu_kv_cache::{KvCache, KvPart, MemoryKey, MemoryPlan, SeqPositions};

    use super::*;

    /// Remembers what it was asked, and refuses what it is told to refuse.
    #[derive(Debug, Default)]
    struct Script {
        refuses_removal: bool,
        fails_to_add: bool,
        calls: Vec<(&'static str, Pos, Pos)>,
    }

    type Done<T> = Result<T, quipu_kv_cache::Error>;

    impl SeqPositions for Script {
        fn seq_pos_min(&self, _: SeqId) -> Pos {
            -1
        }

        fn seq_pos_max(&self, _: SeqId) -> Pos {
            -1
        }
    }

    impl Memory for Script {
        fn clear(&mut self) {
            self.calls.push(("clear", 0, 0));
        }

        fn seq_rm(&mut self, _: SeqId, p0: Pos, p1: Pos) -> Done<bool> {
            self.calls.push(("rm", p0, p1));
            // A recurrent state can be forgotten as a whole.
            Ok(!self.refuses_removal || p0 == 0)
        }

        fn seq_add(&mut self, seq_id: SeqId, p0: Pos, p1: Pos, delta: Pos) -> Done<()> {
            self.calls.push(("add", p0, p1));
            if self.fails_to_add {
                return Err(quipu_kv_cache::Error::Shift { seq_id, pos_max: p1, delta });
            }
            Ok(())
        }

        fn can_shift(&self) -> bool {
            true
        }

        // Nobody asks for the rest.

        fn seq_cp(&mut self, _: SeqId, _: SeqId, _: Pos, _: Pos) -> Done<()> {
            Ok(())
        }

        fn seq_keep(&mut self, _: SeqId) -> Done<()> {
            Ok(())
        }

        fn seq_div(&mut self, _: SeqId, _: Pos, _: Pos, _: i32) -> Done<()> {
            Ok(())
        }

        fn plan(&mut self, _: &mut CheckedBatch, _: usize, _: &mut MemoryPlan) -> Done<()> {
            Ok(())
        }

        fn apply(&mut self, _: &mut MemoryPlan) -> bool {
            false
        }

        fn roll_back(&mut self, _: &mut MemoryPlan) {}

        fn key(&self, _: &MemoryPlan) -> MemoryKey {
            MemoryKey::default()
        }

        fn kv(&self, _: KvPart) -> Option<&KvCache> {
            None
        }

        fn has_update(&self) -> bool {
            false
        }

        fn updated(&mut self) {}

        fn state_write(&self, _: &BufferTable, _: Option<SeqId>, _: &mut dyn StateWrite) -> Done<()> {
            Ok(())
        }

        fn state_read(&mut self, _: &mut BufferTable, _: Option<SeqId>, _: &mut dyn StateRead) -> Done<()> {
            Ok(())
        }
    }

    fn held(n: u32) -> Held {
        let mut held = Held::new((0..n).collect());
        held.advance(n as usize);
        held
    }

    #[test]
    fn a_shift_moves_the_rest_up() {
        let (mut held, mut memory) = (held(10), Script::default());
        held.push(99);
        assert!(held.shift(2, 3, 0, &mut memory).expect("a memory that shifts"));
        assert_eq!(held.computed(), [0, 1, 5, 6, 7, 8, 9]);
        assert_eq!((held.pending(), held.n_past()), ([99].as_slice(), 7));
        assert_eq!(memory.calls, [("rm", 2, 5), ("add", 5, 10)]);
        // What moved was computed after tokens that are gone.
        assert_eq!(held.common(&[0, 1, 5, 6, 7]), 2);
    }

    #[test]
    fn a_refused_shift_changes_nothing() {
        let mut memory = Script { refuses_removal: true, ..Script::default() };
        let mut held = held(10);
        assert!(!held.shift(2, 3, 0, &mut memory).expect("no error"));
        assert_eq!((held.computed(), held.len()), ((0..10).collect::<Vec<_>>().as_slice(), 10));
        assert_eq!(memory.calls, [("rm", 2, 5)]);
    }

    #[test]
    fn a_shift_that_fails_halfway_leaves_nothing_half_shifted() {
        let mut memory = Script { fails_to_add: true, ..Script::default() };
        let mut held = held(10);
        assert!(held.shift(2, 3, 0, &mut memory).is_err());
        assert_eq!((held.n_past(), held.pending().len()), (0, 10));
        assert_eq!(memory.calls, [("rm", 2, 5), ("add", 5, 10), ("rm", 0, -1)]);
    }

    #[test]
    fn a_prompt_takes_over_what_begins_alike() {
        for (refuses_removal, n_past, calls) in
            [(false, 3, vec![("rm", 3, -1)]), (true, 0, vec![("rm", 3, -1), ("rm", 0, -1)])]
        {
            let mut memory = Script { refuses_removal, ..Script::default() };
            let (mut cached, mut held) = (held(10), Held::new(vec![0, 1, 2, 7, 8]));
            held.adopt(&mut cached, 0, &mut memory).expect("a memory that forgets");
            assert_eq!((held.n_past(), cached.len(), memory.calls), (n_past, 0, calls));
        }
        // The last token is computed in any case.
        let (mut cached, mut held, mut memory) = (held(10), Held::new(vec![0, 1, 2]), Script::default());
        held.adopt(&mut cached, 0, &mut memory).expect("a memory that forgets");
        assert_eq!(held.pending(), [2]);
    }
}
