//! Replays placements recorded from ggml-alloc (`parity/goldens/alloc/cases.txt`).

mod common;

#[test]
fn recorded_cases_give_the_reference_placements() {
    let text = include_str!("../../../parity/goldens/alloc/cases.txt");
    let mut lines = text.lines().filter(|l| !l.starts_with('#'));
    let mut n = [0; 3];
    while let (Some(case), Some(result)) = (lines.next(), lines.next()) {
        let expected = result.strip_prefix("= ").expect("a result line follows each case");
        assert_eq!(common::run_case(case), expected, "case {case}");
        n["TGC".find(&case[..1]).unwrap()] += 1;
    }
    assert_eq!(n, [90, 76, 40]);
}

#[test]
fn a_wrong_placement_would_be_noticed() {
    let case = "T 8 64 a8 a8 f0 a16 a8";
    assert_eq!(common::run_case(case), "0:0 0:8 0:16 0:0 |32 32+32");
    assert_ne!(common::run_case(&case.replacen("T 8", "T 16", 1)), "0:0 0:8 0:16 0:0 |32 32+32");
}
