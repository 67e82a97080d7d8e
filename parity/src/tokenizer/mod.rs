//! Tokenizers: every family, every pre-tokenizer by name, id for id, piece for piece.
//!
//! Real vocabularies come from the folder beside the checkout; where there is none, `compose` makes one and the
//! reference reads the same file. What is compared is said by the names of the rows.

pub mod compose;
#[path = "../../../crates/tokenizer/tests/common/corpus.rs"]
mod corpus;
mod special;
mod texts;

use std::path::{Path, PathBuf};
use std::process::Command;

use quipu_gguf::GgufFile;
use quipu_tokenizer::{TokenAttr, TokenId, Tokenizer, VocabData, VocabType, pre_tokenizer_names};

use crate::checkout::{Checkout, run};
use crate::error::Error;
use crate::report::{Row, Verdict};
use texts::Texts;

/// Random texts per family in a live audit, at least; shared out over the family's vocabularies.
const N_TEXTS: usize = 1_000_000;
/// Of these, texts for each of the many BPE vocabularies; the rest is for one that the reference is quick with: where it
/// leaves splitting to a general engine it takes milliseconds for a text.
const N_TEXTS_BPE: usize = 2_000;
/// Texts for each vocabulary of `special`.
const N_TEXTS_SPECIAL: usize = 4_000;
/// What a call that failed leaves as a fingerprint.
const FAILED: u32 = u32::MAX;
/// Fingerprints of a text: ids in the four combinations of `add_special` and `parse_special`, and the text that
/// the last of them give back in two ways.
const N_PRINTS: usize = 6;

/// The folder of real vocabularies that lies beside the checkout of the project, if it does.
pub fn vocabulary_folder() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // A linked working tree may lie one folder deeper.
    [root.join("shared/vocab"), root.join("../shared/vocab")].into_iter().find(|dir| dir.is_dir())
}

/// A vocabulary to audit.
struct Subject {
    name: String,
    path: PathBuf,
    tokenizer: Tokenizer,
}

impl Subject {
    fn open(name: String, path: PathBuf) -> Result<Subject, Error> {
        let file = GgufFile::open(&path).map_err(Error::engine(&name))?;
        let tokenizer = Tokenizer::from_gguf(file.metadata()).map_err(Error::engine(&name))?;
        Ok(Subject { name, path, tokenizer })
    }

    fn composed(name: &str, data: &VocabData, folder: &Path) -> Result<Subject, Error> {
        let path = folder.join(format!("{name}.gguf"));
        std::fs::write(&path, compose::gguf(data)?).map_err(Error::io(&path))?;
        Subject::open(name.to_owned(), path)
    }

    /// Whether it is one of `special`.
    fn is_special(&self) -> bool {
        self.name.starts_with("special ")
    }

    fn special_texts(&self) -> Vec<&[u8]> {
        let special = TokenAttr::CONTROL | TokenAttr::USER_DEFINED | TokenAttr::UNKNOWN;
        let ids = 0..self.tokenizer.n_tokens() as TokenId;
        ids.filter(|&id| self.tokenizer.attr(id).is_ok_and(|attr| attr.intersects(special)))
            .filter_map(|id| self.tokenizer.text(id).ok())
            .collect()
    }

    fn random_texts(&self, n: usize) -> Texts {
        let special: Vec<&[u8]> = self.special_texts();
        let seed = quipu_testing::fnv1a(self.name.as_bytes());
        if self.is_special() {
            texts::around_specials(seed, n, &special)
        } else {
            texts::random(seed, n, &special)
        }
    }
}

/// Every vocabulary: the reference's own test strings with their expected ids (no checkout needed), and with one
/// all that is compared live.
///
/// # Errors
/// A probe failed or a file could not be read.
pub fn tokenizers(checkout: Option<&Checkout>) -> Result<Vec<Row>, Error> {
    let folder = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let mut rows = Vec::new();
    let mut subjects = real()?;
    if subjects.is_empty() {
        let why = "no vocabularies beside the checkout".to_owned();
        rows.push(Row::new("tokenizer", "real vocabularies", Verdict::Skipped(why), ""));
    }
    for subject in &subjects {
        rows.push(expected_ids(subject)?);
    }
    let composed = composed(folder.path(), &[])?;
    rows.push(summary(&recorded(&composed)?));
    subjects.extend(composed);
    let Some(checkout) = checkout else {
        let why =
            "no checkout; answers recorded for real vocabularies are replayed by quipu-tokenizer's tests";
        let why = why.to_owned();
        rows.push(Row::new("tokenizer", "all families live", Verdict::Skipped(why), ""));
        return Ok(rows);
    };
    let live = Live { checkout, folder: folder.path() };
    for n_tokens in [0, 50] {
        let subject =
            Subject::composed(&format!("none of {n_tokens}"), &special::none(n_tokens), folder.path())?;
        rows.push(live.table(&subject)?);
    }
    rows.push(live.refused()?);
    for family in
        [VocabType::Spm, VocabType::Bpe, VocabType::Wpm, VocabType::Ugm, VocabType::Rwkv, VocabType::Plamo2]
    {
        let (special, members): (Vec<&Subject>, Vec<&Subject>) = subjects
            .iter()
            .filter(|subject| subject.tokenizer.vocab_type() == family)
            .partition(|subject| subject.is_special());
        for subject in special {
            rows.push(live.table(subject)?);
            let texts = subject.random_texts(N_TEXTS_SPECIAL);
            rows.push(live.texts(subject, "texts around special tokens", &texts, N_PRINTS)?);
        }
        let share = N_TEXTS.div_ceil(members.len().max(1)).min(match family {
            VocabType::Bpe => N_TEXTS_BPE,
            _ => N_TEXTS,
        });
        let quick = members.iter().position(|subject| subject.name.ends_with("gpt-2")).unwrap_or(0);
        for (i, subject) in members.iter().enumerate() {
            rows.push(live.table(subject)?);
            let n_others = members.len().saturating_sub(1) * share;
            let n = if i == quick { N_TEXTS.saturating_sub(n_others) } else { share };
            rows.push(live.texts(subject, "random texts", &subject.random_texts(n), N_PRINTS)?);
            if i == quick {
                rows.push(live.texts(subject, "every code point alone", &texts::code_points(), N_PRINTS)?);
            }
            if family == VocabType::Bpe {
                let texts = texts::code_points_in_context();
                rows.push(live.texts(subject, "code points in context", &texts, 1)?);
            }
        }
    }
    Ok(rows)
}

/// A model's vocabulary against the reference's: its table, and sets of texts by name in all combinations of flags.
///
/// # Errors
/// As [`tokenizers`].
pub fn of_model(
    checkout: &Checkout,
    name: &str,
    path: &Path,
    sets: &[(&str, &[&[u8]])],
) -> Result<Vec<Row>, Error> {
    let folder = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let subject = Subject::open(name.to_owned(), path.to_owned())?;
    let live = Live { checkout, folder: folder.path() };
    let mut rows = vec![live.table(&subject)?];
    for (what, set) in sets {
        let mut texts = Texts::default();
        set.iter().for_each(|text| texts.push(text));
        rows.push(live.texts(&subject, what, &texts, N_PRINTS)?);
    }
    Ok(rows)
}

/// The vocabularies of the folder beside the checkout.
fn real() -> Result<Vec<Subject>, Error> {
    let Some(folder) = vocabulary_folder() else { return Ok(Vec::new()) };
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map_err(Error::io(&folder))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "gguf"))
        .collect();
    paths.sort();
    let name =
        |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().replace("ggml-vocab-", "");
    paths.into_iter().map(|path| Subject::open(name(&path), path)).collect()
}

/// One vocabulary for each pre-tokenizer name, several for each family without a real one, and those of `special`.
/// What is `spoiled` gets another pre-tokenizer or, where it has none, two ordinary tokens the wrong way round.
fn composed(folder: &Path, spoiled: &[&str]) -> Result<Vec<Subject>, Error> {
    let mut subjects = Vec::new();
    let mut add = |name: &str, data: &VocabData| -> Result<(), Error> {
        let mut data = data.clone();
        if spoiled.contains(&name) {
            match &mut data.pre {
                Some(pre) => "bloom".clone_into(pre),
                None => data.tokens.swap(300, 301),
            }
        }
        subjects.push(Subject::composed(name, &data, folder)?);
        Ok(())
    };
    let bytes = compose::byte_bpe(1);
    let characters = compose::character_bpe(2, "gpt2");
    // "whitespace" under this model makes the reference abort at the first space; it has a model of its own.
    for pre in pre_tokenizer_names().iter().filter(|pre| **pre != "whitespace") {
        let joins_characters = matches!(*pre, "gemma4" | "granite-embed-multi-311m" | "sarvam-moe");
        let data = if joins_characters { &characters } else { &bytes };
        add(&format!("pre {pre}"), &VocabData { pre: Some((*pre).to_owned()), ..data.clone() })?;
    }
    add("bpe without pre", &VocabData { pre: None, ..bytes.clone() })?;
    add("model gemma4", &compose::character_bpe(3, "gemma4"))?;
    let whitespace = compose::character_bpe(4, "whitespace");
    add("model whitespace", &VocabData { pre: Some("whitespace".to_owned()), ..whitespace })?;
    add("model hybriddna", &compose::dna(5))?;
    let words = compose::words;
    for (name, data) in [
        ("unigram plain", compose::unigram(&words(6), 2000, false, false)),
        ("unigram charsmap", compose::unigram(&words(7), 3000, true, true)),
        ("unigram charsmap, spaces kept", compose::unigram(&words(8), 800, true, false)),
        ("unigram shuffled", compose::shuffled(&compose::unigram(&words(9), 2000, true, true), 9)),
        ("rwkv", compose::rwkv(&words(10), 1000)),
        ("rwkv another", compose::rwkv(&words(11), 5000)),
        ("plamo2", compose::plamo2(&words(12), 1500)),
        ("plamo2 another", compose::plamo2(&words(13), 6000)),
    ] {
        add(name, &data)?;
    }
    for (name, data) in special::mixed() {
        add(&name, &data)?;
    }
    Ok(subjects)
}

/// Texts of each composed vocabulary in the recorded answers.
const N_RECORDED: usize = 240;
/// Of these, texts to a recorded number.
const N_TOGETHER: usize = 20;

/// The file of answers for composed vocabularies.
fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/tokenizer/composed.txt")
}

/// A number for each group of texts: the fingerprint of all their fingerprints.
fn digest(prints: &[u32]) -> String {
    let groups = prints.chunks(N_PRINTS * N_TOGETHER);
    let words: Vec<String> = groups
        .map(|group| format!("{:08x}", fingerprint(group.iter().flat_map(|print| print.to_le_bytes()))))
        .collect();
    words.join(" ")
}

/// A line of recorded answers.
fn line(subject: &Subject, table: &str, prints: &[u32]) -> String {
    format!("{}: {:08x} {}", subject.name, fingerprint(table.bytes()), digest(prints))
}

/// The answers recorded for composed vocabularies, against ours: a row for each. What is `spoiled` must differ.
///
/// # Errors
/// As [`tokenizers`].
pub fn replay(spoiled: &[&str]) -> Result<Vec<Row>, Error> {
    let folder = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    recorded(&composed(folder.path(), spoiled)?)
}

fn recorded(composed: &[Subject]) -> Result<Vec<Row>, Error> {
    let path = goldens();
    let golden = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    let mut lines = golden.lines().filter(|line| !line.starts_with('#'));
    let mut rows = Vec::new();
    for subject in composed {
        let texts = subject.random_texts(N_RECORDED);
        let ours: Vec<u32> =
            texts.iter().flat_map(|text| prints(&subject.tokenizer, text, N_PRINTS)).collect();
        let table = table(&subject.tokenizer).map_err(Error::engine(&subject.name))?;
        let ours = line(subject, &table, &ours);
        let golden = lines.next().unwrap_or_default();
        let differs = ours.split(' ').zip(golden.split(' ')).filter(|(a, b)| a != b).count();
        let note = format!("{differs} of {} numbers differ", ours.split(' ').count());
        rows.push(Row::judged("tokenizer", subject.name.clone(), ours == golden, note));
    }
    let n_left = lines.count();
    if n_left > 0 || rows.len() <= 150 {
        let note = format!("{} vocabularies, and {n_left} lines are left over", rows.len());
        rows.push(Row::judged("tokenizer", "number of recorded vocabularies", false, note));
    }
    Ok(rows)
}

/// Many rows as one.
fn summary(rows: &[Row]) -> Row {
    let wrong: Vec<&str> =
        rows.iter().filter(|row| row.verdict != Verdict::Equal).map(|row| row.case.as_str()).collect();
    let note = if wrong.is_empty() {
        format!("{} vocabularies, {N_RECORDED} texts each", rows.len())
    } else {
        format!("{} of {} differ: {}", wrong.len(), rows.len(), wrong.join(", "))
    };
    Row::judged("tokenizer", "recorded answers", wrong.is_empty(), note)
}

/// Writes the reference's answers for composed vocabularies.
///
/// # Errors
/// As [`tokenizers`].
pub fn record(checkout: &Checkout, date: &str) -> Result<(), Error> {
    let folder = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let live = Live { checkout, folder: folder.path() };
    let mut out = format!(
        "# Fingerprints of ids and texts that llama.cpp {} gave for the vocabularies of\n\
         # parity/src/tokenizer/compose.rs, {date}. By: cargo xtask parity --llama-cpp DIR --module tokenizer\n\
         # --record DATE. The first number stands for the table, each other for {N_TOGETHER} texts.\n",
        checkout.revision_or_recorded()
    );
    for subject in composed(folder.path(), &[])? {
        let prints = live.ask(&subject, &subject.random_texts(N_RECORDED), N_PRINTS)?;
        out.extend([&line(&subject, &live.ask_table(&subject)?, &prints), "\n"]);
    }
    let path = goldens();
    std::fs::write(&path, out).map_err(Error::io(&path))
}

/// The reference's `.inp` and `.out` files.
fn expected_ids(subject: &Subject) -> Result<Row, Error> {
    let case = format!("{} expected ids", subject.name);
    let sibling = |suffix: &str| PathBuf::from(format!("{}{suffix}", subject.path.display()));
    let (input, output) = (sibling(".inp"), sibling(".out"));
    if !input.is_file() || !output.is_file() {
        let why = Verdict::Skipped("the reference has none for it".to_owned());
        return Ok(Row::new("tokenizer", case, why, ""));
    }
    let texts = std::fs::read_to_string(&input).map_err(Error::io(&input))?;
    let lines = std::fs::read_to_string(&output).map_err(Error::io(&output))?;
    let mut equal = 0;
    let mut n = 0;
    for (text, line) in texts.split("\n__ggml_vocab_test__\n").zip(lines.lines()) {
        let ids = subject.tokenizer.encode(text, false, false).map_err(Error::engine(&case))?;
        let expected: Vec<u32> = line.split_whitespace().filter_map(|id| id.parse().ok()).collect();
        n += 1;
        equal += usize::from(ids == expected);
    }
    Ok(Row::judged("tokenizer", case, equal == n && n > 40, format!("{equal} of {n} texts")))
}

/// Asks the reference.
struct Live<'a> {
    checkout: &'a Checkout,
    folder: &'a Path,
}

impl Live<'_> {
    fn ask_table(&self, subject: &Subject) -> Result<String, Error> {
        let mut probe = Command::new(self.checkout.probe("tokenize")?);
        run(probe.arg(&subject.path).arg("table"))
    }

    /// Vocabularies that neither engine takes.
    fn refused(&self) -> Result<Row, Error> {
        let cases = special::refused();
        let mut taken = Vec::new();
        for (name, data) in &cases {
            let path = self.folder.join("refused.gguf");
            std::fs::write(&path, compose::gguf(data)?).map_err(Error::io(&path))?;
            let file = GgufFile::open(&path).map_err(Error::engine(name))?;
            if Tokenizer::from_gguf(file.metadata()).is_ok() {
                taken.push(format!("{name} by quipu"));
            }
            let mut probe = Command::new(self.checkout.probe("tokenize")?);
            if run(probe.arg(&path).arg("table")).is_ok() {
                taken.push(format!("{name} by the reference"));
            }
        }
        let note = if taken.is_empty() {
            format!("{} vocabularies", cases.len())
        } else {
            format!("taken: {}", taken.join(", "))
        };
        Ok(Row::judged("tokenizer", "vocabularies refused by both", taken.is_empty(), note))
    }

    /// Flags, special ids, kinds of warnings, and of every token: attribute, end of generation, score, text and pieces.
    fn table(&self, subject: &Subject) -> Result<Row, Error> {
        let answer = self.ask_table(subject)?;
        let ours = table(&subject.tokenizer).map_err(Error::engine(&subject.name))?;
        let differs = answer.lines().zip(ours.lines()).position(|(a, b)| a != b);
        let n_lines = (answer.lines().count(), ours.lines().count());
        let note = match differs {
            Some(line) => format!(
                "line {line}: '{}' instead of '{}'",
                ours.lines().nth(line).unwrap_or_default(),
                answer.lines().nth(line).unwrap_or_default()
            ),
            None => format!("{} tokens", n_lines.0.saturating_sub(1)),
        };
        let none = subject.tokenizer.vocab_type() == VocabType::None;
        let equal = differs.is_none() && n_lines.0 == n_lines.1 && n_lines.0 > usize::from(!none);
        Ok(Row::judged("tokenizer", format!("{} table", subject.name), equal, note))
    }

    /// The reference's fingerprints of all texts, `n_prints` each.
    fn ask(&self, subject: &Subject, texts: &Texts, n_prints: usize) -> Result<Vec<u32>, Error> {
        let (input, output) = (self.folder.join("texts"), self.folder.join("prints"));
        std::fs::write(&input, texts.bytes()).map_err(Error::io(&input))?;
        let mut probe = Command::new(self.checkout.probe("tokenize")?);
        run(probe.arg(&subject.path).arg("audit").arg(&input).arg(&output).arg(n_prints.to_string()))?;
        let prints = std::fs::read(&output).map_err(Error::io(&output))?;
        Ok(prints.as_chunks::<4>().0.iter().map(|print| u32::from_le_bytes(*print)).collect())
    }

    /// The first `n_prints` fingerprints of all texts, ours against the reference's.
    fn texts(&self, subject: &Subject, what: &str, texts: &Texts, n_prints: usize) -> Result<Row, Error> {
        // Both engines work at the same time.
        let (theirs, ours) = std::thread::scope(|scope| {
            let theirs = scope.spawn(|| self.ask(subject, texts, n_prints));
            let ours: Vec<Vec<u32>> =
                texts.iter().map(|text| prints(&subject.tokenizer, text, n_prints)).collect();
            (theirs.join(), ours)
        });
        let theirs = theirs.map_err(|_| Error::Program {
            program: "tokenize".to_owned(),
            message: "the thread that waits for it panicked".to_owned(),
        })??;
        let theirs: Vec<&[u32]> = theirs.chunks_exact(n_prints).collect();
        let mut equal = 0;
        let mut first = None;
        for ((text, ours), theirs) in texts.iter().zip(&ours).zip(theirs.iter().copied()) {
            if ours == theirs {
                equal += 1;
            } else if first.is_none() {
                let place = ours.iter().zip(theirs).position(|(a, b)| a != b).unwrap_or_default();
                first = Some(format!("; print {place} of {:?}", String::from_utf8_lossy(text)));
            }
        }
        let n = texts.len();
        let failed = theirs.iter().copied().flatten().filter(|print| **print == FAILED).count();
        let failed = if failed > 0 { format!("; {failed} calls are errors in both") } else { String::new() };
        let note = format!("{equal} of {n} texts{failed}{}", first.unwrap_or_default());
        let case = format!("{} {what}", subject.name);
        Ok(Row::judged("tokenizer", case, equal == n && n > 0 && theirs.len() == n, note))
    }
}

/// Words of our warnings, in the order of those that the probe counts.
const WARNINGS: [&str; 10] = [
    "looks like a control token",
    "tokens, there is none",
    "tokens, using ",
    "is none that ends generation",
    "is made user-defined",
    "does not end generation",
    "is empty, it is called",
    "which this model should have",
    "gemma4 needs BOS",
    "the default pre-tokenizer may not fit",
];

/// `enum llama_vocab_type`.
fn type_number(family: VocabType) -> i32 {
    match family {
        VocabType::Spm => 1,
        VocabType::Bpe => 2,
        VocabType::Wpm => 3,
        VocabType::Ugm => 4,
        VocabType::Rwkv => 5,
        VocabType::Plamo2 => 6,
        VocabType::None => 0,
        // The reference has no other.
        _ => -1,
    }
}

/// As the probe's `table`.
fn table(tokenizer: &Tokenizer) -> Result<String, quipu_tokenizer::Error> {
    use std::fmt::Write as _;
    let special = tokenizer.special_tokens();
    let mut out = String::new();
    for id in [
        special.bos,
        special.eos,
        special.eot,
        special.sep,
        special.nl,
        special.pad,
        special.mask,
        special.fim_pre,
        special.fim_suf,
        special.fim_mid,
        special.fim_pad,
        special.fim_rep,
        special.fim_sep,
    ] {
        let _ = write!(out, "{} ", id.map_or(-1, i64::from));
    }
    for flag in [tokenizer.add_bos(), tokenizer.add_eos(), tokenizer.add_sep()] {
        let _ = write!(out, "{} ", u8::from(flag));
    }
    for id in [special.eom, special.unk] {
        let _ = write!(out, "{} ", id.map_or(-1, i64::from));
    }
    let _ = write!(out, "{} {}", type_number(tokenizer.vocab_type()), tokenizer.n_tokens());
    for kind in WARNINGS {
        let _ = write!(out, " {}", tokenizer.warnings().iter().filter(|text| text.contains(kind)).count());
    }
    out.push('\n');
    if tokenizer.vocab_type() == VocabType::None {
        return Ok(out);
    }
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    for id in 0..tokenizer.n_tokens() as TokenId {
        let (attr, eog) = (tokenizer.attr(id)?.0, u8::from(tokenizer.is_eog(id)));
        let (score, text) = (tokenizer.score(id)?.to_bits(), hex(tokenizer.text(id)?));
        let _ = write!(out, "{attr} {eog} {score:x} {text}");
        for special in [false, true] {
            let _ = write!(out, " {}", hex(tokenizer.token_to_piece(id, 0, special)?));
        }
        let _ = write!(out, " {}", hex(tokenizer.token_to_piece(id, 2, true)?));
        out.push('\n');
    }
    Ok(out)
}

/// The first `n` fingerprints of a text, see [`N_PRINTS`].
fn prints(tokenizer: &Tokenizer, text: &[u8], n: usize) -> Vec<u32> {
    let mut prints = Vec::with_capacity(n);
    let mut last = None;
    for (add, parse) in [(false, false), (true, false), (false, true), (true, true)].into_iter().take(n) {
        last = tokenizer.encode_bytes(text, add, parse).ok();
        let ids = last.iter().flatten();
        let print = fingerprint(ids.flat_map(|id| id.to_le_bytes()));
        prints.push(if last.is_some() { print } else { FAILED });
    }
    for (remove, unparse) in [(true, false), (false, true)].into_iter().take(n.saturating_sub(4)) {
        let text = last.as_ref().and_then(|ids| tokenizer.detokenize(ids, remove, unparse).ok());
        prints.push(text.map_or(FAILED, |text| fingerprint(text.into_iter())));
    }
    prints
}

/// FNV-1a, 32 bits.
fn fingerprint(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
