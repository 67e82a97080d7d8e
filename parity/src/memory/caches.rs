//! `M kind n_cells unified n_seq_max n_swa swa_type n_pos n_ubatch operation*`
//!
//! Kinds: 0 a cache, 1 a pair, 2 a pair of equal size, 3 states (with n_swa snapshots), 4 a cache and states, 5 a pair of equal size and states. Operations: `b n_ubatch batch`, `r` remove, `c` copy, `k` keep, `a` add, `d` divide,
//! `x` clear, `u` update, `s sequence` keeps a state, `l sequence` reads it. The answer has a word for each: everything the cells hold
//! afterwards, and positions of sequences; for a batch after each ubatch.

use std::fmt::Write as _;

use quipu_backend::{BufferTable, BufferType, Device};
use quipu_batch::{BatchLimits, CheckedBatch};
use quipu_cpu_backend::CpuDevice;
use quipu_kv_cache::{
    Error as MemoryError, HybridKvParams, HybridMemory, KvCache, KvLayerShape, KvParams, KvPart, Memory,
    MemoryPlan, RecurrentMemory, RecurrentParams, RecurrentShape, StateBytes, StateRead, Window, WindowKind,
    WindowedKvCache, WindowedKvParams,
};

use super::batch::{N_EMBD, complaint, put_ubatch, read};
use super::{Words, shown};
use crate::error::Error;
use crate::toy::{N_VOCAB, TOYS};

/// Both caches of a memory, where there are two.
const PARTS: [KvPart; 2] = [KvPart::Full, KvPart::Window];

/// A memory under test.
struct Subject {
    memory: Box<dyn Memory>,
    buffers: BufferTable,
    n_seq: i32,
    n_seq_max: usize,
    n_pos: usize,
}

pub(super) fn answer(words: &mut Words<'_>, out: &mut String) -> Result<(), Error> {
    let mut subject = Subject::new(words)?;
    let mut blob = Vec::new();
    while let Some(op) = words.words.next() {
        match op {
            "b" => subject.batch(words, out)?,
            "s" | "l" => {
                let seq_id = words.number()?;
                subject.state(op, (seq_id >= 0).then_some(seq_id), &mut blob, out);
                _ = write!(out, " {}", shown(&subject.all()));
            }
            op => {
                let done = subject.operate(op, words)?;
                if op == "r" {
                    _ = write!(out, " {}", i32::from(done));
                }
                _ = write!(out, " {}", shown(&subject.all()));
            }
        }
    }
    Ok(())
}

impl Subject {
    fn new(words: &mut Words<'_>) -> Result<Subject, Error> {
        let kind = words.number()?;
        let n_cells = words.count()?;
        let unified = words.number()? != 0;
        let n_seq_max = words.count()?;
        let n_swa = words.count()?;
        let kinds =
            [None, Some(WindowKind::Standard), Some(WindowKind::Chunked), Some(WindowKind::Symmetric)];
        let window = kinds.get(words.count()?).copied().flatten().map(|kind| Window { n_swa, kind });
        let n_pos = words.count()?;
        let n_ubatch = words.count()?;
        // The first layer of the toy that the probe loads.
        let layers = vec![KvLayerShape { n_embd_k_gqa: 128, n_embd_v_gqa: 128 }];
        let params = KvParams { n_cells, n_seq_max, unified, window, n_pos, layers, ..KvParams::default() };
        let mut buffers = BufferTable::new();
        let buffer_type = CpuDevice::default().buffer_type();
        let memory_type = |_: usize| -> &dyn BufferType { buffer_type.as_ref() };
        let fail = Error::engine::<MemoryError>("a cache");
        let pair_of = |full: KvParams, window| {
            let full = KvParams { window: None, ..full };
            let (windowed, all_cells) = (vec![false], kind != 1);
            WindowedKvParams { full, window, windowed, n_ubatch, all_cells }
        };
        // The shape that the probe gives to the toy.
        let mut layers = vec![None; TOYS[0].n_layer];
        layers[0] = Some(RecurrentShape { n_embd_r: 3 * (6 + 2 * 2), n_embd_s: 2 * 6 });
        let n_snapshots = if kind == 3 { n_swa } else { 0 };
        let states = RecurrentParams { n_seq_max, n_snapshots, layers };
        let memory: Box<dyn Memory> = match window.filter(|_| kind > 0) {
            None if kind == 3 => {
                Box::new(RecurrentMemory::new_in(&states, &memory_type, &mut buffers).map_err(fail)?)
            }
            None if kind == 4 => {
                let cache = HybridKvParams::One(params);
                Box::new(HybridMemory::new_in(&cache, &states, &memory_type, &mut buffers).map_err(fail)?)
            }
            Some(window) if kind == 5 => {
                let pair = HybridKvParams::Pair(pair_of(params, window));
                Box::new(HybridMemory::new_in(&pair, &states, &memory_type, &mut buffers).map_err(fail)?)
            }
            None => Box::new(KvCache::new_in(&params, &memory_type, &mut buffers).map_err(fail)?),
            Some(window) => {
                let pair = pair_of(params, window);
                Box::new(WindowedKvCache::new_in(&pair, &memory_type, &mut buffers).map_err(fail)?)
            }
        };
        let n_seq = if unified { 8 } else { n_seq_max as i32 };
        Ok(Subject { memory, buffers, n_seq, n_seq_max, n_pos })
    }

    /// Whether an operation on sequences did all it was asked to.
    fn operate(&mut self, op: &str, words: &mut Words<'_>) -> Result<bool, Error> {
        let memory = self.memory.as_mut();
        let done = match op {
            "r" => {
                let [seq_id, p0, p1] = words.numbers()?;
                memory.seq_rm(seq_id, p0, p1)
            }
            "c" => {
                let [src, dst, p0, p1] = words.numbers()?;
                memory.seq_cp(src, dst, p0, p1).map(|()| true)
            }
            "k" => memory.seq_keep(words.number()?).map(|()| true),
            "a" => {
                let [seq_id, p0, p1, delta] = words.numbers()?;
                memory.seq_add(seq_id, p0, p1, delta).map(|()| true)
            }
            "d" => {
                let [seq_id, p0, p1, divisor] = words.numbers()?;
                memory.seq_div(seq_id, p0, p1, divisor).map(|()| true)
            }
            "x" => {
                memory.clear();
                Ok(true)
            }
            "u" => {
                let done = memory.copy_pending(&mut self.buffers);
                memory.updated();
                done.map(|()| true)
            }
            _ => return Err(words.error("an unknown operation")),
        };
        done.map_err(Error::engine("an operation"))
    }

    fn state(&mut self, op: &str, seq_id: Option<i32>, blob: &mut Vec<u8>, out: &mut String) {
        if op == "s" {
            blob.clear();
            match self.memory.state_write(&self.buffers, seq_id, blob) {
                Ok(()) => _ = write!(out, " {}-{:016x}", blob.len(), quipu_testing::fnv1a(blob)),
                Err(error) => _ = write!(out, " {error}"),
            }
            return;
        }
        let mut io = StateBytes::new(blob);
        match self.memory.state_read(&mut self.buffers, seq_id, &mut io) {
            Ok(()) => _ = write!(out, " read{}", io.n_bytes()),
            Err(_) => out.push_str(" unread"),
        }
    }

    /// One batch into the memory, ubatch by ubatch.
    fn batch(&mut self, words: &mut Words<'_>, out: &mut String) -> Result<(), Error> {
        let n_ubatch = words.count()?;
        let batch = read(words, self.n_pos)?;
        let (n_seq_max, n_pos) = (self.n_seq_max, self.n_pos);
        let limits = BatchLimits { n_vocab: N_VOCAB, n_embd: N_EMBD, n_seq_max, n_pos, output_all: false };
        let mut checked = CheckedBatch::new();
        if let Err(error) = checked.init(&batch, &limits, Some(self.memory.as_ref())) {
            _ = write!(out, " refused-{}", complaint(&error));
            return Ok(());
        }
        let before = self.all();
        let mut plan = MemoryPlan::new();
        let planned = self.memory.plan(&mut checked, n_ubatch, &mut plan);
        if self.all() != before {
            out.push_str(" planning-left-traces");
        }
        if planned.is_err() {
            out.push_str(" failed");
            return Ok(());
        }
        let first = self.apply_all(&batch, &mut plan);
        if self.memory.recurrent().is_some() {
            // States that a graph may have overwritten are not had back.
            _ = write!(out, " batch-{}", shown(&first));
            return Ok(());
        }
        // Once more after taking it back: the same again.
        self.memory.roll_back(&mut plan);
        if self.all() != before {
            out.push_str(" rolling-back-left-traces");
        }
        let all = self.apply_all(&batch, &mut plan);
        if all != first {
            out.push_str(" not-the-same-again");
        }
        _ = write!(out, " batch-{}", shown(&all));
        Ok(())
    }

    fn apply_all(&mut self, batch: &quipu_batch::Batch, plan: &mut MemoryPlan) -> String {
        let mut all = String::new();
        while self.memory.apply(plan) {
            let Some(ubatch) = plan.ubatch() else { break };
            put_ubatch(&mut all, batch, ubatch);
            if let Some(states) = self.memory.recurrent() {
                let key = self.memory.key(plan).recurrent;
                let zero = key.zero.map_or(-1, |zero| zero as i64);
                _ = write!(all, "states {} {} {zero} from", key.head, key.n_cells);
                states.sources().iter().for_each(|source| _ = write!(all, " {source}"));
                all.push('\n');
            }
            for part in PARTS {
                let Some(cache) = self.memory.kv(part) else { continue };
                all.push_str("slot");
                plan.slot(part).iter().for_each(|cell| _ = write!(all, " {cell}"));
                _ = writeln!(all, " n_kv {}", cache.n_kv(ubatch));
            }
            all.push_str(&self.all());
        }
        all
    }

    /// All there is to know.
    fn all(&self) -> String {
        let mut out = String::new();
        PARTS
            .into_iter()
            .filter_map(|part| self.memory.kv(part))
            .for_each(|cache| put_cells(&mut out, cache, self.n_pos));
        if let Some(states) = self.memory.recurrent() {
            put_states(&mut out, states);
        }
        for s in 0..self.n_seq {
            _ = write!(out, "{}:{} ", self.memory.seq_pos_min(s), self.memory.seq_pos_max(s));
        }
        out
    }
}

fn put_states(out: &mut String, states: &RecurrentMemory) {
    let number = |i: Option<usize>| i.map_or(-1, |i| i as i64);
    _ = write!(out, "r{}", states.head());
    for cell in states.cells() {
        _ = write!(out, " {}:{}:{}", cell.pos, number(cell.src), number(cell.tail));
        cell.seqs.iter().for_each(|s| _ = write!(out, ",{s}"));
    }
    states.went_back().iter().for_each(|back| _ = write!(out, " b{back}"));
    out.push('\n');
}

fn put_cells(out: &mut String, cache: &KvCache, n_pos: usize) {
    for stream in 0..cache.n_stream() {
        let cells = cache.cells_of(stream as i32);
        let (head, shift) = (cache.head(stream), i32::from(cells.has_shift()));
        _ = write!(out, "h{head} {shift} {} {} {}", cells.n_used(), cells.used_min(), cells.used_max_p1());
        for i in (0..cells.len()).filter(|i| !cells.is_free(*i)) {
            _ = write!(out, " {i}:{}:{}", cells.pos(i), cells.shift(i));
            if n_pos > 1 {
                let [x, y] = cells.place_2d(i);
                _ = write!(out, ":{x}:{y}");
            }
            cells.seqs(i).iter().for_each(|s| _ = write!(out, ",{s}"));
        }
        out.push('\n');
    }
}
