//! Values stored element by element, and layers that read another one's cells.

mod common;

use common::TestMemory;
use quipu_backend::BufferTable;
use quipu_batch::Ubatch;
use quipu_graph::{BufferId, DType, Graph};
use quipu_kv_cache::{Error, KvCache, KvLayerShape, KvParams, KvView, Memory, SlotPlan, StateBytes};

const LAYER: KvLayerShape = KvLayerShape { n_embd_k_gqa: 3, n_embd_v_gqa: 2 };
const N_CELLS: usize = 8;

/// One layer: keys of 3 f16, values of 2 f32, transposed. Every byte tells its place.
fn transposed(unified: bool) -> (KvCache, BufferTable) {
    let params = KvParams {
        n_cells: N_CELLS,
        n_seq_max: 2,
        unified,
        type_v: DType::F32,
        v_trans: true,
        layers: vec![LAYER],
        ..KvParams::default()
    };
    let mut buffers = BufferTable::new();
    let cache = KvCache::new(&params, &TestMemory, &mut buffers).expect("a small cache");
    let bytes: Vec<u8> = (0..cache.n_bytes()).map(|i| (i * 7 + i / 251) as u8).collect();
    buffers.get_mut(BufferId(0)).unwrap().write(0, &bytes).unwrap();
    (cache, buffers)
}

fn place(cache: &mut KvCache, seq_id: i32, first: i32, n: usize) -> Vec<u32> {
    let ubatch = Ubatch {
        n_tokens: n,
        n_seqs: 1,
        equal_seqs: true,
        pos: (first..).take(n).collect(),
        seq_id: vec![seq_id; n],
        seq_id_unq: vec![seq_id],
        seq_set: vec![std::iter::once(seq_id).collect(); n],
        ..Ubatch::default()
    };
    let mut plan = SlotPlan::new();
    cache.prepare([&ubatch], &mut plan).expect("room");
    cache.apply_ubatch(&mut plan, 0, &ubatch);
    plan.slot(0).to_vec()
}

#[test]
fn the_layout_of_transposed_values_is_the_references() {
    let (mut cache, buffers) = transposed(true);
    place(&mut cache, 0, 0, 1);
    place(&mut cache, 1, 0, 1);
    place(&mut cache, 0, 1, 2);
    let mut state = Vec::new();
    cache.state_write(&buffers, Some(0), &mut state).unwrap();
    // One stream, three cells; transposed, one layer; keys of f16.
    let words = [1u32, 3, 0, 1, 0, 1, 1, 0, 2, 1, 0, 1, 1, 1, 6, 0];
    let mut expected: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let take = |at: usize, n: usize| {
        let mut bytes = vec![0; n];
        buffers.get(BufferId(0)).unwrap().read(at, &mut bytes).unwrap();
        bytes
    };
    // Cells 0, 2 and 3, six bytes each.
    expected.extend(take(0, 6));
    expected.extend(take(12, 12));
    // Values of f32, four bytes, two elements: of each element the three cells.
    expected.extend([0u32, 4, 2].map(u32::to_le_bytes).concat());
    for element in 0..2 {
        let start = 64 + element * N_CELLS * 4;
        expected.extend(take(start, 4));
        expected.extend(take(start + 8, 8));
    }
    assert_eq!(state, expected);
}

#[test]
fn transposed_values_come_back_in_any_stream() {
    for unified in [true, false] {
        let (mut cache, mut buffers) = transposed(unified);
        place(&mut cache, 0, 0, 3);
        let mut state = Vec::new();
        cache.state_write(&buffers, Some(0), &mut state).unwrap();
        place(&mut cache, 1, 0, 2);
        cache.state_read(&mut buffers, Some(1), &mut StateBytes::new(&state)).unwrap();
        let mut again = Vec::new();
        cache.state_write(&buffers, Some(1), &mut again).unwrap();
        // The six elements; of streams, an empty one follows the first and comes before the second.
        let end = if unified { state.len() } else { state.len() - 4 };
        assert_eq!(again[again.len() - 24..], state[end - 24..end]);
    }
}

#[test]
fn each_element_of_a_value_has_its_place() {
    let (cache, _) = transposed(false);
    let mut places = Vec::new();
    // Cell 2 of the first stream, cell 1 of the second.
    cache.fill_v_idxs(&[2, 9], 2, &mut places);
    assert_eq!(places, [2, 10, 17, 25]);
    let mut graph = Graph::new();
    let mut kv = cache.graph();
    let v_cur = graph.input("v", DType::F32, [2, 1, 2, 1]).unwrap();
    let idxs = kv.input_v_idxs(&mut graph, 2, 2).unwrap();
    let stored = kv.store_v(&mut graph, 0, v_cur, idxs).unwrap();
    assert_eq!(graph[stored].ne, [1, 32, 1, 1]);
    // Both streams, four cells of each.
    let view = KvView { n_kv: 4, stream: 0, n_stream: 2 };
    let v = kv.v(&mut graph, 0, view, 2, 1).unwrap();
    assert_eq!((graph[v].ne, graph[v].nb), ([4, 2, 1, 2], [4, 32, 64, 64]));
}

#[test]
fn blocks_cannot_be_transposed() {
    let layers = vec![KvLayerShape { n_embd_k_gqa: 32, n_embd_v_gqa: 32 }];
    let params = KvParams { n_cells: 8, type_v: DType::Q8_0, v_trans: true, layers, ..KvParams::default() };
    let error = KvCache::new(&params, &TestMemory, &mut BufferTable::new()).unwrap_err();
    assert!(matches!(error, Error::TransposedBlocks(DType::Q8_0)), "{error}");
}

#[test]
fn layers_without_cells_read_those_of_others() {
    let layers = vec![LAYER, LAYER, KvLayerShape::NONE, KvLayerShape::NONE];
    let reuse = vec![None, None, Some(1), Some(9)];
    let params = KvParams { n_cells: N_CELLS, type_v: DType::F32, layers, reuse, ..KvParams::default() };
    let mut buffers = BufferTable::new();
    let mut cache = KvCache::new(&params, &TestMemory, &mut buffers).unwrap();
    assert_eq!(
        [0, 1, 2].map(|il| (cache.has_layer(il), cache.source_layer(il))),
        [(true, 0), (true, 1), (false, 1)]
    );
    let (mut graph, view) = (Graph::new(), KvView::first(4));
    let mut kv = cache.graph();
    let [own, reused] = [1, 2].map(|il| kv.k(&mut graph, il, view, 3, 1).unwrap());
    assert_eq!((graph[own].ne, graph[own].nb), (graph[reused].ne, graph[reused].nb));
    let leaf = |id| graph[graph[graph[id].src[0]].src[0]].name.clone();
    assert_eq!((leaf(own), leaf(reused)), ("cache_k_l1".to_owned(), "cache_k_l1".to_owned()));
    assert!(matches!(kv.k(&mut graph, 3, view, 3, 1), Err(Error::Layer { .. })));
    // Of two layers there are bytes, and of two a state.
    assert_eq!(cache.n_bytes(), 64 * 4);
    place(&mut cache, 0, 0, 1);
    let mut state = Vec::new();
    cache.state_write(&buffers, None, &mut state).unwrap();
    assert_eq!(state[24..28], 2u32.to_le_bytes());
    // Zeros when they are asked for.
    buffers.get_mut(BufferId(0)).unwrap().write(0, &[7; 256]).unwrap();
    cache.clear_data(&mut buffers).unwrap();
    let mut bytes = vec![1; 256];
    buffers.get(BufferId(0)).unwrap().read(0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|b| *b == 0) && cache.n_used() == 0);
}
