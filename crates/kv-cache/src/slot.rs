//! Finding cells for the tokens of a ubatch, and taking them.

use quipu_batch::Ubatch;

use crate::cells::{CellBefore, SeqRange};
use crate::{Error, KvCells, MAX_SEQ, SeqId, SeqSet, Window};

/// Cells that some sequences have for themselves, and where the next search in them starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub cells: KvCells,
    pub head: usize,
}

/// All streams of a cache, which have the same number of cells. A cell's number counts through all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_field_names)] // what it is a list of
pub(crate) struct Streams {
    streams: Vec<Stream>,
    n_cells: usize,
    window: Option<Window>,
}

/// Cells for all ubatches of a batch. Reused from batch to batch, so that planning allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct SlotPlan {
    idxs: Vec<u32>,
    ends: Vec<usize>,
    /// Streams that the batch changes, with their heads and, in `ranges`, [`MAX_SEQ`] entries each: the state before the first ubatch.
    saved: Vec<(usize, usize)>,
    ranges: Vec<SeqRange>,
    /// Cells that were changed, in order, as they were before.
    journal: Vec<(u32, CellBefore)>,
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

    pub(crate) fn clear(&mut self) {
        self.idxs.clear();
        self.ends.clear();
        self.saved.clear();
        self.ranges.clear();
        self.journal.clear();
    }

    /// What was found since the last one is the slot of the next ubatch.
    pub(crate) fn end_slot(&mut self) {
        self.ends.push(self.idxs.len());
    }

    /// The cells of the tokens of the `k`-th ubatch, in token order, counted through all streams; empty if there is no such ubatch.
    pub fn slot(&self, k: usize) -> &[u32] {
        let Some(&end) = self.ends.get(k) else { return &[] };
        let start = if k == 0 { 0 } else { self.ends[k - 1] };
        &self.idxs[start..end]
    }
}

impl Streams {
    pub(crate) fn new(
        n_stream: usize,
        n_cells: usize,
        n_pos: usize,
        window: Option<Window>,
    ) -> Result<Streams, Error> {
        let stream = |_| Ok(Stream { cells: KvCells::new(n_cells, n_pos)?, head: 0 });
        Ok(Streams { streams: (0..n_stream).map(stream).collect::<Result<_, Error>>()?, n_cells, window })
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    pub(crate) fn n_cells(&self) -> usize {
        self.n_cells
    }

    pub(crate) fn window(&self) -> Option<Window> {
        self.window
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.streams.iter_mut()
    }

    pub(crate) fn get(&self, stream: usize) -> &Stream {
        &self.streams[stream]
    }

    pub(crate) fn get_mut(&mut self, stream: usize) -> &mut Stream {
        &mut self.streams[stream]
    }

    /// Two streams to copy between.
    pub(crate) fn pair_mut(&mut self, src: usize, dst: usize) -> Option<(&Stream, &mut Stream)> {
        let [src, dst] = self.streams.get_disjoint_mut([src, dst]).ok()?;
        Some((src, dst))
    }

    /// The stream of a sequence (`seq_to_stream`), which must be one of the cache's.
    pub(crate) fn of_seq(&self, seq_id: SeqId) -> usize {
        if self.streams.len() == 1 { 0 } else { seq_id as usize }
    }

    /// Sequences the cache has room for: any, or one for each stream.
    pub(crate) fn n_seq(&self) -> usize {
        if self.streams.len() == 1 { MAX_SEQ } else { self.streams.len() }
    }

    /// Plans all ubatches one after the other on the cells themselves, then takes everything back (`prepare`).
    pub(crate) fn prepare<'a>(
        &mut self,
        ubatches: impl IntoIterator<Item = &'a Ubatch>,
        plan: &mut SlotPlan,
    ) -> Result<(), Error> {
        plan.clear();
        let mut result = Ok(());
        for ubatch in ubatches {
            result = self.find_slot(ubatch, false, plan);
            if result.is_err() {
                break;
            }
            plan.end_slot();
            self.apply(plan.ends.len() - 1, ubatch, plan);
        }
        self.unapply(plan);
        if result.is_err() {
            plan.clear();
        }
        result
    }

    /// Puts the tokens of a ubatch into the cells of the plan's `k`-th slot (`apply_ubatch`).
    ///
    /// Cells that no window sees any more are taken over. So that a sequence has all positions between its first and its last, those before
    /// one that was taken are given up too.
    pub(crate) fn apply(&mut self, k: usize, ubatch: &Ubatch, plan: &mut SlotPlan) {
        let mut evicted = [-1; MAX_SEQ];
        let start = if k == 0 { 0 } else { plan.ends[k - 1] };
        for i in 0..plan.ends[k] - start {
            let index = plan.idxs[start + i];
            let (stream, cell) = self.locate(index);
            let cells = &mut self.streams[stream].cells;
            plan.journal.push((index, cells.before(cell)));
            if !cells.is_free(cell) {
                for seq_id in cells.seqs(cell).iter() {
                    let last = &mut evicted[seq_id as usize];
                    *last = cells.pos(cell).max(*last);
                }
                cells.rm(cell);
            }
            cells.place(cell, ubatch.pos[i], ubatch.pos_2d(i), ubatch.seq_set[i]);
            self.streams[stream].head = cell + 1;
        }
        if self.window.is_some() {
            self.purge(&evicted, plan);
        }
    }

    /// Takes from each sequence what comes before the last position of it that was taken over.
    fn purge(&mut self, evicted: &[i32; MAX_SEQ], plan: &mut SlotPlan) {
        for (s, last) in evicted.iter().enumerate().filter(|(_, last)| **last >= 0) {
            let (seq_id, stream) = (s as SeqId, self.of_seq(s as SeqId));
            let cells = &mut self.streams[stream].cells;
            if cells.seq_pos_min(seq_id) > *last {
                continue;
            }
            for i in 0..cells.len() {
                if cells.seq_has(i, seq_id) && cells.pos(i) <= *last {
                    plan.journal.push(((stream * self.n_cells + i) as u32, cells.before(i)));
                    cells.seq_rm(i, seq_id);
                }
            }
        }
        self.streams.iter_mut().for_each(|stream| stream.cells.settle());
    }

    /// Takes back whatever of a plan was applied, after which nothing else changed.
    pub(crate) fn unapply(&mut self, plan: &mut SlotPlan) {
        if plan.journal.is_empty() {
            return;
        }
        while let Some((index, before)) = plan.journal.pop() {
            let (stream, cell) = self.locate(index);
            self.streams[stream].cells.restore(cell, &before);
        }
        for ((stream, head), ranges) in plan.saved.iter().zip(plan.ranges.chunks_exact(MAX_SEQ)) {
            let stream = &mut self.streams[*stream];
            stream.cells.restore_ranges(ranges);
            stream.head = *head;
        }
    }

    /// Cells of the streams of a ubatch that attention must see, before padding.
    pub(crate) fn used_max_p1(&self, ubatch: &Ubatch) -> usize {
        let of = |stream: &Stream| stream.cells.used_max_p1();
        if self.streams.len() == 1 {
            return of(&self.streams[0]);
        }
        let streams = ubatch.seq_id_unq.iter().map(|seq_id| of(&self.streams[*seq_id as usize]));
        streams.max().unwrap_or(0)
    }

    fn locate(&self, index: u32) -> (usize, usize) {
        if self.streams.len() == 1 {
            return (0, index as usize);
        }
        (index as usize / self.n_cells, index as usize % self.n_cells)
    }

    /// Appends the cells of a ubatch to a plan: all from one stream, or the same number for each of its sequences (`find_slot`).
    pub(crate) fn find_slot(
        &self,
        ubatch: &Ubatch,
        contiguous: bool,
        plan: &mut SlotPlan,
    ) -> Result<(), Error> {
        if self.streams.len() == 1 {
            return self.find_in(0, ubatch.n_tokens, contiguous, plan);
        }
        let n_seqs = ubatch.seq_id_unq.len();
        let sides = ubatch.equal_seqs && n_seqs == ubatch.n_seqs;
        if !sides || ubatch.seq_id_unq.iter().any(|s| *s as usize >= self.streams.len()) {
            return Err(Error::Split { n_used: 0, n_tokens: ubatch.n_tokens });
        }
        // The tokens of the lowest sequence come first: the batch was split so.
        let n_tokens = ubatch.n_tokens / n_seqs;
        ubatch.seq_id_unq.iter().try_for_each(|s| self.find_in(*s as usize, n_tokens, contiguous, plan))
    }

    /// Appends `n_tokens` cells of a stream, searching from its head and wrapping around; with `contiguous` they are neighbours.
    pub(crate) fn find_in(
        &self,
        stream: usize,
        n_tokens: usize,
        contiguous: bool,
        plan: &mut SlotPlan,
    ) -> Result<(), Error> {
        let Stream { cells, head } = &self.streams[stream];
        if !plan.saved.iter().any(|(saved, _)| *saved == stream) {
            plan.saved.push((stream, *head));
            cells.save_ranges(&mut plan.ranges);
        }
        let start = plan.idxs.len();
        let found = search(cells, self.window, *head, n_tokens, contiguous, |cell| {
            plan.idxs.push((stream * self.n_cells + cell) as u32);
        });
        if !found {
            plan.idxs.truncate(start);
            let n_free = cells.len() - cells.n_used();
            return Err(Error::NoSlot { n_tokens, n_free, n_cells: cells.len() });
        }
        if contiguous {
            plan.idxs.drain(start..plan.idxs.len() - n_tokens);
        }
        Ok(())
    }
}

/// Reports cells for `n_tokens` tokens, one after the other; whether there are enough. Of neighbours the last `n_tokens` count.
fn search(
    cells: &KvCells,
    window: Option<Window>,
    head: usize,
    n_tokens: usize,
    contiguous: bool,
    mut report: impl FnMut(usize),
) -> bool {
    if n_tokens > cells.len() {
        return false;
    }
    // Enough unused cells before the head: start over, hoping to fill the cache from its beginning.
    let mut head = if head > cells.n_used() + 2 * n_tokens { 0 } else { head };
    let n_test = if contiguous { n_tokens } else { 1 };
    let (mut n_found, mut n_tested) = (0, 0);
    while n_found < n_tokens {
        if head + n_test > cells.len() {
            n_tested += cells.len() - head;
            head = 0;
            continue;
        }
        for _ in 0..n_test {
            let usable = is_usable(cells, window, head);
            if usable {
                report(head);
                n_found += 1;
            }
            (head, n_tested) = (head + 1, n_tested + 1);
            if !usable && contiguous {
                n_found = 0;
                break;
            }
        }
        // The reference gives up only after it has looked at as many cells as there are, found or not.
        if n_found < n_tokens && n_tested >= cells.len() {
            return false;
        }
    }
    true
}

/// Whether a token may be put into cell `i`: it is empty, or no token to come sees it through the window.
fn is_usable(cells: &KvCells, window: Option<Window>, i: usize) -> bool {
    cells.is_free(i) || window.is_some() && is_usable_by(cells, window, i, cells.seqs(i))
}

/// Whether a token may be put into cell `i` once only these of its sequences are left in it.
pub(crate) fn is_usable_by(cells: &KvCells, window: Option<Window>, i: usize, seqs: SeqSet) -> bool {
    if seqs.is_empty() {
        return true;
    }
    let (Some(window), Some(only)) = (window, seqs.only()) else { return false };
    window.hides(cells.pos(i), cells.seq_pos_max(only).saturating_add(1))
}
