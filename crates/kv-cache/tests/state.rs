//! A cache's state in bytes: the reference's layout, there and back, and whatever is not a state.

mod common;

use common::TestMemory;
use proptest::prelude::*;
use quipu_backend::BufferTable;
use quipu_batch::Ubatch;
use quipu_graph::{BufferId, DType};
use quipu_kv_cache::{
    Error, KvCache, KvLayerShape, KvParams, MAX_SEQ, Memory, SeqPositions, SlotPlan, StateBytes, StateRead,
    StateSize, StateWrite,
};

/// A cache and its bytes.
struct Cache {
    cache: KvCache,
    buffers: BufferTable,
}

/// Bytes of a key's and of a value's row.
const ROWS: [usize; 2] = [6, 8];

impl Cache {
    /// Two layers: keys of 3 f16, values of 2 f32. Every byte tells its place.
    fn new(n_cells: usize) -> Cache {
        Cache::for_seqs(n_cells, MAX_SEQ)
    }

    fn for_seqs(n_cells: usize, n_seq_max: usize) -> Cache {
        let layer = KvLayerShape { n_embd_k_gqa: 3, n_embd_v_gqa: 2 };
        let params = KvParams {
            n_cells,
            n_seq_max,
            type_v: DType::F32,
            layers: vec![layer; 2],
            ..KvParams::default()
        };
        let mut buffers = BufferTable::new();
        let cache = KvCache::new(&params, &TestMemory, &mut buffers).expect("a small cache");
        let bytes: Vec<u8> = (0..cache.n_bytes()).map(|i| (i * 7 + i / 251) as u8).collect();
        buffers.get_mut(BufferId(0)).unwrap().write(0, &bytes).unwrap();
        Cache { cache, buffers }
    }

    fn place(&mut self, seqs: &[i32], first: i32, n: usize) {
        let set = seqs.iter().copied().collect();
        let ubatch = Ubatch {
            n_tokens: n,
            pos: (first..).take(n).collect(),
            seq_id: vec![seqs[0]; n],
            seq_set: vec![set; n],
            ..Ubatch::default()
        };
        let mut plan = SlotPlan::new();
        self.cache.prepare([&ubatch], &mut plan).expect("room");
        self.cache.apply_ubatch(&mut plan, 0, &ubatch);
    }

    fn write(&self, seq_id: Option<i32>) -> Vec<u8> {
        let (mut bytes, mut size) = (Vec::new(), StateSize::new());
        self.cache.state_write(&self.buffers, seq_id, &mut bytes).unwrap();
        self.cache.state_write(&self.buffers, seq_id, &mut size).unwrap();
        assert_eq!(size.n_bytes(), bytes.len());
        bytes
    }

    fn read(&mut self, seq_id: Option<i32>, bytes: &[u8]) -> Result<(), Error> {
        self.cache.state_read(&mut self.buffers, seq_id, &mut StateBytes::new(bytes))
    }

    /// The bytes of a cell: keys and values of both layers.
    fn cell(&self, i: usize) -> Vec<u8> {
        let n_cells = self.cache.n_cells();
        let mut bytes = Vec::new();
        let mut start = 0usize;
        for row in [ROWS[0], ROWS[1], ROWS[0], ROWS[1]] {
            start = start.next_multiple_of(64);
            let at = bytes.len();
            bytes.resize(at + row, 0);
            self.buffers.get(BufferId(0)).unwrap().read(start + i * row, &mut bytes[at..]).unwrap();
            start += n_cells * row;
        }
        bytes
    }

    /// Positions, sequences and bytes of all cells in use, sorted.
    fn contents(&self) -> Vec<(i32, Vec<i32>, Vec<u8>)> {
        let cells = self.cache.cells();
        let used = (0..cells.len()).filter(|i| !cells.is_free(*i));
        let mut contents: Vec<_> =
            used.map(|i| (cells.pos(i), cells.seqs(i).iter().collect(), self.cell(i))).collect();
        contents.sort();
        contents
    }
}

#[test]
fn the_layout_is_the_references() {
    let mut cache = Cache::new(8);
    cache.place(&[0], 0, 1);
    cache.place(&[1, 4], 5, 1);
    cache.place(&[0], 1, 1);
    let mut expected: Vec<u8> = Vec::new();
    // One stream, three cells.
    let mut words = vec![1u32, 3];
    words.extend([0, 1, 0]);
    words.extend([5, 2, 1, 4]);
    words.extend([1, 1, 0]);
    // Not transposed, two layers.
    words.extend([0, 2]);
    expected.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    let cells: Vec<Vec<u8>> = (0..3).map(|i| cache.cell(i)).collect();
    // All keys (f16 is type 1) before all values (f32 is type 0).
    for (dtype, row, starts) in [(1u32, 6usize, [0, 14]), (0, 8, [6, 20])] {
        for start in starts {
            expected.extend(dtype.to_le_bytes());
            expected.extend((row as u64).to_le_bytes());
            for cell in &cells {
                expected.extend(&cell[start..start + row]);
            }
        }
    }
    assert_eq!(cache.write(None), expected);
    // One sequence: its cells, and of their sequences only itself.
    let of_four = cache.write(Some(4));
    let start = [1u32, 1, 5, 1, 4].map(u32::to_le_bytes).concat();
    assert_eq!(of_four[..start.len()], start);
    assert_eq!(cache.write(Some(9)), [1u32, 0].map(u32::to_le_bytes).concat());
}

#[test]
fn everything_comes_back_in_the_first_cells() {
    let mut cache = Cache::new(16);
    cache.place(&[0], 0, 6);
    cache.place(&[2, 3], 10, 3);
    cache.cache.seq_rm(0, 1, 3).unwrap();
    let bytes = cache.write(None);
    let mut other = Cache::new(9);
    other.place(&[7], 3, 9);
    let mut io = StateBytes::new(&bytes);
    other.cache.state_read(&mut other.buffers, None, &mut io).unwrap();
    assert_eq!(io.n_bytes(), bytes.len());
    assert_eq!(other.contents(), cache.contents());
    assert_eq!(
        (other.cache.cells().used_max_p1(), other.cache.head(0), other.cache.seq_pos_max(7)),
        (7, 0, -1)
    );
    assert_eq!(other.write(None), bytes);
    // An empty state empties.
    other.read(None, &Cache::new(8).write(None)).unwrap();
    assert_eq!(other.cache.n_used(), 0);
    let small = Cache::new(6).read(None, &bytes).unwrap_err();
    assert_eq!(
        small.to_string(),
        "state, byte 4: number of cells is 7, expected at most 6: the cache has 6 cells"
    );
}

#[test]
fn a_sequence_comes_back_wherever_there_is_room() {
    let mut cache = Cache::new(16);
    cache.place(&[0], 0, 4);
    cache.place(&[1], 0, 2);
    cache.place(&[0], 4, 2);
    let bytes = cache.write(Some(0));
    let mut other = Cache::new(10);
    other.place(&[3], 0, 1);
    other.place(&[5], 0, 3);
    other.place(&[3], 1, 1);
    other.place(&[6, 5], 7, 2);
    // Sequence 5 gives back three cells, and shares two that stay.
    other.read(Some(5), &bytes).unwrap();
    assert_eq!((other.cache.seq_pos_min(5), other.cache.seq_pos_max(5), other.cache.n_used()), (0, 5, 10));
    let of = |cache: &Cache, seq: i32| -> Vec<(i32, Vec<u8>)> {
        let contents = cache.contents().into_iter().filter(|(_, seqs, _)| seqs.contains(&seq));
        contents.map(|(pos, _, bytes)| (pos, bytes)).collect()
    };
    assert_eq!(of(&other, 5), of(&cache, 0));
    assert_eq!((of(&other, 3).len(), of(&other, 6).len()), (2, 2));
    // Now it does not fit beside the others.
    let before = other.contents();
    let error = other.read(Some(4), &bytes).unwrap_err();
    assert!(matches!(error, Error::State { what: "number of cells", found: 6, .. }), "{error}");
    assert_eq!(other.contents(), before);
    // A state of several sequences is not one of a sequence.
    let mut shared = Cache::new(16);
    shared.place(&[0, 1], 0, 2);
    let error = other.read(Some(6), &shared.write(None)).unwrap_err();
    assert_eq!(error.to_string(), "state, byte 12: number of sequences of a cell is 2, expected 1 to 1");
    assert!(matches!(other.read(Some(256), &bytes), Err(Error::SeqId { seq_id: 256, .. })));
}

/// Numbers of a whole state are kept, so they must be the context's; the number of a single sequence is not.
#[test]
fn sequences_beyond_the_contexts_are_refused() {
    let mut cache = Cache::new(8);
    cache.place(&[1, 2], 0, 3);
    let mut other = Cache::for_seqs(8, 2);
    other.place(&[0], 5, 1);
    let before = other.contents();
    let error = other.read(None, &cache.write(None)).unwrap_err();
    assert_eq!(error.to_string(), "state, byte 20: sequence of a cell is 2, expected 0..2, each once");
    assert_eq!(other.contents(), before);
    other.read(Some(1), &cache.write(Some(2))).unwrap();
    assert_eq!(other.cache.seq_pos_max(1), 2);
    Cache::for_seqs(8, 3).read(None, &cache.write(None)).unwrap();
}

#[test]
fn shifts_must_be_applied_first() {
    let mut cache = Cache::new(8);
    cache.place(&[0], 0, 2);
    cache.cache.seq_add(0, 0, -1, 3).unwrap();
    let mut bytes = Vec::new();
    assert!(matches!(cache.cache.state_write(&cache.buffers, None, &mut bytes), Err(Error::PendingUpdate)));
    assert!(bytes.is_empty());
}

#[test]
fn a_cut_state_changes_nothing() {
    let mut cache = Cache::new(16);
    cache.place(&[0], 0, 5);
    cache.place(&[1], 0, 3);
    let mut other = Cache::new(16);
    other.place(&[2], 4, 6);
    let before = (other.contents(), other.cache.cells().clone());
    for seq_id in [None, Some(0)] {
        let bytes = cache.write(seq_id);
        for len in 0..bytes.len() {
            let error = other.read(seq_id, &bytes[..len]).unwrap_err();
            assert!(matches!(error, Error::StateCut { .. }), "{len}: {error}");
            assert_eq!((other.contents(), other.cache.cells().clone()), before, "{len}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_state_is_read_or_refused(
        whole in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut cache = Cache::new(16);
        cache.place(&[0], 0, 5);
        cache.place(&[1, 0], 5, 3);
        let seq_id = (!whole).then_some(1);
        let mut bytes = cache.write(seq_id);
        for (at, byte) in &damage {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        let mut other = Cache::new(12);
        other.place(&[1], 4, 6);
        other.place(&[2], 4, 2);
        let before = (other.contents(), other.cache.cells().clone());
        if other.read(seq_id, &bytes).is_err() {
            prop_assert_eq!((other.contents(), other.cache.cells().clone()), before);
        } else {
            // What was read can be written.
            other.write(None);
        }
    }
}
