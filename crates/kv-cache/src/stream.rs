//! Sequence operations on the cells of one stream. Ranges of positions end before their last.

use crate::cells::PosRange;
use crate::slot::Stream;
use crate::{Pos, SeqId};

impl Stream {
    /// Empties all cells in a range.
    pub(crate) fn rm(&mut self, range: PosRange) {
        let mut first = None;
        for i in 0..self.cells.len() {
            if self.cells.pos_in(i, range) {
                self.cells.rm(i);
                first = first.or(Some(i));
            }
        }
        self.freed(first);
    }

    pub(crate) fn seq_rm(&mut self, seq_id: SeqId, range: PosRange) {
        let mut first = None;
        for i in 0..self.cells.len() {
            let has = self.cells.pos_in(i, range) && self.cells.seq_has(i, seq_id);
            if has && self.cells.seq_rm(i, seq_id) {
                first = first.or(Some(i));
            }
        }
        self.freed(first);
    }

    pub(crate) fn seq_cp(&mut self, src: SeqId, dst: SeqId, range: PosRange) {
        for i in 0..self.cells.len() {
            if self.cells.pos_in(i, range) && self.cells.seq_has(i, src) {
                self.cells.seq_add(i, dst);
            }
        }
    }

    pub(crate) fn seq_keep(&mut self, seq_id: SeqId) {
        let mut first = None;
        for i in 0..self.cells.len() {
            if self.cells.seq_keep(i, seq_id) {
                first = first.or(Some(i));
            }
        }
        self.freed(first);
    }

    /// The caller has checked that the sums fit.
    pub(crate) fn seq_add(&mut self, seq_id: SeqId, range: PosRange, delta: Pos) {
        let mut first = None;
        for i in 0..self.cells.len() {
            let has = self.cells.pos_in(i, range) && self.cells.seq_has(i, seq_id);
            if has && self.cells.pos_add(i, delta) {
                first = first.or(Some(i));
            }
        }
        // Without a freed cell the next search starts from the beginning.
        self.head = first.unwrap_or(0);
        self.cells.settle();
    }

    pub(crate) fn seq_div(&mut self, seq_id: SeqId, range: PosRange, divisor: i32) {
        for i in 0..self.cells.len() {
            if self.cells.pos_in(i, range) && self.cells.seq_has(i, seq_id) {
                self.cells.pos_div(i, divisor);
            }
        }
        self.cells.settle();
    }

    /// Moves the head to a freed cell before it, where a search may succeed sooner.
    fn freed(&mut self, first: Option<usize>) {
        self.head = first.map_or(self.head, |first| first.min(self.head));
        self.cells.settle();
    }
}
