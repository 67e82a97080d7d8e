//! Sequences with cells of their own: the same logits as alone, copies between them, shifts.

mod common;

use common::{assert_close, context, logits_alone, model, params, sequence, tokens};
use quipu_decoder::{Batch, ContextParams};

fn streams() -> ContextParams {
    ContextParams { kv_unified: false, n_ctx: 1024, ..params() }
}

#[test]
fn a_sequence_among_others_is_as_alone() {
    let model = model(2);
    let mut context = context(&model, &streams());
    assert_eq!((context.params().n_ctx, context.params().n_ctx_seq()), (1024, 256));
    let prompts = [tokens(9, 1), tokens(5, 2), tokens(5, 3), tokens(30, 4)];
    let mut batch = Batch::new();
    // In turns, of different lengths.
    for i in 0..30 {
        for (s, prompt) in prompts.iter().enumerate() {
            if let Some(token) = prompt.get(i) {
                batch.add(*token, i as i32, &[s as i32], true);
            }
        }
    }
    context.decode(&batch).unwrap();
    for (s, prompt) in prompts.iter().enumerate() {
        let alone = logits_alone(&model, &sequence(prompt, 0, 0));
        let of_seq = (0..batch.n_tokens()).filter(|i| batch.seq_ids.get(*i) == [s as i32]);
        for (i, expected) in of_seq.zip(&alone) {
            assert_close(context.logits(i as i32).unwrap(), expected, 1e-9);
        }
    }
    // More tokens than a stream has cells do not fit, whatever the others leave.
    let mut long = Batch::new();
    (9..300).for_each(|pos| long.add(1, pos, &[0], false));
    assert!(context.decode(&long).is_err());
    assert_eq!(context.memory().seq_pos_max(0), 8);
}

#[test]
fn a_copy_goes_on_as_its_original() {
    let model = model(2);
    let mut context = context(&model, &streams());
    let prompt = tokens(20, 5);
    context.decode(&sequence(&prompt, 1, 0)).unwrap();
    context.memory_mut().seq_cp(1, 3, -1, -1).unwrap();
    let mut batch = Batch::new();
    batch.add(7, 20, &[1], true);
    batch.add(7, 20, &[3], true);
    context.decode(&batch).unwrap();
    let (original, copy) = (context.logits(0).unwrap(), context.logits(1).unwrap());
    assert_close(copy, original, 1e-12);
    let whole: Vec<u32> = prompt.iter().copied().chain([7]).collect();
    assert_close(copy, &logits_alone(&model, &sequence(&whole, 0, 0))[20], 1e-9);
    // Shifted, one of them only.
    context.memory_mut().seq_rm(3, 0, 5).unwrap();
    context.memory_mut().seq_add(3, 5, -1, -5).unwrap();
    let mut batch = Batch::new();
    batch.add(9, 21, &[1], true);
    batch.add(9, 16, &[3], true);
    context.decode(&batch).unwrap();
    let whole: Vec<u32> = whole.into_iter().chain([9]).collect();
    assert_close(context.logits(0).unwrap(), &logits_alone(&model, &sequence(&whole, 0, 0))[21], 1e-9);
    assert_eq!((context.memory().seq_pos_min(3), context.memory().seq_pos_max(3)), (0, 16));
    // One sequence of a stream that is not the first.
    let mut batch = Batch::new();
    batch.add(2, 17, &[3], true);
    context.decode(&batch).unwrap();
    assert!(context.logits(0).unwrap().iter().all(|x| x.is_finite()));
}
