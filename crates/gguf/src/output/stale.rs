//! Temporary files that nobody writes any more: what a process leaves that is killed where it cannot tidy up.
//!
//! Whoever writes a temporary holds a lock on it, and the system gives the lock back whatever ends the process. The name says which target it
//! is for. So of the files in a target's folder those are stale that have such a name and can be locked.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::path::Path;

const PREFIX: &str = ".quipu-";
const SUFFIX: &str = ".partial";

/// The name of a temporary for `target`: short, whatever the target is called, because names end at 255 bytes.
pub(super) fn temporary_name(target: &Path, number: u64) -> OsString {
    format!("{}{}{SUFFIX}", prefix(target), unique(number)).into()
}

/// The name under which what was at `target` waits while a set is exchanged. It is never stale: it is somebody's file.
pub(super) fn aside_name(target: &Path, number: u64) -> OsString {
    format!("{}{}.old", prefix(target), unique(number)).into()
}

/// Locks a temporary that was just made; false if it was removed before that. Where files cannot be locked it stays unlocked,
/// and nobody else can lock it either.
pub(super) fn claim(file: &File, path: &Path) -> bool {
    // On other systems a lock keeps others from reading the file.
    !cfg!(unix) || file.lock().is_err() || is_at(file, path)
}

/// Removes the stale temporaries for `target`. What cannot be removed is left: the work is done.
pub(super) fn remove(target: &Path) {
    if !cfg!(unix) {
        return;
    }
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let prefix = prefix(target);
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| name.starts_with(&prefix) && name.ends_with(SUFFIX));
        // Links and pipes are not ours, and opening them could do harm.
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let path = entry.path();
        // Locked until it is gone: whoever has just made it finds it missing then.
        let Ok(file) = OpenOptions::new().read(true).open(&path) else { continue };
        if file.try_lock().is_ok() && is_at(&file, &path) {
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// What names of temporaries for `target` begin with.
fn prefix(target: &Path) -> String {
    // FNV-1a, 64 bits: the same for every build of this program.
    let name = target.file_name().unwrap_or_default().as_encoded_bytes();
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325, step);
    format!("{PREFIX}{hash:016x}-")
}

/// What no other file of this or another process has in its name.
fn unique(number: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{number}-{:x}", std::process::id(), now.as_nanos())
}

/// Whether `path` still leads to an open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(open), Ok(there)) = (file.metadata(), path.symlink_metadata()) else { return false };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}
