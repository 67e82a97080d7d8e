//! Batches and memories: random cases through both engines' private bookkeeping, or the recorded ones.
//!
//! A case is a line of words. `B` checks a batch and splits it; `M` puts batches, sequence operations and states through a memory, step by
//! step. The answer is a line too: verdicts, and hashes of everything there is to know after each step (`batch`, `caches`).

mod batch;
mod caches;
mod cases;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use quipu_quant::DType;

use crate::checkout::{Checkout, run};
use crate::commands::open;
use crate::error::Error;
use crate::golden_files::folder;
use crate::logits::WEIGHT_SEED;
use crate::report::{Row, Verdict};
use crate::toy::TOYS;
use quipu_testing::{SplitMix, fnv1a};

/// Cases of each kind in a live audit.
pub const N_CASES: usize = 100_000;
/// Cases of each kind that are recorded.
const N_RECORDED: usize = 80;
/// Seed of all of them.
const SEED: u64 = 16;

/// A kind of case: its name, and how one is made.
pub(crate) type Kind = (&'static str, fn(&mut SplitMix) -> String);

pub(crate) const KINDS: [Kind; 8] = [
    ("batches", cases::batch),
    ("unified caches", cases::unified),
    ("caches of streams", cases::streams),
    ("windows", cases::windows),
    ("pairs of caches", cases::pairs),
    ("states", cases::states),
    ("caches and states", cases::hybrids),
    ("pairs of caches and states", cases::hybrid_pairs),
];

pub(crate) fn lines(kind: &Kind, seed: u64, n: usize) -> Vec<String> {
    let mut random = SplitMix::new(seed);
    (0..n).map(|_| (kind.1)(&mut random)).collect()
}

/// Our answer to a case; what is wrong with a line that is none.
///
/// # Errors
/// [`Error::Golden`] for a line that is not a case.
pub fn answer(line: &str) -> Result<String, Error> {
    let mut words = Words { line, words: line.split_ascii_whitespace() };
    let mut out = String::new();
    match words.word()? {
        "B" => batch::answer(&mut words, &mut out)?,
        "M" => caches::answer(&mut words, &mut out)?,
        _ => return Err(words.error("an unknown kind")),
    }
    Ok(out)
}

/// Asks the checkout about `n_cases` of each kind, or replays what was recorded.
///
/// # Errors
/// The probe does not compile or fails; goldens that cannot be read.
pub fn audit(checkout: Option<&Checkout>, n_cases: usize) -> Result<Vec<Row>, Error> {
    let mut rows = vec![recorded()?];
    let Some(checkout) = checkout else {
        let why = || Verdict::Skipped("no checkout".to_owned());
        rows.extend(KINDS.map(|(name, _)| Row::new("memory", name, why(), "")));
        return Ok(rows);
    };
    for kind in &KINDS {
        let cases = lines(kind, SEED, n_cases);
        let answers = ask(checkout, &cases)?;
        rows.push(compare(kind.0, &cases, answers.lines()));
    }
    Ok(rows)
}

/// The recorded cases, without a checkout.
///
/// # Errors
/// Goldens that cannot be read.
pub fn recorded() -> Result<Row, Error> {
    let read = |name: &str| {
        let path = folder().join("memory").join(name);
        std::fs::read_to_string(&path).map_err(Error::io(&path))
    };
    let (cases, answers) = (read("cases.txt")?, read("answers.txt")?);
    let cases: Vec<String> = cases.lines().map(str::to_owned).collect();
    Ok(compare("recorded cases", &cases, answers.lines()))
}

/// Records cases of every kind with the reference's answers.
///
/// # Errors
/// The probe failed, or a file could not be written.
pub fn record(checkout: &Checkout) -> Result<(), Error> {
    let cases: Vec<String> = KINDS.iter().flat_map(|kind| lines(kind, SEED, N_RECORDED)).collect();
    let answers = ask(checkout, &cases)?;
    let folder = folder().join("memory");
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    for (name, text) in [("cases.txt", cases.join("\n") + "\n"), ("answers.txt", answers)] {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(Error::io(&path))?;
    }
    Ok(())
}

/// The reference's answers.
pub(crate) fn ask(checkout: &Checkout, cases: &[String]) -> Result<String, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let (model, input) = (dir.path().join("toy.gguf"), dir.path().join("cases"));
    write(&model, &TOYS[0].gguf(DType::F32, WEIGHT_SEED)?)?;
    write(&input, (cases.join("\n") + "\n").as_bytes())?;
    let mut probe = Command::new(checkout.probe("memory")?);
    probe.arg(&model).stdin(Stdio::from(open(&input)?));
    run(&mut probe)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    std::fs::write(path, bytes).map_err(Error::io(path))
}

pub(crate) fn compare<'a>(name: &str, cases: &[String], answers: impl Iterator<Item = &'a str>) -> Row {
    let (mut n, mut n_equal, mut first) = (0, 0, None);
    for (case, expected) in cases.iter().zip(answers) {
        n += 1;
        let found = answer(case).unwrap_or_else(|error| error.to_string());
        if found == expected {
            n_equal += 1;
        } else {
            first.get_or_insert_with(|| format!("{case} gives {found}, expected {expected}"));
        }
    }
    let mut note = format!("{n_equal} of {} cases", cases.len());
    if let Some(first) = first {
        _ = write!(note, "; {first}");
    }
    Row::judged("memory", name, n_equal == cases.len() && n == cases.len(), note)
}

/// A long text as a number.
fn shown(text: &str) -> String {
    format!("{:016x}", fnv1a(text.as_bytes()))
}

/// The words of a case.
#[derive(Debug)]
struct Words<'a> {
    line: &'a str,
    words: std::str::SplitAsciiWhitespace<'a>,
}

impl<'a> Words<'a> {
    fn word(&mut self) -> Result<&'a str, Error> {
        self.words.next().ok_or_else(|| self.error("cut short"))
    }

    fn number(&mut self) -> Result<i32, Error> {
        self.word()?.parse().map_err(|_| self.error("a word that is no number"))
    }

    fn numbers<const N: usize>(&mut self) -> Result<[i32; N], Error> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = self.number()?;
        }
        Ok(numbers)
    }

    fn count(&mut self) -> Result<usize, Error> {
        usize::try_from(self.number()?).map_err(|_| self.error("a negative number"))
    }

    fn error(&self, message: &str) -> Error {
        Error::Golden { name: self.line.chars().take(60).collect(), message: message.to_owned() }
    }
}
