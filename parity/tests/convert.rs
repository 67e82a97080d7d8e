//! The recorded conversions, replayed.

use quipu_parity::{Row, Verdict, convert};

#[test]
fn every_converted_file_is_the_scripts() {
    let rows = convert::replay().expect("readable goldens");
    let bad: Vec<&Row> = rows.iter().filter(|row| row.verdict != Verdict::Equal).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    // Adapters have neither `auto` nor a vocabulary.
    let n_types = |case: &convert::models::Case| if case.base.is_some() { 4 } else { 6 };
    assert_eq!(
        rows.iter().filter(|row| !row.case.ends_with("pre-tokenizer")).count(),
        convert::cases().map(n_types).sum::<usize>()
    );
}
