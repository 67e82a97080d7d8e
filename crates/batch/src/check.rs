//! Checking and completing a batch.

use crate::groups::Groups;
use crate::{Batch, Error, MAX_SEQ, Pos, SeqId, SeqSet};

/// What a memory holds of each sequence: all that checking a batch asks of it (`seq_pos_min`, `seq_pos_max` of `llama_memory_i`).
pub trait SeqPositions {
    /// Smallest position of a sequence, -1 if it is empty or no sequence has that number.
    fn seq_pos_min(&self, seq_id: SeqId) -> Pos;

    /// Largest position of a sequence, -1 if it is empty or no sequence has that number.
    fn seq_pos_max(&self, seq_id: SeqId) -> Pos;
}

/// What a batch is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Tokens of the vocabulary.
    pub n_vocab: usize,
    /// Width of an embedding row.
    pub n_embd: usize,
    /// Sequences of the context.
    pub n_seq_max: usize,
    /// Positions per token: 1, or 4 in models that place tokens in images (M-RoPE).
    pub n_pos: usize,
    /// Every token is an output, whatever the batch says.
    pub output_all: bool,
}

/// Positions of one sequence in the batch.
#[derive(Clone, Copy, Debug)]
struct SeqSpan {
    min: Pos,
    max: Pos,
    last: Pos,
    n_distinct: usize,
    ordered: bool,
}

impl SeqSpan {
    const EMPTY: SeqSpan = SeqSpan { min: -1, max: -1, last: -1, n_distinct: 0, ordered: true };

    fn include(&mut self, pos: Pos) {
        if self.n_distinct == 0 {
            *self = SeqSpan { min: pos, max: pos, last: pos, n_distinct: 1, ordered: true };
            return;
        }
        self.ordered &= pos >= self.last;
        // Counts distinct positions as long as they do not decrease; else they are counted again.
        self.n_distinct += usize::from(pos != self.last);
        (self.min, self.max, self.last) = (self.min.min(pos), self.max.max(pos), pos);
    }
}

/// What was worked out about a batch: every field completed and every rule checked, ready to be split. Answers to `llama_batch_allocr`; its
/// memory is reused from batch to batch. Token ids and embedding rows stay in the [`Batch`].
#[derive(Clone, Debug)]
pub struct CheckedBatch {
    n_tokens: usize,
    pub(crate) n_pos: usize,
    pub(crate) from_embeddings: bool,
    /// One position per token, or `n_pos`: the first of all tokens, then the second.
    pub(crate) pos: Vec<Pos>,
    /// First sequence of each token.
    pub(crate) seq_id: Vec<SeqId>,
    pub(crate) groups: Groups,
    pub(crate) outputs: Vec<bool>,
    n_outputs: usize,
    /// Outputs of all tokens were asked for at once.
    output_all: bool,
    /// Some token belongs to several sequences.
    pub(crate) has_coupled: bool,
    /// Tokens that are in a ubatch already.
    pub(crate) used: Vec<bool>,
    pub(crate) n_used: usize,
    /// Tokens before this one are in ubatches.
    pub(crate) n_before: usize,
    pub(crate) out_ids: Vec<u32>,
    /// Working memory of splitting.
    pub(crate) sets: Vec<u32>,
    spans: Vec<SeqSpan>,
    /// Per sequence: those that come before it in some token's list.
    coupled: Vec<SeqSet>,
}

impl Default for CheckedBatch {
    fn default() -> CheckedBatch {
        CheckedBatch::new()
    }
}

impl CheckedBatch {
    /// An empty one.
    pub fn new() -> CheckedBatch {
        CheckedBatch {
            n_tokens: 0,
            n_pos: 1,
            from_embeddings: false,
            pos: Vec::new(),
            seq_id: Vec::new(),
            groups: Groups::new(),
            outputs: Vec::new(),
            n_outputs: 0,
            output_all: false,
            has_coupled: false,
            used: Vec::new(),
            n_used: 0,
            n_before: 0,
            out_ids: Vec::new(),
            sets: Vec::new(),
            spans: vec![SeqSpan::EMPTY; MAX_SEQ],
            coupled: vec![SeqSet::EMPTY; MAX_SEQ],
        }
    }

    /// Checks `batch` and fills its missing fields from `memory` (`llama_batch_allocr::init`).
    ///
    /// On an error this holds no usable batch.
    pub fn init(
        &mut self,
        batch: &Batch,
        limits: &BatchLimits,
        memory: Option<&dyn SeqPositions>,
    ) -> Result<(), Error> {
        self.clear();
        self.n_tokens = check_fields(batch, limits)?;
        self.n_pos = limits.n_pos.max(1);
        self.from_embeddings = !batch.embd.is_empty();
        self.fill_sequences(batch);
        self.fill_pos(batch, limits.n_seq_max, memory)?;
        self.output_all = limits.output_all;
        self.fill_outputs(batch, limits.output_all);
        self.span_sequences(batch);
        if self.n_pos > 1 {
            self.check_forward(limits.n_seq_max, memory)?;
        } else {
            self.check_continuity(limits.n_seq_max, memory)?;
        }
        self.check_coupling(batch, limits.n_seq_max, memory)?;
        self.check_order()?;
        self.split_reset();
        Ok(())
    }

    /// Number of tokens.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Number of tokens whose output is wanted.
    pub fn n_outputs(&self) -> usize {
        self.n_outputs
    }

    /// Whether the caller wants outputs of all tokens, whatever the batch says (`BatchLimits::output_all`).
    pub fn output_all(&self) -> bool {
        self.output_all
    }

    /// Number of tokens that were put into ubatches.
    pub fn n_used(&self) -> usize {
        self.n_used
    }

    /// Batch index of each output, in the order in which ubatches give them.
    pub fn out_ids(&self) -> &[u32] {
        &self.out_ids
    }

    /// Positions, completed; where tokens have several, the first of each comes first.
    pub fn pos(&self) -> &[Pos] {
        &self.pos
    }

    /// First sequence of each token, completed.
    pub fn seq_id(&self) -> &[SeqId] {
        &self.seq_id
    }

    /// Sequences of a token of the batch, completed.
    pub fn seq_set(&self, index: usize) -> SeqSet {
        self.groups.set(index)
    }

    /// Output marks, completed.
    pub fn outputs(&self) -> &[bool] {
        &self.outputs
    }

    /// First position of a sequence in the batch, -1 if it is not in it.
    pub fn seq_pos_min(&self, seq_id: SeqId) -> Pos {
        self.span(seq_id).min
    }

    /// Last position of a sequence in the batch, -1 if it is not in it.
    pub fn seq_pos_max(&self, seq_id: SeqId) -> Pos {
        self.span(seq_id).max
    }

    /// Puts all tokens back (`split_reset`).
    pub fn split_reset(&mut self) {
        self.out_ids.clear();
        (self.n_used, self.n_before) = (0, 0);
        self.used.clear();
        self.used.resize(self.n_tokens, false);
        self.groups.reset();
    }

    fn span(&self, seq_id: SeqId) -> SeqSpan {
        let span = usize::try_from(seq_id).ok().and_then(|s| self.spans.get(s));
        span.copied().unwrap_or(SeqSpan::EMPTY)
    }

    fn clear(&mut self) {
        self.n_tokens = 0;
        self.pos.clear();
        self.seq_id.clear();
        self.groups.clear();
        self.outputs.clear();
        self.n_outputs = 0;
        self.has_coupled = false;
        self.spans.fill(SeqSpan::EMPTY);
        self.coupled.fill(SeqSet::EMPTY);
        self.split_reset();
    }

    fn fill_sequences(&mut self, batch: &Batch) {
        for i in 0..self.n_tokens {
            let ids = sequences_of(batch, i);
            self.seq_id.push(ids[0]);
            let set: SeqSet = ids.iter().copied().collect();
            let only = if ids.len() == 1 { Some(ids[0]) } else { set.only() };
            self.groups.push(set, only);
        }
    }

    fn fill_pos(
        &mut self,
        batch: &Batch,
        n_seq_max: usize,
        memory: Option<&dyn SeqPositions>,
    ) -> Result<(), Error> {
        if batch.pos.is_empty() {
            let mut next = [0; MAX_SEQ];
            for (s, next) in next.iter_mut().enumerate().take(n_seq_max) {
                *next = memory.map_or(0, |memory| memory.seq_pos_max(s as SeqId).saturating_add(1));
            }
            for i in 0..self.n_tokens {
                let pos = next[self.seq_id[i] as usize];
                self.pos.push(pos);
                let ids = sequences_of(batch, i);
                for s in ids {
                    next[*s as usize] = pos.saturating_add(1);
                }
            }
        } else {
            self.pos.extend_from_slice(&batch.pos);
        }
        match self.pos.iter().position(|pos| *pos < 0 || *pos == Pos::MAX) {
            Some(index) => Err(Error::InvalidPosition { index, pos: self.pos[index] }),
            None => Ok(()),
        }
    }

    fn fill_outputs(&mut self, batch: &Batch, output_all: bool) {
        let n_tokens = self.n_tokens;
        if output_all {
            self.outputs.resize(n_tokens, true);
        } else if batch.outputs.is_empty() {
            self.outputs.resize(n_tokens, false);
            self.outputs[n_tokens - 1] = true;
        } else {
            self.outputs.extend_from_slice(&batch.outputs);
        }
        self.n_outputs = self.outputs.iter().filter(|output| **output).count();
    }

    fn span_sequences(&mut self, batch: &Batch) {
        for i in 0..self.n_tokens {
            let ids = sequences_of(batch, i);
            for (entry, s) in ids.iter().enumerate() {
                self.spans[*s as usize].include(self.pos[i]);
                if entry > 0 {
                    self.coupled[*s as usize].insert(ids[0]);
                    self.has_coupled = true;
                }
            }
        }
    }

    /// With several positions per token there may be gaps, but nothing before what is in memory.
    fn check_forward(&self, n_seq_max: usize, memory: Option<&dyn SeqPositions>) -> Result<(), Error> {
        let Some(memory) = memory else { return Ok(()) };
        let is_text = !self.from_embeddings;
        for s in 0..n_seq_max {
            let (seq_id, pos_min) = (s as SeqId, self.spans[s].min);
            let memory_max = memory.seq_pos_max(seq_id);
            if self.spans[s].n_distinct == 0 || memory_max < 0 {
                continue;
            }
            // A token goes beyond; rows of an image may share a position with what is before them.
            if memory_max > pos_min || is_text && memory_max == pos_min {
                let index = self.place_of(seq_id, pos_min);
                return Err(Error::NotForward { index, seq_id, pos_min, memory_max, is_text });
            }
        }
        Ok(())
    }

    fn check_continuity(&self, n_seq_max: usize, memory: Option<&dyn SeqPositions>) -> Result<(), Error> {
        for s in 0..n_seq_max {
            let seq_id = s as SeqId;
            let SeqSpan { min, max, n_distinct, ordered, .. } = self.spans[s];
            if n_distinct == 0 {
                continue;
            }
            let memory_max = memory.map_or(-1, |memory| memory.seq_pos_max(seq_id));
            if memory_max >= 0 && i64::from(min) != i64::from(memory_max) + 1 {
                let index = self.place_of(seq_id, min);
                return Err(Error::NotConsecutive { index, seq_id, pos_min: min, memory_max });
            }
            if ordered && i64::from(max) - i64::from(min) < n_distinct as i64 {
                continue;
            }
            let distinct = self.distinct(seq_id);
            if let Some(pair) = distinct.windows(2).find(|pair| pair[1] - pair[0] > 1) {
                let (index, n_distinct) = (self.place_of(seq_id, pair[1]), distinct.len());
                return Err(Error::NotContinuous { index, seq_id, pos_min: min, pos_max: max, n_distinct });
            }
        }
        Ok(())
    }

    fn check_coupling(
        &self,
        batch: &Batch,
        n_seq_max: usize,
        memory: Option<&dyn SeqPositions>,
    ) -> Result<(), Error> {
        let Some(memory) = memory.filter(|_| self.has_coupled) else { return Ok(()) };
        for first in 0..n_seq_max as SeqId {
            for second in self.coupled[first as usize].iter() {
                if memory.seq_pos_min(first) != memory.seq_pos_min(second)
                    || memory.seq_pos_max(first) != memory.seq_pos_max(second)
                {
                    let shares = |i: &usize| {
                        let ids = sequences_of(batch, *i);
                        ids[0] == second && ids[1..].contains(&first)
                    };
                    let index = (0..self.n_tokens).find(shares).unwrap_or(0);
                    return Err(Error::Diverged { index, first, second });
                }
            }
        }
        Ok(())
    }

    /// Positions of a sequence never decrease. (The reference also intersects the sets of a sequence's tokens
    /// here; as each of them contains the sequence, that cannot fail.)
    fn check_order(&self) -> Result<(), Error> {
        if self.spans.iter().all(|span| span.ordered) {
            return Ok(());
        }
        let mut last = [-1; MAX_SEQ];
        for (index, pos) in self.pos.iter().enumerate().take(self.n_tokens) {
            for seq_id in self.groups.set(index).iter() {
                let last = &mut last[seq_id as usize];
                if *pos < *last {
                    return Err(Error::DecreasingPositions { index, seq_id, pos: *pos, previous: *last });
                }
                *last = *pos;
            }
        }
        Ok(())
    }

    /// The first token of a sequence that has a position.
    fn place_of(&self, seq_id: SeqId, pos: Pos) -> usize {
        let found = (0..self.n_tokens).find(|i| self.pos[*i] == pos && self.groups.set(*i).contains(seq_id));
        found.unwrap_or(0)
    }

    /// Distinct positions of a sequence, ascending; for batches that are refused anyway.
    fn distinct(&self, seq_id: SeqId) -> Vec<Pos> {
        let of_seq = (0..self.n_tokens).filter(|i| self.groups.set(*i).contains(seq_id));
        let mut pos: Vec<Pos> = of_seq.map(|i| self.pos[i]).collect();
        pos.sort_unstable();
        pos.dedup();
        pos
    }
}

/// The sequences of a token as the batch has them, or sequence 0.
fn sequences_of(batch: &Batch, index: usize) -> &[SeqId] {
    if batch.seq_ids.is_empty() { &[0] } else { batch.seq_ids.get(index) }
}

/// Checks what does not depend on other fields; the number of tokens.
fn check_fields(batch: &Batch, limits: &BatchLimits) -> Result<usize, Error> {
    let n_tokens = batch.n_tokens();
    if n_tokens == 0 {
        return Err(Error::EmptyBatch);
    }
    if limits.n_seq_max > MAX_SEQ {
        return Err(Error::TooManySequences(limits.n_seq_max));
    }
    if !batch.embd.is_empty() {
        if !batch.tokens.is_empty() {
            return Err(Error::TokensAndEmbeddings);
        }
        let (found, n_values) = (batch.n_embd, batch.embd.len());
        if found != limits.n_embd || n_values % found != 0 {
            return Err(Error::EmbeddingWidth { found, n_values, expected: limits.n_embd });
        }
    }
    // Rows of an image have all positions, text has one.
    let n_pos = n_tokens.saturating_mul(if batch.embd.is_empty() { 1 } else { limits.n_pos });
    let lengths = [
        ("positions", batch.pos.len(), n_pos),
        ("sequences", batch.seq_ids.len(), n_tokens),
        ("outputs", batch.outputs.len(), n_tokens),
    ];
    for (field, found, most) in lengths {
        if found != 0 && found != n_tokens && found != most {
            return Err(Error::FieldLength { field, found, n_tokens });
        }
    }
    if let Some(index) = batch.tokens.iter().position(|token| *token as usize >= limits.n_vocab) {
        return Err(Error::InvalidToken { index, token: batch.tokens[index], n_vocab: limits.n_vocab });
    }
    for (index, ids) in batch.seq_ids.iter().enumerate() {
        if ids.is_empty() {
            return Err(Error::NoSequence { index });
        }
        let valid = |s: &SeqId| usize::try_from(*s).is_ok_and(|s| s < limits.n_seq_max);
        if let Some(entry) = ids.iter().position(|s| !valid(s)) {
            let n_seq_max = limits.n_seq_max;
            return Err(Error::InvalidSeqId { index, entry, seq_id: ids[entry], n_seq_max });
        }
    }
    Ok(n_tokens)
}
