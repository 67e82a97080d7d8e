//! Proof that the audit can fail: spoil one type's matrix products and see the rows that cover it go red,
//! and no others.

use quipu_parity::{Row, Verdict, generation, goldens, nodes, tokenizer};
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

/// A product that is one in a hundred too large, which no whole model's logits would tell: its rows turn red, and no others, for what follows
/// starts from the reference's numbers.
#[test]
fn one_hundredth_in_one_product_is_noticed() {
    for weight in ["blk.0.attn_q.weight", "blk.1.ffn_down.weight", "output.weight"] {
        let rows = nodes::replay(Some(weight)).expect("readable goldens");
        let red: Vec<&Row> = rows.iter().filter(|row| row.verdict != Verdict::Equal).collect();
        assert_eq!(red.len(), 2, "{weight}: {red:#?}");
        assert!(red.iter().all(|row| row.case.contains(&format!("MUL_MAT {weight} "))), "{red:#?}");
    }
}

/// Rotation, norms, biases, the networks: whatever is taken out of a well-conditioned toy, its row turns red.
#[test]
fn taking_a_part_out_of_a_toy_is_noticed() {
    let rows = goldens::knock_outs().expect("readable goldens");
    let unnoticed: Vec<&Row> = rows.iter().filter(|row| row.verdict != Verdict::Equal).collect();
    assert!(unnoticed.is_empty(), "{unnoticed:#?}");
    assert!(rows.len() >= 50, "only {} rows", rows.len());
}

#[test]
fn spoiling_vocabularies_turns_their_rows_red_and_no_others() {
    let spoiled = [
        "pre deepseek-llm",
        "pre qwen2",
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

/// One id of a recorded run changed, and one seed: exactly these runs turn red, and nothing excuses them.
#[test]
fn spoiling_recorded_generations_turns_them_red_and_no_others() {
    let mut cases = goldens::recorded_generations().expect("readable goldens");
    cases.retain(|case| case.model == "stories F32");
    let replay = |cases: &[generation::GenerationCase]| generation::replay(cases).expect("readable cases");
    let before = replay(&cases);
    assert!(before.iter().all(|row| row.verdict == Verdict::Equal), "{before:#?}");
    let mut ids: Vec<u32> =
        cases[2].expected.split(' ').map(|id| id.parse().expect("recorded ids are numbers")).collect();
    ids[100] ^= 1;
    cases[2].expected = ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let seed = cases[4].chain.rsplit(' ').next().expect("a chain ends in its seed").to_owned();
    cases[4].chain = cases[4].chain.replace(&seed, "1");
    let red: Vec<usize> = replay(&cases)
        .iter()
        .enumerate()
        .filter(|(_, row)| row.verdict != Verdict::Equal && row.allowed_by.is_none())
        .map(|(i, _)| i)
        .collect();
    assert_eq!(red, [2, 4]);
}
