//! What a memory worked out for one batch: its ubatches and where their tokens go.

use quipu_batch::{CheckedBatch, Ubatch};

use crate::SlotPlan;

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
    pub(crate) slots: SlotPlan,
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

    /// The cells of that ubatch's tokens, in token order; empty if the memory has no cells.
    pub fn slot(&self) -> &[u32] {
        self.n_applied.checked_sub(1).map_or(&[], |k| self.slots.slot(k))
    }

    /// Number of ubatches that were applied.
    pub fn n_applied(&self) -> usize {
        self.n_applied
    }

    /// Forgets everything and keeps the memory.
    pub(crate) fn clear(&mut self) {
        (self.n_ubatches, self.n_applied) = (0, 0);
        self.slots.clear();
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

    /// The ubatches, and the slots to be found for them.
    pub(crate) fn parts(&mut self) -> (&[Ubatch], &mut SlotPlan) {
        (&self.ubatches[..self.n_ubatches], &mut self.slots)
    }

    /// Moves on to the next ubatch; false if there is none.
    pub(crate) fn advance(&mut self) -> bool {
        let any = self.n_applied < self.n_ubatches;
        self.n_applied += usize::from(any);
        any
    }

    /// Back to before the first ubatch.
    pub(crate) fn rewind(&mut self) {
        self.n_applied = 0;
    }
}

/// What of a memory's state the shape of a graph depends on: equal keys give interchangeable graphs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryKey {
    /// Cells attention looks at; 0 without cells.
    pub n_kv: usize,
}
