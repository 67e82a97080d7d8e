//! What happens when a signal ends the program: files that are not complete are removed first. An interrupt may be meant for an answer under
//! way instead.

use std::sync::{Mutex, PoisonError};

use quipu::CancelToken;

/// The answer that an interrupt is meant for.
static ANSWER: Mutex<Option<CancelToken>> = Mutex::new(None);

/// From here on the next interrupt raises this token instead of ending the program. One that comes when it is raised already ends it.
pub(crate) fn interrupts_raise(token: &CancelToken) {
    *ANSWER.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
}

/// Whether an interrupt was meant for an answer.
#[cfg(unix)]
fn is_for_answer() -> bool {
    match &*ANSWER.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(token) if !token.is_raised() => {
            token.cancel();
            true
        }
        _ => false,
    }
}

/// Removes unfinished files when the program is interrupted, terminated or loses its terminal, and then lets the signal
/// do what it does. Signals that are ignored stay ignored (`nohup`, jobs in the background). Where no thread is to be had,
/// signals end the program as if this had not been called.
#[cfg(unix)]
pub(crate) fn remove_unfinished_files() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
    use signal_hook::iterator::Signals;

    // A file that may not become longer is a failure of writing, with a message, no reason to die.
    let _ = signal_hook::flag::register(SIGXFSZ, std::sync::Arc::default());

    let ignored = ignored_signals();
    let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(move |signal| ignored >> (signal - 1) & 1 == 0);
    // The handlers are installed by the thread that answers them: without it nobody would.
    let terminal = Terminal::now();
    let watch = move || {
        let Ok(mut signals) = Signals::new(wanted) else { return };
        for signal in signals.forever() {
            if signal == SIGINT && is_for_answer() {
                continue;
            }
            quipu::gguf::remove_unfinished();
            terminal.restore();
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    };
    let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(watch);
}

/// The terminal as it was when the program began; a line editor changes it while it reads.
#[cfg(unix)]
struct Terminal(Option<nix::sys::termios::Termios>);

#[cfg(unix)]
impl Terminal {
    fn now() -> Terminal {
        Terminal(nix::sys::termios::tcgetattr(std::io::stdin()).ok())
    }

    /// Makes it that again, if it is another one now.
    fn restore(&self) {
        use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};

        let (Some(before), Ok(now)) = (&self.0, tcgetattr(std::io::stdin())) else { return };
        if now.local_flags != before.local_flags {
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
            // And pastes come as they are typed again.
            crate::output::note("\x1b[?2004l");
        }
    }
}

/// The signals that whoever started this process had ignored, as the bits `1 << (signal - 1)`. Only Linux says so; elsewhere
/// none.
#[cfg(unix)]
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// There are no such signals here.
#[cfg(not(unix))]
pub(crate) fn remove_unfinished_files() {}
