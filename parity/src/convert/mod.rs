//! Conversion of Hugging Face directories: our files against those that `convert_hf_to_gguf.py` wrote for the same
//! generated models, byte for byte, by length and hash.
//!
//! The script needs Python with torch, so its answers are recorded: `cargo run -p quipu-parity --example convert_models
//! -- DIR` writes the models, `convert/reference.py` runs the script over them.

mod adapters;
mod families;
mod fused;
pub mod models;
mod tokenizers;

use std::collections::BTreeMap;
use std::path::Path;

use quipu_convert::{ConvertError, ConvertOptions, LoraOptions, OutType, convert, convert_lora};
use quipu_testing::fnv1a;
use serde::Deserialize;

use crate::error::Error;
use crate::golden_files;
use crate::report::Row;
use models::Case;

/// `convert.json`.
#[derive(Debug, Deserialize)]
struct Goldens {
    #[allow(dead_code)] // for readers of the file
    provenance: BTreeMap<String, String>,
    files: Vec<Golden>,
}

/// A file that the script wrote.
#[derive(Debug, Deserialize)]
struct Golden {
    folder: String,
    outtype: String,
    n_bytes: u64,
    hash: String,
    /// SHA-256 by which the script recognises pre-tokenizers, where it computed one.
    pre_hash: Option<String>,
}

/// Every generated model.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    models::CASES.iter().chain(&families::CASES).chain(&fused::CASES).chain(&adapters::CASES)
}

/// Converts every generated model to every type and compares with the recorded files, and the hashes of
/// vocabularies with those that the script computed.
///
/// # Errors
/// Goldens that cannot be read, models that cannot be written. A conversion that fails is a deviating row.
pub fn replay() -> Result<Vec<Row>, Error> {
    let path = golden_files::folder().join("convert.json");
    let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
    let goldens: Goldens = serde_json::from_slice(&bytes)
        .map_err(|error| Error::Golden { name: "convert".to_owned(), message: error.to_string() })?;
    let root = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    for case in cases() {
        case.write(root.path()).map_err(Error::io(case.folder))?;
    }
    let mut rows = Vec::new();
    for golden in &goldens.files {
        let Some(case) = cases().find(|case| case.folder == golden.folder) else {
            let message = format!("it has files of {}, which is not generated", golden.folder);
            return Err(Error::Golden { name: "convert".to_owned(), message });
        };
        rows.push(compare(root.path(), case, golden));
        if golden.outtype == "auto" && golden.pre_hash.is_some() {
            rows.push(compare_pre(root.path(), case, golden));
        }
    }
    Ok(rows)
}

fn compare(root: &Path, case: &Case, golden: &Golden) -> Row {
    let vocab_only = golden.outtype == "vocab";
    let options = ConvertOptions {
        out_type: OutType::from_name(&golden.outtype).unwrap_or_default(),
        vocab_only,
        pre: case.pre.map(str::to_owned),
        ..ConvertOptions::default()
    };
    let name = format!("{} {}", case.folder, golden.outtype);
    let out = root.join("out.gguf");
    let dir = root.join(case.folder);
    let written = match case.base {
        Some(base) => {
            convert_lora(&dir, &out, &LoraOptions { base: root.join(base), out_type: options.out_type })
        }
        None => convert(&dir, &out, &options),
    };
    let written = written
        .map_err(|error| error.to_string())
        .and_then(|_| std::fs::read(&out).map_err(|error| error.to_string()));
    match written {
        Ok(bytes) => {
            let hash = format!("{:016x}", fnv1a(&bytes));
            let note = format!("{} bytes, {hash}; recorded {}, {}", bytes.len(), golden.n_bytes, golden.hash);
            Row::judged("convert", name, bytes.len() as u64 == golden.n_bytes && hash == golden.hash, note)
        }
        Err(message) => Row::judged("convert", name, false, message),
    }
}

/// Without a name for its pre-tokenizer the vocabulary is unknown, and the error tells its hash.
fn compare_pre(root: &Path, case: &Case, golden: &Golden) -> Row {
    let out = root.join("out.gguf");
    let found = match convert(&root.join(case.folder), &out, &ConvertOptions::default()) {
        Err(ConvertError::UnknownPreTokenizer { hash }) => hash,
        Err(error) => error.to_string(),
        Ok(_) => "a known pre-tokenizer".to_owned(),
    };
    let expected = golden.pre_hash.as_deref().unwrap_or_default();
    let note = format!("{found}; recorded {expected}");
    Row::judged("convert", format!("{} pre-tokenizer", case.folder), found == expected, note)
}
