//! Proof that the audit can fail: spoil one type's matrix products and see the rows that cover it go red,
//! and no others.

use quipu_parity::{Verdict, goldens};
use quipu_quant::DType;

fn red_rows(sabotage: DType) -> (Vec<String>, Vec<String>) {
    let rows = goldens::replay_logits(Some(sabotage)).expect("readable goldens");
    let (red, green): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.verdict != Verdict::Equal);
    (red.into_iter().map(|row| row.case).collect(), green.into_iter().map(|row| row.case).collect())
}

#[test]
fn spoiling_one_type_turns_its_rows_red_and_no_others() {
    for dtype in [DType::Q4_K, DType::MXFP4, DType::F32] {
        let (red, green) = red_rows(dtype);
        let covers = |case: &String| case.ends_with(&format!(" {dtype}"));
        assert!(red.len() >= 4 && red.iter().all(covers), "{dtype}: red {red:?}");
        assert!(!green.iter().any(covers), "{dtype}: green {green:?}");
    }
}
