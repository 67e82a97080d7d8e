//! SFP, NUQ, I8 and BF16: the same values encoded and decoded by both, bit for bit, and the distortion's figures.

use std::path::Path;
use std::process::Command;

use quipu_gemma::{DistortionStats, Type, codec};
use quipu_testing::fnv1a;
use serde::{Deserialize, Serialize};

use super::checkout::GemmaCheckout;
use super::values::values;
use crate::checkout::run;
use crate::error::Error;
use crate::report::Row;

/// The types, and how many values of each are compared live.
const TYPES: [(Type, usize); 4] =
    [(Type::Sfp, 12_000_000), (Type::Bf16, 12_000_000), (Type::I8, 12_000_000), (Type::Nuq, 10_240_000)];
/// Values whose codes are recorded; NUQ's are slow to find.
const fn n_recorded(dtype: Type) -> usize {
    if matches!(dtype, Type::Nuq) { 20_011 } else { 600_011 }
}
/// Seeds of what is compared live, and of what is recorded.
const SEEDS: [u64; 2] = [1, 2];

/// What the reference made of seeded values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodecGolden {
    /// The type's name.
    pub dtype: String,
    /// Number of values.
    pub n: usize,
    /// FNV-1a of the codes, in hexadecimal.
    pub encoded: String,
    /// FNV-1a of what they are decoded to.
    pub decoded: String,
}

/// Values, and what this crate makes of them.
struct Case {
    values: Vec<f32>,
    bytes: Vec<u8>,
    decoded: Vec<f32>,
}

impl Case {
    fn new(dtype: Type, seed: u64, n: usize) -> Result<Case, Error> {
        let fail = Error::engine::<quipu_gemma::Error>(dtype.name());
        let values = values(dtype, seed, n);
        let bytes = codec::encode(dtype, &values).map_err(&fail)?;
        let mut decoded = vec![0.0; n];
        codec::decode(dtype, &bytes, &mut decoded).map_err(&fail)?;
        Ok(Case { values, bytes, decoded })
    }

    fn golden(&self, dtype: Type) -> CodecGolden {
        let hash = |bytes: &[u8]| format!("{:016x}", fnv1a(bytes));
        CodecGolden {
            dtype: dtype.name().to_owned(),
            n: self.values.len(),
            encoded: hash(&self.bytes),
            decoded: hash(&raw(&self.decoded)),
        }
    }

    /// In the probe's words: both are finite, and the reference's assertion holds.
    fn stats(&self) -> DistortionStats {
        let mut stats = DistortionStats::default();
        let pairs = self.values.iter().zip(&self.decoded);
        for (x, y) in pairs.filter(|(x, y)| x.is_finite() && y.is_finite() && (**x != 0.0 || **y == 0.0)) {
            stats.notify(*x, *y);
        }
        stats
    }

    fn write(&self, dir: &Path) -> Result<[std::path::PathBuf; 3], Error> {
        let paths = ["values", "bytes", "decoded"].map(|name| dir.join(name));
        let contents = [raw(&self.values), self.bytes.clone(), raw(&self.decoded)];
        for (path, content) in paths.iter().zip(contents) {
            std::fs::write(path, content).map_err(Error::io(path))?;
        }
        Ok(paths)
    }
}

fn raw(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Every type against the checkout.
pub(super) fn audit(checkout: &GemmaCheckout) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for (dtype, n) in TYPES {
        let case = Case::new(dtype, SEEDS[0], n)?;
        rows.extend(compare(checkout, dtype, &case)?);
    }
    Ok(rows)
}

fn compare(checkout: &GemmaCheckout, dtype: Type, case: &Case) -> Result<Vec<Row>, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let paths = case.write(dir.path())?;
    let said = run(Command::new(checkout.probe("gemma")?).args(["codec", dtype.name()]).args(paths))?;
    let mut rows = Vec::new();
    let mut lines = said.lines();
    let line = lines.next().unwrap_or_default();
    let expected =
        format!("values {} bytes {} wrong 0 first -1 decoded wrong 0", case.values.len(), case.bytes.len());
    rows.push(Row::judged("gemma", format!("codec {dtype}"), line == expected, line));
    if let Some(line) = lines.next() {
        let (theirs, ours) = (figures(line), figures(&in_its_words(&case.stats())));
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
        let same = theirs.len() == 7 && theirs.len() == ours.len() && theirs.iter().zip(&ours).all(near);
        let note = format!("{line} / {}", in_its_words(&case.stats()));
        rows.push(Row::judged("gemma", format!("distortion in {dtype}"), same, note));
    }
    Ok(rows)
}

fn in_its_words(stats: &DistortionStats) -> String {
    format!(
        "distortion exact {} flips {} zeros {} sum {:e} rounded {:e} snr {:e} weighted {:e}",
        stats.n_exact(),
        stats.n_sign_flip(),
        stats.n_rounded_to_zero(),
        stats.sum_l1(),
        stats.sum_l1_rounded(),
        stats.geomean_value_div_l1(),
        stats.weighted_average_l1()
    )
}

fn figures(line: &str) -> Vec<f64> {
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// The goldens of values that the checkout has just confirmed.
pub(super) fn record(checkout: &GemmaCheckout) -> Result<Vec<CodecGolden>, Error> {
    let mut goldens = Vec::new();
    for (dtype, _) in TYPES {
        let case = Case::new(dtype, SEEDS[1], n_recorded(dtype))?;
        if let Some(row) = compare(checkout, dtype, &case)?.into_iter().find(|row| !row.is_equal()) {
            let message = format!("not recorded, for it deviates: {}", row.note);
            return Err(Error::Golden { name: row.case, message });
        }
        goldens.push(case.golden(dtype));
    }
    Ok(goldens)
}

/// The recorded values again.
pub(super) fn replay(goldens: &[CodecGolden]) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for (dtype, _) in TYPES {
        let ours = Case::new(dtype, SEEDS[1], n_recorded(dtype))?.golden(dtype);
        let golden = goldens.iter().find(|golden| golden.dtype == dtype.name());
        let note = format!("{} values: {} and {}", ours.n, ours.encoded, ours.decoded);
        rows.push(Row::judged("gemma", format!("codec {dtype}, recorded"), golden == Some(&ours), note));
    }
    Ok(rows)
}
