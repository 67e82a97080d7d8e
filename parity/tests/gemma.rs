//! gemma.cpp: what was recorded of it, and that what is recorded can fail.

use quipu_parity::{Row, Verdict, gemma};

#[test]
fn codes_and_logits_are_as_recorded() {
    let rows = gemma::replay().expect("readable goldens");
    let listed = include_str!("../../docs/parity/deviations.md");
    let report = quipu_parity::Report { rows };
    let bad: Vec<&Row> = report.unlisted(listed).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    // Four codecs; three toys in five types and one in one, each in three ways, one of them in a fourth.
    assert_eq!(report.rows.len(), 4 + 16 * 3 + 5);
    let codecs = report.rows.iter().filter(|row| row.case.starts_with("codec"));
    assert!(codecs.clone().count() == 4 && codecs.into_iter().all(|row| row.verdict == Verdict::Equal));
}

#[test]
fn parts_that_are_taken_out_are_told() {
    let rows = gemma::knock_outs().expect("readable goldens");
    let bad: Vec<&Row> = rows.iter().filter(|row| row.verdict != Verdict::Equal).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(rows.len() >= 16, "{}", rows.len());
}
