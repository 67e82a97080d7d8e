//! The recorded goldens, replayed with no checkout.

use quipu_parity::{Row, Verdict, goldens, imatrix, memory, nodes, quantize, tokenizer};

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

/// Each result of a graph of twelve types of weights from the reference's own operands.
#[test]
fn every_node_of_a_graph() {
    let rows = nodes::replay(None).expect("readable goldens");
    assert_all_equal(&rows, 70);
    let n_products = rows.iter().filter(|row| row.case.contains("MUL_MAT")).count();
    assert_eq!(n_products, 2 * (7 + 7 + 1), "two ubatches of two layers and an output");
}

/// Equal ids, or a parting at a near tie. Where both engines compute in f32 all the way none of the recorded runs
/// parts on the machine they were recorded on; on others one may.
#[test]
fn generated_tokens() {
    let rows = goldens::replay_generation().expect("readable goldens");
    let wrong: Vec<&Row> =
        rows.iter().filter(|row| row.verdict != Verdict::Equal && row.allowed_by.is_none()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(rows.len(), 144);
    for model in ["stories F32", "llama-plain", "qwen2-plain", "qwen3-plain"] {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.case.starts_with(model)).collect();
        let equal = rows.iter().filter(|row| row.verdict == Verdict::Equal).count();
        assert!(rows.len() == 24 && equal >= 23, "{model}: {equal} of {}", rows.len());
    }
}

#[test]
fn quantised_files() {
    let rows = quantize::replay().expect("readable goldens");
    assert_all_equal(&rows, 390);
}

#[test]
fn batches_and_memories() {
    assert_all_equal(&[memory::recorded().expect("readable goldens")], 1);
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
