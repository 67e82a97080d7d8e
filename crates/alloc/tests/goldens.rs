//! Replays placements recorded from ggml-alloc (`parity/goldens/alloc`).

mod common;

use quipu_alloc::{Offline, Planner, peak_live_bytes};

/// Cases and results in turn.
fn recorded(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut lines = text.lines().filter(|l| !l.starts_with('#'));
    std::iter::from_fn(move || {
        let (case, result) = (lines.next()?, lines.next()?);
        Some((case, result.strip_prefix("= ").expect("a result line follows each case")))
    })
}

#[test]
fn recorded_cases_give_the_reference_placements() {
    let mut n = [0; 3];
    for (case, expected) in recorded(include_str!("../../../parity/goldens/alloc/cases.txt")) {
        assert_eq!(common::run_case(case), expected, "case {case}");
        n["TGC".find(&case[..1]).unwrap()] += 1;
    }
    assert_eq!(n, [90, 76, 40]);
}

#[test]
fn graphs_of_real_models_give_the_reference_placements() {
    let mut n = 0;
    for (case, expected) in recorded(include_str!("../../../parity/goldens/alloc/models.txt")) {
        assert!(common::run_case(case) == expected.trim_end(), "model graph {n}");
        n += 1;
    }
    assert_eq!(n, 8);
}

/// Prompt of 512 tokens and single token of llama-3.2-1b, qwen2.5-0.5b, phi-3-mini and gpt-oss-20b.
#[test]
fn offline_plans_of_real_models_reach_the_lower_bound() {
    for (case, _) in recorded(include_str!("../../../parity/goldens/alloc/models.txt")) {
        let words: Vec<&str> = case.split_whitespace().collect();
        let (specs, graph, _) = common::parse_graph(&words[1..]);
        let mut planner = Planner::with_strategy(&specs, Offline::default()).unwrap();
        let plan = planner.plan(&graph, graph.assignment()).unwrap();
        let bound = peak_live_bytes(&graph, 0, specs[0].alignment).unwrap();
        assert_eq!(plan.total_size(0), bound);
        assert_eq!(plan.realloc_reason(&graph), None);
    }
}

#[test]
fn a_wrong_placement_would_be_noticed() {
    let case = "T 8 64 a8 a8 f0 a16 a8";
    assert_eq!(common::run_case(case), "0:0 0:8 0:16 0:0 |32 32+32");
    assert_ne!(common::run_case(&case.replacen("T 8", "T 16", 1)), "0:0 0:8 0:16 0:0 |32 32+32");
}
