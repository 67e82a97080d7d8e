//! A file that comes into being under its name only when it is complete.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::inputs::Inputs;
use super::{stale, unfinished};
use crate::{Error, Result};

/// Links that are followed to where an output leads, as the system does (`ELOOP`).
const MAX_LINKS: usize = 40;

/// A file under way. Until [`NewFile::finish`] it lies beside its target under a name that no other file has, and it is
/// removed if it is dropped before; what was there under the target's name stays until then. What a process that was killed left of an earlier
/// one for the same target is removed when this one has its name.
///
/// A link is followed: its target is replaced, not the link. Devices, pipes and sockets are written to as they are.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    /// As the caller named it.
    path: PathBuf,
    /// Absent where bytes go straight to a device.
    temporary: Option<Temporary>,
}

#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    /// Where links lead.
    target: PathBuf,
    replaces: bool,
}

impl NewFile {
    /// Begins the file that will be at `path`, over what is there now, unless that is one of `inputs`.
    ///
    /// # Errors
    /// [`Error::OutputIsInput`]; [`Error::Create`] if the folder or what is there now cannot be written.
    pub fn create(path: impl AsRef<Path>, inputs: &Inputs) -> Result<NewFile> {
        NewFile::begin(path.as_ref(), inputs, true)
    }

    /// Begins the file that will be at `path`, where nothing may be: neither now nor when it is finished.
    ///
    /// # Errors
    /// [`Error::OutputExists`]; [`Error::Create`].
    pub fn create_new(path: impl AsRef<Path>) -> Result<NewFile> {
        let path = path.as_ref();
        if path.symlink_metadata().is_ok() {
            return Err(Error::OutputExists { path: path.to_owned() });
        }
        NewFile::begin(path, &Inputs::new(), false)
    }

    fn begin(path: &Path, inputs: &Inputs, replaces: bool) -> Result<NewFile> {
        let path = path.to_owned();
        inputs.refuse(&path)?;
        let failed = |source| Error::Create { path: path.clone(), source };
        let there = match path.metadata() {
            Ok(there) => {
                // For files, this asks whether they may be written: renaming would not.
                let file = OpenOptions::new().write(true).open(&path).map_err(failed)?;
                if !there.is_file() {
                    return Ok(NewFile { file, path, temporary: None });
                }
                Some(there)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // A name that is too long, a file where a folder should be: better now than after the work.
            Err(error) => return Err(failed(error)),
        };
        let target = follow_links(&path).map_err(failed)?;
        if !ends_in_name(&target) {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "expected the name of a file")));
        }
        let (file, temporary) = create_beside(&target, &mut unfinished::lock()).map_err(failed)?;
        // Who may read and write the file that is replaced may read and write its successor, and nobody else meanwhile.
        if let Some(there) = there {
            let _ = file.set_permissions(there.permissions());
        }
        let temporary = Some(Temporary { path: temporary, target, replaces });
        Ok(NewFile { file, path, temporary })
    }

    /// Bytes written so far; 0 where they went straight to a device.
    ///
    /// # Errors
    /// The system's.
    pub fn n_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Where it will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it under its name now, while more is to be written: for logs, which are of use before they are complete.
    ///
    /// # Errors
    /// As [`NewFile::finish`].
    pub fn appear(&mut self) -> Result<()> {
        self.take_name(&mut unfinished::lock())
    }

    /// Puts it under its name.
    ///
    /// # Errors
    /// [`Error::Create`]; [`Error::OutputExists`] if it must not replace anything and something is there by now. What was
    /// under the name is still there then.
    pub fn finish(self) -> Result<()> {
        NewFile::finish_all(vec![self])
    }

    /// Puts the files of a set under their names. The first file is the one a set is opened by: the old one goes before
    /// any other changes and the new one comes last, so that a process that is killed in between leaves no set that opens.
    /// If a name cannot be taken, those that were are given back.
    ///
    /// # Errors
    /// As [`NewFile::finish`].
    pub fn finish_all(mut files: Vec<NewFile>) -> Result<()> {
        for new in &mut files {
            let failed = |source| Error::Create { path: new.path.clone(), source };
            new.file.flush().map_err(failed)?;
            // A file that replaces another must be on the disk before it does: an empty one would be a loss.
            if new.temporary.as_ref().is_some_and(|temporary| temporary.target.exists()) {
                new.file.sync_all().map_err(failed)?;
            }
        }
        let mut unfinished = unfinished::lock();
        if let [only] = files.as_mut_slice() {
            return only.take_name(&mut unfinished);
        }
        let (mut aside, mut taken) = (Vec::new(), Vec::new());
        let outcome = exchange(&mut files, &mut unfinished, &mut aside, &mut taken);
        // Either the new set is complete and the old one goes, or the other way round. What tidying up cannot do is no
        // failure of the work.
        if outcome.is_err() {
            for target in &taken {
                let _ = std::fs::remove_file(target);
            }
        }
        for (place, target) in aside.iter().rev() {
            if outcome.is_ok() {
                let _ = std::fs::remove_file(place);
            } else if let Err(source) = std::fs::rename(place, target) {
                return Err(Error::PutAside { path: target.clone(), aside: place.clone(), source });
            }
        }
        outcome
    }

    /// Moves what is under its name to a name nobody else has; both, if anything was there.
    fn put_aside(&self, unfinished: &mut Vec<PathBuf>) -> Result<Option<(PathBuf, PathBuf)>> {
        let Some(Temporary { target, .. }) = &self.temporary else { return Ok(None) };
        if target.symlink_metadata().is_err() {
            return Ok(None);
        }
        let failed = |source| Error::Create { path: self.path.clone(), source };
        let (_, place) = create_with(target, unfinished, stale::aside_name).map_err(failed)?;
        unfinished::forget(unfinished, &place);
        std::fs::rename(target, &place).map_err(|source| {
            // Nothing is in it.
            let _ = std::fs::remove_file(&place);
            failed(source)
        })?;
        Ok(Some((place, target.clone())))
    }

    /// Gives the temporary its target's name.
    fn take_name(&mut self, unfinished: &mut Vec<PathBuf>) -> Result<()> {
        let Some(Temporary { path, target, replaces }) = &self.temporary else { return Ok(()) };
        let named = if *replaces { std::fs::rename(path, target) } else { rename_new(path, target) };
        match named {
            Ok(()) => {
                unfinished::forget(unfinished, path);
                stale::remove(target);
                self.temporary = None;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::OutputExists { path: self.path.clone() })
            }
            Err(source) => Err(Error::Create { path: self.path.clone(), source }),
        }
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
        if let Some(temporary) = &self.temporary {
            // If even that fails there is nothing more to do, and the error is on its way already.
            let _ = std::fs::remove_file(&temporary.path);
            unfinished::forget(&mut unfinished::lock(), &temporary.path);
        }
    }
}

/// Puts aside what is under the names of `files`, the first one's first, then gives them their names, the first one last.
/// `aside` and `taken` tell how far that went.
fn exchange(
    files: &mut [NewFile],
    unfinished: &mut Vec<PathBuf>,
    aside: &mut Vec<(PathBuf, PathBuf)>,
    taken: &mut Vec<PathBuf>,
) -> Result<()> {
    for new in files.iter() {
        aside.extend(new.put_aside(unfinished)?);
    }
    for new in files.iter_mut().rev() {
        let target = new.temporary.as_ref().map(|temporary| temporary.target.clone());
        new.take_name(unfinished)?;
        taken.extend(target);
    }
    Ok(())
}

/// Renames without replacing: a link can be made only where nothing is. Where the file system has no links, the time
/// between looking and renaming is all that is left to chance.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::hard_link(from, to) {
        Ok(()) => std::fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(_) if to.symlink_metadata().is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => std::fs::rename(from, to),
    }
}

/// Whether a path names something in a folder: it is not empty, and no separator or dots are at its end.
fn ends_in_name(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    path.file_name().is_some_and(|name| bytes.ends_with(name.as_encoded_bytes()))
}

/// Where `path` leads, which need not be there.
fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut at = path.to_owned();
    for _ in 0..MAX_LINKS {
        match at.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => {
                let to = std::fs::read_link(&at)?;
                at = at.parent().unwrap_or(Path::new("")).join(to);
            }
            _ => return Ok(at),
        }
    }
    Err(io::Error::other("too many levels of symbolic links"))
}

/// A new file for what will be `target`, in its folder and under a name no other file has. It is locked as long as it is open, which tells
/// it from one whose process is gone.
fn create_beside(target: &Path, unfinished: &mut Vec<PathBuf>) -> io::Result<(File, PathBuf)> {
    loop {
        let (file, path) = create_with(target, unfinished, stale::temporary_name)?;
        if stale::claim(&file, &path) {
            return Ok((file, path));
        }
        // Somebody took it for a stale one before it was locked.
        unfinished::forget(unfinished, &path);
    }
}

/// A new file in the folder of `target`, under one of the names that `name` makes of a target and a number.
fn create_with(
    target: &Path,
    unfinished: &mut Vec<PathBuf>,
    name: fn(&Path, u64) -> OsString,
) -> io::Result<(File, PathBuf)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let folder = target.parent().unwrap_or(Path::new(""));
    loop {
        let path = folder.join(name(target, NUMBER.fetch_add(1, Ordering::Relaxed)));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => {
                unfinished.push(path.clone());
                return Ok((file, path));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything in the folder, by name, with its contents.
    fn contents(folder: &Path) -> Vec<(String, String)> {
        let mut all: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                (path.file_name().unwrap().to_string_lossy().into_owned(), text)
            })
            .collect();
        all.sort();
        all
    }

    fn pair(name: &str, text: &str) -> (String, String) {
        (name.to_owned(), text.to_owned())
    }

    fn begin(path: PathBuf, text: &str) -> NewFile {
        let mut file = NewFile::create(path, &Inputs::new()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn unfinished_files_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gguf");
        std::fs::write(&path, b"old").unwrap();
        drop(begin(path.clone(), "new"));
        assert_eq!(contents(dir.path()), [pair("a.gguf", "old")]);
        begin(path, "new").finish().unwrap();
        assert_eq!(contents(dir.path()), [pair("a.gguf", "new")]);
        assert!(NewFile::create(dir.path().join("none/b.gguf"), &Inputs::new()).is_err());
    }

    #[test]
    fn strangers_with_likely_names_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.partial", "a.part", "a.tmp"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        begin(dir.path().join("a"), "new").finish().unwrap();
        let expected = [pair("a", "new"), pair("a.part", "a.part"), pair("a.partial", "a.partial")];
        assert_eq!(contents(dir.path())[..3], expected);
    }

    /// Of what looks like a temporary, only what was one for this target and is held by nobody goes.
    #[test]
    #[cfg(unix)]
    fn what_a_killed_process_left_goes_with_the_next_success() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let abandoned = |target: &str| {
            let mut file = begin(path(target), "half");
            let left = file.temporary.take().unwrap().path;
            unfinished::forget(&mut unfinished::lock(), &left);
            left
        };
        let (mine, anothers) = (abandoned("a"), abandoned("b"));
        let alive = begin(path("a"), "under way");
        let alive_at = alive.temporary.as_ref().unwrap().path.clone();
        for name in [".quipu-1-2-3.partial", ".quipu-x.partial", "a.partial"] {
            std::fs::write(path(name), "a stranger's").unwrap();
        }
        // One that failed removes nothing.
        drop(begin(path("a"), "new"));
        assert!(mine.exists());
        begin(path("a"), "new").finish().unwrap();
        assert!(!mine.exists() && anothers.exists() && alive_at.exists());
        assert!(
            [".quipu-1-2-3.partial", ".quipu-x.partial", "a.partial"].iter().all(|name| path(name).exists())
        );
        alive.finish().unwrap();
        assert_eq!(std::fs::read_to_string(path("a")).unwrap(), "under way");
        // What was put aside is somebody's file, and stays.
        let (_, aside) = create_with(&path("a"), &mut unfinished::lock(), stale::aside_name).unwrap();
        begin(path("a"), "newer").finish().unwrap();
        assert!(aside.exists());
    }

    #[test]
    fn two_at_once_are_both_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let (mut one, mut two) = (begin(path.clone(), "one"), begin(path.clone(), "two"));
        two.write_all(b" and on").unwrap();
        one.write_all(b" and on").unwrap();
        one.finish().unwrap();
        assert_eq!(contents(dir.path()).iter().filter(|(name, _)| name == "a").count(), 1);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one and on");
        two.finish().unwrap();
        assert_eq!(contents(dir.path()), [pair("a", "two and on")]);
    }

    #[test]
    fn names_of_any_length_a_folder_takes() {
        let dir = tempfile::tempdir().unwrap();
        let name = "n".repeat(255);
        begin(dir.path().join(&name), "new").finish().unwrap();
        assert_eq!(contents(dir.path()), [pair(&name, "new")]);
    }

    #[test]
    fn inputs_are_refused_by_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("input");
        std::fs::write(&input, b"data").unwrap();
        std::fs::hard_link(&input, dir.path().join("hard")).unwrap();
        let inputs: Inputs = [&input].into_iter().collect();
        for output in ["input", "hard", "./input"] {
            let error = NewFile::create(dir.path().join(output), &inputs).unwrap_err();
            assert!(matches!(error, Error::OutputIsInput { .. }), "{error}");
        }
        NewFile::create(dir.path().join("other"), &inputs).unwrap();
        assert_eq!(std::fs::read(&input).unwrap(), b"data");
    }

    #[test]
    fn a_new_file_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let mut new = NewFile::create_new(&path).unwrap();
        new.write_all(b"new").unwrap();
        // Somebody was quicker.
        std::fs::write(&path, b"other").unwrap();
        assert!(matches!(new.finish(), Err(Error::OutputExists { .. })));
        assert!(matches!(NewFile::create_new(&path), Err(Error::OutputExists { .. })));
        assert_eq!(contents(dir.path()), [pair("a", "other")]);
        NewFile::create_new(dir.path().join("b")).unwrap().finish().unwrap();
        assert_eq!(contents(dir.path()).len(), 2);
    }

    #[test]
    fn a_set_is_exchanged_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = |i: usize| dir.path().join(format!("set-{i}"));
        let set = |text: &str| (1..=3).map(|i| begin(path(i), text)).collect::<Vec<_>>();
        let whole = |text: &str| (1..=3).map(|i| pair(&format!("set-{i}"), text)).collect::<Vec<_>>();
        NewFile::finish_all(set("old")).unwrap();
        assert_eq!(contents(dir.path()), whole("old"));
        NewFile::finish_all(set("new")).unwrap();
        assert_eq!(contents(dir.path()), whole("new"));
        // The second of them cannot be given its name: what it was written to is gone.
        let files = set("lost");
        std::fs::remove_file(&files[1].temporary.as_ref().unwrap().path).unwrap();
        assert!(NewFile::finish_all(files).is_err());
        assert_eq!(contents(dir.path()), whole("new"));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_devices_written_to() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("target"), b"old").unwrap();
        symlink("target", dir.path().join("link")).unwrap();
        symlink("link", dir.path().join("link2")).unwrap();
        begin(dir.path().join("link2"), "new").finish().unwrap();
        assert_eq!(std::fs::read(dir.path().join("target")).unwrap(), b"new");
        assert!(dir.path().join("link").symlink_metadata().unwrap().is_symlink());
        // A link that leads nowhere leads to a file that is not there yet.
        symlink("later", dir.path().join("dangling")).unwrap();
        begin(dir.path().join("dangling"), "new").finish().unwrap();
        assert_eq!(std::fs::read(dir.path().join("later")).unwrap(), b"new");
        symlink("circle", dir.path().join("circle")).unwrap();
        assert!(NewFile::create(dir.path().join("circle"), &Inputs::new()).is_err());
        let before = std::fs::symlink_metadata("/dev/null").unwrap().file_type();
        begin("/dev/null".into(), "new").finish().unwrap();
        assert_eq!(std::fs::symlink_metadata("/dev/null").unwrap().file_type(), before);
        assert!(NewFile::create(dir.path(), &Inputs::new()).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn permissions_stay() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| dir.path().join(name));
        for path in &paths {
            std::fs::write(path, b"old").unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o640)).unwrap();
        }
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let new = begin(paths[0].clone(), "new");
        assert_eq!(mode(&new.temporary.as_ref().unwrap().path), 0o640);
        new.finish().unwrap();
        assert_eq!(mode(&paths[0]), 0o640);
        NewFile::finish_all(paths.iter().map(|path| begin(path.clone(), "set")).collect()).unwrap();
        assert_eq!(paths.each_ref().map(|path| mode(path)), [0o640; 2]);
    }

    #[test]
    fn names_that_cannot_be_taken_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["out/", "", "..", &"n".repeat(300)] {
            let path = if name.is_empty() { PathBuf::new() } else { dir.path().join(name) };
            let error = NewFile::create(&path, &Inputs::new()).unwrap_err();
            assert!(matches!(error, Error::Create { .. }), "{name}: {error}");
        }
        assert_eq!(contents(dir.path()), []);
    }
}
