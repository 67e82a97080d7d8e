//! Slots, sequence operations, masks and graph glue through the public API.

mod common;

use common::TestMemory;
use quipu_backend::{BufferTable, BufferType};
use quipu_batch::Ubatch;
use quipu_graph::{BufferId, DType, Graph, Storage};
use quipu_kv_cache::{
    AttentionGraph, AttentionKind, Error, GraphShape, KvCache, KvCells, KvLayerShape, KvParams, KvPart,
    KvView, MaskScratch, Memory, MemoryKey, SeqPositions, SlotPlan,
};

fn params(n_cells: usize) -> KvParams {
    let layer = KvLayerShape { n_embd_k_gqa: 8, n_embd_v_gqa: 4 };
    KvParams { n_cells, n_seq_max: 4, layers: vec![layer; 2], ..KvParams::default() }
}

fn cache(n_cells: usize) -> KvCache {
    KvCache::new(&params(n_cells), &TestMemory, &mut BufferTable::new()).expect("memory for a test")
}

/// Tokens of one sequence each.
fn ubatch(pos: &[i32], seq_id: &[i32]) -> Ubatch {
    let seq_set = seq_id.iter().map(|s| [*s].into_iter().collect()).collect();
    Ubatch { n_tokens: pos.len(), pos: pos.to_vec(), seq_id: seq_id.to_vec(), seq_set, ..Ubatch::default() }
}

/// Tokens of one sequence at consecutive positions, placed; the cells they got.
fn place(cache: &mut KvCache, seq_id: i32, first: i32, n: usize) -> Result<Vec<u32>, Error> {
    let pos: Vec<i32> = (first..).take(n).collect();
    let ubatch = ubatch(&pos, &vec![seq_id; n]);
    let mut plan = SlotPlan::new();
    cache.prepare([&ubatch], &mut plan)?;
    cache.apply_ubatch(&mut plan, 0, &ubatch);
    Ok(plan.slot(0).to_vec())
}

#[test]
fn slots_fill_the_cache_from_the_head() {
    let mut cache = cache(8);
    assert_eq!(place(&mut cache, 0, 0, 3).unwrap(), [0, 1, 2]);
    assert_eq!(place(&mut cache, 1, 0, 3).unwrap(), [3, 4, 5]);
    assert_eq!(cache.head(0), 6);
    let full = place(&mut cache, 0, 3, 3).unwrap_err();
    assert_eq!(full.to_string(), "no slot for 3 tokens: 2 of 8 cells are free");
    assert_eq!(place(&mut cache, 0, 3, 2).unwrap(), [6, 7]);
    assert_eq!(cache.head(0), 8);
}

#[test]
fn a_search_wraps_and_skips_used_cells() {
    let mut cache = cache(8);
    place(&mut cache, 0, 0, 7).unwrap();
    place(&mut cache, 1, 0, 1).unwrap();
    // Frees cells 1, 2 and 4; the head (8) moves back to the first of them.
    assert!(cache.seq_rm(0, 1, 3).unwrap());
    assert_eq!(cache.head(0), 1);
    assert!(cache.seq_rm(0, 4, 5).unwrap());
    assert_eq!(cache.head(0), 1);
    assert_eq!(place(&mut cache, 2, 0, 2).unwrap(), [1, 2]);
    assert_eq!(place(&mut cache, 2, 2, 1).unwrap(), [4]);
    // The head is at 5 now; a cell before it is found after wrapping around.
    assert!(cache.seq_rm(1, -1, -1).unwrap());
    assert!(cache.seq_rm(2, 0, 1).unwrap());
    assert_eq!(cache.head(0), 1);
    assert_eq!(place(&mut cache, 3, 0, 2).unwrap(), [1, 7]);
}

#[test]
fn a_head_far_behind_free_cells_starts_over() {
    let mut cache = cache(16);
    place(&mut cache, 0, 0, 10).unwrap();
    assert_eq!(cache.head(0), 10);
    cache.seq_rm(0, 9, -1).unwrap();
    cache.seq_rm(0, 0, 8).unwrap();
    assert_eq!(cache.head(0), 0);
    place(&mut cache, 1, 0, 9).unwrap();
    // Cells 0..8 and 9; the head is 10 with 10 cells used.
    assert_eq!(cache.head(0), 10);
    cache.seq_keep(0).unwrap();
    assert_eq!((cache.head(0), cache.cells().n_used()), (0, 1));
}

#[test]
fn planning_changes_nothing_and_sees_earlier_ubatches() {
    let mut cache = cache(8);
    place(&mut cache, 0, 0, 2).unwrap();
    let before = (cache.cells().clone(), cache.head(0));
    let mut plan = SlotPlan::new();
    let batch = [[2, 3, 4], [5, 6, 7], [8, 9, 10]].map(|pos| ubatch(&pos, &[0; 3]));
    cache.prepare(&batch[..2], &mut plan).unwrap();
    assert_eq!((plan.slot(0), plan.slot(1), plan.len()), (&[2, 3, 4][..], &[5, 6, 7][..], 2));
    assert_eq!((cache.cells().clone(), cache.head(0)), before);
    assert!(matches!(cache.prepare(&batch, &mut plan), Err(Error::NoSlot { n_tokens: 3, n_free: 0, .. })));
    assert!(plan.is_empty() && plan.slot(0).is_empty());
    assert_eq!((cache.cells().clone(), cache.head(0)), before);
}

#[test]
fn removing_copying_keeping() {
    let mut cache = cache(16);
    place(&mut cache, 0, 0, 6).unwrap();
    cache.seq_cp(0, 1, 0, 4).unwrap();
    assert_eq!((cache.seq_pos_min(1), cache.seq_pos_max(1)), (0, 3));
    assert_eq!(cache.cells().n_used(), 6, "copies share cells");
    cache.seq_rm(0, 2, 5).unwrap();
    assert_eq!((cache.seq_pos_min(0), cache.seq_pos_max(0)), (0, 5));
    assert_eq!(cache.cells().n_used(), 5, "cells 2 and 3 still belong to sequence 1");
    cache.seq_keep(1).unwrap();
    assert_eq!((cache.seq_pos_min(0), cache.seq_pos_max(0), cache.seq_pos_max(1)), (-1, -1, 3));
    place(&mut cache, 5, 7, 1).unwrap();
    cache.seq_rm(-1, 3, -1).unwrap();
    assert_eq!((cache.seq_pos_max(1), cache.seq_pos_max(5)), (2, -1));
    cache.seq_rm(-1, -1, -1).unwrap();
    assert_eq!((cache.cells().n_used(), cache.cells().used_max_p1()), (0, 0));
    assert!(matches!(cache.seq_rm(256, 0, 1), Err(Error::SeqId { seq_id: 256, n_seq: 256 })));
    assert!(matches!(cache.seq_cp(0, -1, 0, 1), Err(Error::SeqId { seq_id: -1, .. })));
    assert_eq!((cache.seq_pos_max(-7), cache.seq_pos_max(9999)), (-1, -1));
}

#[test]
fn shifting_moves_positions_and_frees_the_negative() {
    let mut cache = cache(16);
    place(&mut cache, 0, 0, 6).unwrap();
    cache.seq_add(0, 0, -1, 0).unwrap();
    assert!(!cache.has_shift());
    cache.seq_add(0, 0, -1, -2).unwrap();
    assert!(cache.has_shift());
    assert_eq!((cache.seq_pos_min(0), cache.seq_pos_max(0), cache.cells().n_used()), (0, 3, 4));
    assert_eq!(cache.head(0), 0, "the first freed cell");
    cache.seq_add(0, 2, 4, 10).unwrap();
    let mut shifts = Vec::new();
    cache.fill_shift(&mut shifts).unwrap();
    assert_eq!(shifts[..7], [0, 0, -2, -2, 8, 8, 0]);
    cache.seq_div(0, 12, -1, 4).unwrap();
    assert_eq!((cache.cells().pos(4), cache.cells().pos(5)), (3, 3));
    cache.fill_shift(&mut shifts).unwrap();
    assert_eq!(shifts[4..6], [8 + 9, 8 + 10]);
    cache.reset_shift();
    assert!(!cache.has_shift() && cache.cells().shift(4) == 0);
    assert!(matches!(cache.seq_div(0, 0, -1, 0), Err(Error::Divisor { .. })));
    assert!(matches!(cache.seq_add(0, 0, -1, i32::MAX), Err(Error::Shift { pos_max: 3, .. })));
    cache.clear();
    assert_eq!((cache.cells().n_used(), cache.head(0), cache.seq_pos_max(0)), (0, 0, -1));
}

#[test]
fn attention_sees_whole_pads() {
    let mut small = cache(100);
    assert_eq!(small.n_kv(&Ubatch::new()), 100);
    place(&mut small, 0, 0, 3).unwrap();
    assert_eq!(small.n_kv(&Ubatch::new()), 100);
    let mut large = cache(1024);
    assert_eq!(large.n_kv(&Ubatch::new()), 256);
    place(&mut large, 0, 0, 256).unwrap();
    assert_eq!(large.n_kv(&Ubatch::new()), 256);
    place(&mut large, 0, 256, 1).unwrap();
    assert_eq!(large.n_kv(&Ubatch::new()), 512);
    large.seq_rm(0, 100, 257).unwrap();
    assert_eq!(large.n_kv(&Ubatch::new()), 256);
}

#[test]
fn a_mask_shows_own_and_earlier_cells() {
    let mut cache = cache(8);
    place(&mut cache, 0, 0, 2).unwrap();
    place(&mut cache, 1, 0, 1).unwrap();
    let ubatch = ubatch(&[2, 3, 1, 4], &[0, 0, 1, 0]);
    let mut plan = SlotPlan::new();
    cache.prepare([&ubatch], &mut plan).unwrap();
    cache.apply_ubatch(&mut plan, 0, &ubatch);
    let (mut idxs, mut mask) = (Vec::new(), Vec::new());
    cache.fill_idxs(plan.slot(0), &mut idxs);
    assert_eq!(idxs, [3, 4, 5, 6]);
    let rows = |mask: &[u16]| -> Vec<String> {
        mask.chunks(8).map(|row| row.iter().map(|m| if *m == 0 { '1' } else { '.' }).collect()).collect()
    };
    cache.fill_mask(&ubatch, 8, true, &mut MaskScratch::default(), &mut mask).unwrap();
    assert_eq!(rows(&mask), ["11.1....", "11.11...", "..1..1..", "11.11.1."]);
    assert!(mask.iter().all(|m| [0, 0xfc00].contains(m)));
    cache.fill_mask(&ubatch, 8, false, &mut MaskScratch::default(), &mut mask).unwrap();
    assert_eq!(rows(&mask), ["11.11.1.", "11.11.1.", "..1..1..", "11.11.1."]);
}

#[test]
fn a_graph_stores_into_and_reads_from_the_same_leaf() {
    let mut buffers = BufferTable::new();
    let cache = KvCache::new(&params(16), &TestMemory, &mut buffers).unwrap();
    assert_eq!(buffers.get(BufferId(0)).unwrap().size(), cache.n_bytes());
    let mut graph = Graph::new();
    let mut kv = cache.graph();
    let idxs = kv.input_idxs(&mut graph, 3).unwrap();
    let cur = graph.input("k", DType::F32, [4, 2, 3, 1]).unwrap();
    let stored = kv.store_k(&mut graph, 1, cur, idxs).unwrap();
    let keys = kv.k(&mut graph, 1, KvView::first(8), 4, 2).unwrap();
    assert_eq!(graph[keys].ne, [4, 8, 2, 1]);
    assert_eq!(graph[keys].nb[1..3], [16, 8]);
    assert_eq!(graph[keys].view.map(|v| v.root), graph[stored].view.map(|v| v.root));
    let flat = graph.input("v", DType::F32, [4, 3, 1, 1]).unwrap();
    kv.store_v(&mut graph, 1, flat, idxs).unwrap();
    let values = kv.v(&mut graph, 1, KvView::first(8), 2, 2).unwrap();
    assert_eq!(graph[values].ne, [2, 8, 2, 1]);
    // K of layer 0 takes 256 bytes, V 128; K of layer 1 follows.
    let root = graph[keys].view.unwrap().root;
    assert_eq!(graph[root].storage, Storage::External { buffer: BufferId(0), offset: 384 });
    let shifted = kv.k_to_shift(&mut graph, 0, 2, 4, 2).unwrap();
    assert_eq!(graph[shifted].ne, [2, 2, 16, 1]);
    assert!(matches!(kv.store_k(&mut graph, 2, cur, idxs), Err(Error::Layer { il: 2, n_layer: 2 })));
    assert!(matches!(kv.store_v(&mut graph, 0, cur, idxs), Err(Error::RowShape { .. })));
}

#[test]
fn impossible_caches_are_refused() {
    let new = |params: &KvParams| KvCache::new(params, &TestMemory, &mut BufferTable::new());
    assert!(matches!(new(&params(0)), Err(Error::Shape { .. })));
    assert!(matches!(new(&KvParams { layers: vec![], ..params(1) }), Err(Error::Shape { .. })));
    assert!(matches!(
        new(&KvParams { type_v: DType::Q4_K, ..params(1) }),
        Err(Error::CacheType(DType::Q4_K))
    ));
    assert!(matches!(
        new(&KvParams { type_v: DType::Q8_0, ..params(1) }),
        Err(Error::RowBlocks { il: 0, dtype: DType::Q8_0, n: 4 })
    ));
    let huge = vec![KvLayerShape { n_embd_k_gqa: usize::MAX / 64, n_embd_v_gqa: 1 }];
    assert!(matches!(new(&KvParams { layers: huge, ..params(64) }), Err(Error::TooLarge { .. })));
}

#[test]
fn the_last_position_is_a_position_like_any_other() {
    let mut cache = cache(8);
    place(&mut cache, 0, 0, 2).unwrap();
    cache.seq_add(0, 1, -1, i32::MAX - 1).unwrap();
    assert_eq!((cache.seq_pos_min(0), cache.seq_pos_max(0)), (0, i32::MAX));
    cache.seq_cp(0, 1, -1, -1).unwrap();
    assert_eq!((cache.seq_pos_min(1), cache.seq_pos_max(1)), (0, i32::MAX));
    assert!(matches!(cache.seq_add(0, 0, -1, 1), Err(Error::Shift { pos_max: i32::MAX, delta: 1, .. })));
    cache.seq_add(0, 0, -1, -1).unwrap();
    assert_eq!((cache.seq_pos_max(0), cache.seq_pos_max(1)), (i32::MAX - 1, i32::MAX - 1));
    cache.seq_add(0, 0, -1, 1).unwrap();
    cache.seq_div(0, i32::MAX, -1, 2).unwrap();
    assert_eq!(cache.seq_pos_max(0), i32::MAX / 2);
    cache.seq_add(0, i32::MAX / 2, -1, i32::MAX - i32::MAX / 2).unwrap();
    cache.seq_rm(0, 0, i32::MAX).unwrap();
    assert_eq!(cache.seq_pos_min(0), i32::MAX, "a range that ends there does not hold it");
    cache.seq_rm(0, -1, -1).unwrap();
    cache.seq_rm(-1, i32::MAX, -1).unwrap();
    assert_eq!(cache.cells().n_used(), 0);
    // An empty sequence can be moved by anything.
    cache.seq_add(5, 0, -1, i32::MIN).unwrap();
}

#[test]
fn sizes_are_worked_out_without_memory() {
    let memory = |_: usize| -> &dyn BufferType { &TestMemory };
    for n_cells in [1, 16, 100, 4096] {
        assert_eq!(params(n_cells).n_bytes(&memory).unwrap(), cache(n_cells).n_bytes());
    }
    // 2^30 cells: nobody has the memory for their bookkeeping, and nobody needs it.
    assert_eq!(params(1 << 30).n_bytes(&memory).unwrap(), (2 * (16 + 8)) << 30);
    assert!(matches!(params(1 << 31).n_bytes(&memory), Err(Error::Shape { .. })));
    assert!(matches!(KvCells::new(usize::MAX / 4, 1), Err(Error::HostMemory { .. })));
    assert_eq!(KvCells::new(70, 1).unwrap().len(), 70);
}

#[test]
fn attention_without_a_cache_is_over_the_ubatch() {
    let mut graph = Graph::new();
    let mut inputs = Vec::new();
    let memory = MemoryKey::default();
    let shape =
        GraphShape { n_tokens: 3, n_seqs_unq: 1, n_outputs: 3, from_embeddings: false, n_enc: 0, memory };
    let kind = AttentionKind { causal: false, window: None, alibi: false, flash: true };
    let mut attention = AttentionGraph::new(&mut graph, None, &shape, kind, &mut inputs).unwrap();
    assert_eq!(graph[attention.mask(KvPart::Full)].ne, [3, 3, 1, 1]);
    let k = graph.input("k", DType::F32, [4, 2, 3, 1]).unwrap();
    let v = graph.input("v", DType::F32, [6, 2, 3, 1]).unwrap();
    attention.store(&mut graph, KvPart::Full, 0, k, v).unwrap();
    assert!(graph.nodes().is_empty());
    let [keys, values] = attention.keys_and_values(&mut graph, KvPart::Full, 0, k, v).unwrap();
    assert_eq!((graph[keys].ne, graph[values].ne), ([4, 3, 2, 1], [6, 3, 2, 1]));
    assert_eq!((graph[keys].dtype, graph[values].dtype), (DType::F16, DType::F16));
    assert!(inputs.iter().all(|input| input.can_reuse(&shape)));
    assert!(inputs.iter().any(|input| !input.can_reuse(&GraphShape { n_tokens: 4, ..shape })));
}

#[test]
fn neighbours_are_found_where_there_are_as_many() {
    let mut cache = cache(10);
    place(&mut cache, 0, 0, 8).unwrap();
    cache.seq_rm(0, 1, 3).unwrap();
    cache.seq_rm(0, 4, 7).unwrap();
    // Free are 1, 2, 4, 5, 6, 8, 9; the search starts at 1.
    let found = |n: usize, contiguous| cache.find_slot(&ubatch(&vec![0; n], &vec![0; n]), contiguous);
    assert_eq!(found(3, false).unwrap(), [1, 2, 4]);
    assert_eq!(found(3, true).unwrap(), [4, 5, 6]);
    assert_eq!(found(2, true).unwrap(), [1, 2]);
    assert!(matches!(found(4, true), Err(Error::NoSlot { n_tokens: 4, n_free: 7, .. })));
    assert_eq!(found(7, false).unwrap(), [1, 2, 4, 5, 6, 8, 9]);
}
