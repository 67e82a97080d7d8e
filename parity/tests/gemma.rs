//! gemma.cpp: what was recorded of it, and that what is recorded can fail.

use quipu_parity::gemma::{self, Goldens};
use quipu_parity::{Report, Row, Verdict};

#[test]
fn codes_are_as_recorded_and_nothing_deviates_unlisted() {
    let report = Report { rows: gemma::replay().expect("readable goldens") };
    let bad: Vec<&Row> = report.unlisted(include_str!("../../docs/parity/deviations.md")).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let codecs: Vec<&Row> = report.rows.iter().filter(|row| row.case.starts_with("codec")).collect();
    assert!(codecs.len() == 4 && codecs.iter().all(|row| row.verdict == Verdict::Equal), "{codecs:#?}");
    // Three toys in five types and one in one, each in three ways, one of them in a fourth; or one row that says that none are recorded.
    let is_recorded = !Goldens::read().expect("readable goldens").logits.is_empty();
    assert_eq!(report.rows.len() - codecs.len(), if is_recorded { 16 * 3 + 5 } else { 1 });
}

/// Other codes would be told.
#[test]
fn a_codec_that_says_something_else_deviates() {
    let mut goldens = Goldens::read().expect("readable goldens");
    goldens.codecs[0].encoded = "0".repeat(16);
    goldens.codecs.remove(3);
    let rows = goldens.replay_codecs().expect("an engine");
    let verdicts: Vec<bool> = rows.iter().map(|row| row.verdict == Verdict::Equal).collect();
    assert_eq!(verdicts, [false, true, true, false]);
}
