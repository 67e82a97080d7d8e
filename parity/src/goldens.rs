//! Recorded answers of the reference and their replay without a checkout.
//!
//! `goldens/logits/index.json` lists cases with the hash of the toy file they were made with, the reference's
//! spread, and where in `logits.bin` the logits of the last positions lie. `goldens/generation.json` holds
//! generated ids.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quipu_gguf::GgufFile;
use quipu_quant::DType;
use serde::{Deserialize, Serialize};

use crate::checkout::{Checkout, LogitsRequest, floats};
use crate::engine;
use crate::error::Error;
use crate::generation::{self, GenerationGolden};
use crate::logits::{N_TOKENS, TOKEN_SEED, WEIGHT_SEED, bound, nmse, toy_cases};
use crate::random::fnv1a;
use crate::report::{Row, Verdict};
use crate::tap::TapOptions;
use crate::toy::{N_VOCAB, TYPES, Toy, tokens};

/// Positions recorded per case.
const N_RECORDED: usize = 4;

/// One recorded comparison.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogitsGolden {
    /// Name of the toy and its type.
    pub case: String,
    /// FNV-1a of the toy's file, in hexadecimal.
    pub model_hash: String,
    /// NMSE of the reference at ubatch 512 against itself at ubatch 1.
    pub spread: f64,
    /// First value in `logits.bin`.
    pub offset: usize,
}

/// `index.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogitsIndex {
    /// How the goldens were made.
    pub provenance: BTreeMap<String, String>,
    /// The cases.
    pub cases: Vec<LogitsGolden>,
}

/// Folder of the goldens.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens")
}

/// The toys whose answers are recorded: every architecture in every type, each rotary scaling once.
fn recorded() -> impl Iterator<Item = (String, Toy, DType)> {
    let plain = ["llama-plain", "qwen2-plain", "qwen3-plain", "gpt2-plain"];
    let kinds = ["llama-linear", "llama-yarn", "llama-3", "qwen2-yarn", "qwen3-80", "gpt2-tied"];
    toy_cases().filter(move |(_, toy, dtype)| {
        plain.contains(&toy.name) || (kinds.contains(&toy.name) && matches!(dtype, DType::F32 | DType::Q8_0))
    })
}

/// Records all goldens from a checkout.
///
/// # Errors
/// A probe failed or a file could not be written.
pub fn record(checkout: &Checkout, date: &str) -> Result<(), Error> {
    let mut values: Vec<f32> = Vec::new();
    let mut cases = Vec::new();
    let tokens = tokens(TOKEN_SEED, N_TOKENS);
    for (case, toy, dtype) in recorded() {
        let bytes = toy.gguf(dtype, WEIGHT_SEED)?;
        let file = tempfile::NamedTempFile::new().map_err(Error::io("temporary file"))?;
        std::fs::write(file.path(), &bytes).map_err(Error::io(file.path()))?;
        let request = |n_ubatch| LogitsRequest {
            model: file.path(),
            tokens: &tokens,
            n_ubatch,
            prefixes: &[],
            flash_attn: true,
        };
        let (whole, _) = checkout.logits(&request(512))?;
        let (single, _) = checkout.logits(&request(1))?;
        cases.push(LogitsGolden {
            case,
            model_hash: format!("{:016x}", fnv1a(&bytes)),
            spread: nmse(&whole, &single),
            offset: values.len(),
        });
        values.extend_from_slice(&whole[whole.len() - N_RECORDED * N_VOCAB..]);
    }
    let provenance = BTreeMap::from([
        ("reference".to_owned(), checkout.revision_or_recorded()),
        ("command".to_owned(), "cargo xtask parity --llama-cpp DIR --record".to_owned()),
        ("date".to_owned(), date.to_owned()),
        (
            "what".to_owned(),
            format!("logits of the last {N_RECORDED} of {N_TOKENS} positions, ubatch 512, repack off"),
        ),
    ]);
    let dir = folder().join("logits");
    std::fs::create_dir_all(&dir).map_err(Error::io(&dir))?;
    write_json(&dir.join("index.json"), &LogitsIndex { provenance: provenance.clone(), cases })?;
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(dir.join("logits.bin"), bytes).map_err(Error::io(&dir))?;
    let generation = GenerationGolden { provenance, cases: generation::record(checkout)? };
    write_json(&folder().join("generation.json"), &generation)
}

/// Replays the recorded logits; with `sabotage`, one type's matrix products are spoiled on purpose.
///
/// # Errors
/// Goldens that cannot be read, or an engine that refuses.
pub fn replay_logits(sabotage: Option<DType>) -> Result<Vec<Row>, Error> {
    let dir = folder().join("logits");
    let index: LogitsIndex = read_json(&dir.join("index.json"))?;
    let path = dir.join("logits.bin");
    let values = floats(&std::fs::read(&path).map_err(Error::io(&path))?);
    let tokens = tokens(TOKEN_SEED, N_TOKENS);
    let mut rows = Vec::new();
    for (case, toy, dtype) in recorded() {
        let Some(golden) = index.cases.iter().find(|golden| golden.case == case) else {
            rows.push(Row::new("logits", case, Verdict::Skipped("not recorded".to_owned()), ""));
            continue;
        };
        let bytes = toy.gguf(dtype, WEIGHT_SEED)?;
        if format!("{:016x}", fnv1a(&bytes)) != golden.model_hash {
            rows.push(Row::judged("logits", case, false, "the toy is not the one the golden was made with"));
            continue;
        }
        let gguf = GgufFile::from_vec(bytes).map_err(Error::engine(&case))?;
        let options = TapOptions { prefixes: Vec::new(), sabotage };
        let ours = engine::logits(&case, &gguf, &tokens, 512, options)?.logits;
        let recorded = values.get(golden.offset..golden.offset + N_RECORDED * N_VOCAB);
        let recorded = recorded.ok_or_else(|| Error::Golden {
            name: case.clone(),
            message: format!("offset {} is beyond the {} values recorded", golden.offset, values.len()),
        })?;
        let error = nmse(recorded, &ours[ours.len() - recorded.len()..]);
        let bound = bound(golden.spread);
        let note = format!("NMSE {error:.1e} <= {bound:.1e}, spread {:.1e}", golden.spread);
        rows.push(Row::judged("logits", case, error <= bound, note));
    }
    Ok(rows)
}

/// Replays the recorded generations.
///
/// # Errors
/// As [`replay_logits`].
pub fn replay_generation() -> Result<Vec<Row>, Error> {
    let golden: GenerationGolden = read_json(&folder().join("generation.json"))?;
    generation::compare(&golden.cases)
}

/// How many types the recorded cases cover.
pub fn n_types() -> usize {
    TYPES.iter().filter(|dtype| recorded().any(|(_, _, other)| other == **dtype)).count()
}

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    serde_json::from_str(&text)
        .map_err(|error| Error::Golden { name: path.display().to_string(), message: error.to_string() })
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::Golden { name: path.display().to_string(), message: error.to_string() })?;
    std::fs::write(path, text + "\n").map_err(Error::io(path))
}
