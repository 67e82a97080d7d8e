//! Bookkeeping of states: which cell holds the state of which sequences, and where a graph finds it before it writes a new one.

use quipu_batch::Ubatch;

use crate::cells::PosRange;
use crate::{Error, Pos, SeqId, SeqSet};

/// A cell: the state of some sequences after their last position (`mem_cell`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecurrentCell {
    /// The last position, -1 without one.
    pub pos: Pos,
    /// The cell in which the state lies; `None`: there is none yet.
    pub src: Option<usize>,
    /// Of the sequence with this cell's number: the cell it is in. It has nothing to do with the cell itself.
    pub tail: Option<usize>,
    /// The sequences whose state it is.
    pub seqs: SeqSet,
}

impl RecurrentCell {
    const FREE: RecurrentCell = RecurrentCell { pos: -1, src: None, tail: None, seqs: SeqSet::EMPTY };

    /// Leaves the number of the sequence's cell as it is.
    fn free(&mut self) {
        *self = RecurrentCell { tail: self.tail, ..RecurrentCell::FREE };
    }
}

/// Where the ubatch that was placed last lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Placed {
    /// First cell.
    pub head: usize,
    /// Cells that its graph writes: those of its sequences, then such as move with them.
    pub n: usize,
    /// A cell that its graph clears, for sequences without a state.
    pub zero: Option<usize>,
}

/// The cells of all sequences. Answers to the bookkeeping half of `llama_memory_recurrent`.
///
/// There are as many cells as sequences, so that a sequence always finds one. Those that a ubatch writes lie side by side, in the order of
/// its sequences: other cells make room for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecurrentCells {
    cells: Vec<RecurrentCell>,
    /// Cells that hold something, as of the last ubatch and what was removed since.
    n_used: usize,
    placed: Placed,
    /// States of earlier positions that are kept of each sequence.
    n_snapshots: usize,
    /// By how many positions each sequence went back since its last ubatch.
    back: Vec<usize>,
    /// Rows from which the last ubatch's graph takes states, one for each cell that it writes.
    sources: Vec<i32>,
    /// Working memory: how many cells name each one as their source.
    n_refs: Vec<u32>,
}

impl RecurrentCells {
    /// Cells for sequences `0..n_cells`, of which those below `n_seq_max` may go back by `n_snapshots` positions.
    pub fn new(n_cells: usize, n_seq_max: usize, n_snapshots: usize) -> RecurrentCells {
        RecurrentCells {
            cells: vec![RecurrentCell::FREE; n_cells],
            n_used: 0,
            placed: Placed::default(),
            n_snapshots,
            back: vec![0; n_seq_max],
            sources: Vec::new(),
            n_refs: vec![0; n_cells],
        }
    }

    /// Takes over what `other` is, without asking for memory.
    pub fn assign(&mut self, other: &RecurrentCells) {
        self.cells.clone_from(&other.cells);
        self.back.clone_from(&other.back);
        self.sources.clone_from(&other.sources);
        (self.n_used, self.placed, self.n_snapshots) = (other.n_used, other.placed, other.n_snapshots);
        self.n_refs.resize(other.n_refs.len(), 0);
    }

    pub fn len(&self) -> usize {
        self.cells.len()
    }

    pub fn n_used(&self) -> usize {
        self.cells.iter().filter(|cell| !cell.seqs.is_empty()).count()
    }

    pub fn iter(&self) -> impl Iterator<Item = &RecurrentCell> {
        self.cells.iter()
    }

    pub fn cells(&self) -> &[RecurrentCell] {
        &self.cells
    }

    pub fn back(&self) -> &[usize] {
        &self.back
    }

    pub fn placed(&self) -> Placed {
        self.placed
    }

    /// Rows from which the last ubatch's graph takes states, one for each cell that it writes (`s_copy`).
    pub fn sources(&self) -> &[i32] {
        &self.sources
    }

    /// The row with the state of cell `i`: of its first sequence, if that went back.
    pub fn row(&self, i: usize, seq_id: Option<SeqId>) -> usize {
        let cell = &self.cells[i];
        let back = seq_id.or_else(|| cell.seqs.iter().next()).map_or(0, |seq_id| self.went_back(seq_id));
        back * self.len() + cell.src.unwrap_or(i)
    }

    pub fn clear(&mut self) {
        self.cells.fill(RecurrentCell::FREE);
        self.back.fill(0);
        (self.n_used, self.placed.head) = (0, 0);
    }

    pub fn seq_pos_min(&self, seq_id: SeqId) -> Pos {
        self.positions(seq_id).min().unwrap_or(-1)
    }

    pub fn seq_pos_max(&self, seq_id: SeqId) -> Pos {
        self.positions(seq_id).max().unwrap_or(-1).max(-1)
    }

    fn positions(&self, seq_id: SeqId) -> impl Iterator<Item = Pos> {
        self.cells.iter().filter(move |cell| cell.seqs.contains(seq_id)).map(|cell| cell.pos)
    }

    /// Removes a sequence's state, or that of all with -1; false where the range would leave a part of it that is not kept.
    pub fn seq_rm(&mut self, seq_id: SeqId, range: PosRange) -> bool {
        let whole = range.is_everything();
        if whole {
            match seq_id {
                ..0 => self.back.fill(0),
                _ => self.go_back(seq_id, 0),
            }
        }
        let Ok(seq) = usize::try_from(seq_id) else {
            // Everything or nothing.
            if whole {
                self.clear();
            }
            return whole || range.is_empty();
        };
        if seq >= self.len() {
            return false;
        }
        if let Some(tail) = self.cells[seq].tail {
            let pos = self.cells[tail].pos;
            if 0 < range.start() && range.contains(pos) {
                let back = usize::try_from(pos - (range.start() - 1)).unwrap_or(usize::MAX);
                if back > self.n_snapshots {
                    return false;
                }
                self.go_back(seq_id, back);
                self.cells[tail].pos = range.start() - 1;
                return true;
            }
            if range.contains(pos) {
                self.cells[seq].tail = None;
            }
        }
        self.remove(seq_id, range);
        true
    }

    /// Takes a sequence out of cells in a range; those that lose their last one are free.
    fn remove(&mut self, seq_id: SeqId, range: PosRange) {
        let mut first_freed = None;
        for (i, cell) in self.cells.iter_mut().enumerate() {
            if !range.contains(cell.pos) || !cell.seqs.contains(seq_id) {
                continue;
            }
            cell.seqs.remove(seq_id);
            if cell.seqs.is_empty() {
                self.n_used = self.n_used.saturating_sub(1);
                cell.free();
                first_freed.get_or_insert(i);
            }
        }
        // The next search begins with what became free.
        self.placed.head = self.placed.head.min(first_freed.unwrap_or(usize::MAX));
    }

    /// Both numbers are below the number of cells.
    pub fn seq_cp(&mut self, src: SeqId, dst: SeqId) {
        if src == dst {
            return;
        }
        self.leave(dst);
        if let Some(tail) = self.cells[src as usize].tail {
            self.cells[tail].seqs.insert(dst);
            self.cells[dst as usize].tail = Some(tail);
        }
    }

    /// Takes a sequence out of its cell.
    fn leave(&mut self, seq_id: SeqId) {
        let Some(tail) = self.cells[seq_id as usize].tail.take() else { return };
        let cell = &mut self.cells[tail];
        cell.seqs.remove(seq_id);
        if cell.seqs.is_empty() {
            cell.free();
            self.n_used = self.n_used.saturating_sub(1);
        }
    }

    pub fn seq_keep(&mut self, seq_id: SeqId) {
        let mut first_freed = None;
        for (i, cell) in self.cells.iter_mut().enumerate() {
            if i as SeqId != seq_id {
                cell.tail = None;
            }
            if cell.seqs.contains(seq_id) {
                cell.seqs = std::iter::once(seq_id).collect();
            } else {
                if cell.pos >= 0 {
                    self.n_used = self.n_used.saturating_sub(1);
                }
                cell.free();
                first_freed.get_or_insert(i);
            }
        }
        self.placed.head = self.placed.head.min(first_freed.unwrap_or(usize::MAX));
    }

    /// The position of a sequence's state, if it lies in a range.
    pub fn pos_mut(&mut self, seq_id: SeqId, range: PosRange) -> Option<&mut Pos> {
        let tail = self.cells.get(usize::try_from(seq_id).ok()?)?.tail?;
        let cell = &mut self.cells[tail];
        (cell.seqs.contains(seq_id) && range.contains(cell.pos)).then_some(&mut cell.pos)
    }

    fn went_back(&self, seq_id: SeqId) -> usize {
        usize::try_from(seq_id).ok().and_then(|s| self.back.get(s)).copied().unwrap_or(0)
    }

    /// Notes that a sequence is `n` positions before its last ubatch's end (`set_rs_idx`).
    pub fn go_back(&mut self, seq_id: SeqId, n: usize) {
        if let Some(back) = usize::try_from(seq_id).ok().and_then(|s| self.back.get_mut(s)) {
            *back = n.min(self.n_snapshots);
        }
    }

    /// Makes cells of a whole state's: positions and sequences, which are in one cell each.
    pub fn restore(&mut self, states: &[(Pos, SeqSet)]) {
        self.clear();
        for (i, (pos, seqs)) in states.iter().enumerate() {
            let cell = &mut self.cells[i];
            (cell.pos, cell.seqs, cell.src) = (*pos, *seqs, Some(i));
            seqs.iter().for_each(|seq_id| self.cells[seq_id as usize].tail = Some(i));
        }
        self.n_used = states.len();
    }

    /// What of the last ubatch's graph changes rows that hold a state: sequences whose state is lost if it does not run to its end.
    pub fn at_stake(&self, ubatch: &Ubatch) -> SeqSet {
        let mut seqs = ubatch.seq_set.iter().fold(SeqSet::EMPTY, |all, set| all.union(set));
        let Placed { head, n, .. } = self.placed;
        for (i, source) in (head..).zip(&self.sources[..n]) {
            if *source != i as i32 {
                seqs = seqs.union(&self.cells[i].seqs);
            }
        }
        seqs
    }

    /// Cells without sequences have no row any more: a graph that was taken back may have written there.
    pub fn forget_rows_of_none(&mut self) {
        for cell in self.cells.iter_mut().filter(|cell| cell.seqs.is_empty()) {
            cell.src = None;
        }
    }

    /// Places a ubatch of sequences with equally many tokens: a cell for each, side by side (`find_slot`).
    ///
    /// On an error the cells are in no order; the ubatch is tried on a copy first.
    pub fn place(&mut self, ubatch: &Ubatch) -> Result<(), Error> {
        let (size, n_seqs, n_seq_tokens) = (self.len(), ubatch.n_seqs, ubatch.n_seq_tokens);
        if !ubatch.equal_seqs || ubatch.n_tokens == 0 || n_seqs * n_seq_tokens != ubatch.n_tokens {
            return Err(Error::Split { n_used: 0, n_tokens: ubatch.n_tokens });
        }
        if self.placed.head > self.n_used + 2 * n_seqs {
            self.placed.head = 0;
        }
        self.uncouple(ubatch)?;
        let (min, max) = self.own_cells(ubatch)?;
        if min + n_seqs > size {
            return Err(self.no_slot(n_seqs));
        }
        for s in 0..n_seqs {
            let seq_id = ubatch.seq_id[s * n_seq_tokens];
            if let Some(tail) = self.cells[seq_id as usize].tail {
                self.swap(s + min, tail);
            }
        }
        for s in 0..n_seqs {
            let first = s * n_seq_tokens;
            let (cell, seqs) = (&mut self.cells[s + min], ubatch.seq_set[first]);
            (cell.pos, cell.seqs) = (ubatch.pos[first + n_seq_tokens - 1], seqs);
            seqs.iter().for_each(|seq_id| self.cells[seq_id as usize].tail = Some(s + min));
        }
        self.placed = Placed { head: min, n: max - min + 1, zero: self.unreferenced(min, max) };
        self.stage()?;
        self.n_used = self.n_used();
        if self.placed.n < n_seqs { Err(self.no_slot(n_seqs)) } else { Ok(()) }
    }

    fn no_slot(&self, n_seqs: usize) -> Error {
        Error::NoSlot { n_tokens: n_seqs, n_free: self.len() - self.n_used(), n_cells: self.len() }
    }

    /// Sequences that share a token from now on leave the cells they have for themselves, all but the first.
    fn uncouple(&mut self, ubatch: &Ubatch) -> Result<(), Error> {
        for first in (0..ubatch.n_tokens).step_by(ubatch.n_seq_tokens) {
            let lead = ubatch.seq_id[first];
            for seq_id in ubatch.seq_set[first].iter() {
                if seq_id as usize >= self.len() {
                    return Err(Error::SeqId { seq_id, n_seq: self.len() });
                }
                if seq_id != lead {
                    self.leave(seq_id);
                }
            }
        }
        Ok(())
    }

    /// Gives each sequence of the ubatch a cell that no other one has; the first and the last of these cells.
    fn own_cells(&mut self, ubatch: &Ubatch) -> Result<(usize, usize), Error> {
        let (mut min, mut max) = (self.len().saturating_sub(1), 0);
        let mut next = self.next_free(self.placed.head);
        for s in 0..ubatch.n_seqs {
            let seq_id = ubatch.seq_id[s * ubatch.n_seq_tokens];
            let tail = self.cells[seq_id as usize].tail;
            let own = tail.filter(|tail| self.cells[*tail].seqs.only().is_some());
            let own = if let Some(own) = own {
                own
            } else {
                let cell = next.ok_or_else(|| self.no_slot(ubatch.n_seqs))?;
                if let Some(shared) = tail {
                    let RecurrentCell { pos, src, .. } = self.cells[shared];
                    self.cells[shared].seqs.remove(seq_id);
                    let copy = &mut self.cells[cell];
                    (copy.pos, copy.src) = (pos, src);
                    copy.seqs.insert(seq_id);
                }
                self.cells[seq_id as usize].tail = Some(cell);
                if s + 1 < ubatch.n_seqs {
                    next = self.next_free(cell + 1);
                }
                cell
            };
            (min, max) = (min.min(own), max.max(own));
        }
        Ok((min, max))
    }

    /// The first free cell from `start` on, around the end.
    fn next_free(&self, start: usize) -> Option<usize> {
        let size = self.len();
        (0..size).map(|i| (start + i) % size).find(|i| self.cells[*i].seqs.is_empty())
    }

    /// Swaps what two cells hold.
    fn swap(&mut self, a: usize, b: usize) {
        if a == b {
            return;
        }
        self.cells.swap(a, b);
        // Numbers of sequences stay where they were.
        let tail = self.cells[a].tail;
        self.cells[a].tail = self.cells[b].tail;
        self.cells[b].tail = tail;
        for cell in &mut self.cells {
            if cell.tail == Some(a) {
                cell.tail = Some(b);
            } else if cell.tail == Some(b) {
                cell.tail = Some(a);
            }
        }
    }

    /// The first cell of a range that no cell has as its source: it may be cleared.
    fn unreferenced(&mut self, min: usize, max: usize) -> Option<usize> {
        self.n_refs.fill(0);
        for src in self.cells.iter().filter_map(|cell| cell.src) {
            self.n_refs[src] += 1;
        }
        (min..=max).find(|i| self.n_refs[*i] == 0)
    }

    /// Sets the sources of the placed cells apart, so that what is done to sequences until the graph runs does not matter; from then on
    /// states lie where their cells are.
    fn stage(&mut self) -> Result<(), Error> {
        let Placed { head, n, zero } = self.placed;
        self.sources.clear();
        for i in head..head + n {
            let source = self.cells[i].src.or(zero).ok_or_else(|| self.no_slot(n))?;
            self.cells[i].src = Some(i);
            let first = self.cells[i].seqs.iter().next();
            let back = first.map_or(0, |seq_id| self.went_back(seq_id));
            if let Some(seq_id) = first {
                self.go_back(seq_id, 0);
            }
            self.sources.push((back * self.len() + source) as i32);
        }
        Ok(())
    }
}
