//! The cache of Hugging Face's tools, which llama.cpp uses as well, and the folder that older llama.cpp downloaded to.
//!
//! `models--PUBLISHER--REPOSITORY/snapshots/REVISION/FILE`, with `refs/main` naming a revision.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Found, Owner, first_set, gguf_files, home, slashed};

pub(super) fn all(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<Found> {
    let mut found = Vec::new();
    let own = first_set(variable, &["LLAMA_CACHE"]);
    let mut hubs: Vec<PathBuf> = hub(variable).into_iter().collect();
    hubs.extend(own.clone().filter(|own| !hubs.contains(own)));
    for hub in hubs {
        repositories(&hub, &mut found);
    }
    if let Some(folder) = own.or_else(|| Some(cache(variable)?.join("llama.cpp"))) {
        flat(&folder, &mut found);
    }
    found
}

/// Where the hub's tools keep models, by their own variables.
fn hub(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    first_set(variable, &["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
        .or_else(|| Some(first_set(variable, &["HF_HOME"])?.join("hub")))
        .or_else(|| Some(first_set(variable, &["XDG_CACHE_HOME"])?.join("huggingface/hub")))
        .or_else(|| Some(home(variable)?.join(".cache/huggingface/hub")))
}

/// Where programs keep what can be had again.
fn cache(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if cfg!(windows) {
        first_set(variable, &["LOCALAPPDATA"])
    } else if cfg!(target_os = "macos") {
        Some(home(variable)?.join("Library/Caches"))
    } else {
        first_set(variable, &["XDG_CACHE_HOME"]).or_else(|| Some(home(variable)?.join(".cache")))
    }
}

fn repositories(hub: &Path, found: &mut Vec<Found>) {
    let mut folders: Vec<_> = std::fs::read_dir(hub).into_iter().flatten().flatten().collect();
    folders.sort_by_key(std::fs::DirEntry::file_name);
    for folder in folders {
        let name = folder.file_name();
        let Some(repository) = name.to_str().and_then(|name| name.strip_prefix("models--")) else { continue };
        let repository = repository.replace("--", "/");
        let mut seen = HashSet::new();
        for revision in revisions(&folder.path()) {
            for file in gguf_files(&revision) {
                // Of several revisions the one that is current.
                if seen.insert(file.clone()) {
                    let name = format!("{repository}/{}", slashed(&file));
                    found.push(Found { name, owner: Owner::HuggingFace, path: revision.join(file) });
                }
            }
        }
    }
}

/// The revisions that are there, that of `refs/main` first.
fn revisions(repository: &Path) -> Vec<PathBuf> {
    let snapshots = repository.join("snapshots");
    let main = std::fs::read_to_string(repository.join("refs/main")).unwrap_or_default();
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(&snapshots).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    all.sort_by_key(|path| (path.file_name().is_none_or(|name| name != main.trim()), path.clone()));
    all
}

fn flat(folder: &Path, found: &mut Vec<Found>) {
    for file in gguf_files(folder) {
        if file.components().count() == 1 {
            let name = slashed(&file);
            found.push(Found { name, owner: Owner::LlamaCpp, path: folder.join(file) });
        }
    }
}
