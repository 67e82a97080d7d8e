//! Real models: any GGUF of a folder, by what users see of it. Tokens of a megabyte of text, predictions over 2,000 of them, perplexity
//! in both engines' words, and chats.
//!
//! Weights are quantised in most such files, so no two builds of the reference agree to the last bit. What is asked is that we are no
//! further from it than three times what it is from itself when only the size of its ubatches changes; that spread is measured for each model
//! and stands beside each figure. Ids of tokens are equal or not.

mod chats;
mod perplexity;
mod predictions;
mod text;

use std::path::{Path, PathBuf};

use quipu_gguf::GgufFile;
use quipu_model::ARCHITECTURES;

use crate::checkout::Checkout;
use crate::error::Error;
use crate::report::{Row, Verdict};
use crate::tokenizer;

/// The module of these rows.
const MODULE: &str = "models";

/// Audits every GGUF file of a folder; a folder of another form within it is a row that says so.
///
/// # Errors
/// The folder cannot be read, a probe or a program of the reference failed, or the engine refused.
pub fn audit(
    checkout: Option<&Checkout>,
    folder: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Row>, Error> {
    let Some(checkout) = checkout else {
        let why = Verdict::Skipped("nothing is recorded of these files, and there is no checkout".to_owned());
        return Ok(vec![Row::new(MODULE, folder.display().to_string(), why, "")]);
    };
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut rows = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "gguf") {
            rows.extend(model(checkout, &name, &path, progress)?);
        } else if path.join("config.json").is_file() {
            let why =
                format!("{} is no GGUF file; converting it is another module's", architecture_of(&path));
            rows.push(Row::new(MODULE, name, Verdict::Skipped(why), ""));
        }
    }
    if rows.is_empty() {
        let why = Verdict::Skipped("the folder has no GGUF files".to_owned());
        rows.push(Row::new(MODULE, folder.display().to_string(), why, ""));
    }
    Ok(rows)
}

/// What a Hugging Face folder holds, for a message.
fn architecture_of(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    config["architectures"][0].as_str().unwrap_or("a folder").to_owned()
}

fn model(
    checkout: &Checkout,
    name: &str,
    path: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Row>, Error> {
    let file = GgufFile::open(path).map_err(Error::engine(name))?;
    let text = text::mixed();
    let pieces = text::pieces(&text);
    let mut rows = Vec::new();
    let mut add = |found: Vec<Row>| {
        for mut row in found {
            MODULE.clone_into(&mut row.module);
            let why = if let Verdict::Skipped(why) = &row.verdict { why } else { &row.note };
            progress(&format!("{}: {why}", row.case));
            rows.push(row);
        }
    };
    let whole = [text.as_bytes()];
    let sets = [("a megabyte of text", &whole[..]), ("the same in pieces", &pieces[..])];
    add(tokenizer::of_model(checkout, name, path, &sets)?);
    let architecture = file.metadata().str("general.architecture").map_err(Error::engine(name))?;
    if !ARCHITECTURES.contains(&architecture) {
        let why = format!("architecture {architecture} not built");
        let skipped =
            |what: &str| Row::new(MODULE, format!("{name} {what}"), Verdict::Skipped(why.clone()), "");
        add(["predictions", "perplexity", "chats"].map(skipped).to_vec());
        return Ok(rows);
    }
    let prose = text::prose();
    add(vec![predictions::compare(checkout, name, path, &file, &prose)?]);
    add(perplexity::compare(checkout, name, path, &prose)?);
    add(vec![chats::compare(checkout, name, file)?]);
    Ok(rows)
}
