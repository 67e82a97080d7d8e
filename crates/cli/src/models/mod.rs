//! Models that are on this machine already, in the folders where other programs put them, and the names they go by.
//!
//! Nothing is fetched and nothing is written. What cannot be read is not there.

mod hub;
mod lm_studio;
mod ollama;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Whose folder a model was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    HuggingFace,
    LlamaCpp,
    LmStudio,
    Ollama,
}

impl Owner {
    pub fn name(self) -> &'static str {
        match self {
            Owner::HuggingFace => "Hugging Face",
            Owner::LlamaCpp => "llama.cpp",
            Owner::LmStudio => "LM Studio",
            Owner::Ollama => "Ollama",
        }
    }
}

/// A model in a file; of a split one, the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// What `-m` takes: `name:tag` of Ollama, else the path within its folder (`publisher/repository/file.gguf`).
    pub name: String,
    pub owner: Owner,
    pub path: PathBuf,
}

impl Found {
    /// Without the file: `publisher/repository`.
    fn repository(&self) -> Option<&str> {
        let mut slashes = self.name.match_indices('/').map(|(at, _)| at);
        let (_, second) = (slashes.next()?, slashes.next()?);
        (self.owner != Owner::Ollama).then(|| &self.name[..second])
    }

    fn file_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it is a companion of a model and none itself.
    fn is_projector(&self) -> bool {
        self.file_name().to_ascii_lowercase().contains("mmproj")
    }
}

/// All of them, by folder and name. `variable` gives the value of an environment variable.
pub(crate) fn all(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<Found> {
    let mut found = hub::all(variable);
    found.extend(lm_studio::all(variable));
    found.extend(ollama::all(variable));
    found
}

/// Types in the order in which one is taken of a repository that has several, as llama.cpp takes them.
const PREFERRED: [&str; 2] = ["q4_k_m", "q8_0"];

/// The model of a name: a name as [`all`] has it, a file's name with or without `.gguf`, a repository, or a repository with a type
/// behind a colon. Letters' cases count for nothing.
pub(crate) fn find<'a>(found: &'a [Found], name: &str) -> Option<&'a Found> {
    let is = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    let bare = |name: &str| name.strip_suffix(".gguf").unwrap_or(name).to_owned();
    let latest = format!("{name}:latest");
    let exact = found.iter().find(|found| {
        let is_ollama = found.owner == Owner::Ollama;
        is(&found.name, name) || is_ollama && is(&found.name, &latest)
    });
    let by_file = || found.iter().find(|found| is(&bare(found.file_name()), &bare(name)));
    let in_repository = || {
        let (repository, dtype) = name.split_once(':').map_or((name, None), |(r, t)| (r, Some(t)));
        let of_it: Vec<&Found> = found
            .iter()
            .filter(|found| found.repository().is_some_and(|known| is(known, repository)))
            .filter(|found| !found.is_projector())
            .collect();
        let with = |dtype: &str| {
            let dtype = dtype.to_ascii_lowercase();
            of_it.iter().find(|found| found.file_name().to_ascii_lowercase().contains(&dtype)).copied()
        };
        match dtype {
            Some(dtype) => with(dtype),
            None => PREFERRED.into_iter().find_map(with).or(of_it.first().copied()),
        }
    };
    exact.or_else(by_file).or_else(in_repository)
}

/// What `-m` names: a file if there is one, and else a model of this machine.
pub(crate) fn resolve(given: PathBuf) -> Result<PathBuf, String> {
    let name = match given.to_str() {
        Some(name) if !given.exists() => name,
        _ => return Ok(given),
    };
    // What is a path is one, with the system's message.
    let is_path = given.is_absolute() || name.starts_with(['.', '~']) || name.is_empty();
    if is_path {
        return Ok(given);
    }
    let all = all(&|name| std::env::var_os(name));
    match find(&all, name) {
        Some(found) => {
            crate::output::note(format_args!("{name}: {}", found.path.display()));
            Ok(found.path.clone())
        }
        None if given.extension().is_some() => Ok(given),
        None => Err("no such file, and no model of this name; quipu models shows those there are".to_owned()),
    }
}

/// The first of these variables that is set to something.
fn first_set(variable: &dyn Fn(&str) -> Option<OsString>, names: &[&str]) -> Option<PathBuf> {
    names.iter().filter_map(|name| variable(name)).find(|value| !value.is_empty()).map(PathBuf::from)
}

/// The person's folder.
fn home(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    first_set(variable, if cfg!(windows) { &["USERPROFILE"] } else { &["HOME"] })
}

/// Folders within folders are looked into this deep.
const DEPTH: usize = 6;

/// The GGUF files below a folder, by their paths within it, sorted; of split ones the first.
fn gguf_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    walk(folder, Path::new(""), DEPTH, &mut files);
    files.sort();
    files
}

fn walk(folder: &Path, within: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder.join(within)).into_iter().flatten().flatten() {
        let path = within.join(entry.file_name());
        // Of what a link points to.
        let Ok(kind) = std::fs::metadata(folder.join(&path)) else { continue };
        if kind.is_dir() && depth > 0 {
            walk(folder, &path, depth - 1, files);
        } else if kind.is_file() && is_first_gguf(&entry.file_name()) {
            files.push(path);
        }
    }
}

/// Whether a file has a model, or the first part of one.
fn is_first_gguf(name: &OsStr) -> bool {
    let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".gguf")) else { return false };
    // NAME-00002-of-00003
    let part = stem.rsplit_once("-of-").filter(|(_, n)| n.len() == 5 && n.parse::<u32>().is_ok());
    let part = part.and_then(|(front, _)| front.rsplit_once('-')).map(|(_, no)| no);
    part.is_none_or(|no| no.len() != 5 || no.parse::<u32>().is_err() || no == "00001")
}

/// A path with the slashes of names.
fn slashed(path: &Path) -> String {
    path.iter().map(OsStr::to_string_lossy).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, owner: Owner) -> Found {
        Found { name: name.to_owned(), owner, path: PathBuf::from(name) }
    }

    #[test]
    fn names_of_all_kinds() {
        let all = [
            found("org/Some-GGUF/mmproj-f16.gguf", Owner::HuggingFace),
            found("org/Some-GGUF/some-f16.gguf", Owner::HuggingFace),
            found("org/Some-GGUF/some-Q4_K_M.gguf", Owner::HuggingFace),
            found("qwen2.5-coder:0.5b", Owner::Ollama),
            found("llama3.2:latest", Owner::Ollama),
            found("flat-q8_0.gguf", Owner::LlamaCpp),
        ];
        for (name, expected) in [
            ("org/Some-GGUF", Some(2)),
            ("ORG/some-gguf:F16", Some(1)),
            ("org/Some-GGUF:q6_k", None),
            ("org/Some-GGUF/some-f16.gguf", Some(1)),
            ("some-f16.gguf", Some(1)),
            ("some-f16", Some(1)),
            ("mmproj-f16.gguf", Some(0)),
            ("qwen2.5-coder:0.5b", Some(3)),
            ("qwen2.5-coder", None),
            ("llama3.2", Some(4)),
            ("flat-q8_0", Some(5)),
            ("org", None),
            ("", None),
        ] {
            let found = find(&all, name);
            assert_eq!(found, expected.map(|i: usize| &all[i]), "{name}");
        }
    }

    #[test]
    fn of_split_models_the_first_file() {
        for (name, is) in [
            ("a.gguf", true),
            ("a-00001-of-00003.gguf", true),
            ("a-00002-of-00003.gguf", false),
            ("a-2-of-3.gguf", true),
            ("one-of-12345.gguf", true),
            ("a.safetensors", false),
        ] {
            assert_eq!(is_first_gguf(OsStr::new(name)), is, "{name}");
        }
    }
}
