//! Models in several files: how the files are called and what makes them one set. Cutting and joining them is
//! the business of `split` and `merge`.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::{Error, FromValue, Gguf, Metadata, Result};

/// Number of a file within its set, from 0: u16.
pub(crate) const SPLIT_NO: &str = "split.no";
/// Number of files: u16.
pub(crate) const SPLIT_COUNT: &str = "split.count";
/// Number of tensors in all files: i32.
pub(crate) const SPLIT_TENSORS_COUNT: &str = "split.tensors.count";

fn suffix(no: u16, count: u16) -> String {
    format!("-{:05}-of-{count:05}.gguf", u32::from(no) + 1)
}

/// The path of file `no` (from 0) of `count`: `PREFIX-00001-of-00003.gguf`. Answers to `llama_split_path`.
pub fn split_path(prefix: &Path, no: u16, count: u16) -> PathBuf {
    let mut path = OsString::from(prefix);
    path.push(suffix(no, count));
    path.into()
}

/// What stands before the number in the path of file `no` (from 0) of `count`; `None` if the path is not one of
/// those or nothing stands before. Answers to `llama_split_prefix`.
pub fn split_prefix(path: &Path, no: u16, count: u16) -> Option<PathBuf> {
    strip_suffix(path.as_os_str(), &suffix(no, count)).map(PathBuf::from)
}

#[cfg(unix)]
fn strip_suffix(path: &OsStr, suffix: &str) -> Option<OsString> {
    use std::os::unix::ffi::OsStrExt;
    let prefix = path.as_bytes().strip_suffix(suffix.as_bytes()).filter(|prefix| !prefix.is_empty())?;
    Some(OsStr::from_bytes(prefix).to_owned())
}

#[cfg(not(unix))]
fn strip_suffix(path: &OsStr, suffix: &str) -> Option<OsString> {
    path.to_str()?.strip_suffix(suffix).filter(|prefix| !prefix.is_empty()).map(OsString::from)
}

/// Number of files that a model opened by this one has: `split.count` where it is above 1, otherwise 1.
///
/// # Errors
/// [`Error::WrongValueType`] if `split.count` is not a u16; for a set also if `split.no` is none;
/// [`Error::MissingKey`] without `split.no`, [`Error::NotFirstSplit`] if this is not the first file.
pub fn split_count(first: &Metadata) -> Result<u16> {
    let count = first.optional::<u16>(SPLIT_COUNT)?.unwrap_or(0).max(1);
    if count > 1 {
        let found = first.require::<u16>(SPLIT_NO)?;
        if found != 0 {
            return Err(Error::NotFirstSplit { found });
        }
    }
    Ok(count)
}

/// The paths of all `count` files of a set whose first is `first`. Answers to `llama_get_list_splits`.
///
/// # Errors
/// [`Error::SplitName`] if the first is not named as a first file of `count`.
pub fn split_paths(first: &Path, count: u16) -> Result<Vec<PathBuf>> {
    let prefix = split_prefix(first, 0, count).ok_or_else(|| Error::SplitName {
        path: first.to_owned(),
        file: 1,
        count,
        expected: suffix(0, count),
    })?;
    Ok((0..count).map(|no| split_path(&prefix, no, count)).collect())
}

/// The paths of all files of the set whose first is named as `first`; `None` for other names.
pub(crate) fn paths_by_name(first: &Path) -> Option<Vec<PathBuf>> {
    let name = first.file_name()?.to_str()?.strip_suffix(".gguf")?;
    let count = name.get(name.len().checked_sub(5)?..)?.parse().ok()?;
    split_paths(first, count).ok()
}

/// Checks that `files`, in order, are the whole of one set: the first has all three keys (overrides applied), the
/// others say their place in it, no tensor is in two, and there are as many as announced. One file without
/// `split.count`, or with 0 or 1 there, is a set of its own.
///
/// Only the first file's metadata counts for the model. Answers to the constructor of `llama_model_loader`,
/// and is stricter in one thing: where the others have `split.count` and `split.tensors.count`, they must agree
/// with the first.
///
/// # Errors
/// [`Error::SplitFiles`], [`Error::SplitKey`], [`Error::NotFirstSplit`], [`Error::SplitNo`],
/// [`Error::SplitCount`], [`Error::SplitTensorsCount`], [`Error::SplitDuplicateTensor`],
/// [`Error::SplitTensors`]. Files are counted from 1 in these.
pub fn check_split_set(files: &[&Gguf]) -> Result<()> {
    let Some(first) = files.first() else { return Err(Error::SplitFiles { found: 0, expected: 1 }) };
    let count = split_count(&first.metadata).map_err(in_file(1))?;
    if files.len() != usize::from(count) {
        return Err(Error::SplitFiles { found: files.len(), expected: count });
    }
    if count == 1 {
        return Ok(());
    }
    let n_tensors = ask::<i32>(first, 1, SPLIT_TENSORS_COUNT)?;
    for (i, gguf) in files.iter().enumerate().skip(1) {
        let file = i + 1;
        let found = ask::<u16>(gguf, file, SPLIT_NO)?;
        if usize::from(found) != i {
            return Err(Error::SplitNo { file, found, expected: i });
        }
        if let Some(found) = gguf.metadata.optional::<u16>(SPLIT_COUNT).map_err(in_file(file))?
            && found != count
        {
            return Err(Error::SplitCount { file, found, expected: count });
        }
        if let Some(found) = gguf.metadata.optional::<i32>(SPLIT_TENSORS_COUNT).map_err(in_file(file))?
            && found != n_tensors
        {
            return Err(Error::SplitTensorsCount { file, found, expected: n_tensors });
        }
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (i, gguf) in files.iter().enumerate() {
        for tensor in &gguf.tensors {
            if let Some(first) = seen.insert(&tensor.name, i + 1) {
                let name = tensor.name.clone();
                return Err(Error::SplitDuplicateTensor { name, first, second: i + 1 });
            }
        }
    }
    if usize::try_from(n_tensors).is_ok_and(|n| n == seen.len()) {
        Ok(())
    } else {
        Err(Error::SplitTensors { found: seen.len(), expected: n_tensors })
    }
}

fn in_file(file: usize) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::NotFirstSplit { .. } => error,
        error => Error::SplitKey { file, error: Box::new(error) },
    }
}

fn ask<'a, T: FromValue<'a>>(gguf: &'a Gguf, file: usize, key: &str) -> Result<T> {
    gguf.metadata.require(key).map_err(in_file(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        let path = split_path(Path::new("dir/model"), 1, 4);
        assert_eq!(path, Path::new("dir/model-00002-of-00004.gguf"));
        assert_eq!(split_prefix(&path, 1, 4).as_deref(), Some(Path::new("dir/model")));
        for (no, count) in [(0, 4), (1, 5), (2, 4)] {
            assert_eq!(split_prefix(&path, no, count), None);
        }
        assert_eq!(split_prefix(Path::new("-00001-of-00002.gguf"), 0, 2), None);
        assert_eq!(split_path(Path::new("m"), u16::MAX, u16::MAX), Path::new("m-65536-of-65535.gguf"));
        let paths = split_paths(Path::new("m-00001-of-00003.gguf"), 3).unwrap();
        assert_eq!(paths[2], Path::new("m-00003-of-00003.gguf"));
        assert!(matches!(split_paths(Path::new("m.gguf"), 3), Err(Error::SplitName { .. })));
    }
}
