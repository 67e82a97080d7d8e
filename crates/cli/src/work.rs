//! How the program's work is run: on a thread of its own, and so that a panic is one line.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

use crate::output::note;

/// Stack of the work, all of it reserved when it begins: the first thread's would grow, and a system that has no room left
/// answers that with a signal.
const STACK: usize = 8 << 20;

/// Exit code of a fault of this program, as Rust's runtime has it.
const FAULT: u8 = 101;

/// Runs `work`. Where no thread is to be had, on this one.
pub(crate) fn run(work: fn() -> ExitCode) -> ExitCode {
    // Libraries turn panics of their parts into errors; what they do not is told below, once.
    let told = Arc::new(Mutex::new(String::new()));
    let last = Arc::clone(&told);
    std::panic::set_hook(Box::new(move |panic| {
        *last.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
    let done = match Builder::new().name("work".to_owned()).stack_size(STACK).spawn(work) {
        Ok(thread) => thread.join(),
        Err(_) => catch_unwind(AssertUnwindSafe(work)),
    };
    done.unwrap_or_else(|_| {
        quipu::gguf::remove_unfinished();
        let told = told.lock().unwrap_or_else(PoisonError::into_inner).replace(['\n', '\r'], " ");
        note(format_args!("quipu: this is a fault of quipu itself: {told}"));
        ExitCode::from(FAULT)
    })
}
