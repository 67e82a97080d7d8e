//! What a command-line program does when there is no memory: it says so in one line and ends with exit code 1.
//!
//! Sizes that depend on input are checked and reserved, and what cannot be had is an error of its own. What remains are the
//! small allocations that everything makes; one that fails calls `abort`, in every Rust program. A program that declares
//! [`ExitOnOutOfMemory`] its allocator and calls [`ExitOnOutOfMemory::install`] ends as after any other failure instead. Libraries
//! do neither: a process that embeds this crate stays master of its end.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Requests of so many bytes may be refused: whoever asks for more than a program has by the way is prepared for that. Should he
/// not be, the abort that follows is caught.
const LARGE: usize = 1 << 24;

thread_local! {
    /// Whether this thread's last request for memory was refused.
    static REFUSED: Cell<bool> = const { Cell::new(false) };
}

/// The system's allocator, for a program that ends when there is no memory.
#[derive(Clone, Copy, Debug)]
pub struct ExitOnOutOfMemory {
    #[cfg_attr(not(unix), allow(dead_code))]
    program: &'static str,
}

impl ExitOnOutOfMemory {
    /// For a program of that name, which its failures begin with.
    pub const fn new(program: &'static str) -> ExitOnOutOfMemory {
        ExitOnOutOfMemory { program }
    }

    /// From here on an abort because memory was refused removes unfinished outputs and ends the program with exit code 1; the
    /// standard library has said why on stderr by then. Aborts for other reasons stay aborts. Does nothing where there are no
    /// signals.
    ///
    /// All threads take their memory from one place (glibc): each would reserve 64 MiB of address space for itself, if it is to be had, so that
    /// a command could fail under a limit that is above one that suffices. Call it before there are threads.
    pub fn install() {
        #[cfg(unix)]
        unix::install();
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        // SAFETY: sets a parameter of the allocator, which takes it at any time.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
    }

    /// Passes an answer of the system's allocator on, or ends the program.
    fn answer(&self, memory: *mut u8, size: usize) -> *mut u8 {
        if memory.is_null() && size < LARGE {
            #[cfg(unix)]
            unix::say_and_exit(self.program, size);
        }
        // No destructor and a constant start: this neither allocates nor fails.
        REFUSED.with(|refused| {
            if memory.is_null() != refused.get() {
                refused.set(memory.is_null());
            }
        });
        memory
    }
}

// SAFETY: every call is handed to the system's allocator as it is, and its answer handed back, if at all.
unsafe impl GlobalAlloc for ExitOnOutOfMemory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the ones the system's allocator asks for.
        self.answer(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        self.answer(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        self.answer(unsafe { System.realloc(memory, layout, new_size) }, new_size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[cfg(unix)]
mod unix {
    use std::cell::Cell;
    use std::io::Write;
    use std::ptr;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::REFUSED;

    /// Some thread ends the process.
    static IS_ENDING: AtomicBool = AtomicBool::new(false);

    thread_local! {
        /// It is this one.
        static ENDS: Cell<bool> = const { Cell::new(false) };
    }

    pub(super) fn install() {
        // SAFETY: the structure is plain data that all zeros are valid for and that lives across the call; the handler has
        // the signature of one without SA_SIGINFO.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_abort as *const () as libc::sighandler_t;
            libc::sigaction(libc::SIGABRT, &raw const action, ptr::null_mut());
        }
    }

    /// One line on stderr, and the end. Allocates nothing.
    pub(super) fn say_and_exit(program: &str, size: usize) -> ! {
        alone();
        let mut line = [0u8; 128];
        let mut rest = &mut line[..];
        let _ = writeln!(rest, "{program}: out of memory: {size} bytes cannot be had");
        let left = rest.len();
        let line = &line[..line.len() - left];
        // SAFETY: the bytes live across the call. The standard library's stderr may be in use by this very thread.
        let _ = unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
        exit()
    }

    /// Returns to the thread that is first; all others wait for the end that it makes. Who comes again, because removing files
    /// wants memory too, ends at once.
    fn alone() {
        if ENDS.with(Cell::get) {
            // SAFETY: nothing is run any more.
            unsafe { libc::_exit(1) }
        }
        while IS_ENDING.swap(true, Ordering::Relaxed) {
            // SAFETY: waits for a signal, and for nothing else.
            unsafe { libc::pause() };
        }
        ENDS.with(|ends| ends.set(true));
    }

    /// Removes unfinished outputs and ends the process.
    fn exit() -> ! {
        crate::output::try_remove_unfinished();
        // SAFETY: nothing is run any more.
        unsafe { libc::_exit(1) }
    }

    /// Runs on the thread that called `abort`, at that place: it may do what any function may. Should it be called otherwise
    /// (by `kill`), memory was not refused just now, and nothing but system calls is done.
    extern "C" fn on_abort(signal: libc::c_int) {
        if REFUSED.with(Cell::get) {
            alone();
            exit();
        }
        // SAFETY: plain data, as above; the signal does what it does, when this handler returns or `abort` sees to it.
        unsafe {
            let mut default: libc::sigaction = std::mem::zeroed();
            default.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(signal, &raw const default, ptr::null_mut());
            libc::raise(signal);
        }
    }
}
