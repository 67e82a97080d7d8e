//! Reasoning budget: bounds how long a model may think, and then makes it say the words that end its thoughts.

use std::sync::Arc;

use crate::{Candidates, Error, Sampler, TokenId, Vocabulary};

/// Where a [`ReasoningBudget`] stands (`common_reasoning_budget_state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BudgetState {
    /// Waiting for a start sequence; changes nothing.
    Idle,
    /// Counting down, watching for an end sequence; changes nothing.
    Counting,
    /// Lets only the next token of the forced sequence live.
    Forcing,
    /// The budget is used up within a character; changes nothing until the character is whole.
    WaitingUtf8,
    /// The thoughts have ended; changes nothing until a start sequence comes again.
    Done,
}

/// What a [`ReasoningBudget`] watches for and how much it allows (`common_reasoning_budget_init`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BudgetParams {
    /// Token sequences, each of which begins a block of thoughts. Empty ones are ignored.
    pub start: Vec<Vec<TokenId>>,
    /// Token sequences, each of which ends it. Empty ones are ignored.
    pub end: Vec<Vec<TokenId>>,
    /// Said when the budget is used up: a message perhaps, and an end sequence.
    pub forced: Vec<TokenId>,
    /// Most tokens of a block; 0 or less forces the end at once.
    pub budget: i32,
}

/// Bounds the tokens between a start and an end sequence (`common_reasoning_budget_init`).
///
/// While it forces, the logits of all tokens but one are `-inf`. In all other states it changes nothing.
#[derive(Clone)]
pub struct ReasoningBudget {
    /// For the borders of characters; without it every token counts as whole characters.
    vocabulary: Option<Arc<dyn Vocabulary>>,
    start: Matcher,
    end: Matcher,
    forced: Vec<TokenId>,
    budget: i32,
    remaining: i32,
    state: BudgetState,
    /// Next of `forced`.
    force_pos: usize,
    /// The sequence of `end` that led to [`BudgetState::Done`].
    end_match: Option<usize>,
}

impl std::fmt::Debug for ReasoningBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReasoningBudget")
            .field("state", &self.state)
            .field("remaining", &self.remaining)
            .field("force_pos", &self.force_pos)
            .finish_non_exhaustive()
    }
}

impl ReasoningBudget {
    /// Begins in `state`; counting without a budget is forcing.
    pub fn new(params: BudgetParams, vocabulary: Option<Arc<dyn Vocabulary>>, state: BudgetState) -> Self {
        let state =
            if state == BudgetState::Counting && params.budget <= 0 { BudgetState::Forcing } else { state };
        Self {
            vocabulary,
            start: Matcher::new(params.start),
            end: Matcher::new(params.end),
            forced: params.forced,
            budget: params.budget,
            remaining: params.budget,
            state,
            force_pos: 0,
            end_match: None,
        }
    }

    /// Where it stands (`common_reasoning_budget_get_state`).
    pub fn state(&self) -> BudgetState {
        self.state
    }

    /// Tokens left of the budget.
    pub fn remaining(&self) -> i32 {
        self.remaining
    }

    /// The end sequence that ended the last block, also when it was forced; `None` before the first end, and again
    /// from the next start on (`common_reasoning_budget_get_end_match`).
    pub fn end_match(&self) -> Option<&[TokenId]> {
        self.end_match.map(|i| self.end.sequences[i].as_slice())
    }

    /// Ends the thoughts now (`common_reasoning_budget_force`). False, and nothing happens, unless it is counting.
    pub fn force(&mut self) -> bool {
        let counting = self.state == BudgetState::Counting;
        if counting {
            self.begin_forcing();
        }
        counting
    }

    fn begin_forcing(&mut self) {
        self.state = BudgetState::Forcing;
        self.force_pos = 0;
        self.end.reset();
    }

    /// After a start sequence.
    fn begin_counting(&mut self) {
        self.remaining = self.budget;
        self.state = BudgetState::Counting;
        if self.remaining <= 0 {
            self.state = BudgetState::Forcing;
            self.force_pos = 0;
        }
    }

    fn is_whole(&self, token: TokenId) -> bool {
        self.vocabulary.as_ref().is_none_or(|vocabulary| ends_whole(vocabulary.plain_piece(token)))
    }
}

impl Sampler for ReasoningBudget {
    fn name(&self) -> &'static str {
        "reasoning-budget"
    }

    fn apply(&mut self, candidates: &mut Candidates) -> Result<(), Error> {
        if self.state != BudgetState::Forcing {
            return Ok(());
        }
        let Some(&forced) = self.forced.get(self.force_pos) else { return Ok(()) };
        for c in candidates.data.iter_mut().filter(|c| c.id != forced) {
            c.logit = f32::NEG_INFINITY;
        }
        // The reference keeps the flag; the order it stands for may be lost.
        candidates.sorted &= candidates.data.first().is_some_and(|c| c.id == forced);
        Ok(())
    }

    fn accept(&mut self, token: TokenId) {
        match self.state {
            BudgetState::Idle => {
                if self.start.advance(token).is_some() {
                    self.begin_counting();
                }
            }
            BudgetState::Counting | BudgetState::WaitingUtf8 => {
                let ended = self.end.advance(token);
                if ended.is_some() {
                    self.state = BudgetState::Done;
                    self.end_match = ended;
                    return;
                }
                let whole = self.is_whole(token);
                if self.state == BudgetState::Counting {
                    self.remaining -= 1;
                    if self.remaining > 0 {
                        return;
                    }
                }
                if whole {
                    self.begin_forcing();
                } else if self.state == BudgetState::Counting {
                    self.state = BudgetState::WaitingUtf8;
                    self.end.reset();
                }
            }
            BudgetState::Forcing => {
                let ended = self.end.advance(token);
                self.force_pos += 1;
                if self.force_pos >= self.forced.len() {
                    self.state = BudgetState::Done;
                    self.end_match = ended;
                }
            }
            BudgetState::Done => {
                if self.start.advance(token).is_some() {
                    self.end.reset();
                    self.end_match = None;
                    self.begin_counting();
                }
            }
        }
    }

    /// Back to [`BudgetState::Idle`], whatever it began in, as in the reference.
    fn reset(&mut self) {
        self.state = BudgetState::Idle;
        self.remaining = self.budget;
        self.start.reset();
        self.end.reset();
        self.force_pos = 0;
        self.end_match = None;
    }

    fn clone_box(&self) -> Box<dyn Sampler> {
        Box::new(self.clone())
    }
}

/// Finds token sequences in a stream of tokens. The sequences are few and short, so the last tokens are kept and
/// compared.
#[derive(Debug, Clone)]
struct Matcher {
    sequences: Vec<Vec<TokenId>>,
    /// The last tokens since the start or the last find, as many as the longest sequence has.
    tail: Vec<TokenId>,
}

impl Matcher {
    fn new(sequences: Vec<Vec<TokenId>>) -> Self {
        let mut unique: Vec<Vec<TokenId>> = Vec::new();
        for sequence in sequences {
            if !sequence.is_empty() && !unique.contains(&sequence) {
                unique.push(sequence);
            }
        }
        Self { sequences: unique, tail: Vec::new() }
    }

    /// The longest sequence that ends with this token. A found one is used up.
    fn advance(&mut self, token: TokenId) -> Option<usize> {
        let longest = self.sequences.iter().map(Vec::len).max()?;
        if self.tail.len() == longest {
            self.tail.remove(0);
        }
        self.tail.push(token);
        let found = (0..self.sequences.len())
            .filter(|&i| self.tail.ends_with(&self.sequences[i]))
            .max_by_key(|&i| self.sequences[i].len());
        if found.is_some() {
            self.tail.clear();
        }
        found
    }

    fn reset(&mut self) {
        self.tail.clear();
    }
}

/// Whether a text ends with a whole character (`common_utf8_is_complete`): the last byte that begins one is followed
/// by as many as it announces.
fn ends_whole(text: &[u8]) -> bool {
    let lead = text.iter().rev().take(4).position(|byte| byte & 0xC0 != 0x80);
    match lead {
        Some(after) => {
            let announced = match text[text.len() - 1 - after] {
                0xF0.. => 4,
                0xE0.. => 3,
                0xC0.. => 2,
                _ => 1,
            };
            after + 1 >= announced
        }
        None => text.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Texts;

    const N: usize = 120;

    fn params(start: &[&[TokenId]], end: &[&[TokenId]], forced: &[TokenId], budget: i32) -> BudgetParams {
        let own = |list: &[&[TokenId]]| list.iter().map(|s| s.to_vec()).collect();
        BudgetParams { start: own(start), end: own(end), forced: forced.to_vec(), budget }
    }

    fn simple(budget: i32, state: BudgetState) -> ReasoningBudget {
        ReasoningBudget::new(params(&[&[100]], &[&[101]], &[102, 101], budget), None, state)
    }

    /// The only token left, if there is only one.
    fn forced(budget: &mut ReasoningBudget) -> Option<TokenId> {
        let mut c = Candidates::from_logits(&[0.5; N]);
        budget.apply(&mut c).unwrap();
        let alive: Vec<TokenId> = c.data.iter().filter(|c| c.logit.is_finite()).map(|c| c.id).collect();
        if let [only] = alive[..] {
            return Some(only);
        }
        assert_eq!(alive.len(), N);
        None
    }

    /// What is forced before each token of `tokens`.
    fn run(mut budget: ReasoningBudget, tokens: &[TokenId]) -> Vec<Option<TokenId>> {
        tokens
            .iter()
            .map(|&token| {
                let only = forced(&mut budget);
                budget.accept(token);
                only
            })
            .collect()
    }

    /// `before` free tokens, and then the forced 102, 101.
    fn free_then_forced(before: usize, after: usize) -> Vec<Option<TokenId>> {
        [vec![None; before], vec![Some(102), Some(101)], vec![None; after]].concat()
    }

    #[test]
    fn thoughts_that_end_in_time_are_left_alone() {
        let budget = ReasoningBudget::new(params(&[&[100]], &[&[101]], &[102], 5), None, BudgetState::Idle);
        assert_eq!(run(budget, &[100, 50, 51, 101, 52]), [None; 5]);
    }

    #[test]
    fn a_used_up_budget_forces_the_end() {
        assert_eq!(run(simple(2, BudgetState::Idle), &[100, 50, 51, 52, 53]), free_then_forced(3, 0));
        assert_eq!(run(simple(2, BudgetState::Counting), &[50, 51, 52, 53, 54]), free_then_forced(2, 1));
    }

    #[test]
    fn no_budget_forces_at_once() {
        assert_eq!(simple(0, BudgetState::Counting).state(), BudgetState::Forcing);
        assert_eq!(run(simple(0, BudgetState::Counting), &[100, 50, 51, 52]), free_then_forced(0, 2));
        assert_eq!(run(simple(0, BudgetState::Idle), &[7, 100, 50, 51, 52]), free_then_forced(2, 1));
    }

    #[test]
    fn nothing_to_watch_for_changes_nothing() {
        let budget = ReasoningBudget::new(params(&[], &[&[]], &[102], 2), None, BudgetState::Idle);
        assert_eq!(run(budget, &[50, 51, 52, 53]), [None; 4]);
    }

    #[test]
    fn a_second_block_has_a_budget_of_its_own() {
        let tokens = [100, 50, 101, 100, 60, 61, 62, 63, 64];
        assert_eq!(run(simple(2, BudgetState::Idle), &tokens), free_then_forced(6, 1));
    }

    #[test]
    fn any_of_several_sequences_counts() {
        let two_starts = params(&[&[100], &[110, 111]], &[&[101]], &[102, 101], 2);
        let budget = ReasoningBudget::new(two_starts, None, BudgetState::Idle);
        assert_eq!(run(budget, &[110, 111, 50, 51, 52, 53]), free_then_forced(4, 0));
        let two_ends = params(&[&[100]], &[&[101], &[103, 104]], &[102, 101], 5);
        let budget = ReasoningBudget::new(two_ends, None, BudgetState::Idle);
        assert_eq!(run(budget, &[100, 50, 103, 104, 52]), [None; 5]);
    }

    #[test]
    fn a_copy_goes_on_from_the_same_place() {
        let mut counting = simple(2, BudgetState::Idle);
        counting.accept(100);
        counting.accept(50);
        let mut copy = counting.clone();
        copy.accept(51);
        assert_eq!((forced(&mut copy), forced(&mut counting)), (Some(102), None));

        let mut forcing = simple(0, BudgetState::Forcing);
        forcing.accept(102);
        assert_eq!(forced(&mut forcing.clone()), Some(101));
        forcing.reset();
        assert_eq!(forcing.state(), BudgetState::Idle);
    }

    #[test]
    fn only_a_counting_budget_can_be_ended_by_hand() {
        let mut budget = simple(5, BudgetState::Idle);
        assert!(!budget.force());
        budget.accept(100);
        budget.accept(50);
        assert_eq!((budget.state(), budget.remaining()), (BudgetState::Counting, 4));
        assert!(budget.force());
        assert_eq!(forced(&mut budget), Some(102));
        budget.accept(102);
        assert!(!budget.force());
        assert_eq!(forced(&mut budget), Some(101));
        budget.accept(101);
        assert!(!budget.force());
        assert_eq!(budget.state(), BudgetState::Done);
        assert_eq!(budget.end_match(), Some(&[101][..]));
    }

    #[test]
    fn the_end_that_matched_is_told() {
        let accept = |budget: &mut ReasoningBudget, tokens: &[TokenId]| {
            for &token in tokens {
                budget.accept(token);
            }
        };
        let new = |ends: &[&[TokenId]], forced: &[TokenId], n, state| {
            ReasoningBudget::new(params(&[&[100]], ends, forced, n), None, state)
        };
        let ends: &[&[TokenId]] = &[&[101], &[103, 104]];

        let mut natural = new(ends, &[102, 101], 5, BudgetState::Idle);
        accept(&mut natural, &[100, 50, 103]);
        assert_eq!(natural.end_match(), None);
        natural.accept(104);
        assert_eq!(natural.end_match(), Some(&[103, 104][..]));
        natural.accept(100);
        assert_eq!(natural.end_match(), None);

        let mut longest = new(&[&[104], &[103, 104]], &[102, 104], 5, BudgetState::Idle);
        accept(&mut longest, &[100, 103, 104]);
        assert_eq!(longest.end_match(), Some(&[103, 104][..]));

        let mut by_force = new(ends, &[102, 103, 104], 0, BudgetState::Forcing);
        accept(&mut by_force, &[102, 103]);
        assert_eq!(by_force.end_match(), None);
        by_force.accept(104);
        assert_eq!(by_force.end_match(), Some(&[103, 104][..]));

        let mut unknown = new(ends, &[102], 0, BudgetState::Forcing);
        unknown.accept(102);
        assert_eq!((unknown.state(), unknown.end_match()), (BudgetState::Done, None));
    }

    #[test]
    fn a_character_is_finished_before_the_end_is_forced() {
        let mut texts = Texts::new(&["<think>", "</think>", "a"]);
        texts.0.extend([vec![0xE2], vec![0x80], vec![0x9C]]);
        let params = params(&[&[0]], &[&[1]], &[1], 2);
        let mut budget = ReasoningBudget::new(params, Some(Arc::new(texts)), BudgetState::Idle);
        for (token, want) in [
            (0, BudgetState::Counting),
            (2, BudgetState::Counting),
            (3, BudgetState::WaitingUtf8),
            // A continuation alone is not whole by itself, as in the reference.
            (4, BudgetState::WaitingUtf8),
            (5, BudgetState::WaitingUtf8),
            (2, BudgetState::Forcing),
            (1, BudgetState::Done),
        ] {
            budget.accept(token);
            assert_eq!(budget.state(), want, "token {token}");
        }
    }

    #[test]
    fn whole_characters() {
        for text in ["hello", "", "\u{a0}", "\u{201c}", "\u{1f600}", "abc\u{e9}"] {
            assert!(ends_whole(text.as_bytes()), "{text}");
        }
        let cut: [&[u8]; 9] = [
            b"\xC2",
            b"\xE2\x80",
            b"\xE2",
            b"\xF0\x9F\x98",
            b"\xF0\x9F",
            b"\xF0",
            b"\x80",
            b"hello\xC3",
            b"\x80\x80\x80\x80\x80",
        ];
        for text in cut {
            assert!(!ends_whole(text), "{text:?}");
        }
    }
}
