//! Reads states that were cut, changed or mixed, in every kind of cache: none may do more than be refused, and what is refused changes nothing.
//!
//!     cargo run --release -p quipu-kv-cache --example damaged_states -- [N] [SEED]
//!
//! `N` executions (a million if nothing is said). It ends with what it saw, or panics at the first state that did what it must not.

use quipu_backend::{BufferTable, BufferType};
use quipu_batch::{Batch, BatchLimits, CheckedBatch};
use quipu_cpu_backend::CpuBufferType;
use quipu_graph::DType;
use quipu_kv_cache::{
    KvCache, KvLayerShape, KvParams, KvPart, Memory, MemoryPlan, SeqId, StateBytes, Window, WindowKind,
    WindowedKvCache, WindowedKvParams,
};
use quipu_testing::SplitMix;

const N_SEQ: usize = 3;
const N_CELLS: usize = 24;

/// A kind of cache.
#[derive(Clone, Copy, Debug)]
struct Kind {
    unified: bool,
    v_trans: bool,
    n_swa: usize,
    pair: bool,
    n_pos: usize,
}

const PLAIN: Kind = Kind { unified: true, v_trans: false, n_swa: 0, pair: false, n_pos: 1 };
const KINDS: [Kind; 8] = [
    PLAIN,
    Kind { v_trans: true, ..PLAIN },
    Kind { unified: false, ..PLAIN },
    Kind { unified: false, v_trans: true, ..PLAIN },
    Kind { n_swa: 5, ..PLAIN },
    Kind { n_swa: 5, pair: true, ..PLAIN },
    Kind { n_swa: 4, pair: true, v_trans: true, unified: false, ..PLAIN },
    Kind { n_pos: 4, ..PLAIN },
];

struct Subject {
    memory: Box<dyn Memory>,
    buffers: BufferTable,
}

impl Subject {
    fn new(kind: Kind) -> Subject {
        let layers = vec![KvLayerShape { n_embd_k_gqa: 3, n_embd_v_gqa: 2 }; 2];
        let params = KvParams {
            n_cells: N_CELLS,
            n_seq_max: N_SEQ,
            unified: kind.unified,
            v_trans: kind.v_trans,
            n_pos: kind.n_pos,
            type_v: DType::F32,
            layers,
            ..KvParams::default()
        };
        let mut buffers = BufferTable::new();
        let window = Window { n_swa: kind.n_swa, kind: WindowKind::Standard };
        let memory: Box<dyn Memory> = if kind.pair {
            let windowed = vec![true, false];
            let pair = WindowedKvParams { full: params, window, windowed, n_ubatch: 4, all_cells: true };
            let memory = |_: usize| -> &dyn BufferType { &CpuBufferType };
            Box::new(WindowedKvCache::new_in(&pair, &memory, &mut buffers).expect("a small pair"))
        } else {
            let params = KvParams { window: (kind.n_swa > 0).then_some(window), ..params };
            Box::new(KvCache::new(&params, &CpuBufferType, &mut buffers).expect("a small cache"))
        };
        Subject { memory, buffers }
    }

    /// Some tokens of some sequences, as far as there is room.
    fn put(&mut self, random: &mut SplitMix, n_pos: usize) {
        let mut batch = Batch::new();
        let seq_id = random.index(N_SEQ) as SeqId;
        let first = self.memory.seq_pos_max(seq_id) + 1;
        for pos in (first..).take(1 + random.index(6)) {
            batch.add(0, pos, &[seq_id], false);
        }
        let limits = BatchLimits { n_vocab: 1, n_embd: 1, n_seq_max: N_SEQ, n_pos, output_all: false };
        let (mut checked, mut plan) = (CheckedBatch::new(), MemoryPlan::new());
        checked.init(&batch, &limits, Some(self.memory.as_ref())).expect("a good batch");
        if self.memory.plan(&mut checked, 4, &mut plan).is_ok() {
            while self.memory.apply(&mut plan) {}
        }
    }

    /// Everything that can be asked for.
    fn all(&self) -> (Vec<u8>, Vec<[i32; 2]>, [Option<usize>; 2]) {
        let mut bytes = Vec::new();
        self.memory.state_write(&self.buffers, None, &mut bytes).expect("nothing is pending");
        let positions = |s: SeqId| [self.memory.seq_pos_min(s), self.memory.seq_pos_max(s)];
        let used = [KvPart::Full, KvPart::Window].map(|part| self.memory.kv(part).map(KvCache::n_used));
        (bytes, (0..N_SEQ as SeqId).map(positions).collect(), used)
    }
}

/// Cut, flipped, overwritten, doubled, or with a piece of another state in it.
fn damage(random: &mut SplitMix, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.index(3) {
        if bytes.is_empty() {
            return;
        }
        let at = random.index(bytes.len());
        match random.below(7) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = random.next_u64() as u8,
            3 => {
                let word = random.pick(&[0u32, 1, 2, 255, 256, u32::MAX, i32::MAX as u32]);
                let at = at / 4 * 4;
                bytes.iter_mut().skip(at).zip(word.to_le_bytes()).for_each(|(old, new)| *old = new);
            }
            4 => {
                let end = (at + random.index(64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let end = (at + random.index(32)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let from = at.min(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().expect("a number"));
    let (n, seed) = (args.next().unwrap_or(1_000_000), args.next().unwrap_or(1));
    let mut random = SplitMix::new(seed);
    let (mut n_refused, mut n_read) = (0u64, 0u64);
    let mut subjects: Vec<Subject> = KINDS.into_iter().map(Subject::new).collect();
    let mut other = Vec::new();
    for round in 0..n {
        let which = random.index(KINDS.len());
        let (kind, subject) = (KINDS[which], &mut subjects[which]);
        if round % 64 < 8 {
            subject.memory.clear();
            (0..random.index(6)).for_each(|_| subject.put(&mut random, kind.n_pos));
        }
        let seq_id = |random: &mut SplitMix| Some(random.index(N_SEQ) as SeqId);
        let of = if random.one_in(2) { None } else { seq_id(&mut random) };
        let mut bytes = Vec::new();
        subject.memory.state_write(&subject.buffers, of, &mut bytes).expect("nothing is pending");
        damage(&mut random, &mut bytes, &other);
        if random.one_in(16) {
            other.clone_from(&bytes);
        }
        let to = if of.is_none() { None } else { seq_id(&mut random) };
        let before = subject.all();
        let read = subject.memory.state_read(&mut subject.buffers, to, &mut StateBytes::new(&bytes));
        if read.is_err() {
            n_refused += 1;
            assert!(subject.all() == before, "round {round}: a state that was refused changed something");
        } else {
            n_read += 1;
            // What was taken can be written, and goes on.
            subject.all();
            if random.one_in(8) && (0..N_SEQ as SeqId).all(|s| subject.memory.seq_pos_max(s) < 1 << 20) {
                subject.put(&mut random, kind.n_pos);
            } else {
                subject.memory.clear();
            }
        }
    }
    println!("{n} states: {n_refused} refused, {n_read} read");
}
