//! Random operations against a cache that is obviously right: a list of cells, searched every time.

mod common;

use std::collections::BTreeSet;

use common::TestMemory;
use proptest::prelude::*;
use quipu_backend::BufferTable;
use quipu_batch::Ubatch;
use quipu_kv_cache::{KvCache, KvLayerShape, KvParams, Memory, SeqPositions, SeqSet, SlotPlan};

const N_CELLS: usize = 70;
const N_SEQ: i32 = 4;

#[derive(Clone, Debug)]
enum Step {
    Place { ubatches: Vec<usize>, first: i32, seqs: Vec<i32>, keep: bool },
    Rm(i32, i32, i32),
    Cp(i32, i32, i32, i32),
    Keep(i32),
    Add(i32, i32, i32, i32),
    Div(i32, i32, i32, i32),
    ResetShift,
}

fn step() -> impl Strategy<Value = Step> {
    let (seq, pos) = (0..N_SEQ, -1..40);
    let seqs = prop::collection::vec(0..N_SEQ, 1..3);
    let place = (prop::collection::vec(1usize..20, 1..4), 0..30, seqs, any::<bool>());
    prop_oneof![
        6 => place.prop_map(|(ubatches, first, seqs, keep)| Step::Place { ubatches, first, seqs, keep }),
        3 => (-1..N_SEQ, pos.clone(), pos.clone()).prop_map(|(s, p0, p1)| Step::Rm(s, p0, p1)),
        2 => (seq.clone(), seq.clone(), pos.clone(), pos.clone()).prop_map(|(a, b, p0, p1)| Step::Cp(a, b, p0, p1)),
        1 => seq.clone().prop_map(Step::Keep),
        2 => (seq.clone(), pos.clone(), pos.clone(), -20..20).prop_map(|(s, p0, p1, d)| Step::Add(s, p0, p1, d)),
        1 => (seq, pos.clone(), pos, 1..4).prop_map(|(s, p0, p1, d)| Step::Div(s, p0, p1, d)),
        1 => Just(Step::ResetShift),
    ]
}

#[derive(Clone, Debug, Default)]
struct Cell {
    pos: i32,
    shift: i32,
    seqs: BTreeSet<i32>,
}

#[derive(Clone, Debug)]
struct Naive {
    cells: Vec<Option<Cell>>,
    head: usize,
}

impl Naive {
    fn find(&self, n: usize) -> Option<Vec<u32>> {
        let n_used = self.cells.iter().flatten().count();
        let start = if self.head > n_used + 2 * n { 0 } else { self.head };
        let free: Vec<u32> = (0..N_CELLS)
            .map(|i| (start + i) % N_CELLS)
            .filter(|i| self.cells[*i].is_none())
            .map(|i| i as u32)
            .take(n)
            .collect();
        (free.len() == n).then_some(free)
    }

    /// Calls `change` on every cell of the range; the cell is freed where it answers true.
    fn each(&mut self, p0: i32, p1: i32, mut change: impl FnMut(&mut Cell) -> bool) -> Option<usize> {
        let (p0, p1) = (p0.max(0), if p1 < 0 { i32::MAX } else { p1 });
        let mut first = None;
        for (i, slot) in self.cells.iter_mut().enumerate() {
            if slot.as_mut().is_some_and(|cell| (p0..p1).contains(&cell.pos) && change(cell)) {
                *slot = None;
                first = first.or(Some(i));
            }
        }
        first
    }

    fn back_to(&mut self, first: Option<usize>) {
        self.head = first.map_or(self.head, |first| first.min(self.head));
    }

    fn bounds(&self, seq: i32) -> (i32, i32) {
        let of_seq = || self.cells.iter().flatten().filter(|c| c.seqs.contains(&seq)).map(|c| c.pos);
        (of_seq().min().unwrap_or(-1), of_seq().max().unwrap_or(-1))
    }
}

fn run(steps: &[Step]) {
    let layers = vec![KvLayerShape { n_embd_k_gqa: 2, n_embd_v_gqa: 2 }];
    let params = KvParams { n_cells: N_CELLS, n_seq_max: 4, layers, ..KvParams::default() };
    let mut cache = KvCache::new(&params, &TestMemory, &mut BufferTable::new()).expect("a small cache");
    let mut naive = Naive { cells: vec![None; N_CELLS], head: 0 };
    let mut plan = SlotPlan::new();
    for step in steps {
        match step {
            Step::Place { ubatches, first, seqs, keep } => {
                let n: usize = ubatches.iter().sum();
                let pos: Vec<i32> = (*first..).take(n).collect();
                let (seq_id, seq_set) = (vec![seqs[0]; n], vec![seqs.iter().copied().collect::<SeqSet>(); n]);
                let mut batch = Vec::new();
                let mut at = 0;
                for len in ubatches {
                    let range = at..at + len;
                    at = range.end;
                    batch.push(Ubatch {
                        n_tokens: *len,
                        pos: pos[range.clone()].to_vec(),
                        seq_id: seq_id[range.clone()].to_vec(),
                        seq_set: seq_set[range].to_vec(),
                        ..Ubatch::default()
                    });
                }
                let before = (cache.cells().clone(), cache.head(0));
                let result = cache.prepare(&batch, &mut plan);
                assert_eq!((cache.cells().clone(), cache.head(0)), before, "planning left traces");
                let mut planned = naive.clone();
                let mut fits = true;
                for (k, ubatch) in batch.iter().enumerate() {
                    let Some(slot) = planned.find(ubatch.pos.len()) else {
                        fits = false;
                        break;
                    };
                    if result.is_ok() {
                        assert_eq!(plan.slot(k), slot);
                    }
                    for (cell, pos) in slot.iter().zip(&ubatch.pos) {
                        let seqs = seqs.iter().copied().collect();
                        planned.cells[*cell as usize] = Some(Cell { pos: *pos, shift: 0, seqs });
                    }
                    planned.head = slot[slot.len() - 1] as usize + 1;
                }
                assert_eq!(result.is_ok(), fits);
                if fits && *keep {
                    naive = planned;
                    let ubatches = batch.iter().enumerate();
                    ubatches.for_each(|(k, ubatch)| cache.apply_ubatch(&mut plan, k, ubatch));
                }
            }
            Step::Rm(seq, p0, p1) => {
                assert!(cache.seq_rm(*seq, *p0, *p1).unwrap());
                let first = naive.each(*p0, *p1, |cell| {
                    if *seq < 0 {
                        return true;
                    }
                    cell.seqs.remove(seq) && cell.seqs.is_empty()
                });
                naive.back_to(first);
            }
            Step::Cp(src, dst, p0, p1) => {
                cache.seq_cp(*src, *dst, *p0, *p1).unwrap();
                naive.each(*p0, *p1, |cell| {
                    if cell.seqs.contains(src) {
                        cell.seqs.insert(*dst);
                    }
                    false
                });
            }
            Step::Keep(seq) => {
                cache.seq_keep(*seq).unwrap();
                let first = naive.each(-1, -1, |cell| {
                    cell.seqs.retain(|s| s == seq);
                    cell.seqs.is_empty()
                });
                naive.back_to(first);
            }
            Step::Add(seq, p0, p1, delta) => {
                cache.seq_add(*seq, *p0, *p1, *delta).unwrap();
                let end = if *p1 < 0 { i32::MAX } else { *p1 };
                if *delta != 0 && (*p0).max(0) != end {
                    let first = naive.each(*p0, *p1, |cell| {
                        if cell.seqs.contains(seq) {
                            cell.pos += delta;
                            cell.shift += delta;
                        }
                        cell.pos < 0
                    });
                    naive.head = first.unwrap_or(0);
                }
            }
            Step::Div(seq, p0, p1, divisor) => {
                cache.seq_div(*seq, *p0, *p1, *divisor).unwrap();
                naive.each(*p0, *p1, |cell| {
                    if cell.seqs.contains(seq) {
                        let old = cell.pos;
                        cell.pos /= divisor;
                        cell.shift += old - cell.pos;
                    }
                    false
                });
            }
            Step::ResetShift => {
                cache.reset_shift();
                naive.cells.iter_mut().flatten().for_each(|cell| cell.shift = 0);
            }
        }
        compare(&cache, &naive);
    }
}

fn compare(cache: &KvCache, naive: &Naive) {
    assert_eq!(cache.head(0), naive.head);
    let cells = cache.cells();
    for (i, cell) in naive.cells.iter().enumerate() {
        let cell = cell.clone().unwrap_or(Cell { pos: -1, ..Cell::default() });
        assert_eq!((cells.pos(i), cells.shift(i)), (cell.pos, cell.shift), "cell {i}");
        assert_eq!(cells.seqs(i), cell.seqs.iter().copied().collect::<SeqSet>(), "cell {i}");
    }
    for seq in 0..N_SEQ {
        assert_eq!((cache.seq_pos_min(seq), cache.seq_pos_max(seq)), naive.bounds(seq), "sequence {seq}");
    }
    let used = |i: &usize| naive.cells[*i].is_some();
    assert_eq!(cells.n_used(), (0..N_CELLS).filter(used).count());
    assert_eq!(cells.used_min(), (0..N_CELLS).find(used).unwrap_or(0));
    assert_eq!(cells.used_max_p1(), (0..N_CELLS).rfind(used).map_or(0, |i| i + 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_list_of_cells(steps in prop::collection::vec(step(), 1..40)) {
        run(&steps);
    }
}
