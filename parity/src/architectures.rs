//! Architectures: what each is proved by.
//!
//! Three things: the reference's own toys (F32), which must be equal within 1e-9; the small models of `small`, within ten times what the
//! reference differs from itself; and their knock-outs, which must not be. `goldens/architectures` holds the reference's answers for the
//! small models and the distances of the toys, for replay without a checkout and for docs/architectures.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use quipu_cpu_backend::CpuDevice;
use quipu_gguf::GgufFile;
use quipu_kv_cache::KvLayerShape;
use quipu_model::{ARCHITECTURES, Model};
use quipu_quant::DType;
use quipu_testing::{fnv1a, nmse};
use serde::{Deserialize, Serialize};

use crate::checkout::{Checkout, LogitsRequest, floats};
use crate::encoders::{self, N_SEQ, Seen};
use crate::engine;
use crate::error::Error;
use crate::golden_files::{folder, read_json, write_json};
use crate::logits::{FLOOR, N_TOKENS, TOKEN_SEED, WEIGHT_SEED};
use crate::report::{Row, Verdict};
use crate::small::{SMALL, Small, TYPES};
use crate::tap::TapOptions;
use crate::toy::tokens;

/// Positions recorded of each small model.
const N_RECORDED: usize = 4;
/// The smaller ubatch: borders lie inside the prompt.
const SHORT: usize = 32;

/// A small model's recorded answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SmallGolden {
    /// Name and type.
    pub case: String,
    /// FNV-1a of its file, in hexadecimal.
    pub model_hash: String,
    /// The largest NMSE of the reference at ubatch 512 against itself at 32 and at 1, or without fused attention where one ubatch must hold
    /// all tokens.
    pub spread: f64,
    /// NMSE of this workspace at ubatch 512 when it was recorded.
    pub distance: f64,
    /// First value in `logits.bin`.
    pub offset: usize,
    /// Parts whose absence did not show.
    pub unproved: Vec<String>,
}

/// A toy of the reference.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ToyGolden {
    /// `general.architecture`.
    pub arch: String,
    /// The larger NMSE, of ubatches 512 and 1; `f64::MAX` of a toy that is refused here.
    pub distance: f64,
}

/// `index.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Index {
    /// How the goldens were made.
    pub provenance: BTreeMap<String, String>,
    /// The small models.
    pub small: Vec<SmallGolden>,
    /// The reference's toys by file name.
    pub toys: BTreeMap<String, ToyGolden>,
}

impl Index {
    fn folder() -> PathBuf {
        folder().join("architectures")
    }

    /// The recorded index and logits.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn read() -> Result<(Index, Vec<f32>), Error> {
        let dir = Index::folder();
        let path = dir.join("logits.bin");
        let values = floats(&std::fs::read(&path).map_err(Error::io(&path))?);
        Ok((read_json(&dir.join("index.json"))?, values))
    }

    fn of_case(&self, case: &str) -> Option<&SmallGolden> {
        self.small.iter().find(|golden| golden.case == case)
    }
}

/// Every small model in every type.
fn cases() -> impl Iterator<Item = (String, &'static Small, DType)> {
    let of_type = |small: &'static Small, dtype: DType| (format!("{} {dtype}", small.name), small, dtype);
    SMALL.iter().flat_map(move |small| small.types().iter().map(move |dtype| of_type(small, *dtype)))
}

/// How far quantised models may be from a reference without a spread: without attention it computes each token alike, whatever the ubatch,
/// and last bits still decide how activations are rounded to eight; what one rounds otherwise stays in the state. The same models in f32 are
/// held to [`FLOOR`].
const QUANTISED_FLOOR: f64 = 3e-4;

/// How far a small model may be from the reference, by the reference's own spread.
fn bound(spread: f64, dtype: DType) -> f64 {
    let floor = if dtype != DType::F32 && spread == 0.0 { QUANTISED_FLOOR } else { FLOOR };
    (10.0 * spread).max(floor)
}

impl Small {
    /// The types that it is compared in. Where rounding to blocks hides all that the reference differs from itself, there is nothing to
    /// judge a difference by. What is not compared the page calls not proved.
    pub fn types(&self) -> &'static [DType] {
        match self.name {
            // The last positions in Q8_0 are 1.7e-3 from the reference, of 1.6e-3 that its spread allows.
            "t5encoder" | "kimi-linear" => &[DType::F32],
            _ => &TYPES,
        }
    }

    /// The ubatches that are compared; the first holds all tokens.
    pub fn ubatches(&self) -> &'static [usize] {
        if self.is_whole() { &[512] } else { &[512, SHORT, 1] }
    }

    /// Those of the replay.
    pub fn replayed_ubatches(&self) -> &'static [usize] {
        if self.is_whole() { &[512] } else { &[512, SHORT] }
    }

    /// Rows that are recorded, the last ones.
    fn n_recorded(&self) -> usize {
        if let Seen::Pooled(_) = self.seen { N_SEQ } else { N_RECORDED }
    }
}

/// What of a small model is compared, by the reference at each of its ubatches, and how far it is from itself.
fn reference(checkout: &Checkout, model: &Path, small: &Small) -> Result<(Vec<Vec<f32>>, f64), Error> {
    let tokens = tokens(TOKEN_SEED, N_TOKENS);
    let mut all = Vec::new();
    let mut others = Vec::new();
    match small.seen {
        Seen::Logits => {
            for n_ubatch in small.ubatches() {
                all.push(reference_of(checkout, model, *n_ubatch, &tokens)?);
            }
        }
        Seen::LogitsAtOnce => {
            all.push(reference_of(checkout, model, 512, &tokens)?);
            let n_ubatch = 512;
            let request =
                LogitsRequest { model, tokens: &tokens, n_ubatch, prefixes: &[], flash_attn: false };
            others.push(checkout.logits(&request)?.0);
        }
        seen => {
            all.push(encoders::reference(checkout, model, &tokens, seen, true)?);
            others.push(encoders::reference(checkout, model, &tokens, seen, false)?);
        }
    }
    let spread = all[1..].iter().chain(&others).map(|other| nmse(&all[0], other)).fold(0.0, f64::max);
    Ok((all, spread))
}

fn reference_of(
    checkout: &Checkout,
    model: &Path,
    n_ubatch: usize,
    tokens: &[u32],
) -> Result<Vec<f32>, Error> {
    let request = LogitsRequest { model, tokens, n_ubatch, prefixes: &[], flash_attn: true };
    Ok(checkout.logits(&request)?.0)
}

/// What of a small model is compared, by this workspace.
fn ours_of(case: &str, small: &Small, gguf: &GgufFile, n_ubatch: usize) -> Result<Vec<f32>, Error> {
    let tokens = tokens(TOKEN_SEED, N_TOKENS);
    match small.seen {
        Seen::Logits | Seen::LogitsAtOnce => ours(case, gguf, n_ubatch, &tokens),
        seen => encoders::ours(case, gguf, &tokens, seen),
    }
}

/// Logits of all positions by this workspace.
fn ours(case: &str, gguf: &GgufFile, n_ubatch: usize, tokens: &[u32]) -> Result<Vec<f32>, Error> {
    Ok(engine::logits(case, gguf, tokens, n_ubatch, TapOptions::default())?.logits)
}

/// Whether cases of an architecture are asked for: all are, unless some are named.
fn is_wanted(only: &[String], arch: &str) -> bool {
    only.is_empty() || only.iter().any(|name| name == arch)
}

/// Compares every small model with a checkout, at three ubatches, and the reference's toys: of all architectures, or of those that are
/// named.
///
/// # Errors
/// A probe failed. What this workspace refuses is a row.
pub fn audit(
    checkout: &Checkout,
    only: &[String],
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for (case, small, dtype) in cases() {
        if !is_wanted(only, small.arch) {
            continue;
        }
        progress(&case);
        rows.extend(match compare(checkout, &case, small, dtype) {
            Ok(rows) => rows,
            Err(error) => vec![Row::judged("architectures", &case, false, error.to_string())],
        });
    }
    for (name, toy) in toys(checkout, &|_, arch| !is_wanted(only, arch), progress)? {
        let note = format!("NMSE {:.1e} <= {FLOOR:.1e}", toy.distance);
        rows.push(Row::judged("the reference's toys", name, toy.distance <= FLOOR, note));
    }
    Ok(rows)
}

fn compare(checkout: &Checkout, case: &str, small: &Small, dtype: DType) -> Result<Vec<Row>, Error> {
    let bytes = small.gguf(dtype, WEIGHT_SEED)?;
    let file = tempfile::NamedTempFile::new().map_err(Error::io("temporary file"))?;
    std::fs::write(file.path(), &bytes).map_err(Error::io(file.path()))?;
    let gguf = GgufFile::from_vec(bytes).map_err(Error::engine(case))?;
    let (theirs, spread) = reference(checkout, file.path(), small)?;
    let mut rows = Vec::new();
    for (theirs, n_ubatch) in theirs.iter().zip(small.ubatches()) {
        let error = nmse(theirs, &ours_of(case, small, &gguf, *n_ubatch)?);
        let note = format!("NMSE {error:.1e} <= {:.1e}, spread {spread:.1e}", bound(spread, dtype));
        let name = format!("{case} ubatch {n_ubatch}");
        rows.push(Row::judged("architectures", name, error <= bound(spread, dtype), note));
    }
    Ok(rows)
}

/// Writes the reference's toys with its own program and compares those whose architecture there is here.
/// Those that `skip` names, by file name and architecture, are left out.
fn toys(
    checkout: &Checkout,
    skip: &dyn Fn(&str, &str) -> bool,
    progress: &mut dyn FnMut(&str),
) -> Result<BTreeMap<String, ToyGolden>, Error> {
    let mut found = BTreeMap::new();
    let program = checkout.programs().join("test-llama-archs");
    if !program.is_file() {
        return Ok(found);
    }
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    crate::checkout::run(
        std::process::Command::new(program).arg("--out").arg(dir.path()).args(["--seed", "1"]),
    )?;
    let tokens: Vec<u32> = tokens(TOKEN_SEED, N_TOKENS).iter().map(|token| token % 128).collect();
    let entries = std::fs::read_dir(dir.path()).map_err(Error::io(dir.path()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let gguf = GgufFile::open(&path).map_err(Error::engine(&name))?;
        let arch = gguf.metadata().str("general.architecture").map_err(Error::engine(&name))?.to_owned();
        if !ARCHITECTURES.contains(&arch.as_str()) || skip(&name, &arch) {
            continue;
        }
        progress(&name);
        let distance_at = |n_ubatch| -> Result<f64, Error> {
            let ours = match ours(&name, &gguf, n_ubatch, &tokens) {
                Ok(ours) => ours,
                Err(error) => {
                    eprintln!("{name}: {error}");
                    return Ok(f64::MAX);
                }
            };
            Ok(nmse(&reference_of(checkout, &path, n_ubatch, &tokens)?, &ours))
        };
        // Where tokens see later ones, one ubatch holds all of them.
        let is_whole =
            engine::load(&name, &gguf, &CpuDevice::default()).is_ok_and(|model| model.remembers_nothing());
        let distance = if is_whole { distance_at(512)? } else { distance_at(512)?.max(distance_at(1)?) };
        found.insert(name, ToyGolden { arch, distance });
    }
    Ok(found)
}

/// Records goldens from a checkout. Models whose files are those of a golden that stands keep it, and so do the reference's toys that are
/// equal here; all are recorded anew once the folder is empty.
///
/// # Errors
/// A file could not be written; or models that one of the engines refuses, after all others were recorded.
pub fn record(checkout: &Checkout, date: &str) -> Result<(), Error> {
    let mut values = Vec::new();
    let what = format!("logits of the last {N_RECORDED} of {N_TOKENS} positions, ubatch 512, repack off");
    let mut index = Index {
        provenance: BTreeMap::from([
            ("reference".to_owned(), checkout.revision_or_recorded()),
            (
                "command".to_owned(),
                "cargo xtask parity --llama-cpp DIR --module architectures --record DATE".to_owned(),
            ),
            ("date".to_owned(), date.to_owned()),
            ("what".to_owned(), what),
        ]),
        ..Index::default()
    };
    let (standing, standing_values) = Index::read().unwrap_or_default();
    let mut refused = Vec::new();
    for (case, small, dtype) in cases() {
        let model_hash = format!("{:016x}", fnv1a(&small.gguf(dtype, WEIGHT_SEED)?));
        if let Some((golden, recorded)) = recorded(&standing, &standing_values, &case, small)
            && golden.model_hash == model_hash
        {
            index.small.push(SmallGolden { offset: values.len(), ..golden.clone() });
            values.extend_from_slice(recorded);
            continue;
        }
        match answers(checkout, &case, small, dtype) {
            Ok((golden, recorded)) => {
                index.small.push(SmallGolden { offset: values.len(), ..golden });
                values.extend_from_slice(&recorded);
            }
            Err(error) => refused.push(format!("{case}: {error}")),
        }
    }
    let stands = |name: &str| standing.toys.get(name).is_some_and(|toy| toy.distance <= FLOOR);
    index.toys = toys(checkout, &|name, _| stands(name), &mut |_| ())?;
    index.toys.extend(standing.toys.into_iter().filter(|(_, toy)| toy.distance <= FLOOR));
    let dir = Index::folder();
    std::fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
    write_json(&dir.join("index.json"), &index)?;
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(dir.join("logits.bin"), bytes).map_err(Error::io(&dir))?;
    if refused.is_empty() {
        Ok(())
    } else {
        Err(Error::Golden {
            name: "architectures".to_owned(),
            message: format!("not recorded: {}", refused.join("; ")),
        })
    }
}

/// The reference's answers for a small model, and what is to be known of them.
fn answers(
    checkout: &Checkout,
    case: &str,
    small: &Small,
    dtype: DType,
) -> Result<(SmallGolden, Vec<f32>), Error> {
    let bytes = small.gguf(dtype, WEIGHT_SEED)?;
    let file = tempfile::NamedTempFile::new().map_err(Error::io("temporary file"))?;
    std::fs::write(file.path(), &bytes).map_err(Error::io(file.path()))?;
    let (theirs, spread) = reference(checkout, file.path(), small)?;
    let whole = &theirs[0];
    let model_hash = format!("{:016x}", fnv1a(&bytes));
    let gguf = GgufFile::from_vec(bytes).map_err(Error::engine(case))?;
    let distance = nmse(whole, &ours_of(case, small, &gguf, 512)?);
    let recorded = whole[whole.len() - small.n_recorded() * small.width()..].to_vec();
    let mut unproved = Vec::new();
    if dtype == DType::F32 {
        for (part, error) in without(case, small, &recorded)? {
            if error <= bound(spread, dtype) {
                unproved.push(part.to_owned());
            }
        }
    }
    let golden = SmallGolden { case: case.to_owned(), model_hash, spread, distance, offset: 0, unproved };
    Ok((golden, recorded))
}

/// NMSE of the recorded positions, the last ones of `ours`. With experts the position that is furthest off is left out: which ones a
/// token goes to may be a tie, and then rounding decides, which is another on each instruction set.
fn distance(small: &Small, recorded: &[f32], ours: &[f32]) -> f64 {
    let ours = &ours[ours.len() - recorded.len()..];
    if !small.has_experts() {
        return nmse(recorded, ours);
    }
    let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
    let error = |(a, b): (&[f32], &[f32])| a.iter().zip(b).map(square).sum::<f64>();
    let width = small.width();
    let errors = recorded.chunks(width).zip(ours.chunks(width)).map(error);
    let worst = errors.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(at, _)| at);
    let without_worst = |logits: &[f32]| [&logits[..worst * width], &logits[(worst + 1) * width..]].concat();
    nmse(&without_worst(recorded), &without_worst(ours))
}

/// For each part of a small model, how far the model without it is from what was recorded of the whole one.
fn without(case: &str, small: &Small, recorded: &[f32]) -> Result<Vec<(&'static str, f64)>, Error> {
    let mut found = Vec::new();
    for part in small.parts() {
        let bytes = small.gguf_without(part, DType::F32, WEIGHT_SEED)?;
        let gguf = GgufFile::from_vec(bytes).map_err(Error::engine(case))?;
        let ours = ours_of(case, small, &gguf, 512)?;
        found.push((part, distance(small, recorded, &ours)));
    }
    Ok(found)
}

/// Replays the recorded logits, at ubatch 512 and at 32, whose borders lie inside the prompt.
///
/// # Errors
/// Goldens that cannot be read, or an engine that refuses.
pub fn replay() -> Result<Vec<Row>, Error> {
    let (index, values) = Index::read()?;
    let mut rows = Vec::new();
    for (case, small, dtype) in cases() {
        let Some((golden, recorded)) = recorded(&index, &values, &case, small) else {
            rows.push(Row::new("architectures", case, Verdict::Skipped("not recorded".to_owned()), ""));
            continue;
        };
        let bytes = small.gguf(dtype, WEIGHT_SEED)?;
        if format!("{:016x}", fnv1a(&bytes)) != golden.model_hash {
            let why = "the model is not the one the golden was made with";
            rows.push(Row::judged("architectures", case, false, why));
            continue;
        }
        let gguf = GgufFile::from_vec(bytes).map_err(Error::engine(&case))?;
        for n_ubatch in small.replayed_ubatches() {
            let ours = ours_of(&case, small, &gguf, *n_ubatch)?;
            let error = distance(small, recorded, &ours);
            let bound = bound(golden.spread, dtype);
            let note = format!("NMSE {error:.1e} <= {bound:.1e}, spread {:.1e}", golden.spread);
            let name = format!("{case} ubatch {n_ubatch}");
            rows.push(Row::judged("architectures", name, error <= bound, note));
        }
    }
    Ok(rows)
}

/// Takes one part after the other out of the small models: each must show, or be known not to.
///
/// # Errors
/// As [`replay`].
pub fn knock_outs() -> Result<Vec<Row>, Error> {
    let (index, values) = Index::read()?;
    let mut rows = Vec::new();
    for (case, small, _) in cases().filter(|(_, _, dtype)| *dtype == DType::F32) {
        let Some((golden, recorded)) = recorded(&index, &values, &case, small) else { continue };
        for (part, error) in without(&case, small, recorded)? {
            let shows = error > bound(golden.spread, DType::F32);
            let known = golden.unproved.iter().any(|name| name == part);
            let what = if shows { "shows" } else { "NOT PROVED: does not show" };
            let note = format!("{what}: NMSE {error:.1e}, bound {:.1e}", bound(golden.spread, DType::F32));
            rows.push(Row::judged(
                "knock-outs",
                format!("{} without {part}", small.name),
                shows || known,
                note,
            ));
        }
    }
    Ok(rows)
}

fn recorded<'a>(
    index: &'a Index,
    values: &'a [f32],
    case: &str,
    small: &Small,
) -> Option<(&'a SmallGolden, &'a [f32])> {
    let golden = index.of_case(case)?;
    Some((golden, values.get(golden.offset..golden.offset + small.n_recorded() * small.width())?))
}

/// docs/architectures.md: one row for each architecture of the code's table.
///
/// # Errors
/// Goldens that cannot be read, or a small model that does not load.
pub fn page() -> Result<String, Error> {
    let (index, _) = Index::read()?;
    let mut page = String::from(
        "# Architectures\n\n\
         Written by `cargo xtask architectures` from the table in the code and from what was recorded with the reference; a test holds it\n\
         up to date. How each is proved, docs/parity/README.md says. Distances are NMSE of logits.\n\n\
         | architecture | remembers | models of our own | their spread | their distance | the reference's toys | not proved |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for arch in ARCHITECTURES {
        let own: Vec<&Small> = SMALL.iter().filter(|small| small.arch == arch).collect();
        let goldens: Vec<&SmallGolden> = cases()
            .filter(|(_, small, _)| small.arch == arch)
            .filter_map(|(case, ..)| index.of_case(&case))
            .collect();
        let larger: Vec<&str> =
            crate::toy::TOYS.iter().filter(|toy| toy.is_of(arch)).map(|toy| toy.name).collect();
        let largest = |value: fn(&SmallGolden) -> f64| {
            let largest = goldens.iter().map(|golden| value(golden)).fold(f64::NAN, f64::max);
            if largest.is_nan() { "-".to_owned() } else { format!("{largest:.0e}") }
        };
        let toys: Vec<String> = index
            .toys
            .iter()
            .filter(|(_, toy)| toy.arch == arch)
            .map(|(name, toy)| match toy.distance {
                // Two answers of one engine that refuses.
                f64::MAX => format!("{name} refused"),
                distance => format!("{name} {distance:.0e}"),
            })
            .collect();
        let mut names = larger;
        names.extend(own.iter().map(|small| small.name));
        let mut unproved: Vec<String> = goldens
            .iter()
            .flat_map(|golden| {
                let name = golden.case.split(' ').next().unwrap_or_default();
                golden.unproved.iter().map(move |part| format!("{part} ({name})"))
            })
            .collect();
        for small in own.iter().filter(|small| !small.types().contains(&DType::Q8_0)) {
            unproved.push(format!("Q8_0 ({})", small.name));
        }
        if names.is_empty() {
            unproved.push("everything".to_owned());
        }
        let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let _ = writeln!(
            page,
            "| {arch} | {} | {} | {} | {} | {} | {} |",
            own.first().map_or(Ok("keys and values".to_owned()), |small| remembers(small))?,
            or_none(names.join(", ")),
            largest(|golden| golden.spread),
            largest(|golden| golden.distance),
            or_none(toys.join(", ")),
            or_none(unproved.join(", ")),
        );
    }
    Ok(page)
}

/// What the layers of a small model remember, in words.
fn remembers(small: &Small) -> Result<String, Error> {
    let gguf = GgufFile::from_vec(small.gguf(DType::F32, WEIGHT_SEED)?).map_err(Error::engine(small.name))?;
    let model = engine::load(small.name, &gguf, &CpuDevice::default())?;
    Ok(memory_of(&model).to_owned())
}

fn memory_of(model: &Model) -> &'static str {
    let memory = model.memory();
    let windowed = model.hparams().window().is_some();
    let recurrent = memory.iter().any(|layer| layer.state().is_some());
    let attends = memory.iter().any(|layer| layer.kv_shape() != KvLayerShape::NONE);
    match (attends, windowed, recurrent) {
        (false, _, false) => "nothing",
        (false, _, true) => "states",
        (true, false, false) => "keys and values",
        (true, true, false) => "keys and values, some within windows",
        (true, false, true) => "keys and values, and states",
        (true, true, true) => "keys and values within windows, and states",
    }
}
