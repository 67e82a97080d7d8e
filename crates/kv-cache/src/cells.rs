//! Cell bookkeeping: position, sequences and pending shift of every cell.
//!
//! Nothing here allocates after construction, so that a token's placement costs no heap traffic.

use crate::{Error, MAX_SEQ, Pos, SeqId, SeqSet};

/// Positions of one sequence: how many cells it has and their extremes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeqRange {
    n: u32,
    min: Pos,
    max: Pos,
    /// A cell at an extreme left: the extremes are to be looked up again.
    stale: bool,
}

impl SeqRange {
    const EMPTY: SeqRange = SeqRange { n: 0, min: -1, max: -1, stale: false };

    fn include(&mut self, pos: Pos) {
        (self.min, self.max) = if self.n == 0 { (pos, pos) } else { (self.min.min(pos), self.max.max(pos)) };
        self.n += 1;
    }

    fn exclude(&mut self, pos: Pos) {
        self.n -= 1;
        if self.n == 0 {
            *self = SeqRange::EMPTY;
        } else if pos == self.min || pos == self.max {
            self.stale = true;
        }
    }
}

/// Positions that an operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PosRange {
    start: i64,
    /// One past the last; wider than a position, so that a range without end holds the largest one too.
    end: i64,
}

impl PosRange {
    /// `[p0, p1)`; a negative `p0` means 0, a negative `p1` means no end.
    pub(crate) fn new(p0: Pos, p1: Pos) -> PosRange {
        PosRange { start: i64::from(p0.max(0)), end: if p1 < 0 { i64::MAX } else { i64::from(p1) } }
    }

    /// Whether it holds exactly nothing because it ends where it starts; the reference lets only such ranges pass without effect.
    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Whether every position is in it.
    pub(crate) fn is_everything(self) -> bool {
        self.start == 0 && self.end >= i64::from(Pos::MAX)
    }

    /// The first position in it.
    pub(crate) fn start(self) -> Pos {
        self.start as Pos
    }

    pub(crate) fn contains(self, pos: Pos) -> bool {
        (self.start..self.end).contains(&i64::from(pos))
    }
}

/// A cell as it was before something was put into it or taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellBefore {
    pos: Pos,
    place_2d: [Pos; 2],
    shift: Pos,
    seq: SeqSet,
}

/// The cells of a cache, or of one of its streams. Answers to `llama_kv_cells`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvCells {
    pos: Vec<Pos>,
    /// x and y in the image a token is from; empty in models that know no images.
    place_2d: Vec<[Pos; 2]>,
    shift: Vec<Pos>,
    seq: Vec<SeqSet>,
    /// One bit per cell that is not empty.
    used: Vec<u64>,
    n_used: usize,
    has_shift: bool,
    ranges: Vec<SeqRange>,
}

impl KvCells {
    /// `n` empty cells for tokens with `n_pos` positions; [`Error::HostMemory`] if there is no memory for so many.
    pub fn new(n: usize, n_pos: usize) -> Result<KvCells, Error> {
        Ok(KvCells {
            pos: filled(-1, n)?,
            place_2d: filled([0; 2], if n_pos > 1 { n } else { 0 })?,
            shift: filled(0, n)?,
            seq: filled(SeqSet::EMPTY, n)?,
            used: filled(0, n.div_ceil(64))?,
            n_used: 0,
            has_shift: false,
            ranges: filled(SeqRange::EMPTY, MAX_SEQ)?,
        })
    }

    /// Empties every cell.
    pub fn reset(&mut self) {
        self.pos.fill(-1);
        self.place_2d.fill([0; 2]);
        self.seq.fill(SeqSet::EMPTY);
        self.used.fill(0);
        self.n_used = 0;
        self.ranges.fill(SeqRange::EMPTY);
        self.reset_shift();
    }

    /// Forgets pending shifts, after they were applied to the keys.
    pub fn reset_shift(&mut self) {
        self.has_shift = false;
        self.shift.fill(0);
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        self.pos.len()
    }

    /// Whether there are no cells at all.
    pub fn is_empty(&self) -> bool {
        self.pos.is_empty()
    }

    /// Whether cell `i` holds no token.
    pub fn is_free(&self, i: usize) -> bool {
        self.pos[i] < 0
    }

    /// Cells that hold a token (`get_used`).
    pub fn n_used(&self) -> usize {
        self.n_used
    }

    /// First used cell, 0 if there is none (`used_min`).
    pub fn used_min(&self) -> usize {
        let word = self.used.iter().position(|word| *word != 0);
        word.map_or(0, |i| i * 64 + self.used[i].trailing_zeros() as usize)
    }

    /// One past the last used cell, 0 if there is none (`used_max_p1`).
    pub fn used_max_p1(&self) -> usize {
        let word = self.used.iter().rposition(|word| *word != 0);
        word.map_or(0, |i| i * 64 + 64 - self.used[i].leading_zeros() as usize)
    }

    /// Whether any shift is pending (`get_has_shift`).
    pub fn has_shift(&self) -> bool {
        self.has_shift
    }

    /// Position of cell `i`, -1 if it is empty.
    pub fn pos(&self, i: usize) -> Pos {
        self.pos[i]
    }

    /// x and y of cell `i` in the image it is from; 0 where there are no images (`ext_get`).
    pub fn place_2d(&self, i: usize) -> [Pos; 2] {
        self.place_2d.get(i).copied().unwrap_or_default()
    }

    /// Pending shift of cell `i`; 0 if it is empty.
    pub fn shift(&self, i: usize) -> Pos {
        self.shift[i]
    }

    /// Sequences of cell `i`.
    pub fn seqs(&self, i: usize) -> SeqSet {
        self.seq[i]
    }

    /// Whether cell `i` belongs to a sequence (`seq_has`).
    pub fn seq_has(&self, i: usize, seq_id: SeqId) -> bool {
        self.seq[i].contains(seq_id)
    }

    /// Whether cell `i` holds a token with a position in the range (`pos_in`).
    pub(crate) fn pos_in(&self, i: usize, range: PosRange) -> bool {
        range.contains(self.pos[i])
    }

    /// Smallest position of a sequence, -1 if it has none.
    pub fn seq_pos_min(&self, seq_id: SeqId) -> Pos {
        self.range(seq_id).map_or(-1, |range| range.min)
    }

    /// Largest position of a sequence, -1 if it has none.
    pub fn seq_pos_max(&self, seq_id: SeqId) -> Pos {
        self.range(seq_id).map_or(-1, |range| range.max)
    }

    /// Puts a token into the empty cell `i` (`pos_set` and `seq_add` for each sequence).
    pub fn place(&mut self, i: usize, pos: Pos, place_2d: Option<[Pos; 2]>, seqs: SeqSet) {
        debug_assert!(self.is_free(i) && pos >= 0, "cell {i} holds a token, or position {pos} is negative");
        self.pos[i] = pos;
        if let (Some(to), Some(place_2d)) = (self.place_2d.get_mut(i), place_2d) {
            *to = place_2d;
        }
        self.seq[i] = seqs;
        self.used[i / 64] |= 1 << (i % 64);
        self.n_used += 1;
        self.include(i);
    }

    /// Empties cell `i` (`rm`).
    pub fn rm(&mut self, i: usize) {
        self.exclude(i);
        self.free(i);
    }

    /// Takes cell `i` from a sequence it belongs to; true if it becomes empty (`seq_rm`).
    pub fn seq_rm(&mut self, i: usize, seq_id: SeqId) -> bool {
        debug_assert!(self.seq_has(i, seq_id), "cell {i} is not of sequence {seq_id}");
        self.seq[i].remove(seq_id);
        self.ranges[seq_id as usize].exclude(self.pos[i]);
        if !self.seq[i].is_empty() {
            return false;
        }
        self.free(i);
        true
    }

    /// Leaves cell `i` to one sequence; true if it was in use and becomes empty (`seq_keep`).
    pub fn seq_keep(&mut self, i: usize, seq_id: SeqId) -> bool {
        if self.is_free(i) {
            return false;
        }
        let kept = self.seq_has(i, seq_id);
        self.exclude(i);
        if kept {
            self.seq[i] = std::iter::once(seq_id).collect();
            self.include(i);
        } else {
            self.free(i);
        }
        !kept
    }

    /// Gives the used cell `i` to one more sequence; does nothing if it has it already (`seq_add`).
    pub fn seq_add(&mut self, i: usize, seq_id: SeqId) {
        if !self.seq_has(i, seq_id) {
            self.seq[i].insert(seq_id);
            self.ranges[seq_id as usize].include(self.pos[i]);
        }
    }

    /// Adds `delta` to the position of the used cell `i`, for all its sequences; true if the position fell
    /// below 0 and the cell became empty (`pos_add`). The caller has checked that the sum fits.
    pub fn pos_add(&mut self, i: usize, delta: Pos) -> bool {
        self.exclude(i);
        self.has_shift = true;
        let pos = self.pos[i] + delta;
        if pos < 0 {
            self.free(i);
            return true;
        }
        self.pos[i] = pos;
        // Shifts of many calls may add up beyond 32 bits only if positions did, which was checked.
        self.shift[i] = self.shift[i].wrapping_add(delta);
        self.include(i);
        false
    }

    /// Divides the position of the used cell `i` by a positive number (`pos_div`).
    pub fn pos_div(&mut self, i: usize, divisor: i32) {
        self.exclude(i);
        let old = self.pos[i];
        self.pos[i] = old / divisor;
        self.shift[i] = self.shift[i].wrapping_add(old - self.pos[i]);
        self.has_shift = true;
        self.include(i);
    }

    /// Looks up the extremes of sequences that lost a cell at one. Ends every operation that removed cells.
    pub(crate) fn settle(&mut self) {
        let stale: SeqSet = (0..MAX_SEQ).filter(|s| self.ranges[*s].stale).map(|s| s as SeqId).collect();
        if stale.is_empty() {
            return;
        }
        for seq_id in stale.iter() {
            self.ranges[seq_id as usize] = SeqRange::EMPTY;
        }
        for i in 0..self.pos.len() {
            for seq_id in self.seq[i].intersection(&stale).iter() {
                self.ranges[seq_id as usize].include(self.pos[i]);
            }
        }
    }

    /// Appends the ranges of all sequences, to be restored by [`KvCells::restore_ranges`].
    pub(crate) fn save_ranges(&self, out: &mut Vec<SeqRange>) {
        out.extend_from_slice(&self.ranges);
    }

    /// Cell `i`, to be put back by [`KvCells::restore`].
    pub(crate) fn before(&self, i: usize) -> CellBefore {
        let (pos, place_2d) = (self.pos[i], self.place_2d(i));
        CellBefore { pos, place_2d, shift: self.shift[i], seq: self.seq[i] }
    }

    /// Puts cell `i` back as it was; the ranges are put back by themselves ([`KvCells::restore_ranges`]).
    pub(crate) fn restore(&mut self, i: usize, before: &CellBefore) {
        if !self.is_free(i) {
            self.free(i);
        }
        if before.pos < 0 {
            return;
        }
        (self.pos[i], self.shift[i], self.seq[i]) = (before.pos, before.shift, before.seq);
        if let Some(place_2d) = self.place_2d.get_mut(i) {
            *place_2d = before.place_2d;
        }
        self.used[i / 64] |= 1 << (i % 64);
        self.n_used += 1;
    }

    /// The ranges as [`KvCells::save_ranges`] saved them.
    pub(crate) fn restore_ranges(&mut self, ranges: &[SeqRange]) {
        self.ranges.copy_from_slice(ranges);
    }

    /// Takes over what `other` holds of one sequence, as sequence `dst`, cell by cell; what was here is gone.
    pub(crate) fn copy_seq(&mut self, other: &KvCells, src: SeqId, dst: SeqId) {
        self.reset();
        let only: SeqSet = std::iter::once(dst).collect();
        for i in (0..self.len().min(other.len())).filter(|i| other.seq_has(*i, src)) {
            let place_2d = (!other.place_2d.is_empty()).then(|| other.place_2d(i));
            self.place(i, other.pos(i), place_2d, only);
            self.shift[i] = other.shift(i);
            self.has_shift |= self.shift[i] != 0;
        }
    }

    fn range(&self, seq_id: SeqId) -> Option<SeqRange> {
        let range = *self.ranges.get(usize::try_from(seq_id).ok()?)?;
        if !range.stale {
            return Some(range);
        }
        let mut fresh = SeqRange::EMPTY;
        let of_seq = (0..self.pos.len()).filter(|i| self.seq_has(*i, seq_id));
        of_seq.for_each(|i| fresh.include(self.pos[i]));
        Some(fresh)
    }

    fn include(&mut self, i: usize) {
        for seq_id in self.seq[i].iter() {
            self.ranges[seq_id as usize].include(self.pos[i]);
        }
    }

    fn exclude(&mut self, i: usize) {
        for seq_id in self.seq[i].iter() {
            self.ranges[seq_id as usize].exclude(self.pos[i]);
        }
    }

    fn free(&mut self, i: usize) {
        self.pos[i] = -1;
        self.shift[i] = 0;
        self.seq[i] = SeqSet::EMPTY;
        if let Some(place_2d) = self.place_2d.get_mut(i) {
            *place_2d = [0; 2];
        }
        self.used[i / 64] &= !(1 << (i % 64));
        self.n_used -= 1;
    }
}

/// A vector whose memory is asked for, not taken for granted: its length comes from a parameter.
fn filled<T: Clone>(value: T, n: usize) -> Result<Vec<T>, Error> {
    let mut values = Vec::new();
    let n_bytes = n.saturating_mul(size_of::<T>());
    values.try_reserve_exact(n).map_err(|_| Error::HostMemory { n_bytes })?;
    values.resize(n, value);
    Ok(values)
}
