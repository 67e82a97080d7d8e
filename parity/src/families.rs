//! Tokenizers: comparisons that need no model weights, and the commands that other audits share.

use std::path::{Path, PathBuf};
use std::process::Command;

use quipu_gguf::GgufFile;
use quipu_tokenizer::Tokenizer;

use crate::checkout::{Checkout, run};
use crate::error::Error;
use crate::report::{Row, Verdict};

/// Random texts per vocabulary in a live audit.
const N_TEXTS: usize = 20_000;
/// Seed of all of them.
const SEED: &str = "7";

/// The folder of real vocabularies that lies beside the checkout of the project, if it does.
pub fn vocabulary_folder() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vocab");
    dir.is_dir().then_some(dir)
}

/// Every vocabulary: the reference's own test strings with their expected ids (no checkout needed), and with one
/// seeded random texts in all four combinations of `add_special` and `parse_special`.
///
/// # Errors
/// A probe failed or a file could not be read.
pub fn tokenizers(checkout: Option<&Checkout>) -> Result<Vec<Row>, Error> {
    let Some(folder) = vocabulary_folder() else {
        let why = "no vocabularies beside the checkout".to_owned();
        return Ok(vec![Row::new("tokenizer", "all vocabularies", Verdict::Skipped(why), "")]);
    };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map_err(Error::io(&folder))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "gguf"))
        .collect();
    paths.sort();
    let mut rows = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().replace("ggml-vocab-", "");
        let file = GgufFile::open(&path).map_err(Error::engine(&name))?;
        let tokenizer = Tokenizer::from_gguf(file.metadata()).map_err(Error::engine(&name))?;
        rows.push(expected_ids(&name, &path, &tokenizer)?);
        match checkout {
            Some(checkout) => rows.extend(random_texts(&name, &path, &tokenizer, checkout)?),
            None => rows.push(Row::new(
                "tokenizer",
                format!("{name} random texts"),
                Verdict::Skipped(
                    "no checkout; recorded ones are replayed by quipu-tokenizer's tests".to_owned(),
                ),
                "",
            )),
        }
    }
    Ok(rows)
}

/// The reference's `.inp` and `.out` files.
fn expected_ids(name: &str, path: &Path, tokenizer: &Tokenizer) -> Result<Row, Error> {
    let case = format!("{name} expected ids");
    let sibling = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
    let (input, output) = (sibling(".inp"), sibling(".out"));
    if !input.is_file() || !output.is_file() {
        return Ok(Row::new(
            "tokenizer",
            case,
            Verdict::Skipped("the reference has none for it".to_owned()),
            "",
        ));
    }
    let texts = std::fs::read_to_string(&input).map_err(Error::io(&input))?;
    let lines = std::fs::read_to_string(&output).map_err(Error::io(&output))?;
    let mut equal = 0;
    let mut n = 0;
    for (text, line) in texts.split("\n__ggml_vocab_test__\n").zip(lines.lines()) {
        let ids = tokenizer.encode(text, false, false).map_err(Error::engine(&case))?;
        let expected: Vec<u32> = line.split_whitespace().filter_map(|id| id.parse().ok()).collect();
        n += 1;
        equal += usize::from(ids == expected);
    }
    Ok(Row::judged("tokenizer", case, equal == n && n > 40, format!("{equal} of {n} texts")))
}

fn random_texts(
    name: &str,
    path: &Path,
    tokenizer: &Tokenizer,
    checkout: &Checkout,
) -> Result<Vec<Row>, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let file = dir.path().join("texts");
    let n_texts = N_TEXTS.to_string();
    let path_text = path.display().to_string();
    let output = cargo_example("quipu-tokenizer", "golden_texts", &[&path_text, SEED, &n_texts]).output();
    let texts = output.map_err(Error::io("cargo"))?.stdout;
    std::fs::write(&file, &texts).map_err(Error::io(&file))?;
    let mut rows = Vec::new();
    for (add, parse) in [(false, false), (true, false), (false, true), (true, true)] {
        let flag = |on: bool| if on { "1" } else { "0" };
        let mut probe = Command::new(checkout.probe("tokenize")?);
        let answer = run(probe.arg(path).arg("ids").arg(&file).args([flag(add), flag(parse)]))?;
        let mut lines = answer.lines();
        let (mut n, mut equal) = (0, 0);
        for text in texts.strip_suffix(b"\0").unwrap_or(&texts).split(|b| *b == 0) {
            let ids = tokenizer.encode_bytes(text, add, parse).map_err(Error::engine(name))?;
            let expected = lines.next().unwrap_or("-1").split_whitespace().map(str::parse::<u32>);
            n += 1;
            equal += usize::from(expected.eq(ids.iter().map(|id| Ok(*id))));
        }
        let case = format!("{name} random texts, add_special {add}, parse_special {parse}");
        let note = format!("{equal} of {n} texts");
        rows.push(Row::judged("tokenizer", case, equal == n && n >= N_TEXTS, note));
    }
    Ok(rows)
}

pub(crate) fn open(path: &Path) -> Result<std::fs::File, Error> {
    std::fs::File::open(path).map_err(Error::io(path))
}

pub(crate) fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

pub(crate) fn cargo_example(package: &str, example: &str, args: &[&str]) -> Command {
    let mut command = Command::new(cargo());
    command.args(["run", "--release", "--quiet", "-p", package, "--example", example, "--"]).args(args);
    command
}
