//! What was decoded, written down and read again.

mod common;

use common::{context, model, params, sequence, tokens};
use quipu_decoder::{Batch, Context, ContextParams, Error, StateBytes, StateSize, StateWrite};

fn state(context: &mut Context) -> Vec<u8> {
    let mut bytes = Vec::new();
    context.state_write(&mut bytes).unwrap();
    let mut size = StateSize::new();
    context.state_write(&mut size).unwrap();
    assert_eq!(size.n_bytes(), bytes.len());
    bytes
}

#[test]
fn a_state_continues_where_it_was_written() {
    let model = model(2);
    let all = tokens(20, 1);
    let mut first = context(&model, &params());
    first.decode(&Batch::single(&all[..12])).unwrap();
    let bytes = state(&mut first);
    let mut second = context(&model, &params());
    second.decode(&Batch::single(&all[5..9])).unwrap();
    second.state_read(&mut StateBytes::new(&bytes)).unwrap();
    assert_eq!(second.memory().seq_pos_max(0), 11);
    let next = sequence(&all[12..], 0, 12);
    first.decode(&next).unwrap();
    second.decode(&next).unwrap();
    (0..8).for_each(|i| assert_eq!(first.logits(i).unwrap(), second.logits(i).unwrap()));
}

#[test]
fn a_sequence_goes_from_one_context_to_another() {
    let model = model(2);
    let all = tokens(20, 2);
    let mut first = context(&model, &params());
    first.decode(&sequence(&all[..9], 1, 0)).unwrap();
    first.decode(&sequence(&all[3..7], 2, 0)).unwrap();
    let mut bytes = Vec::new();
    first.state_seq_write(1, &mut bytes).unwrap();
    let mut second = context(&model, &ContextParams { n_ctx: 512, ..params() });
    second.decode(&sequence(&all[..4], 3, 0)).unwrap();
    second.decode(&sequence(&all[..2], 0, 0)).unwrap();
    second.state_seq_read(3, &mut StateBytes::new(&bytes)).unwrap();
    assert_eq!((second.memory().seq_pos_max(3), second.memory().seq_pos_max(0)), (8, 1));
    first.decode(&sequence(&all[9..], 1, 9)).unwrap();
    second.decode(&sequence(&all[9..], 3, 9)).unwrap();
    for i in 0..11 {
        common::assert_close(second.logits(i).unwrap(), first.logits(i).unwrap(), 1e-6);
    }
}

#[test]
fn pending_shifts_are_applied_before_a_state_is_written() {
    let model = model(1);
    let all = tokens(12, 3);
    let mut first = context(&model, &params());
    first.decode(&Batch::single(&all[..10])).unwrap();
    first.memory_mut().seq_rm(0, 0, 4).unwrap();
    first.memory_mut().seq_add(0, 4, -1, -4).unwrap();
    let bytes = state(&mut first);
    assert_eq!(first.perf().n_shifts, 1);
    let mut second = context(&model, &params());
    second.state_read(&mut StateBytes::new(&bytes)).unwrap();
    first.decode(&Batch::single(&all[10..])).unwrap();
    second.decode(&Batch::single(&all[10..])).unwrap();
    common::assert_close(second.logits(-1).unwrap(), first.logits(-1).unwrap(), 1e-6);
}

#[test]
fn what_is_no_state_changes_nothing() {
    let model = model(1);
    let all = tokens(6, 4);
    let mut context = context(&model, &params());
    context.decode(&Batch::single(&all)).unwrap();
    let bytes = state(&mut context);
    for len in 0..bytes.len() {
        let error = context.state_read(&mut StateBytes::new(&bytes[..len])).unwrap_err();
        assert!(matches!(error, Error::Memory(quipu_kv_cache::Error::StateCut { .. })), "{len}: {error}");
    }
    let mut other = bytes.clone();
    other[4] = b'x';
    let error = context.state_read(&mut StateBytes::new(&other)).unwrap_err();
    assert_eq!(error.to_string(), "the state is of architecture 'xlama', expected 'llama'");
    other[..4].fill(0xff);
    let error = context.state_read(&mut StateBytes::new(&other)).unwrap_err();
    assert!(matches!(error, Error::StateArchitecture { .. }), "{error}");
    assert_eq!(state(&mut context), bytes);
}
