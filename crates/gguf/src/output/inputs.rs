//! The files a piece of work reads, told apart by what they are and not by what they are called.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};

use crate::split_set::paths_by_name;
use crate::{Error, Result};

/// What makes a file that file, whatever links lead to it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileId {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
    #[cfg(not(unix))]
    canonical: PathBuf,
}

impl FileId {
    #[cfg(unix)]
    fn new(_path: &Path, metadata: &Metadata) -> FileId {
        use std::os::unix::fs::MetadataExt;
        FileId { device_and_inode: (metadata.dev(), metadata.ino()) }
    }

    #[cfg(not(unix))]
    fn new(path: &Path, _metadata: &Metadata) -> FileId {
        FileId { canonical: path.canonicalize().unwrap_or_else(|_| path.to_owned()) }
    }
}

/// Files that are read, so that no output is written over one of them.
///
/// Only regular files count: a terminal may be read and written at the same time.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    files: Vec<(PathBuf, FileId)>,
}

impl Inputs {
    /// None.
    pub fn new() -> Inputs {
        Inputs::default()
    }

    /// Adds the file that `path` leads to, if there is one.
    pub fn add(&mut self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        if let Ok(metadata) = std::fs::metadata(path) {
            self.add_known(path, &metadata);
        }
    }

    /// Adds the file of a model and, if it is named as the first of a set, the files of the set.
    pub fn add_model(&mut self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        self.add(path);
        paths_by_name(path).unwrap_or_default().iter().for_each(|path| self.add(path));
    }

    /// Adds a file that is open, under the name it was opened by.
    pub fn add_open(&mut self, path: &Path, file: &File) {
        if let Ok(metadata) = file.metadata() {
            self.add_known(path, &metadata);
        }
    }

    /// Refuses an output that is one of them.
    ///
    /// # Errors
    /// [`Error::OutputIsInput`].
    pub fn refuse(&self, output: &Path) -> Result<()> {
        let Ok(metadata) = std::fs::metadata(output) else { return Ok(()) };
        let id = FileId::new(output, &metadata);
        match self.files.iter().find(|(_, input)| *input == id) {
            Some((input, _)) => Err(Error::OutputIsInput { path: output.to_owned(), input: input.clone() }),
            None => Ok(()),
        }
    }

    fn add_known(&mut self, path: &Path, metadata: &Metadata) {
        if metadata.is_file() {
            self.files.push((path.to_owned(), FileId::new(path, metadata)));
        }
    }
}

impl<P: AsRef<Path>> FromIterator<P> for Inputs {
    fn from_iter<I: IntoIterator<Item = P>>(paths: I) -> Inputs {
        let mut inputs = Inputs::new();
        paths.into_iter().for_each(|path| inputs.add(path));
        inputs
    }
}
