//! What a memory worked out for one batch: its ubatches and where their tokens go.

use quipu_batch::{CheckedBatch, Ubatch};

use crate::recurrent_cells::RecurrentCells;
use crate::{Error, KvPart, SeqSet, SlotPlan};

/// The ubatches of a batch and their places in the memory. Answers to `llama_memory_context_i`; reused from batch to batch, so that
/// planning allocates nothing in the long run.
///
/// [`crate::Memory::plan`] fills it, [`crate::Memory::apply`] goes through it ubatch by ubatch, [`crate::Memory::roll_back`] undoes that.
#[derive(Clone, Debug, Default)]
pub struct MemoryPlan {
    /// Ubatches of this batch, then such as earlier batches left behind.
    ubatches: Vec<Ubatch>,
    n_ubatches: usize,
    n_applied: usize,
    /// Cells of the ubatches, if the memory has cells.
    slots: SlotPlan,
    /// Cells in the cache of layers with windows, if there is one.
    window_slots: SlotPlan,
    /// What recurrent states were before, if the memory has such.
    recurrent: RecurrentBefore,
}

/// Cells of states before the first ubatch, and the sequences whose state the graphs of applied ubatches overwrite.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecurrentBefore {
    pub cells: Option<RecurrentCells>,
    pub at_stake: SeqSet,
}

impl MemoryPlan {
    /// An empty plan.
    pub fn new() -> MemoryPlan {
        MemoryPlan::default()
    }

    /// Number of ubatches.
    pub fn len(&self) -> usize {
        self.n_ubatches
    }

    /// Whether nothing is planned.
    pub fn is_empty(&self) -> bool {
        self.n_ubatches == 0
    }

    /// The ubatch that was applied last, whose graph is to run (`get_ubatch`); `None` before the first.
    pub fn ubatch(&self) -> Option<&Ubatch> {
        self.n_applied.checked_sub(1).map(|k| &self.ubatches[k])
    }

    /// The cells of that ubatch's tokens in a part of the memory, in token order; empty if it has no cells.
    pub fn slot(&self, part: KvPart) -> &[u32] {
        let slots = match part {
            KvPart::Full => &self.slots,
            KvPart::Window => &self.window_slots,
        };
        self.n_applied.checked_sub(1).map_or(&[], |k| slots.slot(k))
    }

    /// Number of ubatches that were applied.
    pub fn n_applied(&self) -> usize {
        self.n_applied
    }

    /// Forgets everything and keeps the memory.
    pub(crate) fn clear(&mut self) {
        (self.n_ubatches, self.n_applied) = (0, 0);
        self.slots.clear();
        self.window_slots.clear();
    }

    /// Splits a batch in its order, or, for streams, into ubatches with as many tokens of one sequence as of the next.
    ///
    /// [`Error::Split`] if that leaves tokens over; the plan is then empty.
    pub(crate) fn split_for_streams(
        &mut self,
        batch: &mut CheckedBatch,
        n_ubatch: usize,
        streams: bool,
    ) -> Result<(), Error> {
        self.split_or_fail(batch, |batch, ubatch| {
            if streams {
                batch.split_equal(n_ubatch, true, 0, ubatch)
            } else {
                batch.split_simple(n_ubatch, ubatch)
            }
        })
    }

    /// As [`MemoryPlan::split`]; [`Error::Split`] if tokens are left over, and the plan is then empty.
    pub(crate) fn split_or_fail(
        &mut self,
        batch: &mut CheckedBatch,
        next: impl FnMut(&mut CheckedBatch, &mut Ubatch) -> bool,
    ) -> Result<(), Error> {
        if self.split(batch, next) {
            return Ok(());
        }
        self.clear();
        Err(Error::Split { n_used: batch.n_used(), n_tokens: batch.n_tokens() })
    }

    /// Splits a batch by `next`, which fills a ubatch and says whether there was anything left; whether all tokens found a ubatch.
    pub(crate) fn split(
        &mut self,
        batch: &mut CheckedBatch,
        mut next: impl FnMut(&mut CheckedBatch, &mut Ubatch) -> bool,
    ) -> bool {
        self.clear();
        batch.split_reset();
        loop {
            if self.ubatches.len() == self.n_ubatches {
                self.ubatches.push(Ubatch::new());
            }
            if !next(batch, &mut self.ubatches[self.n_ubatches]) {
                return batch.n_used() == batch.n_tokens();
            }
            self.n_ubatches += 1;
        }
    }

    /// The ubatches, and the slots to be found for them in both caches of a memory.
    pub(crate) fn parts(&mut self) -> (&[Ubatch], &mut SlotPlan, &mut SlotPlan) {
        (&self.ubatches[..self.n_ubatches], &mut self.slots, &mut self.window_slots)
    }

    /// The ubatches, and what states were before them.
    pub(crate) fn recurrent_parts(&mut self) -> (&[Ubatch], &mut RecurrentBefore) {
        (&self.ubatches[..self.n_ubatches], &mut self.recurrent)
    }

    /// Moves on to the next ubatch; its number, `None` if there is none.
    pub(crate) fn advance(&mut self) -> Option<usize> {
        let next = self.n_applied;
        if next >= self.n_ubatches {
            return None;
        }
        self.n_applied += 1;
        Some(next)
    }

    /// Back to before the first ubatch.
    pub(crate) fn rewind(&mut self) {
        self.n_applied = 0;
    }
}

/// What of a memory's state the shape of a graph depends on: equal keys give interchangeable graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryKey {
    /// Cells of a stream that attention looks at; 0 without cells.
    pub n_kv: usize,
    /// As `n_kv`, for layers with windows where they have a cache of their own.
    pub n_kv_window: usize,
    /// First stream that attention looks at.
    pub stream: usize,
    /// Streams it looks at, at least 1; each has the same number of the ubatch's tokens.
    pub n_stream: usize,
    /// Where the states of the ubatch's sequences lie; nowhere without such.
    pub recurrent: RecurrentKey,
}

impl Default for MemoryKey {
    /// No cells.
    fn default() -> MemoryKey {
        MemoryKey { n_kv: 0, n_kv_window: 0, stream: 0, n_stream: 1, recurrent: RecurrentKey::default() }
    }
}

/// Cells of recurrent states that a ubatch's graph reads and writes. The default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecurrentKey {
    /// Sequences of the ubatch, each with as many of its tokens: theirs are the first cells.
    pub n_seqs: usize,
    /// Cells that are written: theirs, then those that only move (`n_rs`).
    pub n_cells: usize,
    /// The first of them (`head`).
    pub head: usize,
    /// A cell that is cleared, for sequences that begin (`rs_z`).
    pub zero: Option<usize>,
}
