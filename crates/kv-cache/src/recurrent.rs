//! The memory of layers that keep one state for each sequence, whatever its length.

use quipu_backend::{BufferTable, BufferType};
use quipu_batch::CheckedBatch;
use quipu_graph::{BufferId, DType, Storage};

use crate::cells::PosRange;
use crate::layout::Layout;
use crate::plan::RecurrentBefore;
use crate::recurrent_cells::{Placed, RecurrentCell, RecurrentCells};
use crate::{Error, MAX_SEQ, MemoryPlan, RecurrentKey, SeqId, SeqSet};

/// What a recurrent layer keeps for a sequence, in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecurrentShape {
    /// Elements of the last inputs, for a convolution or a shift (`n_embd_r`).
    pub n_embd_r: usize,
    /// Elements of the state (`n_embd_s`).
    pub n_embd_s: usize,
}

/// What a recurrent memory is made from.
#[derive(Clone, Debug, Default)]
pub struct RecurrentParams {
    /// Sequences of the context; each has a cell.
    pub n_seq_max: usize,
    /// States of earlier positions that are kept of each sequence, so that it can go back by as many (`n_rs_seq`). The model's graphs must
    /// write them.
    pub n_snapshots: usize,
    /// One entry per layer; `None`: it is not recurrent.
    pub layers: Vec<Option<RecurrentShape>>,
}

impl RecurrentParams {
    fn n_cells(&self) -> usize {
        self.n_seq_max.max(1)
    }

    /// Bytes of all states, with layer `il` in memory of type `memory(il)`: what [`RecurrentMemory::n_bytes`] says of such a memory,
    /// without allocating it.
    ///
    /// # Errors
    /// As [`RecurrentMemory::new_in`], but for memory that is not to be had.
    pub fn n_bytes<'a>(&self, memory: &dyn Fn(usize) -> &'a dyn BufferType) -> Result<usize, Error> {
        Ok(self.layout(memory)?.0.n_bytes())
    }

    /// Where everything goes; the layers' buffers are numbered as there.
    fn layout<'a>(
        &self,
        memory: &dyn Fn(usize) -> &'a dyn BufferType,
    ) -> Result<(Layout<'a>, Vec<Option<Layer>>), Error> {
        let n_cells = self.n_cells();
        if n_cells > MAX_SEQ {
            return Err(Error::Streams(n_cells));
        }
        let n_layer = self.layers.len();
        let n_rows = self.n_snapshots.saturating_add(1).saturating_mul(n_cells);
        let mut layout = Layout::default();
        let mut layers = Vec::with_capacity(n_layer);
        for (il, shape) in self.layers.iter().enumerate() {
            let Some(shape) = *shape else {
                layers.push(None);
                continue;
            };
            let buffer_type = memory(il);
            let buffer = layout.kind(buffer_type);
            let mut place = |n_embd: usize| -> Option<usize> {
                let size = match n_embd {
                    0 => 0,
                    _ => buffer_type.alloc_size(DType::F32, [n_embd, n_rows, 1, 1])?,
                };
                layout.place(buffer, size).filter(|_| i32::try_from(n_rows).is_ok())
            };
            let places = place(shape.n_embd_r).zip(place(shape.n_embd_s));
            let (r, s) = places.ok_or_else(|| Error::TooLarge {
                n_cells,
                n_layer,
                buffer_type: buffer_type.name().to_owned(),
            })?;
            layers.push(Some(Layer { shape, buffer, offsets: [r, s] }));
        }
        Ok((layout, layers))
    }
}

/// Which half of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatePart {
    /// The last inputs.
    Inputs,
    /// The state itself.
    State,
}

/// Where a layer's states live: cell `i` is row `i` of each half.
#[derive(Clone, Copy, Debug)]
struct Layer {
    shape: RecurrentShape,
    buffer: BufferId,
    offsets: [usize; 2],
}

/// Rows of one half of a layer's states.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateRows {
    pub n_embd: usize,
    pub buffer: BufferId,
    pub offset: usize,
}

impl StateRows {
    pub fn row_bytes(&self) -> usize {
        self.n_embd * size_of::<f32>()
    }

    pub fn storage(&self) -> Storage {
        Storage::External { buffer: self.buffer, offset: self.offset }
    }
}

/// The states of recurrent layers. Answers to `llama_memory_recurrent`.
///
/// A sequence's state is one of its last position: a part of a sequence cannot be taken away, except for as many positions from its end as
/// there are snapshots. Sequences that were copied share a cell until one of them goes on.
///
/// As in the reference, positions of a shared cell move for all its sequences, and may be moved below 0.
#[derive(Debug)]
pub struct RecurrentMemory {
    pub(crate) cells: RecurrentCells,
    /// What plans are tried on.
    trial: RecurrentCells,
    pub(crate) n_seq_max: usize,
    n_snapshots: usize,
    layers: Vec<Option<Layer>>,
    n_bytes: usize,
}

impl RecurrentMemory {
    /// Allocates zeroed states, with layer `il` in memory of type `memory(il)`: one buffer for each type, told apart by name.
    ///
    /// # Errors
    /// More sequences than there can be, or memory that is not to be had.
    pub fn new_in<'a>(
        params: &RecurrentParams,
        memory: &dyn Fn(usize) -> &'a dyn BufferType,
        buffers: &mut BufferTable,
    ) -> Result<RecurrentMemory, Error> {
        let (layout, mut layers) = params.layout(memory)?;
        let ids = layout.allocate(buffers)?;
        for layer in layers.iter_mut().flatten() {
            layer.buffer = ids[layer.buffer.0 as usize];
        }
        let n_bytes = layout.n_bytes();
        let RecurrentParams { n_seq_max, n_snapshots, .. } = *params;
        let n_cells = params.n_cells();
        let cells = RecurrentCells::new(n_cells, n_seq_max, n_snapshots);
        let trial = cells.clone();
        Ok(RecurrentMemory { cells, trial, n_seq_max, n_snapshots, layers, n_bytes })
    }

    /// Number of layers that it was made for, recurrent or not.
    pub fn n_layer(&self) -> usize {
        self.layers.len()
    }

    /// Whether it has states of layer `il`.
    pub fn has_layer(&self, il: usize) -> bool {
        self.layers.get(il).is_some_and(Option::is_some)
    }

    /// Bytes of all states (`total_size`).
    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Rows of each half of a layer: cells, then those of earlier positions.
    pub fn n_rows(&self) -> usize {
        self.cells.len() * (1 + self.n_snapshots)
    }

    /// All cells, for reading.
    pub fn cells(&self) -> &[RecurrentCell] {
        self.cells.cells()
    }

    /// By how many positions each sequence went back since its last ubatch (`rs_idx`).
    pub fn went_back(&self) -> &[usize] {
        self.cells.back()
    }

    /// The row from which each cell of the last ubatch takes its state (`s_copy`).
    pub fn sources(&self) -> &[i32] {
        self.cells.sources()
    }

    /// First cell of the last ubatch, or one from which a search begins that became free since (`head`).
    pub fn head(&self) -> usize {
        self.cells.placed().head
    }

    pub(crate) fn rows(&self, il: usize, part: StatePart) -> Result<StateRows, Error> {
        let layer = self.layers.get(il).copied().flatten();
        let layer = layer.ok_or(Error::Layer { il, n_layer: self.layers.len() })?;
        let RecurrentShape { n_embd_r, n_embd_s } = layer.shape;
        let n_embd = if part == StatePart::Inputs { n_embd_r } else { n_embd_s };
        Ok(StateRows { n_embd, buffer: layer.buffer, offset: layer.offsets[part as usize] })
    }

    /// Refuses numbers that no cell belongs to.
    pub(crate) fn check_seq(&self, seq_id: SeqId) -> Result<(), Error> {
        let n_seq = self.cells.len();
        if usize::try_from(seq_id).is_ok_and(|s| s < n_seq) {
            Ok(())
        } else {
            Err(Error::SeqId { seq_id, n_seq })
        }
    }

    /// Splits a batch into ubatches whose sequences have equally many tokens (`init_batch`).
    pub(crate) fn split(
        &self,
        batch: &mut CheckedBatch,
        n_ubatch: usize,
        sequential: bool,
        plan: &mut MemoryPlan,
    ) -> Result<(), Error> {
        let output_all = batch.output_all();
        // Snapshots are those of one ubatch.
        let n_keep_tail = if self.n_snapshots > 0 { self.n_snapshots + 1 } else { 0 };
        if n_ubatch <= n_keep_tail && !output_all {
            plan.clear();
            return Err(Error::Split { n_used: 0, n_tokens: batch.n_tokens() });
        }
        plan.split_or_fail(batch, |batch, ubatch| {
            if output_all {
                batch.split_seq(n_ubatch, ubatch)
            } else {
                batch.split_equal(n_ubatch, sequential, n_keep_tail, ubatch)
            }
        })
    }

    /// Tries the ubatches of a plan on a copy (`prepare`).
    pub(crate) fn prepare(&mut self, plan: &mut MemoryPlan) -> Result<(), Error> {
        self.trial.assign(&self.cells);
        let (ubatches, _) = plan.recurrent_parts();
        ubatches.iter().try_for_each(|ubatch| self.trial.place(ubatch))
    }

    /// Places the plan's `k`-th ubatch, which was tried before.
    pub(crate) fn apply_ubatch(&mut self, plan: &mut MemoryPlan, k: usize) {
        let (ubatches, RecurrentBefore { cells: before, at_stake }) = plan.recurrent_parts();
        if k == 0 {
            before.get_or_insert_with(|| self.cells.clone()).assign(&self.cells);
            *at_stake = SeqSet::EMPTY;
        }
        let placed = self.cells.place(&ubatches[k]);
        debug_assert!(placed.is_ok(), "planned before: {placed:?}");
        *at_stake = at_stake.union(&self.cells.at_stake(&ubatches[k]));
    }

    /// Back to before the plan's first ubatch, without the states that are lost: those of these sequences. The plan is rewound afterwards.
    pub(crate) fn unapply(&mut self, plan: &mut MemoryPlan) -> SeqSet {
        if plan.n_applied() == 0 {
            return SeqSet::EMPTY;
        }
        let (_, RecurrentBefore { cells: before, at_stake }) = plan.recurrent_parts();
        if let Some(before) = before {
            self.cells.assign(before);
        }
        for seq_id in at_stake.iter() {
            self.cells.seq_rm(seq_id, PosRange::new(-1, -1));
        }
        self.cells.forget_rows_of_none();
        *at_stake
    }

    /// What the shape of the graph of the plan's ubatch depends on, after it was applied.
    pub(crate) fn recurrent_key(&self, plan: &MemoryPlan) -> RecurrentKey {
        let Some(ubatch) = plan.ubatch() else { return RecurrentKey::default() };
        let Placed { head, n, zero } = self.cells.placed();
        RecurrentKey { n_seqs: ubatch.n_seqs, n_cells: n, head, zero }
    }
}
