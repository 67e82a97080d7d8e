//! The recorded answers about models, through every load mode.

use quipu_parity::{Verdict, loader};

#[test]
fn models_are_read_as_the_reference_reads_them() {
    let rows = loader::replay().expect("goldens");
    assert!(rows.len() >= 100);
    for row in rows {
        assert_eq!(row.verdict, Verdict::Equal, "{}: {}", row.case, row.note);
    }
}
