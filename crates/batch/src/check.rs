//! Checking and completing a batch.

use crate::{Batch, Error, MAX_SEQ, Pos, SeqId, SeqIds, SeqSet, TokenId};

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

/// A batch with every field filled and every rule checked, ready to be split. Answers to
/// `llama_batch_allocr`; its memory is reused from batch to batch.
#[derive(Clone, Debug)]
pub struct CheckedBatch {
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) embd: Vec<f32>,
    pub(crate) n_embd: usize,
    pub(crate) pos: Vec<Pos>,
    pub(crate) seq_ids: Vec<SeqIds>,
    pub(crate) seq_set: Vec<SeqSet>,
    pub(crate) outputs: Vec<bool>,
    pub(crate) n_outputs: usize,
    /// Some token belongs to several sequences.
    pub(crate) has_coupled: bool,
    /// Tokens that are in a ubatch already.
    pub(crate) used: Vec<bool>,
    pub(crate) n_used: usize,
    pub(crate) out_ids: Vec<u32>,
    pub(crate) idxs: Vec<u32>,
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
            tokens: Vec::new(),
            embd: Vec::new(),
            n_embd: 0,
            pos: Vec::new(),
            seq_ids: Vec::new(),
            seq_set: Vec::new(),
            outputs: Vec::new(),
            n_outputs: 0,
            has_coupled: false,
            used: Vec::new(),
            n_used: 0,
            out_ids: Vec::new(),
            idxs: Vec::new(),
            spans: vec![SeqSpan::EMPTY; MAX_SEQ],
            coupled: vec![SeqSet::EMPTY; MAX_SEQ],
        }
    }

    /// Checks `batch`, fills its missing fields from `memory` and takes it over (`llama_batch_allocr::init`).
    ///
    /// On an error this holds no usable batch.
    pub fn init(
        &mut self,
        batch: &Batch,
        limits: &BatchLimits,
        memory: Option<&dyn SeqPositions>,
    ) -> Result<(), Error> {
        self.clear();
        let n_tokens = check_fields(batch, limits)?;
        self.tokens.extend_from_slice(&batch.tokens);
        self.embd.extend_from_slice(&batch.embd);
        self.n_embd = limits.n_embd;
        self.fill_seq_ids(batch, n_tokens);
        self.fill_pos(batch, n_tokens, limits.n_seq_max, memory)?;
        self.fill_outputs(batch, n_tokens, limits.output_all);
        self.span_sequences();
        self.check_continuity(limits.n_seq_max, memory)?;
        self.check_coupling(limits.n_seq_max, memory)?;
        self.check_order()?;
        self.split_reset();
        Ok(())
    }

    /// Number of tokens.
    pub fn n_tokens(&self) -> usize {
        self.pos.len()
    }

    /// Number of tokens whose output is wanted.
    pub fn n_outputs(&self) -> usize {
        self.n_outputs
    }

    /// Number of tokens that were put into ubatches.
    pub fn n_used(&self) -> usize {
        self.n_used
    }

    /// Batch index of each output, in the order in which ubatches give them.
    pub fn out_ids(&self) -> &[u32] {
        &self.out_ids
    }

    /// Positions, completed.
    pub fn pos(&self) -> &[Pos] {
        &self.pos
    }

    /// Sequences of each token, completed.
    pub fn seq_ids(&self) -> &[SeqIds] {
        &self.seq_ids
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
        self.n_used = 0;
        self.used.clear();
        self.used.resize(self.n_tokens(), false);
    }

    fn span(&self, seq_id: SeqId) -> SeqSpan {
        let span = usize::try_from(seq_id).ok().and_then(|s| self.spans.get(s));
        span.copied().unwrap_or(SeqSpan::EMPTY)
    }

    fn clear(&mut self) {
        self.tokens.clear();
        self.embd.clear();
        self.pos.clear();
        self.seq_ids.clear();
        self.seq_set.clear();
        self.outputs.clear();
        self.n_outputs = 0;
        self.has_coupled = false;
        self.spans.fill(SeqSpan::EMPTY);
        self.coupled.fill(SeqSet::EMPTY);
        self.split_reset();
    }

    fn fill_seq_ids(&mut self, batch: &Batch, n_tokens: usize) {
        if batch.seq_ids.is_empty() {
            self.seq_ids.resize_with(n_tokens, || SeqIds::from_slice(&[0]));
        } else {
            self.seq_ids.extend(batch.seq_ids.iter().cloned());
        }
        self.seq_set.extend(self.seq_ids.iter().map(|ids| ids.iter().copied().collect::<SeqSet>()));
    }

    fn fill_pos(
        &mut self,
        batch: &Batch,
        n_tokens: usize,
        n_seq_max: usize,
        memory: Option<&dyn SeqPositions>,
    ) -> Result<(), Error> {
        if batch.pos.is_empty() {
            let mut next = [0; MAX_SEQ];
            for (s, next) in next.iter_mut().enumerate().take(n_seq_max) {
                *next = memory.map_or(0, |memory| memory.seq_pos_max(s as SeqId).saturating_add(1));
            }
            for ids in self.seq_ids.iter().take(n_tokens) {
                let pos = next[ids[0] as usize];
                self.pos.push(pos);
                ids.iter().for_each(|s| next[*s as usize] = pos.saturating_add(1));
            }
        } else {
            self.pos.extend_from_slice(&batch.pos);
        }
        match self.pos.iter().position(|pos| *pos < 0 || *pos == Pos::MAX) {
            Some(index) => Err(Error::InvalidPosition { index, pos: self.pos[index] }),
            None => Ok(()),
        }
    }

    fn fill_outputs(&mut self, batch: &Batch, n_tokens: usize, output_all: bool) {
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

    fn span_sequences(&mut self) {
        for (ids, pos) in self.seq_ids.iter().zip(&self.pos) {
            for (entry, s) in ids.iter().enumerate() {
                self.spans[*s as usize].include(*pos);
                if entry > 0 {
                    self.coupled[*s as usize].insert(ids[0]);
                    self.has_coupled = true;
                }
            }
        }
    }

    fn check_continuity(&mut self, n_seq_max: usize, memory: Option<&dyn SeqPositions>) -> Result<(), Error> {
        for s in 0..n_seq_max {
            let seq_id = s as SeqId;
            let SeqSpan { min, max, n_distinct, ordered, .. } = self.spans[s];
            if n_distinct == 0 {
                continue;
            }
            let memory_max = memory.map_or(-1, |memory| memory.seq_pos_max(seq_id));
            if memory_max >= 0 && i64::from(min) != i64::from(memory_max) + 1 {
                return Err(Error::NotConsecutive { seq_id, pos_min: min, memory_max });
            }
            let n_distinct = if ordered { n_distinct } else { self.count_distinct(seq_id) };
            if i64::from(max) - i64::from(min) + 1 > n_distinct as i64 {
                return Err(Error::NotContinuous { seq_id, pos_min: min, pos_max: max, n_distinct });
            }
        }
        Ok(())
    }

    fn check_coupling(&self, n_seq_max: usize, memory: Option<&dyn SeqPositions>) -> Result<(), Error> {
        let Some(memory) = memory.filter(|_| self.has_coupled) else { return Ok(()) };
        for first in 0..n_seq_max as SeqId {
            for second in self.coupled[first as usize].iter() {
                if memory.seq_pos_min(first) != memory.seq_pos_min(second)
                    || memory.seq_pos_max(first) != memory.seq_pos_max(second)
                {
                    return Err(Error::Diverged { first, second });
                }
            }
        }
        Ok(())
    }

    /// Positions of a sequence never decrease. (The reference also intersects the sets of a sequence's tokens
    /// here; as each of them contains the sequence, that cannot fail.)
    fn check_order(&self) -> Result<(), Error> {
        let mut last = [-1; MAX_SEQ];
        for (index, (ids, pos)) in self.seq_ids.iter().zip(&self.pos).enumerate() {
            for seq_id in ids.iter().copied() {
                let last = &mut last[seq_id as usize];
                if *pos < *last {
                    return Err(Error::DecreasingPositions { index, seq_id, pos: *pos, previous: *last });
                }
                *last = *pos;
            }
        }
        Ok(())
    }

    /// Distinct positions of a sequence whose positions are out of order; such a batch is refused anyway.
    fn count_distinct(&self, seq_id: SeqId) -> usize {
        let of_seq = self.seq_set.iter().zip(&self.pos).filter(|(set, _)| set.contains(seq_id));
        let mut pos: Vec<Pos> = of_seq.map(|(_, pos)| *pos).collect();
        pos.sort_unstable();
        pos.dedup();
        pos.len()
    }
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
    let lengths = [
        ("positions", batch.pos.len()),
        ("sequences", batch.seq_ids.len()),
        ("outputs", batch.outputs.len()),
    ];
    for (field, found) in lengths {
        if found != 0 && found != n_tokens {
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
