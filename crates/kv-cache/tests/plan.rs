//! A batch goes into the memory ubatch by ubatch, and out again as if it had never been there.

mod common;

use common::TestMemory;
use proptest::prelude::*;
use quipu_backend::BufferTable;
use quipu_batch::{Batch, BatchLimits, CheckedBatch};
use quipu_kv_cache::{
    Error, KvCache, KvLayerShape, KvParams, KvPart, Memory, MemoryKey, MemoryPlan, NoMemory, SeqPositions,
};

fn cache(n_cells: usize) -> KvCache {
    let layers = vec![KvLayerShape { n_embd_k_gqa: 2, n_embd_v_gqa: 2 }];
    let params = KvParams { n_cells, n_seq_max: 4, layers, ..KvParams::default() };
    KvCache::new(&params, &TestMemory, &mut BufferTable::new()).expect("a small cache")
}

/// The next `n` tokens of each sequence.
fn checked(memory: &dyn Memory, n: &[(i32, usize)]) -> CheckedBatch {
    let mut batch = Batch::new();
    for (seq_id, n) in n {
        for pos in (memory.seq_pos_max(*seq_id) + 1..).take(*n) {
            batch.add(0, pos, &[*seq_id], false);
        }
    }
    let limits = BatchLimits { n_vocab: 1, n_embd: 1, n_seq_max: 4, n_pos: 1, output_all: false };
    let mut checked = CheckedBatch::new();
    checked.init(&batch, &limits, Some(memory)).expect("a good batch");
    checked
}

/// Puts a batch into the memory, all of it.
fn put(cache: &mut KvCache, n: &[(i32, usize)]) {
    let (mut batch, mut plan) = (checked(cache, n), MemoryPlan::new());
    cache.plan(&mut batch, 5, &mut plan).expect("room");
    while cache.apply(&mut plan) {}
}

#[test]
fn ubatches_come_in_order_with_their_cells() {
    let mut cache = cache(300);
    put(&mut cache, &[(0, 3)]);
    let (mut batch, mut plan) = (checked(&cache, &[(0, 4), (1, 3)]), MemoryPlan::new());
    cache.plan(&mut batch, 5, &mut plan).unwrap();
    assert_eq!((plan.len(), plan.n_applied(), cache.n_used()), (2, 0, 3));
    assert!(plan.ubatch().is_none() && plan.slot(KvPart::Full).is_empty());
    assert!(cache.apply(&mut plan));
    assert_eq!((plan.ubatch().unwrap().n_tokens, plan.slot(KvPart::Full)), (5, &[3, 4, 5, 6, 7][..]));
    assert_eq!((cache.n_used(), cache.key(&plan)), (8, MemoryKey { n_kv: 256, ..MemoryKey::default() }));
    assert!(cache.apply(&mut plan));
    assert_eq!(
        (plan.ubatch().unwrap().seq_id.as_slice(), plan.slot(KvPart::Full)),
        (&[1, 1][..], &[8, 9][..])
    );
    assert!(!cache.apply(&mut plan));
    assert_eq!((cache.seq_pos_max(0), cache.seq_pos_max(1)), (6, 2));
    cache.roll_back(&mut plan);
    assert_eq!((cache.n_used(), cache.seq_pos_max(0), cache.head(0)), (3, 2, 3));
}

#[test]
fn a_batch_that_finds_no_room_leaves_no_plan() {
    let mut cache = cache(8);
    let (mut batch, mut plan) = (checked(&cache, &[(0, 9)]), MemoryPlan::new());
    let error = cache.plan(&mut batch, 5, &mut plan).unwrap_err();
    assert!(matches!(error, Error::NoSlot { n_tokens: 4, n_free: 3, n_cells: 8 }), "{error}");
    assert!(plan.is_empty() && !cache.apply(&mut plan));
    cache.roll_back(&mut plan);
    assert_eq!(cache.n_used(), 0);
}

#[test]
fn without_a_memory_everything_is_one_ubatch() {
    let mut memory = NoMemory;
    let (mut batch, mut plan) = (checked(&memory, &[(0, 3), (2, 2)]), MemoryPlan::new());
    let error = memory.plan(&mut batch, 4, &mut plan).unwrap_err();
    assert!(matches!(error, Error::OneUbatch { n_tokens: 5, n_ubatch: 4 }) && plan.is_empty());
    memory.plan(&mut batch, 8, &mut plan).unwrap();
    assert!(memory.apply(&mut plan));
    assert_eq!((plan.len(), plan.ubatch().unwrap().n_tokens, plan.slot(KvPart::Full)), (1, 5, &[][..]));
    assert!(!memory.apply(&mut plan));
    assert_eq!((memory.seq_pos_max(0), memory.n_cells(), memory.n_used()), (-1, 0, 0));
    assert!(memory.seq_rm(0, -1, -1).unwrap() && !memory.can_shift() && !memory.has_update());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rolling_back_undoes_any_part_of_a_batch(
        held in prop::collection::vec((0i32..3, 1usize..9), 1..5),
        holes in prop::collection::vec((0i32..3, 0i32..9), 0..3),
        next in prop::collection::btree_map(0i32..3, 1usize..12, 1..3),
        n_ubatch in 1usize..7,
        n_applied in 0usize..20,
    ) {
        let mut cache = cache(60);
        for part in &held {
            put(&mut cache, &[*part]);
        }
        for (seq_id, pos) in &holes {
            cache.seq_rm(*seq_id, *pos, *pos + 2).unwrap();
        }
        let before = (cache.cells().clone(), cache.head(0));
        let next: Vec<(i32, usize)> = next.into_iter().collect();
        let (mut batch, mut plan) = (checked(&cache, &next), MemoryPlan::new());
        let fits = cache.plan(&mut batch, n_ubatch, &mut plan).is_ok();
        prop_assert_eq!((cache.cells().clone(), cache.head(0)), before.clone());
        let n = (0..n_applied).take_while(|_| cache.apply(&mut plan)).count();
        prop_assert_eq!((n, fits), (n_applied.min(plan.len()), !plan.is_empty()));
        cache.roll_back(&mut plan);
        prop_assert_eq!((cache.cells().clone(), cache.head(0)), before.clone());
        cache.roll_back(&mut plan);
        prop_assert_eq!((cache.cells().clone(), cache.head(0)), before);
    }
}
