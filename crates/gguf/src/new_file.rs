//! A file that comes into being under its name only when it is complete.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A file under way: until [`NewFile::finish`] it has `.partial` at the end of its name, and is removed if it is
/// dropped before. What was there under its name stays until then, so that a file may be written over one that is
/// being read.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    finished: bool,
}

impl NewFile {
    /// Begins the file that will be at `path`.
    ///
    /// # Errors
    /// [`Error::Create`].
    pub fn create(path: impl AsRef<Path>) -> Result<NewFile> {
        let path = path.as_ref().to_owned();
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file =
            File::create(&partial).map_err(|source| Error::Create { path: partial.clone(), source })?;
        Ok(NewFile { file, partial, path, finished: false })
    }

    /// Where it will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it under its name.
    ///
    /// # Errors
    /// [`Error::Create`].
    pub fn finish(mut self) -> Result<()> {
        let renamed = std::fs::rename(&self.partial, &self.path);
        self.finished = renamed.is_ok();
        renamed.map_err(|source| Error::Create { path: self.path.clone(), source })
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.finished {
            // If even that fails there is nothing more to do, and the error is on its way already.
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_files_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gguf");
        std::fs::write(&path, b"old").unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        file.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(NewFile::create(dir.path().join("none/b.gguf")).is_err());
    }
}
