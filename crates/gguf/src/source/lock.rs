//! Keeping memory from being swapped out.

use std::sync::Mutex;

/// How much of a block is locked, growing from its start. Answers to `llama_mlock`.
///
/// Unlocking is left to unmapping: the blocks this is used on are mappings of their own.
#[derive(Debug, Default)]
pub struct MemoryLock {
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    locked: usize,
    failed: bool,
}

impl MemoryLock {
    /// Nothing locked yet.
    pub fn new() -> MemoryLock {
        MemoryLock::default()
    }

    /// Locks the first `end` bytes of `block`, rounded up to whole pages, and returns how many are locked now. `block` must
    /// be the same on every call. The first refusal is warned about; after it nothing is tried again
    /// (`llama_mlock::grow_to`).
    pub fn grow_to(&self, block: &[u8], end: usize) -> usize {
        // A panic while holding the lock cannot leave half a state: it is two plain values.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let end = end.min(block.len()).next_multiple_of(page_size());
        if end <= state.locked || state.failed {
            return state.locked;
        }
        match lock_range(block, state.locked, end) {
            Ok(()) => state.locked = end,
            Err(error) => {
                state.failed = true;
                warn(end - state.locked, state.locked, &error);
            }
        }
        state.locked
    }
}

#[cfg(unix)]
fn lock_range(block: &[u8], start: usize, end: usize) -> std::io::Result<()> {
    let Some(rest) = block.get(start..) else { return Ok(()) };
    // SAFETY: locking changes no byte and moves none, so it cannot invalidate a reference. The range starts inside `block`, which is
    // borrowed for the call, and ends at most at the end of the page that holds its last byte; pages are
    // mapped whole.
    let locked = unsafe { rustix::mm::mlock(rest.as_ptr().cast_mut().cast(), end - start) };
    Ok(locked?)
}

#[cfg(not(unix))]
fn lock_range(_block: &[u8], _start: usize, _end: usize) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Bytes of a page.
#[cfg(unix)]
pub(super) fn page_size() -> usize {
    rustix::param::page_size()
}

#[cfg(not(unix))]
pub(super) fn page_size() -> usize {
    64 * 1024
}

fn warn(size: usize, locked: usize, error: &std::io::Error) {
    let advice =
        if limit_is_in_the_way(size, error) { "; RLIMIT_MEMLOCK (ulimit -l) is too low" } else { "" };
    tracing::warn!("cannot lock {size} bytes of memory after {locked} bytes were locked: {error}{advice}");
}

/// As the reference: only a lack of memory that the hard limit does not leave room for is the limit's fault.
#[cfg(unix)]
fn limit_is_in_the_way(size: usize, error: &std::io::Error) -> bool {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock);
    let room = |current: u64| current.saturating_add(size as u64);
    error.kind() == std::io::ErrorKind::OutOfMemory
        && limit.maximum.is_some_and(|maximum| limit.current.is_none_or(|current| maximum <= room(current)))
}

#[cfg(not(unix))]
fn limit_is_in_the_way(_size: usize, _error: &std::io::Error) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostMemory;

    #[test]
    fn locks_grow_by_pages_and_never_shrink() {
        let memory = HostMemory::zeroed(3 * page_size()).unwrap();
        let lock = MemoryLock::new();
        let first = lock.grow_to(memory.as_slice(), 1);
        // A system that lets nothing be locked gives 0 and keeps giving 0.
        if first == 0 {
            assert_eq!(lock.grow_to(memory.as_slice(), usize::MAX), 0);
            return;
        }
        assert_eq!(first, page_size());
        assert_eq!(lock.grow_to(memory.as_slice(), 2), page_size());
        assert_eq!(lock.grow_to(memory.as_slice(), usize::MAX), 3 * page_size());
        assert_eq!(lock.grow_to(memory.as_slice(), 0), 3 * page_size());
    }
}
