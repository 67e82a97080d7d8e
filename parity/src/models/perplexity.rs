//! Perplexity and Kullback-Leibler divergence, as both engines' programs print them.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;

use quipu::{BaseReader, KlDivergence, Model, PerplexityOptions, Session, SessionOptions};

use super::MODULE;
use crate::checkout::{Checkout, run};
use crate::error::Error;
use crate::report::{Row, Verdict};

/// Tokens of a chunk.
const N_CTX: usize = 512;
/// Chunks of a perplexity.
const N_CHUNKS: usize = 8;
/// Chunks of a file of predictions: each is 150 MB for the larger vocabularies.
const N_BASE_CHUNKS: usize = 1;
/// Runs of a program whose output is cut off.
const N_TRIES: usize = 5;
/// Half a unit in the fourth digit.
const FOUR_DIGITS: f64 = 5e-4;

/// The figures of both, and what each makes of the other's file of predictions.
pub(super) fn compare(checkout: &Checkout, name: &str, path: &Path, text: &str) -> Result<Vec<Row>, Error> {
    let program = checkout.programs().join("llama-perplexity");
    let case = format!("{name} perplexity");
    if !program.is_file() {
        let why = Verdict::Skipped("llama-perplexity is not built".to_owned());
        return Ok(vec![Row::new(MODULE, case, why, "")]);
    }
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let file = dir.path().join("text");
    std::fs::write(&file, text).map_err(Error::io(&file))?;
    // The program's log is written by a thread that may be cut off when it ends: what is not whole is asked for again.
    let ask = |more: &[&str], is_whole: &dyn Fn(&str) -> bool| -> Result<String, Error> {
        let mut last = String::new();
        for _ in 0..N_TRIES {
            let mut command = Command::new(&program);
            command.arg("-m").arg(path).args(["-c", &N_CTX.to_string(), "-t", "2", "--no-repack"]).args(more);
            last = run(&mut command)?;
            if is_whole(&last) {
                return Ok(last);
            }
        }
        Err(unread(&last))
    };
    let file = file.to_string_lossy();
    let plain = |n_chunks: usize, more: &[&str]| -> Result<f64, Error> {
        let n = n_chunks.to_string();
        let args = ["-f", &file, "--chunks", &n];
        let out = ask(&[&args[..], more].concat(), &|out| last_estimate(out, n_chunks).is_some())?;
        last_estimate(&out, n_chunks).ok_or_else(|| unread(&out))
    };
    let reference = plain(N_CHUNKS, &[])?;
    let other = plain(N_CHUNKS, &["-b", &N_CTX.to_string(), "-ub", "64"])?;

    let fail = Error::engine::<quipu::Error>(name);
    let model = Model::open(path).map_err(&fail)?;
    let options = SessionOptions { n_ctx: N_CTX, n_batch: N_CTX, n_threads: 2, ..SessionOptions::default() };
    let mut session = model.session(&options).map_err(&fail)?;
    // The reference's tools leave out a line break at the end of a file.
    let text = text.strip_suffix('\n').unwrap_or(text);
    let chunks = |n: usize| PerplexityOptions { n_ctx: N_CTX, n_chunks: NonZeroUsize::new(n) };
    let ours = session.perplexity_with(text, chunks(N_CHUNKS), None, |_, _| ()).map_err(&fail)?.value;
    let spread = (other / reference - 1.0).abs();
    let allowed = (3.0 * spread).max(FOUR_DIGITS);
    let off = (ours / reference - 1.0).abs();
    let note = format!(
        "{ours:.4}, the reference {reference:.4}, with other batches {other:.4}; {off:.1e} apart, allowed {allowed:.1e}"
    );
    let mut rows = vec![Row::judged(MODULE, case, off <= allowed, note)];

    let [theirs, own] = ["theirs", "ours"].map(|name| dir.path().join(name));
    plain(N_BASE_CHUNKS, &["--kl-divergence-base", &theirs.to_string_lossy()])?;
    write_base(&mut session, text, chunks(N_BASE_CHUNKS), &own).map_err(Error::engine(name))?;
    let compare = |base: &Path| {
        let args = ["--kl-divergence", "--kl-divergence-base", &base.to_string_lossy()];
        ask(&args, &|out| figures(out).is_some())
    };
    for (whose, base) in [("the reference's", &theirs), ("our", &own)] {
        let printed = compare(base)?;
        let expected = figures(&printed).ok_or_else(|| unread(&printed))?;
        let found = read_base(&mut session, base).map_err(Error::engine(name))?;
        rows.push(judged(name, whose, &expected, &found));
    }
    Ok(rows)
}

/// The value of the last chunk, which is that of all.
fn last_estimate(printed: &str, n_chunks: usize) -> Option<f64> {
    printed.split_once(&format!("[{n_chunks}]"))?.1.split_once(',')?.0.parse().ok()
}

fn unread(printed: &str) -> Error {
    let tail: Vec<&str> = printed.lines().rev().take(3).collect();
    Error::Program {
        program: "llama-perplexity".to_owned(),
        message: format!("printed {}", tail.join(" | ")),
    }
}

fn write_base(
    session: &mut Session,
    text: &str,
    options: PerplexityOptions,
    path: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut out = BufWriter::new(File::create(path)?);
    session.perplexity_with(text, options, Some(&mut out), |_, _| ())?;
    Ok(out.flush()?)
}

fn read_base(session: &mut Session, path: &Path) -> Result<KlDivergence, Box<dyn std::error::Error>> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    Ok(session.kl_divergence(&mut BaseReader::new(BufReader::new(file), len)?, |_, _| ())?)
}

/// What is compared of the reference's statistics.
#[derive(Debug)]
struct Figures {
    ppl: f64,
    ppl_base: f64,
    kld: f64,
    same_top: f64,
}

/// Reads them from what was printed.
fn figures(printed: &str) -> Option<Figures> {
    let value = |name: &str| -> Option<f64> {
        let line = printed.lines().find(|line| line.starts_with(name))?;
        line.split_once(": ")?.1.split_whitespace().next()?.parse().ok()
    };
    Some(Figures {
        ppl: value("Mean PPL(Q) ")?,
        ppl_base: value("Mean PPL(base)")?,
        kld: value("Mean    KLD")?,
        same_top: value("Same top p")?,
    })
}

/// What hangs on the file alone is equal as printed; the rest differs as the engines do.
fn judged(name: &str, whose: &str, expected: &Figures, found: &KlDivergence) -> Row {
    let (ppl, ppl_base, kld) = (found.ppl().value, found.ppl_base().value, found.kld().value);
    let same_top = 100.0 * found.same_top().value;
    let is_base_equal = format!("{ppl_base:.6}") == format!("{:.6}", expected.ppl_base);
    let ok = is_base_equal && (ppl / expected.ppl - 1.0).abs() < 0.01 && (kld - expected.kld).abs() < 0.01;
    let note = format!(
        "PPL(base) {ppl_base:.6}, there {:.6}; PPL {ppl:.4}, there {:.4}; KLD {kld:.6}, there {:.6}; same top {same_top:.2} %, there {:.2} %",
        expected.ppl_base, expected.ppl, expected.kld, expected.same_top
    );
    Row::judged(MODULE, format!("{name} divergence from {whose} file"), ok, note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_prints_is_read() {
        assert_eq!(last_estimate("0.00 minutes\n[1]4.1234,[2]5.6789,\n\n", 2), Some(5.6789));
        assert_eq!(last_estimate("[1]4.1234,[2]5.67", 2), None);
        let printed = "Mean PPL(Q)                   :   1.169910 ±   0.057661\n\
                       Mean PPL(base)                :   1.177323 ±   0.061168\n\
                       Mean    KLD:   0.000886 ±   0.000247\nSame top p: 96.040 ± 1.950 %\n";
        let found = figures(printed).expect("figures");
        assert_eq!(
            (found.ppl, found.ppl_base, found.kld, found.same_top),
            (1.16991, 1.177_323, 0.000_886, 96.04)
        );
    }
}
