//! The recorded verdicts and split files, replayed with no checkout.

use quipu_parity::{Verdict, gguf};

#[test]
fn recorded_verdicts_and_splits() {
    let rows = gguf::audit(None, &[]).expect("readable goldens");
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.verdict == Verdict::Equal), "{rows:#?}");
}
