//! The `gguf` rows: what the reference's reader accepts, what it reads, what its writer and its splitter write.
//!
//! Verdicts are taken at two depths: the header alone (`no_alloc`) and with the tensor data as one block. A file that
//! crashes the reference counts as refused. Where the reference accepts, every field is compared, and the header as
//! both write it again.

mod dump;
mod files;
mod open_time;
mod splits;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use quipu_gguf::{Error as GgufError, Gguf, GgufWriter};

use crate::checkout::{Checkout, run};
use crate::error::Error;
use crate::report::{Row, Verdict};

pub(crate) const MODULE: &str = "gguf";
/// Random and mutated files of a live audit.
const N_RANDOM: usize = 12_000;
/// Files the reference's writer makes for a live audit.
const N_WRITTEN: usize = 1_000;
/// Seeds for each kind of the reference's own hand-crafted files.
const N_KIND_SEEDS: usize = 2;
/// Verdicts of the reference on the malformed files.
const VERDICTS: &str = "goldens/gguf/verdicts.txt";

/// What a reader makes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Refused,
    Accepted,
    Crashed,
}

impl Answer {
    fn of(code: u8) -> Answer {
        match code {
            0 => Answer::Refused,
            1 => Answer::Accepted,
            _ => Answer::Crashed,
        }
    }

    fn of_letter(letter: u8) -> Answer {
        match letter {
            b'a' => Answer::Accepted,
            b'c' => Answer::Crashed,
            _ => Answer::Refused,
        }
    }

    fn letter(self) -> char {
        match self {
            Answer::Refused => 'r',
            Answer::Accepted => 'a',
            Answer::Crashed => 'c',
        }
    }
}

/// The reference's answer to one file.
#[derive(Clone, Debug)]
struct Reference {
    header: Answer,
    data: Answer,
    dump: Vec<u8>,
}

/// All rows: live with a checkout, and with the GGUF files of `folders` read and written again; without one what
/// was recorded.
///
/// # Errors
/// A probe or a file could not be used.
pub fn audit(checkout: Option<&Checkout>, folders: &[PathBuf]) -> Result<Vec<Row>, Error> {
    let Some(checkout) = checkout else {
        let mut rows = vec![replay_verdicts()?];
        rows.extend(splits::replay()?);
        return Ok(rows);
    };
    let mut rows = Vec::new();
    rows.extend(verdicts(checkout, "malformed files", &malformed()?)?);
    rows.extend(verdicts(checkout, "files of test-gguf", &kinds(checkout)?)?);
    rows.extend(verdicts(checkout, "random and mutated files", &files::random(N_RANDOM))?);
    rows.push(written_by_the_reference(checkout)?);
    for folder in folders {
        rows.push(rewritten(folder)?);
    }
    rows.extend(splits::live(checkout)?);
    rows.push(open_time::row(checkout)?);
    Ok(rows)
}

/// Records the verdicts on the malformed files and the hashes of split and joined files.
///
/// # Errors
/// A probe or a file could not be used.
pub fn record(checkout: &Checkout, date: &str) -> Result<(), Error> {
    let files = malformed()?;
    let answers = ask(checkout, files.iter().map(|(_, bytes)| bytes.as_slice()))?;
    let head = format!(
        "# What gguf_init_from_file made of crates/gguf/tests/malformed: header only, with data.\n\
         # a accepted, r refused, c crashed. llama.cpp {}, {date}.\n",
        checkout.revision_or_recorded()
    );
    let lines: Vec<String> = files
        .iter()
        .zip(&answers)
        .map(|((name, _), a)| format!("{name} {}{}\n", a.header.letter(), a.data.letter()))
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(VERDICTS);
    std::fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(Error::io(&path))?;
    std::fs::write(&path, head + &lines.concat()).map_err(Error::io(&path))?;
    splits::record(checkout, date)
}

/// The files of `crates/gguf/tests/malformed`, by name.
fn malformed() -> Result<Vec<(String, Vec<u8>)>, Error> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/gguf/tests/malformed");
    let paths = gguf_files(&dir)?;
    paths
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, std::fs::read(&path).map_err(Error::io(&path))?))
        })
        .collect()
}

fn gguf_files(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = std::fs::read_dir(dir).map_err(Error::io(dir))?;
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "gguf"))
        .collect();
    paths.sort();
    Ok(paths)
}

/// The hand-crafted files of the checkout's tests/test-gguf.cpp.
fn kinds(checkout: &Checkout) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let out = dir.path().join("kinds");
    run(Command::new(checkout.probe("gguf_kinds")?).arg(N_KIND_SEEDS.to_string()).arg(&out))?;
    let parts = unpack(&std::fs::read(&out).map_err(Error::io(&out))?)?;
    Ok(parts
        .chunks_exact(2)
        .map(|pair| (String::from_utf8_lossy(&pair[0]).into_owned(), pair[1].clone()))
        .collect())
}

/// The reference's answers to files.
fn ask<'a>(checkout: &Checkout, files: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Reference>, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let (input, output) = (dir.path().join("in"), dir.path().join("out"));
    let mut container = Vec::new();
    for bytes in files {
        container.extend((bytes.len() as u64).to_le_bytes());
        container.extend(bytes);
    }
    std::fs::write(&input, container).map_err(Error::io(&input))?;
    run(Command::new(checkout.probe("gguf")?).arg("check").arg(&input).arg(&output))?;
    let out = std::fs::read(&output).map_err(Error::io(&output))?;
    let mut rest = out.as_slice();
    let mut answers = Vec::new();
    while let Some((&[header, data], tail)) = rest.split_first_chunk::<2>() {
        let (len, tail) = tail.split_first_chunk::<8>().ok_or_else(cut_short)?;
        let len = u64::from_le_bytes(*len) as usize;
        let (dump, tail) = tail.split_at_checked(len).ok_or_else(cut_short)?;
        answers.push(Reference { header: Answer::of(header), data: Answer::of(data), dump: dump.to_vec() });
        rest = tail;
    }
    Ok(answers)
}

fn cut_short() -> Error {
    Error::Program { program: "gguf probe".to_owned(), message: "output cut short".to_owned() }
}

fn unpack(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (len, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut_short)?;
        let (part, rest) = rest.split_at_checked(u64::from_le_bytes(*len) as usize).ok_or_else(cut_short)?;
        parts.push(part.to_vec());
        bytes = rest;
    }
    Ok(parts)
}

/// Our verdicts: header only, and with data.
fn ours(bytes: &[u8]) -> (Result<Gguf, GgufError>, Result<(), GgufError>) {
    let header = Gguf::parse_header(bytes);
    let data = Gguf::parse(bytes).and_then(|gguf| gguf.check_padded_data(bytes.len() as u64));
    (header, data)
}

/// How one file compares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    BothAccept,
    BothRefuse,
    /// We refuse what the reference accepts, for a reason that is listed.
    Stricter(&'static str),
    /// We accept what crashes the reference, which is listed.
    Sturdier(&'static str),
    Wrong(String),
}

fn compare(bytes: &[u8], reference: &Reference) -> Outcome {
    let (header, data) = ours(bytes);
    let verdict = |answer: Answer, error: Option<&GgufError>| match (answer, error) {
        (Answer::Accepted, None) | (Answer::Refused | Answer::Crashed, Some(_)) => Ok(None),
        (Answer::Accepted, Some(error)) => match error {
            GgufError::KeyNotUtf8 { .. } | GgufError::TensorNameNotText { .. } => {
                Ok(Some(Outcome::Stricter("GGUF-UTF8")))
            }
            GgufError::AlignmentType { .. } => Ok(Some(Outcome::Stricter("GGUF-ALIGN"))),
            error => Err(format!("refused only by us: {error}")),
        },
        (Answer::Crashed, None) => {
            // It divides by the extents behind the first.
            let zero = |gguf: &Gguf| gguf.tensors.iter().any(|t| t.ne[1..].contains(&0));
            match &header {
                Ok(gguf) if zero(gguf) => Ok(Some(Outcome::Sturdier("GGUF-ZERO"))),
                _ => Err("crashes the reference, accepted by us".to_owned()),
            }
        }
        (Answer::Refused, None) => Err("accepted only by us".to_owned()),
    };
    for (depth, answer, error) in
        [("header", reference.header, header.as_ref().err()), ("data", reference.data, data.as_ref().err())]
    {
        match verdict(answer, error) {
            Ok(None) => {}
            Ok(Some(outcome)) => return outcome,
            Err(why) => return Outcome::Wrong(format!("{depth}: {why}")),
        }
    }
    match header {
        Err(_) => Outcome::BothRefuse,
        Ok(gguf) if dump::of(&gguf) == reference.dump => Outcome::BothAccept,
        Ok(_) => Outcome::Wrong("read differently".to_owned()),
    }
}

/// Rows for a set of files: one for those that must agree, one for each listed deviation that occurred.
fn verdicts(checkout: &Checkout, what: &str, files: &[(String, Vec<u8>)]) -> Result<Vec<Row>, Error> {
    let answers = ask(checkout, files.iter().map(|(_, bytes)| bytes.as_slice()))?;
    if answers.len() != files.len() {
        return Err(cut_short());
    }
    let n_crashed =
        answers.iter().filter(|a| a.header == Answer::Crashed || a.data == Answer::Crashed).count();
    let n_dumped = answers.iter().filter(|a| a.header == Answer::Accepted).count();
    let mut counts: BTreeMap<Outcome, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for ((name, bytes), reference) in files.iter().zip(&answers) {
        let outcome = compare(bytes, reference);
        if let Outcome::Wrong(why) = &outcome {
            wrong.push(format!("{name}: {why}"));
        } else {
            *counts.entry(outcome).or_default() += 1;
        }
    }
    let count = |outcome: &Outcome| counts.get(outcome).copied().unwrap_or(0);
    let note = format!(
        "{} files: {} accepted with every field equal, {} refused by both, {n_crashed} crash the reference \
         ({n_dumped} headers accepted by it); {} wrong {}",
        files.len(),
        count(&Outcome::BothAccept),
        count(&Outcome::BothRefuse),
        wrong.len(),
        wrong.iter().take(5).cloned().collect::<Vec<_>>().join("; ")
    );
    let mut rows = vec![Row::judged(MODULE, what, wrong.is_empty(), note)];
    for (outcome, n) in counts {
        let (id, text) = match outcome {
            Outcome::Stricter(id) => (id, "refused by us, accepted by the reference"),
            Outcome::Sturdier(id) => (id, "accepted by us, a crash of the reference"),
            _ => continue,
        };
        let row = Row::new(MODULE, what, Verdict::Deviating, format!("{n} files {text}"));
        rows.push(Row { allowed_by: Some(id.to_owned()), ..row });
    }
    Ok(rows)
}

/// The recorded verdicts on the malformed files, against ours.
fn replay_verdicts() -> Result<Row, Error> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(VERDICTS);
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    let recorded: BTreeMap<&str, &str> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' ')).collect();
    let files = malformed()?;
    let mut wrong = Vec::new();
    for (name, bytes) in &files {
        let Some(&[header, data]) = recorded.get(name.as_str()).map(|letters| letters.as_bytes()) else {
            wrong.push(format!("{name}: not recorded"));
            continue;
        };
        let dump = Gguf::parse_header(bytes).map(|gguf| dump::of(&gguf)).unwrap_or_default();
        let reference = Reference { header: Answer::of_letter(header), data: Answer::of_letter(data), dump };
        if let Outcome::Wrong(why) = compare(bytes, &reference) {
            wrong.push(format!("{name}: {why}"));
        }
    }
    let note = format!("{} files, {} wrong {}", files.len(), wrong.len(), wrong.join("; "));
    let complete = recorded.len() == files.len();
    Ok(Row::judged(MODULE, "malformed files, recorded verdicts", wrong.is_empty() && complete, note))
}

/// Random files of `gguf_write_to_file`, read and written again by us.
fn written_by_the_reference(checkout: &Checkout) -> Result<Row, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let out = dir.path().join("written");
    let args = ["write", "1", &N_WRITTEN.to_string()];
    run(Command::new(checkout.probe("gguf")?).args(args).arg(&out))?;
    let files = unpack(&std::fs::read(&out).map_err(Error::io(&out))?)?;
    let different = files.iter().filter(|bytes| !is_rewritten_equal(bytes)).count();
    let ok = different == 0 && files.len() == N_WRITTEN;
    let note = format!("{} files, {different} not byte-identical after reading and writing", files.len());
    Ok(Row::judged(MODULE, "round trip of random files of gguf_write_to_file", ok, note))
}

/// Whether reading and writing gives the same bytes; files without data stay without.
fn is_rewritten_equal(bytes: &[u8]) -> bool {
    let Ok(gguf) = Gguf::parse_header(bytes) else { return false };
    let writer = GgufWriter::from_gguf(&gguf);
    if gguf.check_data(bytes.len() as u64).is_err() {
        return writer.header().is_ok_and(|header| header == bytes);
    }
    let mut again = Comparing { rest: bytes };
    let done = writer.write_to(&mut again, |i, sink| {
        let tensor = &gguf.tensors[i];
        let start = (gguf.data_offset + tensor.offset) as usize;
        sink.write_all(&bytes[start..start + tensor.n_bytes as usize])
    });
    done.is_ok() && again.rest.is_empty()
}

/// Takes exactly the bytes it expects.
struct Comparing<'a> {
    rest: &'a [u8],
}

impl std::io::Write for Comparing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.rest = self.rest.strip_prefix(bytes).ok_or(std::io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// All GGUF files of a folder, read and written again.
fn rewritten(folder: &Path) -> Result<Row, Error> {
    let case = format!("round trip of the files of {}", folder.display());
    let paths = gguf_files(folder)?;
    let mut different = Vec::new();
    let mut n_bytes = 0;
    for path in &paths {
        let file = quipu_gguf::GgufFile::open(path).map_err(Error::engine(&path.display().to_string()))?;
        n_bytes += file.source().in_place().unwrap_or_default().len();
        if !is_rewritten_equal(file.source().in_place().unwrap_or_default()) {
            different.push(path.display().to_string());
        }
    }
    if paths.is_empty() {
        return Ok(Row::new(MODULE, case, Verdict::Skipped("no GGUF files".to_owned()), ""));
    }
    let note =
        format!("{} files, {n_bytes} bytes, not byte-identical: {}", paths.len(), different.join(", "));
    Ok(Row::judged(MODULE, case, different.is_empty(), note))
}
