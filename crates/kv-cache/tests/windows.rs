//! Windows: cells behind them are used again, masks follow them, and pairs of caches keep step. Streams: sequences with cells of their own.

mod common;

use common::TestMemory;
use quipu_backend::{BufferTable, BufferType};
use quipu_batch::{Batch, BatchLimits, CheckedBatch};
use quipu_graph::BufferId;
use quipu_kv_cache::{
    Error, KvCache, KvLayerShape, KvParams, KvPart, MaskScratch, Memory, MemoryKey, MemoryPlan, SeqPositions,
    StateBytes, Window, WindowKind, WindowedKvCache, WindowedKvParams,
};

const LAYER: KvLayerShape = KvLayerShape { n_embd_k_gqa: 4, n_embd_v_gqa: 2 };

fn window(n_swa: usize) -> Window {
    Window { n_swa, kind: WindowKind::Standard }
}

fn params(n_cells: usize) -> KvParams {
    KvParams { n_cells, n_seq_max: 4, layers: vec![LAYER; 3], ..KvParams::default() }
}

fn cache(params: &KvParams) -> (KvCache, BufferTable) {
    let mut buffers = BufferTable::new();
    let cache = KvCache::new(params, &TestMemory, &mut buffers).expect("a small cache");
    (cache, buffers)
}

fn pair(n_cells: usize, n_swa: usize, all_cells: bool) -> (WindowedKvCache, BufferTable) {
    let windowed = vec![true, false, true];
    let pair =
        WindowedKvParams { full: params(n_cells), window: window(n_swa), windowed, n_ubatch: 8, all_cells };
    let mut buffers = BufferTable::new();
    let memory = |_: usize| -> &dyn BufferType { &TestMemory };
    let pair = WindowedKvCache::new_in(&pair, &memory, &mut buffers).expect("two small caches");
    (pair, buffers)
}

/// Puts the next tokens of sequences into the memory; the cells of the last ubatch.
fn put(
    memory: &mut dyn Memory,
    n: &[(i32, usize)],
    n_ubatch: usize,
) -> Result<(MemoryPlan, Vec<u32>), Error> {
    let mut batch = Batch::new();
    for (seq_id, n) in n {
        for pos in (memory.seq_pos_max(*seq_id) + 1..).take(*n) {
            batch.add(0, pos, &[*seq_id], false);
        }
    }
    let limits = BatchLimits { n_vocab: 1, n_embd: 1, n_seq_max: 4, n_pos: 1, output_all: false };
    let mut checked = CheckedBatch::new();
    checked.init(&batch, &limits, Some(memory)).expect("a good batch");
    let mut plan = MemoryPlan::new();
    memory.plan(&mut checked, n_ubatch, &mut plan)?;
    while memory.apply(&mut plan) {}
    let slot = plan.slot(KvPart::Full).to_vec();
    Ok((plan, slot))
}

#[test]
fn cells_behind_the_window_are_used_again() {
    let (mut cache, _) = cache(&KvParams { window: Some(window(3)), ..params(6) });
    put(&mut cache, &[(0, 6)], 6).unwrap();
    // The next token, at 6, sees 4 and 5: cells 0 to 3 are free again.
    let (_, slot) = put(&mut cache, &[(0, 2)], 6).unwrap();
    assert_eq!(slot, [0, 1]);
    assert_eq!((cache.seq_pos_min(0), cache.seq_pos_max(0), cache.n_used()), (2, 7, 6));
    // More than is free at once does not fit, and nothing is lost by asking.
    let before = cache.cells().clone();
    assert!(matches!(put(&mut cache, &[(0, 6)], 6), Err(Error::NoSlot { n_tokens: 6, .. })));
    assert_eq!(*cache.cells(), before);
    // Another sequence takes what is behind the first one's window.
    let (_, slot) = put(&mut cache, &[(1, 3)], 6).unwrap();
    assert_eq!((slot.as_slice(), cache.seq_pos_min(0), cache.seq_pos_max(1)), (&[2, 3, 4][..], 5, 2));
}

#[test]
fn what_comes_before_a_cell_that_was_taken_over_goes_too() {
    let (mut cache, _) = cache(&KvParams { window: Some(window(2)), ..params(8) });
    put(&mut cache, &[(1, 4)], 8).unwrap();
    put(&mut cache, &[(0, 3)], 8).unwrap();
    cache.seq_rm(1, -1, -1).unwrap();
    put(&mut cache, &[(0, 3)], 8).unwrap();
    // Positions 3, 4, 5 are in cells 0, 1, 2 and positions 0, 1, 2 in cells 4, 5, 6.
    assert_eq!([0, 1, 2, 4, 5, 6].map(|i| cache.cells().pos(i)), [3, 4, 5, 0, 1, 2]);
    // The next search starts from the beginning, with a cell that no window sees.
    cache.seq_add(3, 0, -1, 1).unwrap();
    let (_, slot) = put(&mut cache, &[(2, 1)], 8).unwrap();
    assert_eq!(slot, [0]);
    assert_eq!((cache.seq_pos_min(0), cache.seq_pos_max(0), cache.n_used()), (4, 5, 3));
}

#[test]
fn masks_follow_the_window() {
    let rows = |kind: WindowKind, causal: bool| -> Vec<String> {
        let window = Window { n_swa: 3, kind };
        let (mut cache, _) = cache(&KvParams { window: Some(window), ..params(8) });
        put(&mut cache, &[(0, 3)], 8).unwrap();
        let (plan, _) = put(&mut cache, &[(0, 4)], 8).unwrap();
        let mut mask = Vec::new();
        let ubatch = plan.ubatch().unwrap();
        cache.fill_mask(ubatch, 8, causal, &mut MaskScratch::default(), &mut mask).unwrap();
        let shown = |row: &[u16]| row.iter().map(|m| if *m == 0 { '1' } else { '.' }).collect();
        mask.chunks(8).map(shown).collect()
    };
    let standard = [".111....", "..111...", "...111..", "....111."];
    assert_eq!(rows(WindowKind::Standard, true), standard);
    assert_eq!(rows(WindowKind::Chunked, true), ["...1....", "...11...", "...111..", "......1."]);
    assert_eq!(rows(WindowKind::Symmetric, true), ["..11....", "...11...", "....11..", ".....11."]);
    assert_eq!(rows(WindowKind::Symmetric, false), ["..111...", "...111..", "....111.", ".....11."]);
}

#[test]
fn a_pair_keeps_step() {
    let (mut pair, mut buffers) = pair(1024, 4, false);
    let sizes = |pair: &WindowedKvCache| {
        [KvPart::Full, KvPart::Window].map(|part| pair.kv(part).map(KvCache::n_cells).unwrap())
    };
    // Four sequences share the window's cells: 4 * 4 + 8, padded.
    assert_eq!(sizes(&pair), [1024, 256]);
    assert!(!pair.can_shift(), "positions behind the window are lost");
    let [full, windowed] = [KvPart::Full, KvPart::Window].map(|part| pair.kv(part).unwrap());
    assert!(full.has_layer(1) && !full.has_layer(0) && windowed.has_layer(0) && windowed.has_layer(2));
    for _ in 0..80 {
        put(&mut pair, &[(0, 8)], 8).unwrap();
    }
    assert_eq!(
        (pair.kv(KvPart::Full).unwrap().n_used(), pair.kv(KvPart::Window).unwrap().n_used()),
        (640, 256)
    );
    assert_eq!((pair.seq_pos_min(0), pair.seq_pos_max(0)), (384, 639));
    let (plan, _) = put(&mut pair, &[(0, 3)], 8).unwrap();
    assert_eq!(pair.key(&plan), MemoryKey { n_kv: 768, n_kv_window: 256, ..MemoryKey::default() });
    // Both states, one behind the other; of one sequence only what the window sees.
    let mut bytes = Vec::new();
    pair.state_write(&buffers, Some(0), &mut bytes).unwrap();
    let (mut other, mut other_buffers) = self::pair(1024, 4, false);
    other.state_read(&mut other_buffers, Some(2), &mut StateBytes::new(&bytes)).unwrap();
    assert_eq!((other.seq_pos_min(2), other.seq_pos_max(2)), (639, 642));
    assert_eq!(other.kv(KvPart::Full).unwrap().n_used(), 643);
    // A state that is cut changes neither.
    let cut = &bytes[..bytes.len() - 1];
    assert!(other.state_read(&mut other_buffers, Some(1), &mut StateBytes::new(cut)).is_err());
    assert_eq!((other.seq_pos_max(1), other.kv(KvPart::Full).unwrap().n_used()), (-1, 643));
    pair.clear();
    pair.state_read(&mut buffers, Some(0), &mut StateBytes::new(&bytes)).unwrap();
    assert_eq!(pair.seq_pos_max(0), 642);
    let (equal, _) = self::pair(256, 4, true);
    assert!(equal.can_shift() && sizes(&equal) == [256, 256]);
}

#[test]
fn sequences_have_cells_of_their_own() {
    let (mut cache, _) = cache(&KvParams { unified: false, ..params(8) });
    assert_eq!((cache.n_stream(), Memory::n_cells(&cache)), (4, 32));
    // Tokens go in groups of as many of one sequence as of the next.
    let (plan, slot) = put(&mut cache, &[(1, 3), (2, 3)], 64).unwrap();
    assert_eq!((plan.len(), slot.as_slice()), (1, &[8, 9, 10, 16, 17, 18][..]));
    assert_eq!(cache.key(&plan), MemoryKey { n_kv: 8, stream: 1, n_stream: 2, ..MemoryKey::default() });
    assert_eq!((cache.cells_of(1).n_used(), cache.cells_of(0).n_used(), cache.head(2)), (3, 0, 3));
    // One that is full leaves room to the others.
    put(&mut cache, &[(1, 5)], 64).unwrap();
    assert!(matches!(put(&mut cache, &[(1, 1), (3, 1)], 64), Err(Error::NoSlot { .. })));
    put(&mut cache, &[(3, 8)], 64).unwrap();
    assert!(matches!(cache.seq_rm(4, -1, -1), Err(Error::SeqId { seq_id: 4, n_seq: 4 })));
    // Removing from all, keeping one of its stream.
    cache.seq_rm(-1, 0, 1).unwrap();
    assert_eq!((cache.seq_pos_min(1), cache.seq_pos_min(2), cache.seq_pos_min(3)), (1, 1, 1));
    cache.seq_keep(2).unwrap();
    assert_eq!((cache.seq_pos_max(1), cache.seq_pos_max(2)), (7, 2));
}

#[test]
fn streams_are_copied_with_the_next_update() {
    let (mut cache, mut buffers) = cache(&KvParams { unified: false, ..params(8) });
    put(&mut cache, &[(0, 3)], 64).unwrap();
    let bytes: Vec<u8> = (0..cache.n_bytes()).map(|i| (i * 7 + i / 251) as u8).collect();
    buffers.get_mut(BufferId(0)).unwrap().write(0, &bytes).unwrap();
    assert!(matches!(cache.seq_cp(0, 2, 1, -1), Err(Error::PartialCopy { src: 0, dst: 2, p0: 1, p1: -1 })));
    cache.seq_cp(0, 2, -1, -1).unwrap();
    assert!(cache.has_update() && cache.seq_pos_max(2) == 2);
    let mut state = Vec::new();
    assert!(matches!(cache.state_write(&buffers, Some(2), &mut state), Err(Error::PendingUpdate)));
    cache.copy_pending(&mut buffers).unwrap();
    assert!(!cache.has_update());
    // The bytes at the end of a stream's part; behind it come as many empty streams.
    let of = |seq_id: i32| {
        let mut state = Vec::new();
        cache.state_write(&buffers, Some(seq_id), &mut state).unwrap();
        let end = state.len() - 4 * (3 - seq_id as usize);
        state[end - 60..end].to_vec()
    };
    assert_eq!(of(0), of(2));
    // Read back into a stream, alone.
    let mut state = Vec::new();
    cache.state_write(&buffers, Some(0), &mut state).unwrap();
    cache.state_read(&mut buffers, Some(3), &mut StateBytes::new(&state)).unwrap();
    assert_eq!((cache.seq_pos_max(3), cache.cells_of(3).n_used()), (2, 3));
    // All streams at once, where the reference keeps only the last.
    let mut whole = Vec::new();
    cache.state_write(&buffers, None, &mut whole).unwrap();
    cache.clear();
    cache.state_read(&mut buffers, None, &mut StateBytes::new(&whole)).unwrap();
    assert_eq!([0, 1, 2, 3].map(|s| cache.seq_pos_max(s)), [2, -1, 2, 2]);
}

#[test]
fn a_sequence_read_back_finds_room_in_cells_it_shared_with_one_that_went_on() {
    let (mut cache, mut buffers) = cache(&KvParams { window: Some(window(2)), ..params(6) });
    put(&mut cache, &[(0, 2)], 8).unwrap();
    let mut state = Vec::new();
    cache.state_write(&buffers, Some(0), &mut state).unwrap();
    // Both positions are shared, then sequence 0 goes on until its window has left them behind.
    cache.seq_cp(0, 1, -1, -1).unwrap();
    put(&mut cache, &[(0, 4)], 8).unwrap();
    assert_eq!((cache.n_used(), cache.seq_pos_max(1)), (6, 1));
    // Without sequence 1 its cells are those of 0 alone, which sees them no more.
    cache.state_read(&mut buffers, Some(1), &mut StateBytes::new(&state)).unwrap();
    assert_eq!((cache.seq_pos_min(1), cache.seq_pos_max(1), cache.seq_pos_min(0)), (0, 1, 2));
}
