//! kv-cache: finding cells for a ubatch and writing its attention mask, in a cache that is half full.

use criterion::{Criterion, criterion_group, criterion_main};
use quipu_backend::BufferTable;
use quipu_batch::Ubatch;
use quipu_cpu_backend::CpuBufferType;
use quipu_kv_cache::{KvCache, KvLayerShape, KvParams, MaskScratch, SeqSet, SlotPlan};

fn slots_and_masks(c: &mut Criterion) {
    let layers = vec![KvLayerShape { n_embd_k_gqa: 64, n_embd_v_gqa: 64 }];
    let params = KvParams { n_cells: 4096, layers, ..KvParams::default() };
    let mut cache = KvCache::new(&params, &CpuBufferType, &mut BufferTable::new()).expect("a small cache");
    let mut seq = SeqSet::default();
    seq.insert(0);
    let ubatch = |first: i32, n: usize| Ubatch {
        n_tokens: n,
        pos: (first..).take(n).collect(),
        seq_id: vec![0; n],
        seq_set: vec![seq; n],
        ..Ubatch::default()
    };
    let mut plan = SlotPlan::new();
    let half = ubatch(0, 2048);
    cache.prepare([&half], &mut plan).expect("room for half");
    cache.apply_ubatch(&mut plan, 0, &half);
    let (mut scratch, mut mask) = (MaskScratch::default(), Vec::new());
    for n in [1, 512] {
        let ubatch = ubatch(2048, n);
        c.bench_function(&format!("kv-cache/prepare {n} tokens"), |b| {
            b.iter(|| cache.prepare([&ubatch], &mut plan).expect("room"));
        });
        c.bench_function(&format!("kv-cache/mask {n} tokens x 2304 cells"), |b| {
            b.iter(|| cache.fill_mask(&ubatch, 2304, true, &mut scratch, &mut mask).expect("room"));
        });
    }
}

criterion_group!(benches, slots_and_masks);
criterion_main!(benches);
