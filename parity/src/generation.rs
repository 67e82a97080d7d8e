//! Generated tokens: same prompt, same chain, same seed, same ids, from the demo model and from toys.
//!
//! The reference generates by the public functions of llama.h alone. A run that parts from it is taken apart
//! (`proof`): it counts as a near tie only if our chain gives the reference's id over the reference's logits and
//! the choice hangs on the two engines' difference. A parting that is not shown to be one is a deviation nothing
//! allows. Where both engines compute in f32 all the way, fewer than one run in a hundred may part at all.

pub mod chains;
mod proof;
mod reference;
mod subject;

use std::collections::BTreeMap;

use quipu_decoder::{Batch, Context};
use quipu_quant::DType;
use quipu_testing::{SplitMix, nmse};
use serde::{Deserialize, Serialize};

use self::proof::{Evidence, Finding};
use self::reference::Reference;
pub use self::subject::{N_PREDICT, N_RUNS, Request, Setting, Subject, demo_model};
use crate::checkout::Checkout;
use crate::error::Error;
use crate::logits::bound;
use crate::report::{Row, Verdict};

/// One recorded run of the reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerationCase {
    /// Model and weights.
    pub model: String,
    /// Whether the reference fused attention.
    pub fused: bool,
    /// Whether it cached keys and values in F32 rather than F16.
    pub f32_cache: bool,
    /// The chain's line.
    pub chain: String,
    /// What the reference is from itself over these ids: the larger NMSE of one ubatch and of its other attention.
    pub spread: f64,
    /// Prompt ids.
    pub prompt: String,
    /// The ids generated.
    pub expected: String,
}

/// `generation.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenerationGolden {
    /// How it was made.
    pub provenance: BTreeMap<String, String>,
    /// The cases.
    pub cases: Vec<GenerationCase>,
}

/// Partings of a subject that are told in full.
const N_NOTES: usize = 2;
/// Runs recorded of each model: the default chain, and all others.
const N_RECORDED: usize = 24;

/// Generates everything with both engines and compares.
///
/// # Errors
/// A probe failed or the engine refused.
pub fn audit(checkout: &Checkout, progress: &mut dyn FnMut(&str)) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for subject in Subject::all()? {
        let row = compare(checkout, &subject, &subject.requests()?, N_NOTES)?;
        progress(&format!("{}: {}", row.case, row.note));
        rows.push(row);
    }
    Ok(rows)
}

/// One model under one setting. Of the partings the first `n_notes` are told in full, and every one that is not shown to be a
/// near tie.
pub(crate) fn compare(
    checkout: &Checkout,
    subject: &Subject,
    requests: &[Request],
    n_notes: usize,
) -> Result<Row, Error> {
    let reference = Reference::new(checkout, subject)?;
    let expected = reference.generate(subject, subject.setting, requests)?;
    let mut context = subject.context()?;
    let itself = reference.generate(subject, subject.setting.other_attention(), requests)?;
    let n_parted_itself = itself.iter().zip(&expected).filter(|(a, b)| a != b).count();
    let mut tally = Tally { n_runs: requests.len(), n_parted_itself, n_notes, ..Tally::default() };
    for (number, (request, expected)) in requests.iter().zip(&expected).enumerate() {
        let ids = generate(subject, &mut context, request, expected.len())?;
        let same = ids.iter().zip(expected).take_while(|(a, b)| a == b).count();
        tally.n_ids += same;
        if ids == *expected {
            continue;
        }
        let finding = match expected.get(..=same) {
            Some(ids) => Some(take_apart(subject, &reference, &mut context, request, ids)?),
            None => None,
        };
        tally.add(&format!("#{number} {}", chains::kind(&request.chain)), finding.as_ref());
    }
    Ok(tally.row(subject))
}

/// Both engines' logits up to the first id that differs, and what follows from them.
fn take_apart(
    subject: &Subject,
    reference: &Reference<'_>,
    context: &mut Context,
    request: &Request,
    ids: &[u32],
) -> Result<Finding, Error> {
    let (prompt, setting) = (&request.prompt, subject.setting);
    let common = &ids[..ids.len() - 1];
    let theirs = reference.logits(setting, prompt, common, false)?;
    let whole = reference.logits(setting, prompt, common, true)?;
    let mut spread = nmse(&theirs, &whole);
    // Where nothing is rounded to f16 or less, what fused attention rounds is no excuse for us.
    if !subject.strict {
        spread =
            spread.max(nmse(&theirs, &reference.logits(setting.other_attention(), prompt, common, false)?));
    }
    let ours = forced(subject, context, prompt, common)?;
    let texts = subject.texts();
    proof::examine(&Evidence {
        chain: &request.chain,
        texts: texts.as_ref(),
        n_vocab: theirs.len() / ids.len(),
        ids,
        ours: &ours,
        theirs: &theirs,
        spread,
    })
}

/// Quipu's logits after the prompt and after each of `ids`.
fn forced(subject: &Subject, context: &mut Context, prompt: &[u32], ids: &[u32]) -> Result<Vec<f32>, Error> {
    let fail = Error::engine::<quipu_decoder::Error>(&subject.name);
    context.memory_mut().clear();
    context.decode(&Batch::single(prompt)).map_err(&fail)?;
    let mut rows = context.logits(-1).map_err(&fail)?.to_vec();
    for id in ids {
        context.decode(&Batch::single(&[*id])).map_err(&fail)?;
        rows.extend_from_slice(context.logits(-1).map_err(&fail)?);
    }
    Ok(rows)
}

/// Up to `n` ids, fewer if one ends generation.
fn generate(
    subject: &Subject,
    context: &mut Context,
    request: &Request,
    n: usize,
) -> Result<Vec<u32>, Error> {
    let fail = Error::engine::<quipu_decoder::Error>(&subject.name);
    context.memory_mut().clear();
    let mut chain = None;
    let mut batch = Batch::single(&request.prompt);
    let mut ids = Vec::new();
    while ids.len() < n {
        context.decode(&batch).map_err(&fail)?;
        let logits = context.logits(-1).map_err(&fail)?;
        let chain = match &mut chain {
            Some(chain) => chain,
            None => chain.insert(chains::parse(&request.chain, logits.len(), subject.texts().as_ref())?),
        };
        let id = chain.sample(logits).map_err(Error::engine(&subject.name))?;
        ids.push(id);
        if subject.is_end(id) {
            break;
        }
        batch = Batch::single(&[id]);
    }
    Ok(ids)
}

/// Counts of one model's runs.
#[derive(Debug, Default)]
struct Tally {
    n_runs: usize,
    n_ids: usize,
    /// Runs in which the reference parts from itself with its other attention.
    n_parted_itself: usize,
    n_parted: usize,
    n_shown: usize,
    n_draws: usize,
    n_filters: usize,
    /// Partings told in full.
    n_notes: usize,
    /// The first partings, and every one that is not shown.
    notes: Vec<String>,
}

impl Tally {
    fn add(&mut self, run: &str, finding: Option<&Finding>) {
        self.n_parted += 1;
        let shown = finding.is_some_and(Finding::is_shown);
        self.n_shown += usize::from(shown);
        if let Some(finding) = finding {
            self.n_filters += usize::from(matches!(finding.cause, proof::Cause::Filter { .. }));
            self.n_draws += usize::from(matches!(finding.cause, proof::Cause::Draw { .. }));
        }
        if self.n_parted <= self.n_notes || !shown {
            let why = finding.map_or("ours goes on where the reference ends".to_owned(), Finding::note);
            let not = if shown { "" } else { "NOT SHOWN " };
            self.notes.push(format!("{run} {not}{why}"));
        }
    }

    /// Equal: all runs but fewer than one in a hundred, and those shown. More, all shown, is what the list of
    /// deviations allows where the engines' arithmetic is not the same.
    fn row(&self, subject: &Subject) -> Row {
        let all_shown = self.n_shown == self.n_parted;
        let ok = all_shown && self.n_parted * 100 < self.n_runs;
        let mut note = format!(
            "{} runs of up to {} ids ({} ids): {} equal, {} part, {} of these shown to be near ties \
             ({} draws, {} other candidates); the reference parts from itself with its other attention in {}",
            self.n_runs,
            subject.n_predict,
            self.n_ids,
            self.n_runs - self.n_parted,
            self.n_parted,
            self.n_shown,
            self.n_draws,
            self.n_filters,
            self.n_parted_itself
        );
        for more in &self.notes {
            note = format!("{note}; {more}");
        }
        let mut row = Row::judged("generation", subject.label(), ok, note);
        if !ok && all_shown && !subject.strict {
            row.allowed_by = Some("NEAR-TIE".to_owned());
        }
        row
    }
}

/// Asks the reference for the runs to be recorded.
///
/// # Errors
/// A probe failed.
pub fn record(checkout: &Checkout) -> Result<Vec<GenerationCase>, Error> {
    let mut cases = Vec::new();
    for subject in recorded()? {
        let reference = Reference::new(checkout, &subject)?;
        let requests = subject.requests()?;
        let setting = subject.setting;
        for (request, expected) in requests.iter().zip(reference.generate(&subject, setting, &requests)?) {
            let logits = |setting, whole| reference.logits(setting, &request.prompt, &expected, whole);
            let own = logits(setting, false)?;
            let whole = nmse(&own, &logits(setting, true)?);
            let other = nmse(&own, &logits(setting.other_attention(), false)?);
            cases.push(GenerationCase {
                model: subject.name.clone(),
                fused: setting.fused,
                f32_cache: setting.kv == DType::F32,
                chain: request.chain.clone(),
                spread: whole.max(other),
                prompt: words(&request.prompt),
                expected: words(&expected),
            });
        }
    }
    Ok(cases)
}

/// What is recorded: where few runs part, so that a replay on another processor has little to explain.
fn recorded() -> Result<Vec<Subject>, Error> {
    let mut subjects = vec![
        Subject::new("stories F32", Setting::F32, N_RECORDED, true)?,
        Subject::new("stories F16", Setting::DEFAULT, N_RECORDED, false)?,
    ];
    for toy in ["llama-plain", "qwen2-plain", "qwen3-plain", "gpt2-plain"] {
        subjects.push(Subject::new(&format!("{toy} F32 peaked"), Setting::F32, N_RECORDED, true)?);
    }
    Ok(subjects)
}

fn words(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

fn ids(case: &GenerationCase, words: &str) -> Result<Vec<u32>, Error> {
    let fail = |error: std::num::ParseIntError| Error::Golden {
        name: format!("{} {}", case.model, case.chain),
        message: error.to_string(),
    };
    words.split_whitespace().map(|word| word.parse().map_err(fail)).collect()
}

/// Generates what was recorded, one row per run.
///
/// A run that parts is a near tie if our chain draws the recorded id there with logits off by noise as large as
/// three times the reference's own spread; without the reference's logits more cannot be shown.
///
/// # Errors
/// The engine refused, or a case that cannot be read.
pub fn replay(cases: &[GenerationCase]) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for subject in recorded()? {
        let mut context = subject.context()?;
        let of_subject = |case: &&GenerationCase| {
            let setting =
                Setting { fused: case.fused, kv: if case.f32_cache { DType::F32 } else { DType::F16 } };
            case.model == subject.name && setting == subject.setting
        };
        for (number, case) in cases.iter().filter(of_subject).enumerate() {
            let request = Request { prompt: ids(case, &case.prompt)?, chain: case.chain.clone() };
            let expected = ids(case, &case.expected)?;
            let found = generate(&subject, &mut context, &request, expected.len())?;
            let same = found.iter().zip(&expected).take_while(|(a, b)| a == b).count();
            let name = format!("{} {} #{number}", subject.label(), chains::kind(&case.chain));
            let mut row = Row::judged("generation", name, found == expected, format!("{same} ids equal"));
            if row.verdict == Verdict::Deviating
                && let Some(ids) = expected.get(..=same)
                && near_tie(&subject, &mut context, &request, ids, case.spread)?
            {
                row.allowed_by = Some("NEAR-TIE".to_owned());
                row.note += ", a near tie there";
            }
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Whether the chain draws the last of `ids` in one of a thousand tries with noise as large as allowed.
fn near_tie(
    subject: &Subject,
    context: &mut Context,
    request: &Request,
    ids: &[u32],
    spread: f64,
) -> Result<bool, Error> {
    let Some((expected, common)) = ids.split_last() else { return Ok(false) };
    let logits = forced(subject, context, &request.prompt, common)?;
    let n_vocab = logits.len() / ids.len();
    let power: f64 = logits.iter().map(|l| f64::from(*l) * f64::from(*l)).sum();
    let sigma = (bound(spread) * power / logits.len() as f64).sqrt() as f32;
    let mut chain = chains::parse(&request.chain, n_vocab, subject.texts().as_ref())?;
    let (before, last) = logits.split_at(common.len() * n_vocab);
    for row in before.chunks(n_vocab) {
        chain.sample(row).map_err(Error::engine(&subject.name))?;
    }
    let mut random = SplitMix::new(1);
    Ok((0..1000).any(|_| {
        let moved: Vec<f32> = last.iter().map(|l| l + sigma * random.normal()).collect();
        chain.clone().sample(&moved).is_ok_and(|id| id == *expected)
    }))
}
