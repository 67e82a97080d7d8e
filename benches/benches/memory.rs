//! Bookkeeping of memories, both engines in one run: cells for ubatches, completing and cutting a batch, writing a state.
//!
//! The reference takes part if `QUIPU_PROBES` names the folder of its compiled probes (`cargo xtask parity --module memory` with a checkout
//! makes them in target/parity-probes):
//!
//!     QUIPU_PROBES=target/parity-probes cargo bench -p quipu-benches --bench memory

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use quipu_backend::BufferTable;
use quipu_batch::{Batch, BatchLimits, CheckedBatch, Ubatch};
use quipu_cpu_backend::CpuBufferType;
use quipu_kv_cache::{KvCache, KvLayerShape, KvParams, Memory as _, SeqSet, SlotPlan};
use quipu_testing::TinyLlama;
use quipu_testing::alloc::{Counting, allocations};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const N_SEQS: usize = 64;
const N_CELLS: usize = 32768;
/// Cells of a state of 1 GiB.
const N_STATE_CELLS: usize = 1 << 21;
/// One layer of 512 bytes for each cell, as the probe has it.
const LAYER: KvLayerShape = KvLayerShape { n_embd_k_gqa: 128, n_embd_v_gqa: 128 };

/// The reference's memory probe.
struct Probe {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _model: tempfile::NamedTempFile,
}

impl Probe {
    fn start() -> Option<Probe> {
        let folder = std::env::var_os("QUIPU_PROBES")?;
        let sizes = TinyLlama {
            n_layer: 1,
            n_vocab: 256,
            n_embd: 128,
            n_ff: 64,
            n_head: 4,
            n_head_kv: 4,
            types: &[quipu_quant::DType::F32],
        };
        let model = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(model.path(), sizes.gguf()).expect("a model");
        let mut command = Command::new(Path::new(&folder).join("memory"));
        let mut child = command
            .arg(model.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the probe starts");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Some(Probe { child, input, output, _model: model })
    }

    /// Time of some rounds, and what came of them.
    fn time(&mut self, what: &str, rounds: u64) -> (Duration, usize) {
        writeln!(self.input, "T {what} {rounds}").expect("the probe listens");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("the probe answers");
        let (ns, sum) = answer.trim().split_once(' ').expect("two numbers");
        (Duration::from_nanos(ns.parse().expect("nanoseconds")), sum.parse().expect("a number"))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reference(group: &mut BenchmarkGroup<'_, WallTime>, what: &str, expected: usize) {
    let Some(mut probe) = Probe::start() else { return };
    group.bench_function("reference", |b| {
        b.iter_custom(|rounds| {
            let (time, sum) = probe.time(what, rounds);
            assert_eq!(sum, expected, "both do the same");
            time
        });
    });
}

fn cache(n_cells: usize, n_seq_max: usize) -> (KvCache, BufferTable) {
    let params = KvParams { n_cells, n_seq_max, layers: vec![LAYER], ..KvParams::default() };
    let mut buffers = BufferTable::new();
    let cache = KvCache::new(&params, &CpuBufferType, &mut buffers).expect("memory for a cache");
    (cache, buffers)
}

fn slots(c: &mut Criterion) {
    let mut group = c.benchmark_group("memory/256 x 64 tokens of 64 sequences into 32768 cells");
    group.sample_size(10);
    let sets: Vec<SeqSet> = (0..N_SEQS as i32).map(|s| std::iter::once(s).collect()).collect();
    let ubatch = |pos: i32| Ubatch {
        n_tokens: N_SEQS,
        pos: vec![pos; N_SEQS],
        seq_id: (0..N_SEQS as i32).collect(),
        seq_set: sets.clone(),
        ..Ubatch::default()
    };
    let ubatches: Vec<Ubatch> = (0..512).map(ubatch).collect();
    let mut plan = SlotPlan::new();
    let mut take = |cache: &mut KvCache, ubatch: &Ubatch| {
        cache.prepare([ubatch], &mut plan).expect("room");
        cache.apply_ubatch(&mut plan, 0, ubatch);
    };
    let mut n_allocated = 0;
    group.bench_function("quipu", |b| {
        b.iter_custom(|rounds| {
            let mut time = Duration::ZERO;
            for _ in 0..rounds {
                let (mut cache, _buffers) = cache(N_CELLS, N_SEQS);
                ubatches[..256].iter().for_each(|ubatch| take(&mut cache, ubatch));
                let (before, start) = (allocations(), Instant::now());
                ubatches[256..].iter().for_each(|ubatch| take(&mut cache, ubatch));
                time += start.elapsed();
                n_allocated = allocations() - before;
                assert_eq!(cache.n_used(), N_CELLS);
            }
            time
        });
    });
    println!("heap allocations of the last round: {n_allocated}");
    reference(&mut group, "slots", N_CELLS);
}

fn split(c: &mut Criterion) {
    let mut group = c.benchmark_group("memory/completing 4096 tokens, 8 ubatches");
    let tokens: Vec<u32> = (0..4096).map(|i| i % 256).collect();
    let batch = Batch { tokens, ..Batch::new() };
    let limits = BatchLimits { n_vocab: 256, n_embd: 2, n_seq_max: 1, n_pos: 1, output_all: false };
    let (mut checked, mut ubatch) = (CheckedBatch::new(), Ubatch::new());
    let mut once = || {
        checked.init(&batch, &limits, None).expect("a good batch");
        checked.split_reset();
        let mut n = 0;
        while checked.split_simple(512, &mut ubatch) {
            n += ubatch.n_tokens;
        }
        n
    };
    assert_eq!(once(), 4096);
    let before = allocations();
    once();
    println!("heap allocations of a round: {}", allocations() - before);
    group.bench_function("quipu", |b| b.iter(&mut once));
    reference(&mut group, "split", 4096);
}

fn state(c: &mut Criterion) {
    let mut group = c.benchmark_group("memory/writing a state of 1 GiB");
    group.sample_size(10);
    let n_bytes = {
        let (mut cache, buffers) = cache(N_STATE_CELLS, 1);
        let set: SeqSet = std::iter::once(0).collect();
        let ubatch = Ubatch {
            n_tokens: N_STATE_CELLS,
            pos: (0..N_STATE_CELLS as i32).collect(),
            seq_id: vec![0; N_STATE_CELLS],
            seq_set: vec![set; N_STATE_CELLS],
            ..Ubatch::default()
        };
        let mut plan = SlotPlan::new();
        cache.prepare([&ubatch], &mut plan).expect("room");
        cache.apply_ubatch(&mut plan, 0, &ubatch);
        let mut bytes: Vec<u8> = Vec::new();
        cache.state_write(&buffers, None, &mut bytes).expect("a state");
        group.bench_function("quipu", |b| {
            b.iter(|| {
                bytes.clear();
                cache.state_write(&buffers, None, &mut bytes).expect("a state");
            });
        });
        bytes.len()
    };
    reference(&mut group, "state", n_bytes);
}

criterion_group!(benches, slots, split, state);
criterion_main!(benches);
