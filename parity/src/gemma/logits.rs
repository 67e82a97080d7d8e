//! Logits: the toys as gemma.cpp runs them, one token after the other, in batches, with a prefix, in queries and turns.
//!
//! The rule is that of [`crate::logits`], with threads and batches as the reference's spread. Above it, up to
//! [`ROUNDING`], a row is listed as `GEMMA-BF16`: gemma.cpp rounds to bf16 between products where ggml does not.

use std::collections::BTreeMap;
use std::path::Path;

use quipu_gemma::{SbsFile, Type};
use quipu_testing::{fnv1a, nmse};
use serde::{Deserialize, Serialize};

use super::checkout::{GemmaCheckout, RunOptions};
use super::engine::Ours;
use super::toys::{GemmaToy, TOYS, gguf, open, tokens};
use crate::error::Error;
use crate::logits::{TOKEN_SEED, bound};
use crate::report::{Row, Verdict};
use crate::toy::N_VOCAB;

/// Tokens of a comparison: several windows of each toy.
const N_TOKENS: usize = 64;
/// Tokens read as one batch, or that see each other.
const N_PROMPT: usize = 24;
/// Queries at once.
const N_QUERIES: usize = 3;
/// Tokens in a turn, and places of the cache, which go round.
const TURN: (usize, usize) = (16, 40);
/// What a toy may differ by rounding to bf16: less than a tenth of what any part that is taken out changes.
const ROUNDING: f64 = 2e-4;
/// Types of the weights.
const WEIGHTS: [Type; 5] = [Type::F32, Type::Bf16, Type::Sfp, Type::I8, Type::Nuq];
/// Positions whose logits are recorded.
const N_RECORDED: usize = 2;

/// Recorded logits of a toy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogitsGolden {
    /// The toy, its type and how it is run.
    pub case: String,
    /// FNV-1a of its file, in hexadecimal.
    pub model_hash: String,
    /// NMSE of the reference against itself.
    pub spread: f64,
    /// Of the last positions, row by row.
    pub logits: Vec<f32>,
}

/// How the tokens reach the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    OneByOne,
    Prefix,
    Queries,
    Turns,
}

impl Way {
    const ALL: [Way; 4] = [Way::OneByOne, Way::Prefix, Way::Queries, Way::Turns];

    fn name(self) -> &'static str {
        match self {
            Way::OneByOne => "token by token",
            Way::Prefix => "with a prefix",
            Way::Queries => "in queries",
            Way::Turns => "in turns",
        }
    }

    /// Turns outlive the cache only where nobody looks back further than it is long.
    fn is_for(self, toy: &GemmaToy) -> bool {
        self != Way::Turns || toy.name == "gemma3-windows"
    }

    fn options(self) -> RunOptions {
        let (turn, seq_len) = TURN;
        match self {
            Way::OneByOne => RunOptions::default(),
            Way::Prefix => RunOptions { prompt: N_PROMPT, prefix: N_PROMPT, ..RunOptions::default() },
            Way::Queries => RunOptions { queries: N_QUERIES, ..RunOptions::default() },
            Way::Turns => RunOptions { turn, seq_len, ..RunOptions::default() },
        }
    }

    /// The rows that the reference gives of all of ours.
    fn ours(self, ours: &Ours<'_>, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        let from = |logits: Vec<f32>, position: usize| logits[position * N_VOCAB..].to_vec();
        Ok(match self {
            Way::OneByOne => ours.logits(tokens, 0)?,
            Way::Prefix => from(ours.logits(tokens, N_PROMPT)?, N_PROMPT - 1),
            Way::Queries => {
                let n = tokens.len();
                let rotated = |q: usize| (0..n).map(|i| tokens[(i + q) % n]).collect();
                ours.queries(&(0..N_QUERIES).map(rotated).collect::<Vec<Vec<u32>>>())?
            }
            Way::Turns => {
                let all = ours.logits(tokens, 0)?;
                let rows = all.chunks(N_VOCAB).skip(TURN.0 - 1).step_by(TURN.0);
                rows.flatten().copied().collect()
            }
        })
    }
}

/// A toy's file, on disk for the reference and in memory for us.
struct Case {
    name: String,
    toy: GemmaToy,
    bytes: Vec<u8>,
    sbs: SbsFile,
}

fn cases() -> Result<Vec<Case>, Error> {
    let mut cases = Vec::new();
    for toy in TOYS {
        for weight in WEIGHTS {
            // The size with the odd rotation once.
            if toy.name == "gemma3-270m" && weight != Type::Bf16 {
                continue;
            }
            let name = format!("{} {weight}", toy.name);
            let bytes = toy.sbs(weight)?;
            let sbs = open(&name, bytes.clone())?;
            cases.push(Case { name, toy, bytes, sbs });
        }
    }
    Ok(cases)
}

/// What the reference says in one way, and how far it is from itself in others.
fn reference(
    checkout: &GemmaCheckout,
    file: &Path,
    way: Way,
    tokens: &[u32],
) -> Result<(Vec<f32>, f64), Error> {
    let options = way.options();
    let base = checkout.logits(file, tokens, options)?;
    let other = checkout.logits(file, tokens, RunOptions { threads: 2, ..options })?;
    let mut spread = nmse(&base, &other);
    if way == Way::OneByOne {
        let batch = checkout.logits(file, tokens, RunOptions { prompt: N_PROMPT, ..options })?;
        spread = spread.max(nmse(&base[(N_PROMPT - 1) * N_VOCAB..], &batch));
    }
    Ok((base, spread))
}

fn judge(case: &Case, way: Way, suffix: &str, spread: f64, error: f64) -> Row {
    let bound = bound(spread);
    let note = format!("NMSE {error:.1e} <= {bound:.1e}, spread {spread:.1e}");
    let name = format!("logits {} {}{suffix}", case.name, way.name());
    let mut row = Row::judged("gemma", name, error <= bound, note);
    if row.verdict == Verdict::Deviating && case.toy.name == "gemma3-270m" {
        row.allowed_by = Some("GEMMA-ROPE".to_owned());
    } else if row.verdict == Verdict::Deviating && error <= ROUNDING {
        row.allowed_by = Some("GEMMA-BF16".to_owned());
    }
    row
}

/// Every toy in every way.
pub(super) fn audit(checkout: &GemmaCheckout, progress: &mut dyn FnMut(&str)) -> Result<Vec<Row>, Error> {
    let tokens = tokens(TOKEN_SEED, N_TOKENS);
    let mut rows = Vec::new();
    for case in cases()? {
        progress(&case.name);
        let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
        let file = dir.path().join("toy.sbs");
        std::fs::write(&file, &case.bytes).map_err(Error::io(&file))?;
        let ours = Ours::load(&case.name, &gguf(&case.name, &case.sbs)?)?;
        for way in Way::ALL.into_iter().filter(|way| way.is_for(&case.toy)) {
            let (theirs, spread) = reference(checkout, &file, way, &tokens)?;
            let error = nmse(&theirs, &way.ours(&ours, &tokens)?);
            rows.push(judge(&case, way, "", spread, error));
        }
    }
    Ok(rows)
}

/// The last positions of every toy in every way.
pub(super) fn record(checkout: &GemmaCheckout) -> Result<Vec<LogitsGolden>, Error> {
    let tokens = tokens(TOKEN_SEED, N_TOKENS);
    let mut goldens = Vec::new();
    for case in cases()? {
        let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
        let file = dir.path().join("toy.sbs");
        std::fs::write(&file, &case.bytes).map_err(Error::io(&file))?;
        for way in Way::ALL.into_iter().filter(|way| way.is_for(&case.toy)) {
            let (theirs, spread) = reference(checkout, &file, way, &tokens)?;
            goldens.push(LogitsGolden {
                case: format!("{} {}", case.name, way.name()),
                model_hash: format!("{:016x}", fnv1a(&case.bytes)),
                spread,
                logits: last(&theirs).to_vec(),
            });
        }
    }
    Ok(goldens)
}

fn last(logits: &[f32]) -> &[f32] {
    &logits[logits.len() - N_RECORDED * N_VOCAB..]
}

/// The recorded positions again.
pub(super) fn replay(goldens: &[LogitsGolden]) -> Result<Vec<Row>, Error> {
    if goldens.is_empty() {
        let verdict = Verdict::Skipped("none are recorded".to_owned());
        return Ok(vec![Row::new("gemma", "logits of small models".to_owned(), verdict, "")]);
    }
    let goldens: BTreeMap<&str, &LogitsGolden> =
        goldens.iter().map(|golden| (golden.case.as_str(), golden)).collect();
    let tokens = tokens(TOKEN_SEED, N_TOKENS);
    let mut rows = Vec::new();
    for case in cases()? {
        let ours = Ours::load(&case.name, &gguf(&case.name, &case.sbs)?)?;
        for way in Way::ALL.into_iter().filter(|way| way.is_for(&case.toy)) {
            let name = format!("{} {}", case.name, way.name());
            let Some(golden) = goldens.get(name.as_str()) else {
                rows.push(Row::new("gemma", name, Verdict::Skipped("not recorded".to_owned()), ""));
                continue;
            };
            if golden.model_hash != format!("{:016x}", fnv1a(&case.bytes)) {
                rows.push(Row::judged("gemma", name, false, "recorded with another file"));
                continue;
            }
            let error = nmse(&golden.logits, last(&way.ours(&ours, &tokens)?));
            rows.push(judge(&case, way, ", recorded", golden.spread, error));
        }
    }
    Ok(rows)
}

/// Every part of a toy, taken out on our side alone: is it told?
pub(super) fn knock_outs(goldens: &[LogitsGolden]) -> Result<Vec<Row>, Error> {
    use super::toys::without;
    let tokens = tokens(TOKEN_SEED, N_TOKENS);
    let mut rows = Vec::new();
    for case in cases()?.iter().filter(|case| case.name.ends_with(" f32")) {
        for way in [Way::OneByOne, Way::Prefix] {
            let name = format!("{} {}", case.name, way.name());
            let Some(golden) = goldens.iter().find(|golden| golden.case == name) else { continue };
            for (part, file) in without(&case.name, &gguf(&case.name, &case.sbs)?)? {
                let ours = Ours::load(&case.name, &file)?;
                let error = nmse(&golden.logits, last(&way.ours(&ours, &tokens)?));
                let told = error > ROUNDING.max(bound(golden.spread));
                let note = format!("NMSE {error:.1e} > {ROUNDING:.1e}");
                rows.push(Row::judged("gemma", format!("{name} without {part} is told"), told, note));
            }
        }
        if let Some(golden) =
            goldens.iter().find(|golden| golden.case == format!("{} with a prefix", case.name))
        {
            let ours = Ours::load(&case.name, &gguf(&case.name, &case.sbs)?)?;
            let error = nmse(&golden.logits, last(&ours.logits(&tokens, 0)?));
            let note = format!("NMSE {error:.1e} > {ROUNDING:.1e}");
            rows.push(Row::judged(
                "gemma",
                format!("{} without the prefix is told", case.name),
                error > ROUNDING,
                note,
            ));
        }
    }
    Ok(rows)
}
