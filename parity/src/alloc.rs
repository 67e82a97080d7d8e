//! The memory planner: recorded cases, or a million seeded ones asked live.

use std::process::Command;

use crate::checkout::{Checkout, run};
use crate::commands::{cargo, cargo_example};
use crate::error::Error;
use crate::report::{Row, Verdict};

/// Allocation traces, graphs and contexts in a live audit: about a minute on one core.
const N_CASES: [u64; 3] = [1_000_000, 100_000, 20_000];
/// Their seed.
const SEED: &str = "7";

/// What ggml-alloc does with the same traces, graphs and contexts: chunks and offsets, chunk sizes, verdicts of the realloc
/// check. With a checkout seeded cases are asked live; the recorded ones, among them the graphs of four real models, are
/// replayed in any case.
///
/// # Errors
/// The probe does not compile.
pub fn planner(checkout: Option<&Checkout>) -> Result<Vec<Row>, Error> {
    let mut test = Command::new(cargo());
    test.args(["test", "--release", "--quiet", "-p", "quipu-alloc", "--test", "goldens"]);
    let failed = run(&mut test).err();
    let note =
        failed.as_ref().map_or("206 cases and 8 graphs of real models".to_owned(), ToString::to_string);
    let mut rows = vec![Row::judged("alloc", "recorded cases", failed.is_none(), note)];
    let kinds = ["traces", "graphs", "contexts"];
    let Some(checkout) = checkout else {
        let why = Verdict::Skipped("no checkout".to_owned());
        rows.extend(kinds.map(|kind| Row::new("alloc", format!("seeded {kind}"), why.clone(), "")));
        return Ok(rows);
    };
    let probe = checkout.probe("alloc")?.display().to_string();
    let counts = N_CASES.map(|n| n.to_string());
    let args = ["audit", &probe, SEED, &counts[0], &counts[1], &counts[2]];
    let output = cargo_example("quipu-alloc", "parity_cases", &args).output().map_err(Error::io("cargo"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    for (kind, n) in kinds.into_iter().zip(N_CASES) {
        // The audit prints "EQUAL of N KIND" for each kind, and fails unless all are equal.
        let expected = format!("{n} of {n} {kind}");
        let parts = said.trim().trim_end_matches(" equal").split(", ");
        let note = parts.into_iter().find(|part| part.ends_with(kind)).map(str::to_owned);
        let note = note.unwrap_or_else(|| String::from_utf8_lossy(&output.stderr).trim().to_owned());
        rows.push(Row::judged("alloc", format!("seeded {kind}"), note == expected, note));
    }
    Ok(rows)
}
