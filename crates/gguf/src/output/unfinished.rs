//! The temporary files of this process that have no name of their own yet.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Held while temporaries are made and given their names, so that [`remove_unfinished`] sees all of them or none.
pub(super) fn lock() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets a temporary that has its name, or is gone.
pub(super) fn forget(list: &mut Vec<PathBuf>, path: &Path) {
    list.retain(|other| other != path);
}

/// Removes the temporary file of every [`NewFile`](super::NewFile) that is not finished: for a program that ends without
/// dropping them, because a signal says so.
pub fn remove_unfinished() {
    for path in lock().drain(..) {
        // The program is about to end; there is nobody to tell.
        let _ = std::fs::remove_file(path);
    }
}

/// As [`remove_unfinished`], by a thread that may be holding the list: then nothing is removed.
pub(crate) fn try_remove_unfinished() {
    let mut list = match UNFINISHED.try_lock() {
        Ok(list) => list,
        Err(TryLockError::Poisoned(list)) => list.into_inner(),
        Err(TryLockError::WouldBlock) => return,
    };
    for path in list.drain(..) {
        let _ = std::fs::remove_file(path);
    }
}
