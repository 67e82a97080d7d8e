//! Splitting and joining against `llama-gguf-split`, byte for byte.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::Command;

use quipu_gguf::{Gguf, GgufWriter, MergePlan, SplitLimit, SplitOptions, SplitPlan, Value};
use quipu_quant::DType;
use quipu_testing::{SplitMix, fnv1a};

use super::{MODULE, files};
use crate::checkout::{Checkout, run};
use crate::error::Error;
use crate::report::{Row, Verdict};

/// Recorded hashes of the tool's files.
const HASHES: &str = "goldens/gguf/splits.txt";
/// Seeded files that are split.
const N_FILES: u64 = 6;

/// The tool's arguments and our options for the same.
fn options() -> Vec<(&'static str, SplitOptions)> {
    let tensors = |n| SplitLimit::Tensors(NonZeroU32::new(n).expect("not 0"));
    let option = |limit, no_tensor_first_split| SplitOptions { limit, no_tensor_first_split };
    vec![
        ("", SplitOptions::default()),
        ("--split-max-tensors 1", option(tensors(1), false)),
        ("--split-max-tensors 3", option(tensors(3), false)),
        ("--split-max-tensors 7 --no-tensor-first-split", option(tensors(7), true)),
        ("--split-max-size 1M", option(SplitLimit::Bytes(1_000_000), false)),
        ("--split-max-size 1M --no-tensor-first-split", option(SplitLimit::Bytes(1_000_000), true)),
    ]
}

/// A seeded file of up to 30 tensors and, from the third on, one large enough for a limit of 1 MB.
fn input(seed: u64) -> Vec<u8> {
    let mut random = SplitMix::new(seed);
    if seed < 2 {
        return files::valid(&mut random, 30, false);
    }
    let mut w = GgufWriter::new();
    w.metadata.set("general.architecture", Value::from("llama"));
    w.metadata.set("split.count", Value::U16(9));
    w.metadata.set("some.key", Value::F32(0.5));
    let n = 8 + seed;
    for i in 0..n {
        let rows = 1 + random.below(40);
        w.add_tensor(&format!("blk.{i}.weight"), DType::F32, &[2048, rows]).expect("a new name");
    }
    let header = w.header().expect("no alignment key");
    let gguf = Gguf::parse_header(&header).expect("just written");
    let mut out = Vec::new();
    w.write_to(&mut out, |i, sink| {
        let bytes: Vec<u8> =
            (0..gguf.tensors[i].n_bytes / 8).flat_map(|_| random.next_u64().to_le_bytes()).collect();
        sink.write_all(&bytes)
    })
    .expect("memory is writable");
    out
}

/// The files `PREFIX-00001-of-N.gguf` and what joining them gives, in order; or that splitting is refused.
type Outputs = Option<Vec<Vec<u8>>>;

fn read_all(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Error> {
    paths.iter().map(|path| std::fs::read(path).map_err(Error::io(path))).collect()
}

fn made(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = std::fs::read_dir(dir).map_err(Error::io(dir))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// By the tool.
fn theirs(checkout: &Checkout, input: &Path, arguments: &str) -> Result<Outputs, Error> {
    let tool = checkout.programs().join("llama-gguf-split");
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let split = dir.path().join("split");
    std::fs::create_dir(&split).map_err(Error::io(&split))?;
    let mut command = Command::new(&tool);
    command.arg("--split").args(arguments.split_whitespace()).arg(input).arg(split.join("out"));
    if run(&mut command).is_err() {
        return Ok(None);
    }
    let paths = made(&split)?;
    let merged = dir.path().join("merged.gguf");
    run(Command::new(&tool).arg("--merge").arg(&paths[0]).arg(&merged))?;
    let mut outputs = read_all(&paths)?;
    outputs.extend(read_all(&[merged])?);
    Ok(Some(outputs))
}

/// By us.
fn ours(input: &Path, options: &SplitOptions) -> Result<Outputs, Error> {
    let fail =
        |error: quipu_gguf::Error| Error::Engine { case: "split".to_owned(), message: error.to_string() };
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let plan = match SplitPlan::new(input, options) {
        Ok(plan) => plan,
        Err(quipu_gguf::Error::SplitTooSmall { .. }) => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let prefix = dir.path().join("out");
    plan.write(&prefix, |_| {}).map_err(fail)?;
    let paths = plan.paths(&prefix);
    let merged = dir.path().join("merged.gguf");
    MergePlan::new(&paths[0]).and_then(|plan| plan.write(&merged)).map_err(fail)?;
    let mut outputs = read_all(&paths)?;
    outputs.extend(read_all(&[merged])?);
    Ok(Some(outputs))
}

fn with_input<T>(seed: u64, then: impl FnOnce(&Path) -> Result<T, Error>) -> Result<T, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let path = dir.path().join("in.gguf");
    std::fs::write(&path, input(seed)).map_err(Error::io(&path))?;
    then(&path)
}

/// One row: every seeded file with every set of options, split and joined by both.
pub(super) fn live(checkout: &Checkout) -> Result<Vec<Row>, Error> {
    let case = "split and merge as llama-gguf-split";
    if !checkout.programs().join("llama-gguf-split").is_file() {
        let why = "llama-gguf-split is not built".to_owned();
        return Ok(vec![Row::new(MODULE, case, Verdict::Skipped(why), "")]);
    }
    let (mut n_files, mut n_refused, mut wrong) = (0, 0, Vec::new());
    for seed in 0..N_FILES {
        for (arguments, options) in options() {
            with_input(seed, |path| {
                let (theirs, ours) = (theirs(checkout, path, arguments)?, ours(path, &options)?);
                n_refused += usize::from(theirs.is_none());
                n_files += theirs.as_ref().map_or(0, Vec::len);
                if theirs != ours {
                    wrong.push(format!("file {seed} with '{arguments}'"));
                }
                Ok(())
            })?;
        }
    }
    let note = format!(
        "{n_files} files byte for byte, {n_refused} cases refused by both; wrong: {}",
        wrong.join(", ")
    );
    Ok(vec![Row::judged(MODULE, case, wrong.is_empty(), note)])
}

fn line(seed: u64, arguments: &str, outputs: &Outputs) -> String {
    let mut line = format!("{seed} '{arguments}'");
    match outputs {
        None => line.push_str(" refused"),
        Some(files) => {
            for bytes in files {
                // Writing to a string cannot fail.
                let _ = write!(line, " {:016x}", fnv1a(bytes));
            }
        }
    }
    line.push('\n');
    line
}

fn lines(of: impl Fn(&Path, &str, &SplitOptions) -> Result<Outputs, Error>) -> Result<String, Error> {
    let mut text = String::new();
    for seed in 0..N_FILES {
        for (arguments, options) in options() {
            let outputs = with_input(seed, |path| of(path, arguments, &options))?;
            text.push_str(&line(seed, arguments, &outputs));
        }
    }
    Ok(text)
}

/// Records the tool's files.
pub(super) fn record(checkout: &Checkout, date: &str) -> Result<(), Error> {
    let head = format!(
        "# FNV-1a of the files llama-gguf-split makes of seeded inputs: the parts, then what --merge joins them to.\n\
         # Seed and arguments as in parity/src/gguf/splits.rs. llama.cpp {}, {date}.\n",
        checkout.revision_or_recorded()
    );
    let text = lines(|path, arguments, _| theirs(checkout, path, arguments))?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(HASHES);
    std::fs::write(&path, head + &text).map_err(Error::io(&path))
}

/// Our files against the recorded hashes.
pub(super) fn replay() -> Result<Vec<Row>, Error> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(HASHES);
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    let recorded: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let found = lines(|path, _, options| ours(path, options))?;
    let wrong: Vec<&str> = found.lines().zip(&recorded).filter(|(a, b)| a != *b).map(|(a, _)| a).collect();
    let ok = wrong.is_empty() && found.lines().count() == recorded.len();
    let note = format!("{} cases, wrong: {}", recorded.len(), wrong.join(", "));
    Ok(vec![Row::judged(MODULE, "split and merge, recorded hashes", ok, note)])
}
