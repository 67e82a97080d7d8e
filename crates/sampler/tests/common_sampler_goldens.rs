//! Tokens that the reference's common_sampler chose: what order chain, grammar and reasoning budget act in.

#[path = "common/record.rs"]
mod record;

use std::path::Path;

use quipu_sampler::BudgetState;

#[test]
fn the_reference_chose_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let pieces = record::pieces(&root.join("models/stories-1m.gguf"));
    let folder = root.join("parity/goldens/common_sampler");
    let (mut records, mut tokens) = (0, 0);
    for entry in std::fs::read_dir(folder).expect("the goldens") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "bin") {
            continue;
        }
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).expect("readable");
        let (n, sampler) =
            record::replay(&record::parse(&bytes), &pieces).unwrap_or_else(|e| panic!("{name}: {e}"));
        // The records show what they are for.
        if name.starts_with("budget") {
            let budget = sampler.reasoning_budget().expect("a budget");
            assert!(budget.end_match().is_some() || budget.state() == BudgetState::Forcing, "{name}");
        }
        if name.starts_with("lazy") {
            assert!(!sampler.grammar().expect("a grammar").is_waiting(), "{name}");
        }
        records += 1;
        tokens += n;
    }
    assert_eq!((records, tokens), (11, 123));
}
