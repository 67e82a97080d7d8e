//! States of sequences through graphs that are computed, against a list of what each sequence was told.

use std::collections::BTreeMap;

use proptest::prelude::*;
use quipu_backend::{Backend, BufferTable, BufferType, Device, Scheduler};
use quipu_batch::{Batch, BatchLimits, CheckedBatch};
use quipu_cpu_backend::CpuDevice;
use quipu_graph::{DType, Graph};
use quipu_kv_cache::{
    CrossState, Error, GraphShape, HybridKvParams, HybridMemory, InputSource, KvLayerShape, KvParams, Memory,
    MemoryPlan, RecurrentGraph, RecurrentMemory, RecurrentParams, RecurrentShape, StateBytes, StatePart,
};

const N_SEQ: i32 = 4;

/// A memory whose one layer keeps, in both halves, what it was told so far: half of what was there, plus the token.
struct Told {
    memory: Box<dyn Memory>,
    buffers: BufferTable,
    scheduler: Scheduler,
    plan: MemoryPlan,
}

fn backend() -> Box<dyn Backend> {
    Device::backend(&CpuDevice::default(), 1).expect("a thread")
}

impl Told {
    fn new(hybrid: bool) -> Told {
        let layers = vec![None, Some(RecurrentShape { n_embd_r: 1, n_embd_s: 2 })];
        let states = RecurrentParams { n_seq_max: N_SEQ as usize, n_snapshots: 0, layers };
        let buffer_type = CpuDevice::default().buffer_type();
        let memory_type = |_: usize| -> &dyn BufferType { buffer_type.as_ref() };
        let mut buffers = BufferTable::new();
        let memory: Box<dyn Memory> = if hybrid {
            let layers = vec![KvLayerShape { n_embd_k_gqa: 4, n_embd_v_gqa: 4 }, KvLayerShape::NONE];
            let params = KvParams { n_cells: 64, n_seq_max: N_SEQ as usize, layers, ..KvParams::default() };
            let cache = HybridKvParams::One(params);
            Box::new(HybridMemory::new_in(&cache, &states, &memory_type, &mut buffers).expect("memory"))
        } else {
            Box::new(RecurrentMemory::new_in(&states, &memory_type, &mut buffers).expect("memory"))
        };
        let scheduler = Scheduler::new(vec![backend()]).expect("a backend");
        Told { memory, buffers, scheduler, plan: MemoryPlan::new() }
    }

    /// Tells sequences tokens; a failure after that many ubatches takes everything back.
    fn tell(&mut self, batch: &Batch, n_ubatch: usize, fails_after: Option<usize>) -> Result<(), String> {
        let limits = BatchLimits { n_vocab: 100, n_embd: 1, n_seq_max: 4, n_pos: 1, output_all: false };
        let mut checked = CheckedBatch::new();
        let memory: &dyn Memory = self.memory.as_ref();
        checked.init(batch, &limits, Some(memory)).map_err(|error| error.to_string())?;
        self.memory.plan(&mut checked, n_ubatch, &mut self.plan).map_err(|error| error.to_string())?;
        let mut n_done = 0;
        while self.memory.apply(&mut self.plan) {
            self.compute(batch);
            n_done += 1;
            if fails_after == Some(n_done) {
                self.memory.roll_back(&mut self.plan);
                return Err("as asked".to_owned());
            }
        }
        Ok(())
    }

    fn compute(&mut self, batch: &Batch) {
        let ubatch = self.plan.ubatch().expect("applied").clone();
        let memory = self.memory.key(&self.plan);
        let (n_tokens, n_seqs, n_seq_tokens) = (ubatch.n_tokens, ubatch.n_seqs, ubatch.n_seq_tokens);
        let shape = GraphShape {
            n_tokens,
            n_seqs_unq: n_seqs,
            n_outputs: 1,
            from_embeddings: false,
            n_enc: 0,
            memory,
        };
        let mut graph = Graph::new();
        let mut inputs = Vec::new();
        let states = self.memory.recurrent().expect("states");
        let mut recurrent = RecurrentGraph::new(&mut graph, states, &shape, &mut inputs).expect("a graph");
        assert_eq!((recurrent.n_seqs(), recurrent.n_seq_tokens()), (n_seqs, n_seq_tokens));
        let mut told = Vec::new();
        for (part, n_embd) in [(StatePart::Inputs, 1), (StatePart::State, 2)] {
            let mut state = recurrent.load(&mut graph, 1, part).expect("states");
            for t in 0..n_seq_tokens {
                let token = graph.input("token", DType::F32, [n_embd, n_seqs, 1, 1]).expect("an input");
                let values: Vec<f32> = (0..n_seqs * n_embd)
                    .map(|i| batch.tokens[ubatch.idxs[i / n_embd * n_seq_tokens + t] as usize] as f32)
                    .collect();
                told.push((token, values));
                let half = graph.scale(state, 0.5, 0.0).expect("f32");
                state = graph.add(half, token).expect("equal shapes");
            }
            recurrent.store(&mut graph, 1, part, state).expect("as many");
        }
        self.scheduler.alloc_graph(&mut graph, &mut self.buffers).expect("memory");
        let source = InputSource {
            batch,
            ubatch: &ubatch,
            memory: self.memory.as_ref(),
            plan: &self.plan,
            cross: &CrossState::default(),
        };
        for input in &mut inputs {
            input.set(&graph, &source, &mut self.buffers).expect("an input");
            assert!(input.can_reuse(&shape));
        }
        for (token, values) in told {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            self.buffers.write_tensor(&graph[token], &bytes).expect("an input");
        }
        self.scheduler.compute(&graph, &mut self.buffers, None).expect("computed");
    }

    /// What a sequence was told, by the bytes of its state.
    fn state(&self, seq_id: i32) -> Vec<f32> {
        let mut bytes = Vec::new();
        self.memory.state_write(&self.buffers, Some(seq_id), &mut bytes).expect("written");
        let read = |at: usize| f32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        // The last three rows are separated by the head of the second half.
        let n = bytes.len();
        vec![read(n - 8 - 12 - 4), read(n - 8), read(n - 4)]
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Tokens for some sequences, in turns; perhaps a failure.
    Tell {
        lengths: Vec<usize>,
        first: i32,
        n_ubatch: usize,
        fails_after: Option<usize>,
    },
    Rm(i32, i32, i32),
    Cp(i32, i32),
    Keep(i32),
    /// A sequence through its bytes into another.
    Move(i32, i32),
    /// Everything through its bytes.
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    let seq = 0..N_SEQ;
    let lengths = prop::collection::vec(0usize..5, N_SEQ as usize);
    let fails = prop::option::weighted(0.15, 1usize..3);
    prop_oneof![
        6 => (lengths, 1..90, 1usize..9, fails).prop_map(|(lengths, first, n_ubatch, fails_after)| Step::Tell {
            lengths,
            first,
            n_ubatch,
            fails_after,
        }),
        2 => (-1..N_SEQ, -1i32..6, -1i32..9).prop_map(|(s, p0, p1)| Step::Rm(s, p0, p1)),
        1 => (seq.clone()).prop_map(|s| Step::Rm(s, -1, -1)),
        2 => (seq.clone(), seq.clone()).prop_map(|(a, b)| Step::Cp(a, b)),
        1 => seq.clone().prop_map(Step::Keep),
        1 => (seq.clone(), seq).prop_map(|(a, b)| Step::Move(a, b)),
        1 => Just(Step::Reload),
    ]
}

fn batch_of(lengths: &[usize], first: i32, known: &BTreeMap<i32, Vec<i32>>) -> Batch {
    let mut batch = Batch::new();
    for t in 0..lengths.iter().max().copied().unwrap_or(0) {
        for (s, length) in lengths.iter().enumerate().filter(|(_, length)| t < **length) {
            let pos = known.get(&(s as i32)).map_or(0, Vec::len) + t;
            assert!(*length > 0);
            let token = (first + (s * 7 + t * 3) as i32) % 100;
            batch.add(token as u32, pos as i32, &[s as i32], true);
        }
    }
    batch
}

fn told_of(tokens: &[i32]) -> f32 {
    tokens.iter().fold(0.0, |told, token| told * 0.5 + *token as f32)
}

fn run(hybrid: bool, steps: &[Step]) {
    let mut subject = Told::new(hybrid);
    let mut known: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for step in steps {
        match step.clone() {
            Step::Tell { lengths, first, n_ubatch, fails_after } => {
                let batch = batch_of(&lengths, first, &known);
                if batch.n_tokens() == 0 {
                    continue;
                }
                match subject.tell(&batch, n_ubatch, fails_after) {
                    Ok(()) => {
                        for (i, token) in batch.tokens.iter().enumerate() {
                            known.entry(batch.seq_ids.get(i)[0]).or_default().push(*token as i32);
                        }
                    }
                    Err(error) if error == "as asked" => {
                        // Sequences whose states were overwritten are forgotten, and with them such as had to make room.
                        known.retain(|s, tokens| {
                            let pos = subject.memory.seq_pos_max(*s);
                            assert!(pos == -1 || pos + 1 == tokens.len() as i32);
                            pos >= 0
                        });
                    }
                    // A cache of so many cells may be full.
                    Err(error) => assert!(hybrid && error.contains("no slot"), "{error}"),
                }
            }
            Step::Rm(s, p0, p1) => {
                let whole = p0 <= 0 && p1 < 0;
                let pos = subject.memory.seq_pos_max(s);
                let covers = p0 <= 0 && (p1 < 0 || p1 > pos);
                let done = subject.memory.seq_rm(s, p0, p1).expect("a sequence");
                match s {
                    -1 if whole && done => known.clear(),
                    -1 => {}
                    s if done && covers => _ = known.remove(&s),
                    // Partly only where there is nothing.
                    s => {
                        let hit = pos >= p0.max(0) && (p1 < 0 || pos < p1);
                        assert!(!done || !hit, "{s} {p0} {p1}");
                        if done && hybrid {
                            // The cache may have lost what states do not know of.
                            subject.memory.seq_rm(s, -1, -1).expect("a sequence");
                            known.remove(&s);
                        }
                    }
                }
            }
            Step::Cp(a, b) if a != b => {
                subject.memory.seq_rm(b, -1, -1).expect("a sequence");
                subject.memory.seq_cp(a, b, -1, -1).expect("sequences");
                known.remove(&b);
                if let Some(tokens) = known.get(&a).cloned() {
                    known.insert(b, tokens);
                }
            }
            Step::Cp(..) => {}
            Step::Keep(s) => {
                subject.memory.seq_keep(s).expect("a sequence");
                known.retain(|known, _| *known == s);
            }
            Step::Move(a, b) => {
                let mut bytes = Vec::new();
                subject.memory.state_write(&subject.buffers, Some(a), &mut bytes).expect("written");
                let mut io = StateBytes::new(&bytes);
                let read = subject.memory.state_read(&mut subject.buffers, Some(b), &mut io);
                if matches!(read, Err(Error::State { what: "number of cells", .. })) && hybrid {
                    continue;
                }
                read.expect("read");
                match known.get(&a).cloned() {
                    Some(tokens) => _ = known.insert(b, tokens),
                    None => _ = known.remove(&b),
                }
            }
            Step::Reload => {
                let mut bytes = Vec::new();
                subject.memory.state_write(&subject.buffers, None, &mut bytes).expect("written");
                subject.memory.clear();
                let mut io = StateBytes::new(&bytes);
                subject.memory.state_read(&mut subject.buffers, None, &mut io).expect("read");
                // Cut anywhere it changes nothing.
                let mut again = Vec::new();
                let cut = &bytes[..bytes.len() - 1 - bytes.len() / 3];
                assert!(
                    subject.memory.state_read(&mut subject.buffers, None, &mut StateBytes::new(cut)).is_err()
                );
                subject.memory.state_write(&subject.buffers, None, &mut again).expect("written");
                assert_eq!(again, bytes);
            }
        }
        for s in 0..N_SEQ {
            let tokens = known.get(&s).map_or(&[][..], Vec::as_slice);
            assert_eq!(subject.memory.seq_pos_max(s), tokens.len() as i32 - 1, "sequence {s} after {step:?}");
            if !tokens.is_empty() {
                assert_eq!(subject.state(s), [told_of(tokens); 3], "sequence {s} after {step:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn states_are_what_sequences_were_told(steps in prop::collection::vec(step(), 1..25)) {
        run(false, &steps);
    }

    #[test]
    fn beside_a_cache_too(steps in prop::collection::vec(step(), 1..20)) {
        run(true, &steps);
    }
}

/// A cell that was given back after it was written is cleared for the next one who gets it.
#[test]
fn what_a_failed_batch_wrote_is_not_taken_for_a_state() {
    let tell = |lengths: [usize; 4], fails_after| {
        let lengths = lengths.to_vec();
        Step::Tell { lengths, first: 1, n_ubatch: 1, fails_after }
    };
    let steps = [
        tell([1, 1, 1, 0], None),
        Step::Keep(2),
        tell([0, 1, 1, 0], None),
        tell([1, 0, 1, 0], Some(1)),
        tell([0, 0, 0, 1], None),
    ];
    run(false, &steps);
    run(true, &steps);
}
