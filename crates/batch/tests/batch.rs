//! Rules of batches and ubatches, group by group as the reference tests its own.

use std::collections::HashMap;

use proptest::prelude::*;
use quipu_batch::{Batch, BatchLimits, CheckedBatch, Error, Pos, SeqId, SeqLists, SeqPositions, Ubatch};

const N_EMBD: usize = 2;

/// A memory that only knows which positions it has.
#[derive(Debug, Default)]
struct Ranges(HashMap<SeqId, (Pos, Pos)>);

impl SeqPositions for Ranges {
    fn seq_pos_min(&self, seq_id: SeqId) -> Pos {
        self.0.get(&seq_id).map_or(-1, |range| range.0)
    }

    fn seq_pos_max(&self, seq_id: SeqId) -> Pos {
        self.0.get(&seq_id).map_or(-1, |range| range.1)
    }
}

fn limits(n_seq_max: usize) -> BatchLimits {
    BatchLimits { n_vocab: 10, n_embd: N_EMBD, n_seq_max, n_pos: 1, output_all: false }
}

/// Embedding rows that tell their index: `[100 i, 100 i + 1]`.
fn rows(tokens: &[(Pos, &[SeqId], bool)]) -> Batch {
    let mut batch = Batch::new();
    for (i, (pos, seq_ids, output)) in tokens.iter().enumerate() {
        let first = 100.0 * i as f32;
        batch.add_embd(&[first, first + 1.0], *pos, seq_ids, *output);
    }
    batch
}

/// `n[s]` tokens of each sequence `s`, output at the last of each.
fn sequences(n: &[Pos]) -> Batch {
    let mut batch = Batch::new();
    for (s, n) in n.iter().enumerate() {
        for pos in 0..*n {
            batch.add(1, pos, &[s as SeqId], pos + 1 == *n);
        }
    }
    batch
}

fn checked(batch: &Batch, memory: Option<&dyn SeqPositions>) -> Result<CheckedBatch, Error> {
    let mut checked = CheckedBatch::new();
    checked.init(batch, &limits(4), memory).map(|()| checked)
}

#[test]
fn init_rejects_what_is_out_of_range() {
    let mut ba = CheckedBatch::new();
    let one = rows(&[(0, &[0], true)]);
    assert!(matches!(ba.init(&one, &limits(257), None), Err(Error::TooManySequences(257))));
    assert!(matches!(ba.init(&Batch::new(), &limits(1), None), Err(Error::EmptyBatch)));
    let error = ba.init(&Batch::single(&[3, 10, 4]), &limits(1), None).unwrap_err();
    assert_eq!(error.to_string(), "token[1] is 10, expected an id below 10");
    let error = ba.init(&rows(&[(0, &[0, 4], true)]), &limits(4), None).unwrap_err();
    assert_eq!(error.to_string(), "seq_id[0][1] is 4, expected 0..4");
    let error = ba.init(&rows(&[(0, &[-1], true)]), &limits(4), None);
    assert!(matches!(error, Err(Error::InvalidSeqId { index: 0, entry: 0, seq_id: -1, n_seq_max: 4 })));
    assert!(matches!(
        ba.init(&rows(&[(0, &[], true)]), &limits(4), None),
        Err(Error::NoSequence { index: 0 })
    ));
    assert!(matches!(
        ba.init(&rows(&[(-1, &[0], true)]), &limits(4), None),
        Err(Error::InvalidPosition { index: 0, pos: -1 })
    ));
    assert!(matches!(
        ba.init(&rows(&[(i32::MAX, &[0], true)]), &limits(4), None),
        Err(Error::InvalidPosition { .. })
    ));
    let short = Batch { pos: vec![0], ..Batch::single(&[1, 2]) };
    assert!(matches!(
        ba.init(&short, &limits(4), None),
        Err(Error::FieldLength { field: "positions", found: 1, n_tokens: 2 })
    ));
    let both = Batch { tokens: vec![1], ..one.clone() };
    assert!(matches!(ba.init(&both, &limits(4), None), Err(Error::TokensAndEmbeddings)));
    let narrow =
        Batch { n_embd: 1, ..Batch { pos: vec![], seq_ids: SeqLists::new(), outputs: vec![], ..one } };
    assert!(matches!(
        ba.init(&narrow, &limits(4), None),
        Err(Error::EmbeddingWidth { found: 1, n_values: 2, expected: 2 })
    ));
}

#[test]
fn init_fills_what_is_missing() {
    let ba = checked(&Batch::single(&[1, 2, 3, 4]), None).unwrap();
    assert_eq!(ba.n_tokens(), 4);
    assert_eq!(ba.pos(), [0, 1, 2, 3]);
    assert!(ba.seq_id() == [0; 4] && (0..4).all(|i| ba.seq_set(i).only() == Some(0)));
    assert_eq!(ba.outputs(), [false, false, false, true]);
    assert_eq!((ba.n_outputs(), ba.seq_pos_min(0), ba.seq_pos_max(0), ba.seq_pos_min(1)), (1, 0, 3, -1));

    let all = BatchLimits { output_all: true, ..limits(4) };
    let mut ba = CheckedBatch::new();
    ba.init(&Batch::single(&[1; 4]), &all, None).unwrap();
    assert_eq!(ba.n_outputs(), 4);
    ba.init(&rows(&[(0, &[0], false), (1, &[0], true)]), &all, None).unwrap();
    assert_eq!(ba.n_outputs(), 2);

    let memory = Ranges([(0, (0, 9))].into());
    let ba = checked(&Batch::single(&[1; 3]), Some(&memory)).unwrap();
    assert_eq!((ba.seq_pos_min(0), ba.seq_pos_max(0)), (10, 12));
}

#[test]
fn init_fills_positions_per_sequence() {
    let memory = Ranges([(0, (0, 4)), (1, (0, 4)), (2, (3, 6))].into());
    let mut batch = rows(&[(0, &[2], false), (0, &[0, 1], false), (0, &[1], false), (0, &[2], true)]);
    batch.pos.clear();
    let ba = checked(&batch, Some(&memory)).unwrap();
    assert_eq!(ba.pos(), [7, 5, 6, 8]);
}

#[test]
fn init_keeps_explicit_outputs() {
    let mut ba = checked(&rows(&[(0, &[0], true), (1, &[0], false), (2, &[0], true)]), None).unwrap();
    assert_eq!(ba.n_outputs(), 2);
    let mut ub = Ubatch::new();
    assert!(ba.split_simple(10, &mut ub));
    assert_eq!((ub.n_tokens, ub.n_outputs()), (3, 2));
    assert_eq!(ub.outputs, [true, false, true]);
    assert_eq!(ba.out_ids(), [0, 2]);
}

#[test]
fn init_checks_positions_against_memory() {
    let memory = Ranges([(0, (0, 9))].into());
    let at = |p: Pos| checked(&rows(&[(p, &[0], false), (p + 1, &[0], true)]), Some(&memory));
    assert!(at(10).is_ok());
    assert!(matches!(at(11), Err(Error::NotConsecutive { index: 0, seq_id: 0, pos_min: 11, memory_max: 9 })));
    let error = at(9).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pos[0] is where sequence 0 starts in the batch: 9, expected 10: its last position in memory is 9"
    );
    // Nothing follows the last position there is.
    let full = Ranges([(0, (0, Pos::MAX))].into());
    let error = checked(&rows(&[(0, &[0], true)]), Some(&full)).unwrap_err();
    assert!(error.to_string().contains("expected 2147483648"), "{error}");
    let next = Batch { pos: vec![], ..rows(&[(0, &[0], true)]) };
    assert!(matches!(checked(&next, Some(&full)), Err(Error::InvalidPosition { pos: Pos::MAX, .. })));
    assert!(checked(&rows(&[(77, &[1], true)]), Some(&memory)).is_ok(), "an empty sequence starts anywhere");
}

#[test]
fn init_checks_positions_within_the_batch() {
    let gap = rows(&[(0, &[0], false), (1, &[0], false), (3, &[0], true)]);
    assert!(matches!(
        checked(&gap, None),
        Err(Error::NotContinuous { index: 2, seq_id: 0, pos_min: 0, pos_max: 3, n_distinct: 3 })
    ));
    let interleaved: Vec<(Pos, &[SeqId], bool)> = vec![
        (4, &[0], false),
        (5, &[0], false),
        (0, &[1], false),
        (1, &[1], false),
        (6, &[0], false),
        (2, &[1], false),
        (3, &[0], false),
    ];
    assert!(matches!(
        checked(&rows(&interleaved), None),
        Err(Error::DecreasingPositions { index: 6, seq_id: 0, pos: 3, previous: 6 })
    ));
    // Out of order and with a gap: the gap is found first.
    let both = rows(&[(5, &[0], false), (0, &[0], false), (5, &[0], true)]);
    assert!(matches!(checked(&both, None), Err(Error::NotContinuous { n_distinct: 2, .. })));
    assert!(checked(&rows(&[(0, &[0], false), (0, &[0], false), (1, &[0], true)]), None).is_ok());
}

#[test]
fn init_checks_coupled_sequences() {
    let shared = rows(&[(6, &[0, 1], true)]);
    let mut memory = Ranges([(0, (0, 5)), (1, (2, 5))].into());
    assert!(matches!(
        checked(&shared, Some(&memory)),
        Err(Error::Diverged { index: 0, first: 1, second: 0 })
    ));
    memory.0.insert(1, (0, 5));
    assert!(checked(&shared, Some(&memory)).is_ok());
    let partial = rows(&[(0, &[0, 1, 2], false), (1, &[0, 1], false), (1, &[1, 2], true)]);
    assert!(checked(&partial, None).is_ok(), "sequence 1 is in all of them");
    let round = rows(&[(0, &[0, 1], false), (0, &[1, 2], false), (1, &[0, 2], true)]);
    assert!(checked(&round, None).is_ok(), "each sequence is in all of its own tokens");
}

#[test]
fn split_simple_cuts_in_order() {
    let tokens: Vec<(Pos, &[SeqId], bool)> = (0..5).map(|i| (i, &[0][..], i == 4)).collect();
    let mut ba = checked(&rows(&tokens), None).unwrap();
    let mut ub = Ubatch::new();
    assert!(ba.split_simple(2, &mut ub));
    assert!(!ub.equal_seqs);
    assert_eq!((ub.n_tokens, ub.n_seq_tokens, ub.n_seqs), (2, 1, 2));
    assert_eq!((ub.seq_id_unq.as_slice(), ub.seq_idx[0], ub.seq_idx[1]), (&[0][..], 0, -1));
    assert_eq!((ub.pos.as_slice(), ub.seq_id.as_slice()), (&[0, 1][..], &[0, 0][..]));
    assert!(ub.from_embeddings && ub.idxs == [0, 1] && ub.runs().eq(std::iter::once(0..2)));
    assert!(ba.split_simple(2, &mut ub));
    assert_eq!(ub.pos, [2, 3]);
    assert!(ba.split_simple(2, &mut ub));
    assert_eq!((ub.pos.as_slice(), ub.outputs.as_slice()), (&[4][..], &[true][..]));
    assert_eq!(ba.n_used(), 5);
    assert!(!ba.split_simple(2, &mut ub));
    assert_eq!((ub.n_tokens, ba.out_ids()), (0, &[4][..]));

    ba.split_reset();
    assert_eq!(ba.n_used(), 0);
    assert!(ba.split_simple(10, &mut ub));
    assert_eq!(ub.n_tokens, 5);
}

#[test]
fn split_equal_advances_all_sequences_alike() {
    let mut ba = checked(&sequences(&[4, 2]), None).unwrap();
    let mut ub = Ubatch::new();
    assert!(ba.split_equal(8, false, 0, &mut ub));
    assert!(ub.equal_seqs);
    assert_eq!((ub.n_tokens, ub.n_seq_tokens, ub.n_seqs, ub.seq_id_unq.len()), (4, 2, 2, 2));
    assert_eq!((ub.seq_id.as_slice(), ub.pos.as_slice()), (&[0, 0, 1, 1][..], &[0, 1, 0, 1][..]));
    assert!(ba.split_equal(8, false, 0, &mut ub));
    assert_eq!((ub.n_seqs, ub.pos.as_slice()), (1, &[2, 3][..]));
    assert!(!ba.split_equal(8, false, 0, &mut ub));
    assert_eq!(ba.n_used(), 6);
    // Outputs come in the order of ubatches: the end of sequence 1 before that of sequence 0.
    assert_eq!(ba.out_ids(), [5, 3]);
}

#[test]
fn split_equal_and_coupled_sequences() {
    let mut ba = checked(&rows(&[(0, &[0, 1], false), (1, &[0, 1], true)]), None).unwrap();
    let mut ub = Ubatch::new();
    assert!(!ba.split_equal(4, true, 0, &mut ub));
    assert_eq!(ub.n_tokens, 0);
    assert!(ba.split_equal(4, false, 0, &mut ub));
    assert_eq!((ub.n_tokens, ub.n_seqs), (2, 1));
    assert_eq!((ub.seq_id_unq.as_slice(), &ub.seq_idx[..3]), (&[0, 1][..], &[0, 1, -1][..]));
    assert_eq!(ub.seq_set[0].iter().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn split_equal_sequential_takes_neighbours() {
    let mut ba = checked(&rows(&[(0, &[0], true), (0, &[2], true), (0, &[1], true)]), None).unwrap();
    let mut ub = Ubatch::new();
    assert!(ba.split_equal(8, true, 0, &mut ub));
    assert_eq!(ub.seq_id, [0, 1]);
    assert!(ba.split_equal(8, true, 0, &mut ub));
    assert_eq!(ub.seq_id, [2]);
}

#[test]
fn split_seq_takes_one_sequence_at_a_time() {
    let mut ba = checked(&sequences(&[2, 2, 2]), None).unwrap();
    let mut ub = Ubatch::new();
    for s in 0..3 {
        assert!(ba.split_seq(8, &mut ub));
        assert_eq!((ub.n_tokens, ub.n_seqs), (2, 1));
        assert_eq!((ub.seq_id.as_slice(), ub.seq_id_unq.as_slice()), (&[s, s][..], &[s][..]));
    }
    assert!(!ba.split_seq(8, &mut ub));
    assert_eq!(ba.n_used(), 6);
}

/// Splits with a tail of 2 until nothing is left: (sequence of each token, positions) per ubatch.
fn with_tail(n: &[Pos], n_ubatch: usize, sequential: bool) -> Vec<(Vec<SeqId>, Vec<Pos>)> {
    let mut ba = checked(&sequences(n), None).unwrap();
    let mut ub = Ubatch::new();
    let mut out = Vec::new();
    while ba.split_equal(n_ubatch, sequential, 2, &mut ub) {
        assert_eq!(ub.n_seq_tokens * ub.n_seqs, ub.n_tokens);
        out.push((ub.seq_id.clone(), ub.pos.clone()));
    }
    assert_eq!(ba.n_used(), ba.n_tokens());
    out
}

#[test]
fn keep_tail_never_cuts_the_last_tokens() {
    // Both fit whole.
    assert_eq!(with_tail(&[2, 2], 4, false), [(vec![0, 0, 1, 1], vec![0, 1, 0, 1])]);
    // Sequence 1 would be left with one token: it waits.
    assert_eq!(with_tail(&[2, 3], 4, true), [(vec![0, 0], vec![0, 1]), (vec![1; 3], vec![0, 1, 2])]);
    // Both would: the first is completed alone.
    assert_eq!(with_tail(&[3, 3], 4, false), [(vec![0; 3], vec![0, 1, 2]), (vec![1; 3], vec![0, 1, 2])]);
    // Too long to be completed: cut before the tail.
    assert_eq!(with_tail(&[5], 4, false), [(vec![0; 3], vec![0, 1, 2]), (vec![0; 2], vec![3, 4])]);
    // Enough is left: a full ubatch.
    assert_eq!(with_tail(&[6], 4, false), [(vec![0; 4], vec![0, 1, 2, 3]), (vec![0; 2], vec![4, 5])]);
    // The longest prefix of sequences goes.
    assert_eq!(with_tail(&[3, 4], 6, true), [(vec![0; 3], vec![0, 1, 2]), (vec![1; 4], vec![0, 1, 2, 3])]);
}

/// Rows with four positions each, in planes.
fn in_an_image(pos: [&[Pos]; 4]) -> Batch {
    let mut batch = Batch::new();
    pos[0].iter().for_each(|_| batch.add_embd(&[0.0; N_EMBD], 0, &[0], false));
    batch.pos = pos.concat();
    batch
}

#[test]
fn positions_in_images_may_leave_gaps_but_not_go_back() {
    let mrope = BatchLimits { n_pos: 4, ..limits(4) };
    let memory = Ranges([(0, (0, 9))].into());
    let init = |batch: &Batch| {
        let mut ba = CheckedBatch::new();
        ba.init(batch, &mrope, Some(&memory)).map(|()| ba)
    };
    let text = |first: Pos| {
        let mut batch = Batch::new();
        batch.add(1, first, &[0], false);
        batch.add(2, first + 5, &[0], true);
        init(&batch)
    };
    let mut ba = text(12).unwrap();
    let mut ub = Ubatch::new();
    assert!(ba.split_simple(1, &mut ub) && ba.split_simple(1, &mut ub));
    assert_eq!((ub.n_pos, ub.pos.as_slice(), ub.pos_2d(0)), (4, &[17; 4][..], Some([17, 17])));
    let error = text(9).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pos[0] is where sequence 0 starts in the batch: 9, expected at least 10: its last position in memory is 9"
    );
    let rows = |first: Pos| init(&in_an_image([&[first; 3], &[5, 5, 6], &[7, 8, 7], &[0; 3]]));
    let mut ba = rows(9).unwrap();
    assert!(ba.split_simple(2, &mut ub) && ub.pos == [9, 9, 5, 5, 7, 8, 0, 0]);
    assert_eq!((ub.pos_2d(0), ub.pos_2d(1)), (Some([7, 5]), Some([8, 5])));
    assert!(ba.split_simple(2, &mut ub) && ub.pos == [9, 6, 7, 0]);
    assert!(matches!(
        rows(8),
        Err(Error::NotForward { index: 0, pos_min: 8, memory_max: 9, is_text: false, .. })
    ));
    // One position for all planes; two planes are none.
    let mut one = in_an_image([&[9, 10], &[0; 2], &[0; 2], &[0; 2]]);
    one.pos.truncate(2);
    let mut ba = init(&one).unwrap();
    assert!(ba.split_simple(8, &mut ub) && ub.pos == [9, 10, 9, 10, 9, 10, 9, 10]);
    one.pos = vec![9; 4];
    assert!(matches!(init(&one), Err(Error::FieldLength { field: "positions", found: 4, n_tokens: 2 })));
}

#[test]
fn runs_are_what_lies_side_by_side_in_the_batch() {
    let mut ba = checked(&sequences(&[3, 3]), None).unwrap();
    let mut ub = Ubatch::new();
    assert!(ba.split_equal(4, false, 0, &mut ub));
    assert!(ub.idxs == [0, 1, 3, 4] && ub.runs().eq([0..2, 3..5]));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_token_is_split_once(
        lengths in prop::collection::vec(1i32..12, 1..4),
        n_ubatch in 3usize..9,
        how in 0..4,
    ) {
        let batch = sequences(&lengths);
        let mut ba = checked(&batch, None).unwrap();
        let mut ub = Ubatch::new();
        let mut seen: Vec<(SeqId, Pos)> = Vec::new();
        let split = |ba: &mut CheckedBatch, ub: &mut Ubatch| match how {
            0 => ba.split_simple(n_ubatch, ub),
            1 => ba.split_equal(n_ubatch, false, 0, ub),
            2 => ba.split_equal(n_ubatch, true, 2, ub),
            _ => ba.split_seq(n_ubatch, ub),
        };
        while split(&mut ba, &mut ub) {
            prop_assert!(ub.n_tokens >= 1 && ub.n_tokens <= n_ubatch);
            prop_assert_eq!(ub.n_seq_tokens * ub.n_seqs, ub.n_tokens);
            seen.extend(ub.seq_id.iter().copied().zip(ub.pos.iter().copied()));
        }
        for s in 0..lengths.len() as SeqId {
            let of_seq: Vec<Pos> = seen.iter().filter(|(id, _)| *id == s).map(|(_, pos)| *pos).collect();
            prop_assert_eq!(of_seq, (0..lengths[s as usize]).collect::<Vec<_>>());
        }
        prop_assert_eq!((ba.n_used(), ba.out_ids().len()), (batch.n_tokens(), lengths.len()));
    }
}
