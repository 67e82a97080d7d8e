//! What the reference's tests of states do (`test-save-load-state`, `test-state-restore-fragmented`), and what happens to a file while it is
//! written.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{context, model, params, sequence, tokens};
use quipu_decoder::{Batch, Context, ContextParams, StateFlags, TokenId};

const PARTIAL: StateFlags = StateFlags { partial_only: true, on_device: false };
const ON_DEVICE: StateFlags = StateFlags { partial_only: false, on_device: true };

/// Greedy tokens of a sequence after `next`, which is at position `first`.
fn greedy(context: &mut Context, seq_id: i32, mut next: TokenId, first: i32) -> Vec<TokenId> {
    let mut out = Vec::new();
    for pos in first..first + 12 {
        context.decode(&sequence(&[next], seq_id, pos)).expect("room");
        let logits = context.logits(-1).expect("an output");
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).expect("a vocabulary");
        next = best.0 as TokenId;
        out.push(next);
    }
    out
}

#[test]
fn a_sequence_goes_on_after_it_was_moved_by_way_of_a_file_and_of_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let model = model(2);
    let prompt = tokens(40, 8);
    let mut first = context(&model, &params());
    first.decode(&Batch::single(&prompt[..39])).unwrap();
    first.state_save_file(&path, &prompt).unwrap();
    let expected = greedy(&mut first, 0, prompt[39], 39);
    for flags in [None, Some(StateFlags::default()), Some(PARTIAL), Some(ON_DEVICE)] {
        let mut second = context(&model, &params());
        assert_eq!(second.state_load_file(&path, 40).unwrap(), prompt);
        let mut seq_id = 0;
        if let Some(flags) = flags {
            seq_id = 1;
            let bytes = second.state_seq_data(0, flags).unwrap();
            // The mark, the number of the sequence; rows are elsewhere if they stay with the context.
            assert_eq!(bytes[..8], [0xAF14_3CD8u32.to_le_bytes(), 0u32.to_le_bytes()].concat());
            assert_eq!(bytes.len() < 2000, flags.on_device, "{} bytes", bytes.len());
            second.clear_memory(true).unwrap();
            assert_eq!(second.set_state_seq_data(1, &bytes, flags).unwrap(), bytes.len());
        }
        assert_eq!(greedy(&mut second, seq_id, prompt[39], 39), expected, "{flags:?}");
    }
}

#[test]
fn states_of_sequences_that_are_none_change_nothing() {
    let model = model(1);
    let mut context = context(&model, &params());
    context.decode(&sequence(&tokens(9, 1), 2, 0)).unwrap();
    for flags in [StateFlags::default(), PARTIAL, ON_DEVICE] {
        let bytes = context.state_seq_data(2, flags).unwrap();
        for len in 0..bytes.len() {
            assert!(context.set_state_seq_data(1, &bytes[..len], flags).is_err(), "{len} {flags:?}");
        }
        let mut other = bytes.clone();
        other[0] ^= 1;
        let error = context.set_state_seq_data(1, &other, flags).unwrap_err().to_string();
        assert!(error.contains("mark of a sequence's state"), "{error}");
        assert_eq!((context.memory().seq_pos_max(1), context.memory().n_used()), (-1, 9));
        assert_eq!(context.set_state_seq_data(1, &bytes, flags).unwrap(), bytes.len());
        context.memory_mut().seq_rm(1, -1, -1).unwrap();
    }
    // Rows that were left with another context, and such as are not there any more.
    let bytes = context.state_seq_data(2, ON_DEVICE).unwrap();
    let mut other = self::context(&model, &params());
    assert!(other.set_state_seq_data(1, &bytes, ON_DEVICE).is_err());
    context.decode(&sequence(&tokens(1, 2), 2, 9)).unwrap();
    context.state_seq_data(2, ON_DEVICE).unwrap();
    assert!(context.set_state_seq_data(1, &bytes, ON_DEVICE).is_err());
}

#[test]
fn removing_a_sequence_leaves_the_state_of_another_as_it_was() {
    let model = model(2);
    let prompt = tokens(30, 4);
    let mut context = context(&model, &params());
    for seq_id in 0..2 {
        context.decode(&sequence(&prompt, seq_id, 0)).unwrap();
    }
    let before = context.state_seq_data(1, StateFlags::default()).unwrap();
    context.memory_mut().seq_rm(0, -1, -1).unwrap();
    assert_eq!(context.state_seq_data(1, StateFlags::default()).unwrap(), before);
}

#[test]
fn a_sequence_comes_back_into_the_holes_it_left() {
    let model = model(2);
    let prompt = tokens(70, 6);
    let mut context = context(&model, &params());
    // 0 1 2 0 1 2 ..
    let mut batch = Batch::new();
    for (pos, token) in (0..).zip(&prompt) {
        (0..3).for_each(|seq_id| batch.add(*token, pos, &[seq_id], false));
    }
    context.decode(&batch).unwrap();
    let bytes = context.state_seq_data(1, StateFlags::default()).unwrap();
    let expected = {
        let mut alone = self::context(&model, &params());
        alone.set_state_seq_data(1, &bytes, StateFlags::default()).unwrap();
        greedy(&mut alone, 1, 7, 70)
    };
    context.memory_mut().seq_rm(1, -1, -1).unwrap();
    assert_eq!(context.memory().n_used(), 140);
    context.set_state_seq_data(1, &bytes, StateFlags::default()).unwrap();
    assert_eq!((context.memory().n_used(), context.memory().seq_pos_max(1)), (210, 69));
    assert_eq!(greedy(&mut context, 1, 7, 70), expected);
}

#[test]
fn cleared_cells_hold_zeros() {
    let model = model(1);
    let mut context = context(&model, &ContextParams { n_ctx: 256, ..params() });
    context.decode(&sequence(&tokens(20, 6), 0, 0)).unwrap();
    context.clear_memory(true).unwrap();
    assert_eq!(context.memory().n_used(), 0);
    context.decode(&sequence(&tokens(1, 6), 0, 0)).unwrap();
    let one = context.state_seq_data(0, StateFlags::default()).unwrap();
    assert!(one.iter().filter(|b| **b != 0).count() > 50, "a token has keys and values");
}

/// Where the child of the test below writes.
const PATH: &str = "QUIPU_TEST_STATE_PATH";

/// Not a test of its own: writes states of 30 and of 200 tokens by turns until it is killed.
#[test]
fn child_that_writes_states() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let model = model(2);
    let all = tokens(200, 3);
    let mut context = context(&model, &params());
    loop {
        for n in [30, 200] {
            context.clear_memory(false).unwrap();
            context.decode(&sequence(&all[..n], 0, 0)).unwrap();
            context.state_save_file(Path::new(&path), &all[..n]).unwrap();
            println!("written");
        }
    }
}

#[test]
fn a_file_is_the_old_one_or_the_new_one_whenever_its_writer_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let model = model(2);
    let all = tokens(200, 3);
    let mut reader = context(&model, &params());
    let mut first = context(&model, &params());
    first.decode(&sequence(&all[..30], 0, 0)).unwrap();
    first.state_save_file(&path, &all[..30]).unwrap();
    for round in 0..12u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes_states", "--nocapture"])
            .env(PATH, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Once it writes, at some moment.
        let mut out = child.stdout.take().unwrap();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("written") {
            let mut byte = [0; 64];
            let n = std::io::Read::read(&mut out, &mut byte).unwrap();
            assert!(n > 0, "the child ended");
            seen.extend_from_slice(&byte[..n]);
        }
        std::thread::sleep(Duration::from_micros(370 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let read = reader.state_load_file(&path, 200).unwrap();
        assert!(read == all[..30] || read == all, "{} tokens", read.len());
        assert_eq!(reader.memory().seq_pos_max(0) as usize, read.len() - 1);
    }
}
