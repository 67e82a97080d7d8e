//! Predictions over 2,000 tokens: logits, and the divergence of what follows from them.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::Command;

use quipu_cpu_backend::{CpuDevice, CpuOptions};
use quipu_decoder::Batch;
use quipu_gguf::GgufFile;
use quipu_tokenizer::Tokenizer;

use super::MODULE;
use crate::checkout::{Checkout, run};
use crate::engine;
use crate::error::Error;
use crate::logits::bound;
use crate::report::Row;

/// Tokens looked at.
const N_TOKENS: usize = 2000;
/// Tokens computed at once, in both engines.
const N_UBATCH: usize = 512;
/// No divergence is asked to be smaller: the means of sums in f64 over a hundred thousand tokens.
const FLOOR: f64 = 1e-9;

/// How far one engine's predictions are from another's.
#[derive(Debug, Default)]
struct Distance {
    kld: Vec<f64>,
    n_same_top: usize,
    error: f64,
    power: f64,
}

impl Distance {
    /// One place: the base's logits and the other's.
    fn add(&mut self, base: &[f32], other: &[f32]) {
        let (p, q) = (log_softmax(base), log_softmax(other));
        self.kld.push(p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum());
        self.n_same_top += usize::from(top(base) == top(other));
        for (a, b) in base.iter().zip(other) {
            let (a, d) = (f64::from(*a), f64::from(*a) - f64::from(*b));
            self.error += d * d;
            self.power += a * a;
        }
    }

    fn nmse(&self) -> f64 {
        self.error / self.power
    }

    fn mean(&self) -> f64 {
        self.kld.iter().sum::<f64>() / self.kld.len().max(1) as f64
    }

    /// In words.
    fn told(&self) -> String {
        let mut sorted = self.kld.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |fraction: f64| sorted.get((fraction * (sorted.len().max(1) - 1) as f64) as usize);
        let at = |fraction| at(fraction).copied().unwrap_or(f64::NAN);
        format!(
            "KL mean {:.2e}, p99 {:.2e}, max {:.2e}, top-1 equal {:.2} %, NMSE {:.1e}",
            self.mean(),
            at(0.99),
            at(1.0),
            100.0 * self.n_same_top as f64 / self.kld.len().max(1) as f64,
            self.nmse()
        )
    }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted = || logits.iter().map(|logit| f64::from(*logit) - f64::from(max));
    let sum: f64 = shifted().map(f64::exp).sum();
    shifted().map(|logit| logit - sum.ln()).collect()
}

fn top(logits: &[f32]) -> Option<usize> {
    logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i)
}

/// The reference at ubatch 512 against ours at 512, and against itself at ubatch 1. Rows are read one by one: all of them together
/// are gigabytes.
pub(super) fn compare(
    checkout: &Checkout,
    name: &str,
    path: &Path,
    file: &GgufFile,
    text: &str,
) -> Result<Row, Error> {
    let tokenizer = Tokenizer::from_gguf(file.metadata()).map_err(Error::engine(name))?;
    let mut ids = tokenizer.encode(text, true, false).map_err(Error::engine(name))?;
    ids.truncate(N_TOKENS);
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let words: Vec<String> = ids.iter().map(u32::to_string).collect();
    let list = dir.path().join("ids");
    std::fs::write(&list, words.join(" ")).map_err(Error::io(&list))?;
    let ask = |n_ubatch: usize| -> Result<Rows, Error> {
        let out = dir.path().join(format!("logits-{n_ubatch}"));
        let mut probe = Command::new(checkout.probe("logits")?);
        run(probe.arg(path).arg(&list).arg(&out).args(["--ubatch", &n_ubatch.to_string()]))?;
        Rows::open(&out, tokenizer.n_tokens())
    };
    let (mut whole, mut single) = (ask(N_UBATCH)?, ask(1)?);

    let device = CpuDevice::new(CpuOptions::default());
    let model = engine::load(name, file, &device)?;
    let mut context = engine::context(name, &model, &device, ids.len(), N_UBATCH)?;
    let (mut ours, mut itself) = (Distance::default(), Distance::default());
    for (number, chunk) in ids.chunks(N_UBATCH).enumerate() {
        let mut batch = Batch::new();
        for (i, id) in chunk.iter().enumerate() {
            batch.add(*id, (number * N_UBATCH + i) as i32, &[0], true);
        }
        context.decode(&batch).map_err(Error::engine(name))?;
        for i in 0..chunk.len() {
            let (base, other) = (whole.next()?, single.next()?);
            ours.add(base, context.logits(i as i32).map_err(Error::engine(name))?);
            itself.add(base, other);
        }
    }
    let (error, spread) = (ours.nmse(), itself.nmse());
    let divergence = (3.0 * itself.mean()).max(FLOOR);
    let ok = error <= bound(spread) && ours.mean() <= divergence;
    let note = format!(
        "{} tokens: {}; the reference from itself: {}; allowed: KL {divergence:.1e}, NMSE {:.1e}",
        ids.len(),
        ours.told(),
        itself.told(),
        bound(spread)
    );
    Ok(Row::judged(MODULE, format!("{name} predictions"), ok, note))
}

/// Rows of a file, one after another.
struct Rows {
    file: BufReader<File>,
    path: std::path::PathBuf,
    bytes: Vec<u8>,
    row: Vec<f32>,
}

impl Rows {
    fn open(path: &Path, n_vocab: usize) -> Result<Rows, Error> {
        let file = BufReader::with_capacity(1 << 20, File::open(path).map_err(Error::io(path))?);
        Ok(Rows { file, path: path.to_owned(), bytes: vec![0; 4 * n_vocab], row: Vec::new() })
    }

    fn next(&mut self) -> Result<&[f32], Error> {
        self.file.read_exact(&mut self.bytes).map_err(Error::io(&self.path))?;
        self.row.clear();
        self.row.extend(self.bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)));
        Ok(&self.row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_by_hand() {
        let mut found = Distance::default();
        // 1/2, 1/4, 1/4 against 1/4, 1/2, 1/4.
        found.add(&[2f32.ln(), 0.0, 0.0], &[0.0, 2f32.ln(), 0.0]);
        assert!((found.mean() - 0.25 * 2f64.ln()).abs() < 1e-6, "{}", found.mean());
        assert!((found.nmse() - 2.0).abs() < 1e-6 && found.n_same_top == 0);
        let mut same = Distance::default();
        same.add(&[1.0, 2.0], &[1.0, 2.0]);
        assert_eq!((same.mean(), same.nmse(), same.n_same_top), (0.0, 0.0, 1));
        assert!(same.told().contains("top-1 equal 100.00 %"), "{}", same.told());
    }
}
