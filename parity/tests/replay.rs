//! The recorded goldens, replayed with no checkout.

use quipu_parity::{Row, Verdict, goldens, imatrix, quantize, tokenizer};

/// Every row must be equal: a skipped one is not a passed one.
fn assert_all_equal(rows: &[Row], at_least: usize) {
    let bad: Vec<&Row> = rows.iter().filter(|row| row.verdict != Verdict::Equal).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(rows.len() >= at_least, "only {} rows", rows.len());
}

#[test]
fn logits_of_every_architecture_and_type() {
    let rows = goldens::replay_logits(None).expect("readable goldens");
    assert_all_equal(&rows, 40);
    assert_eq!(goldens::n_types(), 10);
}

/// Equal ids, or a divergence that is shown to be a near tie or the one between the reference's two attention
/// paths. The demo model, whose logits are not flat, is held to at most one.
#[test]
fn generated_tokens() {
    let rows = goldens::replay_generation().expect("readable goldens");
    let wrong: Vec<&Row> =
        rows.iter().filter(|row| row.verdict != Verdict::Equal && row.allowed_by.is_none()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(rows.len(), 90);
    let stories: Vec<&Row> = rows.iter().filter(|row| row.case.starts_with("stories")).collect();
    let equal = stories.iter().filter(|row| row.verdict == Verdict::Equal).count();
    assert!(stories.len() == 18 && equal > 16, "{equal} of {}", stories.len());
}

#[test]
fn quantised_files() {
    let rows = quantize::replay().expect("readable goldens");
    assert_all_equal(&rows, 390);
}

#[test]
fn collected_importances() {
    let rows = imatrix::audit(None).expect("a readable golden");
    assert_all_equal(&rows, 1);
}

/// Composed vocabularies always; real ones where they lie beside the checkout.
#[test]
fn tokenizer_vocabularies() {
    let rows = tokenizer::tokenizers(None).expect("readable goldens");
    let wrong: Vec<&Row> = rows.iter().filter(|row| row.verdict == Verdict::Deviating).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(rows.iter().any(|row| row.case == "recorded answers" && row.verdict == Verdict::Equal));
    for row in rows.iter().filter(|row| row.verdict != Verdict::Equal) {
        println!("{}: {:?}", row.case, row.verdict);
    }
}
