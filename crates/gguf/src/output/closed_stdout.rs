//! Whether a program was started without a stdout (`>&-`).
//!
//! By the time `main` runs, Rust's runtime has put `/dev/null` in its place, so that no file opened later becomes stdout by accident; what is
//! printed then is lost, and nobody can tell. Only what runs before the runtime can still see it.

/// Whether stdout was closed when this process started. False where nothing runs before the runtime.
pub fn stdout_was_closed() -> bool {
    #[cfg(target_os = "linux")]
    let closed = first::is_closed();
    #[cfg(not(target_os = "linux"))]
    let closed = false;
    closed
}

#[cfg(target_os = "linux")]
mod first {
    use std::sync::atomic::{AtomicBool, Ordering};

    static CLOSED: AtomicBool = AtomicBool::new(false);

    /// Looks before anybody else does.
    // SAFETY: functions in this section are called once, on the first thread, before the runtime; this one needs nothing of it.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static LOOK: extern "C" fn() = look;

    extern "C" fn look() {
        // SAFETY: asks for the flags of a descriptor, which may be none.
        let closed = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) } == -1;
        CLOSED.store(closed, Ordering::Relaxed);
    }

    pub(super) fn is_closed() -> bool {
        // Whoever asks has it linked.
        std::hint::black_box(&LOOK);
        CLOSED.load(Ordering::Relaxed)
    }
}
