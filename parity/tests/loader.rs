//! The recorded answers about models, through every load mode.

use quipu_parity::{Verdict, loader, verdicts};

#[test]
fn models_are_read_as_the_reference_reads_them() {
    let rows = loader::replay().expect("goldens");
    assert!(rows.len() >= 100);
    for row in rows {
        assert_eq!(row.verdict, Verdict::Equal, "{}: {}", row.case, row.note);
    }
}

/// Files with odd metadata: the reference's verdict, or a listed deviation.
#[test]
fn odd_metadata_gets_the_references_verdict() {
    let rows = verdicts::audit(None).expect("goldens");
    assert!(rows.len() >= 450, "{}", rows.len());
    for row in &rows {
        let is_listed = row.verdict == Verdict::Deviating && row.allowed_by.is_some();
        assert!(row.verdict == Verdict::Equal || is_listed, "{}: {}", row.case, row.note);
    }
    let listed = rows.iter().filter(|row| row.allowed_by.is_some()).count();
    // Heads and widths of later layers that contradict the weights.
    assert_eq!(listed, 6);
}
