//! `quipu models`: the models on this machine.

use std::io::{BufWriter, Write};
use std::path::Path;

use quipu::gguf::{GgufSet, SourceKind};
use quipu::{LoadOptions, Model};
use serde_json::json;

use crate::fail::{Failure, writing};
use crate::models::{self, Found};
use crate::output::note;

/// Shows the GGUF models that are on this machine already, in the folders of Hugging Face's tools (HF_HOME, HF_HUB_CACHE), llama.cpp (LLAMA_CACHE),
/// LM Studio and Ollama (OLLAMA_MODELS). -m takes the names; also a file's name alone, a repository, or a repository and a type:
/// publisher/repository:Q4_K_M.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only those whose name has this in it.
    filter: Option<String>,
    /// Print a JSON object for each.
    #[arg(long)]
    json: bool,
}

/// What a file says about itself.
struct About {
    architecture: String,
    file_type: String,
    n_bytes: u64,
    /// Why it does not run, if it does not.
    refused: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut found = models::all(&|name| std::env::var_os(name));
    if let Some(filter) = &args.filter {
        let filter = filter.to_lowercase();
        found.retain(|found| found.name.to_lowercase().contains(&filter));
    }
    if found.is_empty() {
        note("no models were found; -m takes any GGUF file");
        return Ok(());
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    let width = found.iter().map(|found| found.name.chars().count()).max().unwrap_or(0);
    for found in &found {
        let about = about(&found.path);
        let line = if args.json { as_json(found, &about).to_string() } else { row(found, &about, width) };
        // Each as it is known.
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(writing)?;
    }
    Ok(())
}

fn about(path: &Path) -> About {
    let set = match GgufSet::open(path, SourceKind::Mapped) {
        Ok(set) => set,
        Err(error) => {
            let n_bytes = std::fs::metadata(path).map_or(0, |file| file.len());
            let unknown = || "?".to_owned();
            let refused = Some(error.to_string());
            return About { architecture: unknown(), file_type: unknown(), n_bytes, refused };
        }
    };
    let text = |key: &str| set.metadata().optional::<&str>(key).ok().flatten().map(str::to_owned);
    let file_type = set.metadata().optional::<u32>("general.file_type").ok().flatten();
    // Without weights: what is checked is the description.
    let options = LoadOptions { no_alloc: true, ..LoadOptions::default() };
    let opened = Model::open_with(path, &mut options.into());
    About {
        architecture: text("general.architecture").unwrap_or_else(|| "?".to_owned()),
        file_type: file_type.map_or_else(|| "?".to_owned(), quipu::file_type_name),
        n_bytes: set.n_bytes(),
        refused: opened.err().map(|error| error.to_string()),
    }
}

fn row(found: &Found, about: &About, width: usize) -> String {
    let name: String = found.name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let runs = match &about.refused {
        None => "runs".to_owned(),
        // What it is in is named already.
        Some(why) => {
            let path = format!("{}: ", found.path.display());
            format!("refused: {}", why.replace(&path, "").replace(['\n', '\r'], " "))
        }
    };
    let (architecture, file_type, owner) = (&about.architecture, &about.file_type, found.owner.name());
    format!(
        "{name:<width$}  {architecture:<10} {file_type:<14} {:>10}  {owner:<12}  {runs}",
        size(about.n_bytes)
    )
}

fn size(n_bytes: u64) -> String {
    let mib = n_bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 { format!("{mib:.1} MiB") } else { format!("{:.2} GiB", mib / 1024.0) }
}

fn as_json(found: &Found, about: &About) -> serde_json::Value {
    json!({
        "name": found.name,
        "owner": found.owner.name(),
        "path": found.path.to_string_lossy(),
        "architecture": about.architecture,
        "file_type": about.file_type,
        "bytes": about.n_bytes,
        "runs": about.refused.is_none(),
        "reason": about.refused,
    })
}
