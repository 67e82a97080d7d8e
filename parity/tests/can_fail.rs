//! Proof that the audit can fail: spoil one type's matrix products and see the rows that cover it go red,
//! and no others.

use quipu_parity::{Verdict, goldens, tokenizer};
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

#[test]
fn spoiling_vocabularies_turns_their_rows_red_and_no_others() {
    let spoiled = [
        "pre qwen2",
        "pre deepseek-llm",
        "pre tekken",
        "unigram charsmap",
        "rwkv",
        "plamo2",
        "special 2 bert",
    ];
    let rows = tokenizer::replay(&spoiled).expect("readable goldens");
    let red: Vec<&str> =
        rows.iter().filter(|row| row.verdict != Verdict::Equal).map(|row| row.case.as_str()).collect();
    assert_eq!(red, spoiled);
    for row in rows.iter().filter(|row| row.case.starts_with("pre ") && row.verdict != Verdict::Equal) {
        let n: usize = row.note.split(' ').next().and_then(|n| n.parse().ok()).expect("begins with a number");
        assert!(n >= 10, "{}: ids differ, not only the table: {}", row.case, row.note);
    }
}
