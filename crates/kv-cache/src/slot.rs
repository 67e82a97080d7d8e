//! Finding cells for the tokens of a ubatch, and taking them.

use quipu_batch::Ubatch;

use crate::cells::SeqRange;
use crate::{Error, KvCells};

/// Cells for all ubatches of a batch. Reused from batch to batch, so that planning allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct SlotPlan {
    idxs: Vec<u32>,
    ends: Vec<usize>,
    ranges: Vec<SeqRange>,
}

impl SlotPlan {
    /// An empty plan.
    pub fn new() -> SlotPlan {
        SlotPlan::default()
    }

    /// Number of ubatches planned.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether nothing is planned.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The cells of the tokens of the `k`-th ubatch, in token order; empty if there is no such ubatch.
    pub fn slot(&self, k: usize) -> &[u32] {
        let Some(&end) = self.ends.get(k) else { return &[] };
        let start = if k == 0 { 0 } else { self.ends[k - 1] };
        &self.idxs[start..end]
    }
}

/// Appends the cells that `n_tokens` tokens would get, searching from `head` and wrapping around; cells need
/// not be neighbours (`find_slot` with `cont = false`).
pub(crate) fn find_slot(
    cells: &KvCells,
    head: usize,
    n_tokens: usize,
    out: &mut Vec<u32>,
) -> Result<(), Error> {
    let no_slot = Error::NoSlot { n_tokens, n_free: cells.len() - cells.n_used(), n_cells: cells.len() };
    if n_tokens > cells.len() {
        return Err(no_slot);
    }
    // Enough unused cells before the head: start over, hoping to fill the cache from its beginning.
    let mut head = if head > cells.n_used() + 2 * n_tokens { 0 } else { head };
    let wanted = out.len() + n_tokens;
    let mut n_tested = 0;
    while out.len() < wanted {
        if head >= cells.len() {
            head = 0;
        }
        if cells.is_free(head) {
            out.push(head as u32);
        }
        head += 1;
        n_tested += 1;
        // The reference gives up only after it has looked at as many cells as there are, found or not.
        if out.len() < wanted && n_tested >= cells.len() {
            return Err(no_slot);
        }
    }
    Ok(())
}

/// Puts the tokens of a ubatch into their cells and returns the new head (`apply_ubatch`).
pub(crate) fn apply(cells: &mut KvCells, slot: &[u32], ubatch: &Ubatch) -> Option<usize> {
    for ((cell, pos), seqs) in slot.iter().zip(&ubatch.pos).zip(&ubatch.seq_set) {
        cells.place(*cell as usize, *pos, *seqs);
    }
    slot.last().map(|last| *last as usize + 1)
}

/// Plans all ubatches one after the other on the cells themselves, then takes everything back (`prepare`).
pub(crate) fn prepare<'a>(
    cells: &mut KvCells,
    mut head: usize,
    ubatches: impl IntoIterator<Item = &'a Ubatch>,
    plan: &mut SlotPlan,
) -> Result<(), Error> {
    plan.idxs.clear();
    plan.ends.clear();
    cells.save_ranges(&mut plan.ranges);
    let mut result = Ok(());
    for ubatch in ubatches {
        let start = plan.idxs.len();
        result = find_slot(cells, head, ubatch.n_tokens, &mut plan.idxs);
        if result.is_err() {
            plan.idxs.truncate(start);
            break;
        }
        head = apply(cells, &plan.idxs[start..], ubatch).unwrap_or(head);
        plan.ends.push(plan.idxs.len());
    }
    cells.unplace(&plan.idxs, &plan.ranges);
    if result.is_err() {
        plan.idxs.clear();
        plan.ends.clear();
    }
    result
}
