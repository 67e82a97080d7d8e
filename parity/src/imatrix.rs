//! Importance matrices of the demo model over its held-out text: what Quipu collects against what llama-imatrix does.
//!
//! `goldens/imatrix.gguf` is the file that llama-imatrix wrote (revision of `REFERENCE.toml`, 2026-11-21):
//!
//! ```sh
//! llama-imatrix -m stories-1m.gguf -f heldout.txt -o imatrix.gguf -c 128 -b 128 -ub 128 --process-output
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;

use quipu::{Flow, Imatrix, ImatrixOptions, Model, SessionOptions};
use quipu_testing::nmse;

use crate::checkout::{Checkout, run};
use crate::error::Error;
use crate::golden_files::folder;
use crate::report::{Row, Verdict};

const N_CTX: usize = 128;
/// NMSE of the reference's sums at ubatch 32 against its own at ubatch 128, the largest of all tensors, when the
/// golden was made.
const RECORDED_SPREAD: f64 = 2.2e-8;

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

/// One row: names, counts and metadata equal, sums within three times the reference's spread.
///
/// # Errors
/// A program or the engine failed.
pub fn audit(checkout: Option<&Checkout>) -> Result<Vec<Row>, Error> {
    let case = "importance matrix of the demo model";
    let Some(checkout) = checkout else {
        let golden = Imatrix::open(folder().join("imatrix.gguf")).map_err(Error::engine(case))?;
        return Ok(vec![compare(case, &collect(case)?, &golden, RECORDED_SPREAD)]);
    };
    if !checkout.programs().join("llama-imatrix").is_file() {
        let why = "the build has no llama-imatrix".to_owned();
        return Ok(vec![Row::new("quantize", case, Verdict::Skipped(why), "")]);
    }
    let (whole, short) = (ask(checkout, "128")?, ask(checkout, "32")?);
    let spread = distance(&whole, &short).unwrap_or(0.0);
    Ok(vec![compare(case, &collect(case)?, &whole, spread)])
}

fn ask(checkout: &Checkout, n_ubatch: &str) -> Result<Imatrix, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let output = dir.path().join("imatrix.gguf");
    let mut program = Command::new(checkout.programs().join("llama-imatrix"));
    program.current_dir(models()).args(["-m", "stories-1m.gguf", "-f", "heldout.txt", "--process-output"]);
    program.args(["-c", "128", "-b", "128", "-ub", n_ubatch, "-o"]).arg(&output);
    run(&mut program)?;
    Imatrix::open(&output).map_err(Error::engine("llama-imatrix"))
}

fn collect(case: &str) -> Result<Imatrix, Error> {
    let fail = Error::engine::<quipu::Error>(case);
    let path = models().join("heldout.txt");
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    let model = Model::embedded().map_err(&fail)?;
    let options = SessionOptions { n_ctx: N_CTX, ..SessionOptions::default() };
    let mut session = model.session(&options).map_err(&fail)?;
    let options = ImatrixOptions { n_ctx: N_CTX, process_output: true, ..ImatrixOptions::default() };
    let mut imatrix = Imatrix { datasets: vec!["heldout.txt".to_owned()], ..Imatrix::default() };
    let text = text.strip_suffix('\n').unwrap_or(&text);
    session.collect_imatrix(text, &options, &mut imatrix, |_| Flow::Continue).map_err(&fail)?;
    Ok(imatrix)
}

/// The largest NMSE of a tensor's sums; `None` if names, counts or metadata differ.
fn distance(a: &Imatrix, b: &Imatrix) -> Option<f64> {
    let meta = |i: &Imatrix| (i.datasets.clone(), i.chunk_count, i.chunk_size);
    let same = meta(a) == meta(b) && a.entries.keys().eq(b.entries.keys());
    let pairs = || a.entries.values().zip(b.entries.values());
    (same && pairs().all(|(a, b)| a.counts == b.counts && a.sums.len() == b.sums.len()))
        .then(|| pairs().map(|(a, b)| nmse(&a.sums, &b.sums)).fold(0.0, f64::max))
}

fn compare(case: &str, ours: &Imatrix, theirs: &Imatrix, spread: f64) -> Row {
    match distance(theirs, ours) {
        None => Row::judged("quantize", case, false, "names, counts or metadata differ"),
        Some(found) => {
            let bound = 3.0 * spread;
            Row::judged("quantize", case, found <= bound, format!("NMSE {found:.1e} <= {bound:.1e}"))
        }
    }
}
