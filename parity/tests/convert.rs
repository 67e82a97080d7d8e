//! The recorded conversions, replayed.

use quipu_parity::{Row, Verdict, convert};

#[test]
fn every_converted_file_is_the_scripts() {
    let rows = convert::replay().expect("readable goldens");
    let bad: Vec<&Row> = rows.iter().filter(|row| row.verdict != Verdict::Equal).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(
        rows.iter().filter(|row| !row.case.ends_with("pre-tokenizer")).count(),
        6 * convert::cases().count()
    );
}
