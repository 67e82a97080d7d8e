//! Encoders: tokens that see each other and leave nothing behind.

mod common;

use common::{assert_close, context, logits_alone, model, params, sequence, tokens};
use quipu_decoder::{Batch, BatchError, ContextParams, Error, GraphKind, Pooling};

/// Sums in another order.
const ROUNDING: f64 = 1e-6;

fn encoder() -> ContextParams {
    ContextParams { kind: GraphKind::Encoder, ..params() }
}

#[test]
fn without_a_memory_causal_attention_is_what_a_decoder_computes() {
    let model = model(2);
    let batch = sequence(&tokens(20, 1), 0, 0);
    let expected = logits_alone(&model, &batch);
    let mut causal = context(&model, &ContextParams { causal_attn: Some(true), ..encoder() });
    causal.decode(&batch).unwrap();
    (0..20).for_each(|i| assert_close(causal.logits(i).unwrap(), &expected[i as usize], ROUNDING));
}

#[test]
fn tokens_of_an_encoder_see_what_comes_after_them() {
    let model = model(2);
    let mut all = tokens(12, 2);
    let mut context = context(&model, &encoder());
    context.decode(&sequence(&all, 0, 0)).unwrap();
    let before: Vec<f32> = context.logits(0).unwrap().to_vec();
    all[11] = (all[11] + 1) % 48;
    context.decode(&sequence(&all, 0, 0)).unwrap();
    assert_ne!(context.logits(0).unwrap(), before);
    // The same graph served both, and nothing is left.
    assert_eq!((context.perf().n_graph_builds, context.perf().n_reused), (1, 1));
    assert_eq!((context.memory().seq_pos_max(0), context.memory().n_cells()), (-1, 0));
    assert!(context.cache().is_none() && !context.can_shift());
}

#[test]
fn a_decoder_whose_tokens_see_everything_agrees_with_an_encoder() {
    let model = model(2);
    let batch = sequence(&tokens(17, 3), 0, 0);
    let mut encoder = context(&model, &encoder());
    encoder.decode(&batch).unwrap();
    let everything = ContextParams { causal_attn: Some(false), ..params() };
    let mut decoder = context(&model, &everything);
    decoder.decode(&batch).unwrap();
    assert_eq!(decoder.memory().seq_pos_max(0), 16);
    // A decoder encodes too; its memory has no part in it.
    let mut both = context(&model, &params());
    both.decode(&sequence(&tokens(5, 4), 0, 0)).unwrap();
    both.encode(&batch).unwrap();
    assert_eq!(both.memory().seq_pos_max(0), 4);
    for i in 0..17 {
        let expected = encoder.logits(i).unwrap();
        assert_close(decoder.logits(i).unwrap(), expected, ROUNDING);
        assert_eq!(both.logits(i).unwrap(), expected);
    }
    let narrow = ContextParams { n_ubatch: 8, ..everything };
    let error = context(&model, &narrow).decode(&batch).unwrap_err();
    assert!(matches!(error, Error::UbatchTooSmall { n_tokens: 17, n_ubatch: 8 }));
}

#[test]
fn sequences_of_an_encoder_do_not_see_each_other() {
    let model = model(2);
    let (a, b) = (tokens(7, 5), tokens(4, 6));
    let params = ContextParams { embeddings: true, pooling: Pooling::Mean, ..encoder() };
    let mut context = context(&model, &params);
    let mut alone = |tokens: &[u32]| {
        context.decode(&sequence(tokens, 1, 0)).unwrap();
        context.embeddings_seq(1).unwrap().to_vec()
    };
    let (alone_a, alone_b) = (alone(&a), alone(&b));
    let mut batch = Batch::new();
    for (i, token) in a.iter().enumerate() {
        batch.add(*token, i as i32, &[0], false);
        if let Some(token) = b.get(i) {
            batch.add(*token, i as i32, &[3], false);
        }
    }
    context.decode(&batch).unwrap();
    assert_close(context.embeddings_seq(0).unwrap(), &alone_a, ROUNDING);
    assert_close(context.embeddings_seq(3).unwrap(), &alone_b, ROUNDING);
}

#[test]
fn texts_longer_than_a_ubatch_are_refused() {
    let model = model(1);
    let mut context = context(&model, &ContextParams { n_ubatch: 8, causal_attn: Some(true), ..encoder() });
    let error = context.decode(&sequence(&tokens(9, 7), 0, 0)).unwrap_err();
    assert!(matches!(error, Error::UbatchTooSmall { n_tokens: 9, n_ubatch: 8 }));
    assert_eq!(
        error.to_string(),
        "the batch has 9 tokens that see each other, expected at most n_ubatch = 8"
    );
    context.decode(&sequence(&tokens(8, 7), 0, 0)).unwrap();
    // Positions that are left out begin at 0 each time.
    context.decode(&Batch::single(&tokens(8, 7))).unwrap();
    assert!(matches!(context.decode(&Batch::new()), Err(Error::Batch(BatchError::EmptyBatch))));
}
