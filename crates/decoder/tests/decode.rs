//! Decoding end to end with a tiny random model: what goes in which order must not matter, and what is
//! removed, copied, shifted or refused must leave the session as promised.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{
    N_EMBD, assert_close, context, logits_alone, model, params, sequence, token_embeddings, tokens,
};
use quipu_decoder::{Batch, BatchError, Context, ContextParams, Error, Pooling};
use quipu_graph::DType;
use quipu_kv_cache::KvCells;

/// The bookkeeping of the cache.
fn cells(context: &Context) -> &KvCells {
    context.cache().expect("a decoder has a cache").cells()
}

/// Rounding of f16 keys and values, and sums in another order.
const ROUNDING: f64 = 1e-6;

#[test]
fn splitting_does_not_change_logits() {
    let model = model(2);
    let batch = sequence(&tokens(40, 1), 0, 0);
    let whole = logits_alone(&model, &batch);
    for n_ubatch in [1, 7, 16] {
        let mut context = context(&model, &ContextParams { n_ubatch, ..params() });
        context.decode(&batch).unwrap();
        for (i, expected) in whole.iter().enumerate() {
            assert_close(context.logits(i as i32).unwrap(), expected, ROUNDING);
        }
    }
    let mut single = context(&model, &params());
    for (i, expected) in whole.iter().enumerate() {
        single.decode(&Batch::single(&batch.tokens[i..=i])).unwrap();
        assert_close(single.logits(-1).unwrap(), expected, ROUNDING);
    }
}

#[test]
fn sequences_in_one_batch_do_not_see_each_other() {
    let model = model(2);
    let (a, b) = (tokens(9, 2), tokens(9, 3));
    let alone = [logits_alone(&model, &sequence(&a, 0, 0)), logits_alone(&model, &sequence(&b, 0, 0))];
    let mut batch = Batch::new();
    for i in 0..9 {
        batch.add(a[i], i as i32, &[0], true);
        batch.add(b[i], i as i32, &[3], true);
    }
    let mut context = context(&model, &ContextParams { n_ubatch: 5, ..params() });
    context.decode(&batch).unwrap();
    for (i, alone) in alone.iter().enumerate() {
        for (t, expected) in alone.iter().enumerate() {
            assert_close(context.logits((2 * t + i) as i32).unwrap(), expected, ROUNDING);
        }
    }
}

#[test]
fn any_subset_of_outputs() {
    let model = model(2);
    let mut batch = sequence(&tokens(12, 4), 0, 0);
    let all = logits_alone(&model, &batch);
    for wanted in [&[11][..], &[0], &[1, 3, 4, 10], &[], &[5, 6, 7]] {
        batch.outputs = (0..12).map(|i| wanted.contains(&i)).collect();
        // With 4 tokens per ubatch some have no output at all.
        let mut context = context(&model, &ContextParams { n_ubatch: 4, ..params() });
        context.decode(&batch).unwrap();
        assert_eq!(context.n_outputs(), wanted.len());
        for i in 0..12 {
            match context.logits(i) {
                Ok(row) => assert_close(row, &all[i as usize], ROUNDING),
                Err(error) => assert!(matches!(error, Error::NoOutput { index, .. } if index == i)),
            }
            assert_eq!(context.logits(i).is_ok(), wanted.contains(&i));
        }
        for (n, i) in wanted.iter().rev().enumerate() {
            assert_close(context.logits(-1 - n as i32).unwrap(), &all[*i as usize], ROUNDING);
        }
        let beyond = -1 - wanted.len() as i32;
        assert!(context.logits(beyond).is_err() && context.logits(12).is_err());
        assert!(context.logits(i32::MIN).is_err() && context.logits(i32::MAX).is_err());
    }
}

#[test]
fn logits_are_the_same_bits_for_any_number_of_threads() {
    let model = model(2);
    let (prompt, next) = (sequence(&tokens(33, 5), 0, 0), tokens(3, 6));
    let run = |n_threads: usize| -> Vec<u32> {
        let params = ContextParams { n_threads, n_threads_batch: n_threads, ..params() };
        let mut context = context(&model, &params);
        let mut bits = Vec::new();
        context.decode(&prompt).unwrap();
        (0..33).for_each(|i| bits.extend(context.logits(i).unwrap().iter().map(|x| x.to_bits())));
        for token in &next {
            context.decode(&Batch::single(&[*token])).unwrap();
            bits.extend(context.logits(-1).unwrap().iter().map(|x| x.to_bits()));
        }
        bits
    };
    let one = run(1);
    for n_threads in [1, 2, 3, 5] {
        assert!(run(n_threads) == one, "{n_threads} threads");
    }
}

#[test]
fn graphs_are_reused_while_their_shape_stays() {
    let model = model(1);
    let mut context = context(&model, &ContextParams { n_ctx: 512, ..params() });
    context.decode(&Batch::single(&tokens(5, 7))).unwrap();
    let counts = |context: &Context| (context.perf().n_graph_builds, context.perf().n_reused);
    assert_eq!(counts(&context), (1, 0));
    for token in tokens(10, 8) {
        context.decode(&Batch::single(&[token])).unwrap();
    }
    assert_eq!(counts(&context), (2, 9));
    context.decode(&Batch::single(&tokens(5, 9))).unwrap();
    assert_eq!(counts(&context), (3, 9));
    // 236 more fill 256 cells; the attention then looks at 512.
    for token in tokens(237, 10) {
        context.decode(&Batch::single(&[token])).unwrap();
    }
    assert_eq!(counts(&context), (5, 9 + 235));
    context.decode(&Batch::single(&tokens(3, 11))).unwrap();
    let perf = context.perf();
    assert_eq!((perf.n_prompt, perf.n_eval), (13, 247));
    assert!(!perf.t_eval.is_zero() && !perf.t_prompt.is_zero());
    context.reset_perf();
    assert_eq!(counts(&context), (0, 0));

    // All ubatches of a prompt share one graph, though only the last has an output.
    let mut prompt = self::context(&model, &ContextParams { n_ubatch: 8, ..params() });
    prompt.decode(&Batch::single(&tokens(32, 12))).unwrap();
    assert_eq!(counts(&prompt), (1, 3));
}

#[test]
fn removed_positions_can_be_decoded_again() {
    let model = model(2);
    let (start, wrong, right) = (tokens(6, 11), tokens(5, 12), tokens(5, 13));
    let mut context = context(&model, &params());
    context.decode(&Batch::single(&start)).unwrap();
    context.decode(&Batch::single(&wrong)).unwrap();
    assert!(context.memory_mut().seq_rm(0, 6, -1).unwrap());
    assert_eq!(context.memory().seq_pos_max(0), 5);
    let error = context.decode(&sequence(&right, 0, 7)).unwrap_err();
    assert!(matches!(
        error,
        Error::Batch(BatchError::NotConsecutive { index: 0, seq_id: 0, pos_min: 7, memory_max: 5 })
    ));
    context.decode(&sequence(&right, 0, 6)).unwrap();

    let mut fresh = self::context(&model, &params());
    fresh.decode(&Batch::single(&start)).unwrap();
    fresh.decode(&sequence(&right, 0, 6)).unwrap();
    // The same cells again, so the same sums: not close, equal.
    (0..5).for_each(|i| assert_eq!(context.logits(i).unwrap(), fresh.logits(i).unwrap()));
}

#[test]
fn a_copied_sequence_continues_on_its_own() {
    let model = model(2);
    let (start, a, b) = (tokens(7, 14), tokens(4, 15), tokens(4, 16));
    let mut context = context(&model, &params());
    context.decode(&Batch::single(&start)).unwrap();
    context.memory_mut().seq_cp(0, 2, -1, -1).unwrap();
    let mut batch = Batch::new();
    for i in 0..4 {
        batch.add(a[i], 7 + i as i32, &[0], true);
        batch.add(b[i], 7 + i as i32, &[2], true);
    }
    context.decode(&batch).unwrap();
    for (s, tail) in [&a, &b].into_iter().enumerate() {
        let alone = logits_alone(&model, &sequence(&[&start[..], tail].concat(), 0, 0));
        for i in 0..4 {
            assert_close(context.logits((2 * i + s) as i32).unwrap(), &alone[7 + i], ROUNDING);
        }
    }
    context.memory_mut().seq_keep(2).unwrap();
    assert_eq!((context.memory().seq_pos_max(0), context.memory().seq_pos_max(2)), (-1, 10));
}

#[test]
fn a_shared_prompt_is_computed_once_for_both() {
    let model = model(2);
    let (start, a, b) = (tokens(6, 17), tokens(1, 18), tokens(1, 19));
    let mut batch = Batch::new();
    for (pos, token) in (0..).zip(&start) {
        batch.add(*token, pos, &[0, 1], false);
    }
    let mut context = context(&model, &params());
    context.decode(&batch).unwrap();
    assert_eq!(context.memory().n_used(), 6);
    batch.clear();
    batch.add(a[0], 6, &[0], true);
    batch.add(b[0], 6, &[1], true);
    context.decode(&batch).unwrap();
    for (s, tail) in [&a, &b].into_iter().enumerate() {
        let alone = logits_alone(&model, &sequence(&[&start[..], tail].concat(), 0, 0));
        assert_close(context.logits(s as i32).unwrap(), &alone[6], ROUNDING);
    }
}

#[test]
fn shifted_keys_are_rotated_before_the_next_token() {
    // In one layer keys depend on nothing but token and position: what was shifted to the front must look
    // as if it had been decoded there.
    let model = model(1);
    let all = tokens(12, 20);
    let mut shifted = context(&model, &params());
    shifted.decode(&Batch::single(&all[..11])).unwrap();
    shifted.memory_mut().seq_rm(0, 0, 4).unwrap();
    shifted.memory_mut().seq_add(0, 4, -1, -4).unwrap();
    assert!(shifted.memory().has_update() && shifted.can_shift());
    assert_eq!(shifted.memory().seq_pos_max(0), 6);
    shifted.decode(&Batch::single(&all[11..])).unwrap();
    assert!(!shifted.memory().has_update());
    assert_eq!(shifted.perf().n_shifts, 1);
    let expected = logits_alone(&model, &sequence(&all[4..], 0, 0));
    assert_close(shifted.logits(-1).unwrap(), &expected[7], ROUNDING);
    // Without the rotation the answer would be another one.
    let mut unshifted = context(&model, &params());
    unshifted.decode(&Batch::single(&all)).unwrap();
    let difference =
        unshifted.logits(-1).unwrap().iter().zip(&expected[7]).any(|(a, b)| (a - b).abs() > 1e-2);
    assert!(difference);
    // The graph of before the shift is not reused: its memory was lent to the shift.
    assert_eq!(shifted.perf().n_graph_builds, 2);
    shifted.decode(&Batch::single(&all[..1])).unwrap();
    assert_eq!((shifted.perf().n_graph_builds, shifted.perf().n_reused), (2, 1));
}

#[test]
fn moving_a_whole_sequence_changes_nothing() {
    let model = model(3);
    let all = tokens(10, 21);
    let expected = logits_alone(&model, &sequence(&all, 0, 0));
    let mut context = context(&model, &params());
    context.decode(&Batch::single(&all[..9])).unwrap();
    context.memory_mut().seq_add(0, -1, -1, 100).unwrap();
    context.decode(&sequence(&all[9..], 0, 109)).unwrap();
    assert_close(context.logits(0).unwrap(), &expected[9], ROUNDING);
}

#[test]
fn a_full_cache_is_reported_and_changes_nothing() {
    let model = model(1);
    let mut context = context(&model, &params());
    context.decode(&sequence(&tokens(250, 22), 0, 0)).unwrap();
    let next = sequence(&tokens(10, 23), 1, 0);
    let before = cells(&context).clone();
    let error = context.decode(&next).unwrap_err();
    assert_eq!(error.to_string(), "no room in the KV cache: no slot for 10 tokens: 6 of 256 cells are free");
    assert!(matches!(error, Error::NoSlot(_)));
    assert_eq!(*cells(&context), before);
    context.memory_mut().seq_rm(0, 200, -1).unwrap();
    context.decode(&next).unwrap();
    let alone = logits_alone(&model, &next);
    assert_close(context.logits(9).unwrap(), &alone[9], ROUNDING);
}

#[test]
fn an_aborted_batch_leaves_nothing_behind() {
    let model = model(2);
    let all = tokens(16, 24);
    let mut context = context(&model, &ContextParams { n_ubatch: 4, ..params() });
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    context.set_abort_callback(Some(Box::new(move || counter.fetch_add(1, Ordering::Relaxed) == usize::MAX)));
    context.decode(&Batch::single(&all[..4])).unwrap();
    let per_ubatch = calls.load(Ordering::Relaxed);
    assert!(per_ubatch > 0, "the callback was never asked");
    let before = cells(&context).clone();

    // Stops in the second of three ubatches.
    let counter = Arc::new(AtomicUsize::new(0));
    let limit = per_ubatch + 1;
    context.set_abort_callback(Some(Box::new(move || counter.fetch_add(1, Ordering::Relaxed) >= limit)));
    let error = context.decode(&sequence(&all[4..], 0, 4)).unwrap_err();
    assert!(matches!(error, Error::Aborted), "{error}");
    assert_eq!(*cells(&context), before);
    assert!(matches!(context.logits(0), Err(Error::NoOutput { .. })));

    context.set_abort_callback(None);
    context.decode(&sequence(&all[4..], 0, 4)).unwrap();
    let mut fresh = self::context(&model, &ContextParams { n_ubatch: 4, ..params() });
    fresh.decode(&sequence(&all, 0, 0)).unwrap();
    (0..12).for_each(|i| assert_eq!(context.logits(i).unwrap(), fresh.logits(i + 4).unwrap()));
}

#[test]
fn refused_batches_leave_the_session_as_it_was() {
    let model = model(1);
    let mut context = context(&model, &ContextParams { n_batch: 8, ..params() });
    context.decode(&Batch::single(&[1, 2, 3])).unwrap();
    let logits = context.logits(2).unwrap().to_vec();
    let before = cells(&context).clone();
    assert!(matches!(context.decode(&Batch::new()), Err(Error::Batch(BatchError::EmptyBatch))));
    assert!(matches!(
        context.decode(&Batch::single(&[48])),
        Err(Error::Batch(BatchError::InvalidToken { index: 0, token: 48, .. }))
    ));
    assert!(matches!(
        context.decode(&Batch::single(&[1; 9])),
        Err(Error::BatchTooLarge { n_tokens: 9, n_batch: 8 })
    ));
    assert!(matches!(
        context.decode(&sequence(&[1], 4, 0)),
        Err(Error::Batch(BatchError::InvalidSeqId { seq_id: 4, .. }))
    ));
    assert!(matches!(context.embeddings(0), Err(Error::NotKept { .. })));
    assert!(matches!(context.embeddings_seq(0), Err(Error::NotKept { .. })));
    assert_eq!(*cells(&context), before);
    assert_eq!(context.logits(2).unwrap(), logits);
    context.decode(&Batch::single(&[4])).unwrap();
}

#[test]
fn embeddings_per_token_and_pooled() {
    let model = model(2);
    let (a, b) = (tokens(6, 25), tokens(3, 26));
    let mut batch = sequence(&a, 0, 0);
    for (pos, token) in (0..).zip(&b) {
        batch.add(*token, pos, &[1], false);
    }
    let with = |pooling| ContextParams { embeddings: true, pooling, ..params() };
    let mut plain = context(&model, &with(Pooling::None));
    plain.decode(&batch).unwrap();
    assert_eq!(plain.n_outputs(), 9);
    let rows: Vec<Vec<f32>> = (0..9).map(|i| plain.embeddings(i).unwrap().to_vec()).collect();
    assert!(plain.logits(8).is_ok());
    assert_eq!(rows[0].len(), N_EMBD);
    let pooled = |pooling, seq_id| {
        let mut context = context(&model, &with(pooling));
        context.decode(&batch).unwrap();
        assert!(matches!(context.embeddings_seq(2), Err(Error::NoSequenceOutput(2))));
        context.embeddings_seq(seq_id).unwrap().to_vec()
    };
    assert_eq!(pooled(Pooling::Cls, 0), rows[0]);
    assert_eq!(pooled(Pooling::Last, 0), rows[5]);
    assert_eq!(pooled(Pooling::Cls, 1), rows[6]);
    assert_eq!(pooled(Pooling::Last, 1), rows[8]);
    let mean: Vec<f32> = (0..N_EMBD).map(|i| (rows[6][i] + rows[7][i] + rows[8][i]) / 3.0).collect();
    assert_close(&pooled(Pooling::Mean, 1), &mean, 1e-10);

    // The graph of three sequences is not that of two with as many tokens.
    let mut pools = context(&model, &with(Pooling::Cls));
    pools.decode(&batch).unwrap();
    pools.memory_mut().clear();
    let mut three = sequence(&a[..3], 0, 0);
    for (pos, (token, other)) in (0..).zip(b.iter().zip(&a)) {
        three.add(*token, pos, &[1], false);
        three.add(*other, pos, &[2], false);
    }
    assert_eq!(three.n_tokens(), batch.n_tokens());
    pools.decode(&three).unwrap();
    assert_close(pools.embeddings_seq(1).unwrap(), &rows[6], ROUNDING);
    assert_eq!(pools.embeddings_seq(2).unwrap(), pools.embeddings(4).unwrap());
    assert_eq!((pools.perf().n_graph_builds, pools.perf().n_reused), (2, 0));
    assert!(matches!(pools.logits(0), Err(Error::NotKept { .. })));
}

#[test]
fn embedding_rows_instead_of_tokens() {
    let model = model(2);
    let all = tokens(8, 27);
    let expected = logits_alone(&model, &sequence(&all, 0, 0));
    let table = token_embeddings();
    let mut batch = Batch::new();
    for (pos, token) in (0..).zip(&all) {
        batch.add_embd(&table[*token as usize * N_EMBD..][..N_EMBD], pos, &[0], true);
    }
    let mut context = context(&model, &params());
    context.decode(&batch).unwrap();
    (0..8).for_each(|i| assert_eq!(context.logits(i).unwrap(), expected[i as usize]));
}

#[test]
fn an_f32_cache_is_close_to_an_f16_one() {
    let model = model(2);
    let batch = sequence(&tokens(20, 28), 0, 0);
    let expected = logits_alone(&model, &batch);
    let mut context = context(&model, &ContextParams { type_k: DType::F32, type_v: DType::F32, ..params() });
    context.decode(&batch).unwrap();
    (0..20).for_each(|i| assert_close(context.logits(i).unwrap(), &expected[i as usize], 1e-5));
}
