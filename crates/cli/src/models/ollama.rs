//! Ollama's folder: manifests by name (`manifests/HOST/NAMESPACE/NAME/TAG`), which say what blob (`blobs/sha256-...`) is the model.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Found, Owner, first_set, home};

/// What needs not be said of a name.
const HOST: &str = "registry.ollama.ai";
const NAMESPACE: &str = "library";
/// The kind of blob that is a GGUF file.
const MODEL: &str = "application/vnd.ollama.image.model";
/// A manifest is a few hundred bytes.
const MAX_MANIFEST: u64 = 1 << 20;

pub(super) fn all(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<Found> {
    let folder = first_set(variable, &["OLLAMA_MODELS"]);
    let own = || Some(home(variable)?.join(".ollama/models"));
    let Some(folder) = folder.or_else(own) else { return Vec::new() };
    let mut found = Vec::new();
    let manifests = folder.join("manifests");
    for host in names(&manifests) {
        for namespace in names(&manifests.join(&host)) {
            for name in names(&manifests.join(&host).join(&namespace)) {
                let tags = manifests.join(&host).join(&namespace).join(&name);
                for tag in names(&tags) {
                    if let Some(path) = model(&folder, &tags.join(&tag)) {
                        let name = shown(&host, &namespace, &name, &tag);
                        found.push(Found { name, owner: Owner::Ollama, path });
                    }
                }
            }
        }
    }
    found
}

/// As Ollama shows it.
fn shown(host: &str, namespace: &str, name: &str, tag: &str) -> String {
    match (host, namespace) {
        (HOST, NAMESPACE) => format!("{name}:{tag}"),
        (HOST, _) => format!("{namespace}/{name}:{tag}"),
        _ => format!("{host}/{namespace}/{name}:{tag}"),
    }
}

/// What is in a folder, sorted; nothing if it is none.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The model's file, if the manifest names one that is there.
fn model(folder: &Path, manifest: &Path) -> Option<PathBuf> {
    if std::fs::metadata(manifest).ok()?.len() > MAX_MANIFEST {
        return None;
    }
    let manifest: Value = serde_json::from_str(&std::fs::read_to_string(manifest).ok()?).ok()?;
    let mut layers = manifest.get("layers")?.as_array()?.iter();
    let layer = layers.find(|layer| layer.get("mediaType").and_then(Value::as_str) == Some(MODEL))?;
    let digest = layer.get("digest")?.as_str()?.strip_prefix("sha256:")?;
    // A name and no path.
    if !digest.chars().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let path = folder.join("blobs").join(format!("sha256-{digest}"));
    path.is_file().then_some(path)
}
