//! Samplers, grammars and JSON schemas: seeded cases through both engines, or the recorded ones.

use std::path::Path;
use std::process::Command;

use crate::checkout::{Checkout, run};
use crate::commands::{cargo, cargo_example, open};
use crate::error::Error;
use crate::report::{Row, Verdict};
use crate::tokenizer::vocabulary_folder;

/// Cases of random chains: batches, and cases in each.
const SAMPLER_BATCHES: [usize; 2] = [10, 100_000];
/// Cases with samplers that ask a vocabulary: DRY with texts, infill, grammars, lazy grammars.
const N_VOCABULARY_CASES: usize = 50_000;
/// Random grammars, with 6 texts each.
const N_GRAMMARS: usize = 20_000;
/// Token runs through grammars, each step with the mask over a vocabulary.
const N_TOKEN_RUNS: usize = 300;
/// Random schemas.
const N_SCHEMAS: usize = 20_000;
/// Seed of all of them.
const SEED: usize = 1000;
/// The vocabulary asked.
const VOCABULARY: &str = "ggml-vocab-llama-spm.gguf";

/// Everything of `quipu-sampler`.
///
/// # Errors
/// A probe failed.
pub fn audit(checkout: Option<&Checkout>) -> Result<Vec<Row>, Error> {
    let Some(checkout) = checkout else {
        return Ok(["goldens", "grammar_goldens", "json_schema"].map(recorded).to_vec());
    };
    let mut rows = Vec::new();
    let [n_batches, n] = SAMPLER_BATCHES;
    for batch in 1..=n_batches {
        rows.push(chains(checkout, "gen", SEED + batch, n, None)?);
    }
    rows.push(grammars(checkout, "text", N_GRAMMARS, None)?);
    rows.push(grammars(checkout, "schema", N_SCHEMAS, None)?);
    let vocabulary = vocabulary_folder().map(|folder| folder.join(VOCABULARY));
    if let Some(vocabulary) = vocabulary.filter(|path| path.is_file()) {
        rows.push(chains(checkout, "vgen", SEED, N_VOCABULARY_CASES, Some(&vocabulary))?);
        rows.push(grammars(checkout, "tokens", N_TOKEN_RUNS, Some(&vocabulary))?);
    } else {
        let why = Verdict::Skipped("no vocabularies beside the checkout".to_owned());
        rows.push(Row::new("sampler", "cases that ask a vocabulary", why, ""));
    }
    Ok(rows)
}

/// The tests of quipu-sampler that replay recorded answers.
fn recorded(test: &str) -> Row {
    let mut command = replay(test);
    let failed = run(&mut command).err();
    let note = failed.as_ref().map_or_else(String::new, ToString::to_string);
    Row::judged("sampler", format!("recorded cases ({test})"), failed.is_none(), note)
}

fn replay(test: &str) -> Command {
    let mut command = Command::new(cargo());
    command.args(["test", "--release", "--quiet", "-p", "quipu-sampler", "--test", test]);
    command
}

/// Random chains over random logits: survivors, order, logits, probabilities, chosen ids.
fn chains(
    checkout: &Checkout,
    mode: &str,
    seed: usize,
    n: usize,
    vocabulary: Option<&Path>,
) -> Result<Row, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let probe = checkout.probe("sampler")?;
    let cases = run(Command::new(&probe).args([mode, &n.to_string(), &seed.to_string()]))?;
    let path = dir.path().join("cases.txt");
    std::fs::write(&path, cases).map_err(Error::io(&path))?;
    let mut test = replay("goldens");
    test.env("QUIPU_SAMPLER_GOLDENS", dir.path());
    let mut command = Command::new(&probe);
    command.arg("run");
    if let Some(vocabulary) = vocabulary {
        command.arg(vocabulary);
        test.env("QUIPU_SAMPLER_VOCAB", vocabulary);
    }
    let expected = run(command.stdin(open(&path)?))?;
    let path = dir.path().join("expected.txt");
    std::fs::write(&path, expected).map_err(Error::io(&path))?;
    let failed = run(&mut test).err();
    let note = match &failed {
        None => format!("{n} cases: survivors, order, logits, chosen ids equal"),
        Some(error) => error.to_string(),
    };
    let what = if vocabulary.is_some() { "chains that ask a vocabulary" } else { "random chains" };
    Ok(Row::judged("sampler", format!("{what}, seed {seed}"), failed.is_none(), note))
}

/// Random grammars against texts, token runs, or random schemas: one line of answer each.
fn grammars(checkout: &Checkout, kind: &str, n: usize, vocabulary: Option<&Path>) -> Result<Row, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let cases =
        run(&mut cargo_example("quipu-sampler", "grammar_cases", &["gen", kind, "7", &n.to_string()]))?;
    let path = dir.path().join("cases");
    std::fs::write(&path, cases).map_err(Error::io(&path))?;
    let mut probe = Command::new(checkout.probe("grammar")?);
    let mut ours = cargo_example("quipu-sampler", "grammar_cases", &["run", kind]);
    probe.arg(kind).args(vocabulary);
    ours.args(vocabulary);
    let theirs = run(probe.stdin(open(&path)?))?;
    let ours = run(ours.stdin(open(&path)?))?;
    let equal = theirs.lines().zip(ours.lines()).filter(|(a, b)| a == b).count();
    let ok = equal == n && ours.lines().count() == n && theirs.lines().count() == n;
    let what = match kind {
        "text" => "grammars, 6 texts each",
        "tokens" => "token runs through grammars",
        _ => "schemas as grammars",
    };
    Ok(Row::judged("sampler", what, ok, format!("{equal} of {n}")))
}
