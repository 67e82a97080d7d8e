//! LM Studio's folder: `PUBLISHER/REPOSITORY/FILE`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{Found, Owner, gguf_files, home, slashed};

pub(super) fn all(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<Found> {
    let mut found = Vec::new();
    let Some(home) = home(variable) else { return found };
    // The first is where a moved one is said to be; the last is that of its early versions.
    let moved = std::fs::read_to_string(home.join(".lmstudio-home-pointer")).ok();
    let moved = moved.map(|path| PathBuf::from(path.trim()).join("models"));
    let mut folders: Vec<PathBuf> = moved.into_iter().collect();
    folders.push(home.join(".lmstudio/models"));
    folders.push(home.join(".cache/lm-studio/models"));
    folders.dedup();
    for folder in folders {
        for file in gguf_files(&folder) {
            let name = slashed(&file);
            found.push(Found { name, owner: Owner::LmStudio, path: folder.join(file) });
        }
    }
    found
}
