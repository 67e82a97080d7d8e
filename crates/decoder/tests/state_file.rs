//! States in files: the reference's layout, and what is not a state.

mod common;

use common::{context, model, params, sequence, tokens};
use quipu_decoder::{Batch, Error};

#[test]
fn a_session_and_its_tokens_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("session");
    let model = model(2);
    let all = tokens(20, 1);
    let mut first = context(&model, &params());
    first.decode(&Batch::single(&all[..12])).unwrap();
    first.state_save_file(&path, &all[..12]).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut state = Vec::new();
    first.state_write(&mut state).unwrap();
    let mut expected = [0x6767_736Eu32, 9, 12].map(u32::to_le_bytes).concat();
    all[..12].iter().for_each(|token| expected.extend(token.to_le_bytes()));
    expected.extend(&state);
    assert_eq!(bytes, expected);

    let mut second = context(&model, &params());
    assert_eq!(second.state_load_file(&path, 12).unwrap(), &all[..12]);
    let next = sequence(&all[12..], 0, 12);
    first.decode(&next).unwrap();
    second.decode(&next).unwrap();
    (0..8).for_each(|i| assert_eq!(first.logits(i).unwrap(), second.logits(i).unwrap()));
    let error = second.state_load_file(&path, 11).unwrap_err();
    assert!(error.to_string().contains("12 tokens, expected at most 11"), "{error}");
    assert!(matches!(second.state_seq_load_file(&path, 0, 99), Err(Error::StateFile { .. })));
    assert!(second.state_load_file(dir.path().join("none"), 99).is_err());
    // Cut anywhere, it is refused and nothing changes.
    let cut = dir.path().join("cut");
    for len in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        std::fs::write(&cut, &bytes[..len]).unwrap();
        assert!(second.state_load_file(&cut, 99).is_err(), "{len}");
        assert_eq!(second.memory().seq_pos_max(0), 19, "{len}");
    }
}

#[test]
fn a_sequence_that_was_changed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sequence");
    let model = model(2);
    let all = tokens(9, 2);
    let mut first = context(&model, &params());
    first.decode(&sequence(&all, 1, 0)).unwrap();
    first.state_seq_save_file(&path, 1, &all).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut second = context(&model, &params());
    assert_eq!(second.state_seq_load_file(&path, 3, 9).unwrap(), all);
    assert_eq!(second.memory().seq_pos_max(3), 8);
    // As the reference writes it, without a checksum.
    let other = dir.path().join("other");
    std::fs::write(&other, &bytes[..bytes.len() - 12]).unwrap();
    assert_eq!(second.state_seq_load_file(&other, 0, 9).unwrap(), all);
    assert_eq!((second.memory().seq_pos_max(0), second.memory().n_used()), (8, 18));
    for at in (0..bytes.len() - 12).step_by(41).chain([bytes.len() - 13, bytes.len() - 1]) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        std::fs::write(&other, &flipped).unwrap();
        assert!(second.state_seq_load_file(&other, 2, 9).is_err(), "byte {at}");
        assert_eq!((second.memory().seq_pos_max(2), second.memory().n_used()), (-1, 18), "byte {at}");
    }
    // Over what is there, and nothing else beside it.
    first.state_seq_save_file(&path, 1, &all[..1]).unwrap();
    assert_eq!(second.state_seq_load_file(&path, 2, 9).unwrap(), all[..1]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}
