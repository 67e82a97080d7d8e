//! What happens when a signal ends the program: files that are not complete are removed first.

/// Removes unfinished files when the program is interrupted, terminated or loses its terminal, and then lets the signal
/// do what it does. Where no thread is to be had, signals end the program as if this had not been called.
#[cfg(unix)]
pub(crate) fn remove_unfinished_files() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    // The handlers are installed by the thread that answers them: without it nobody would.
    let watch = || {
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
        for signal in signals.forever() {
            quipu::gguf::remove_unfinished();
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    };
    let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(watch);
}

/// There are no such signals here.
#[cfg(not(unix))]
pub(crate) fn remove_unfinished_files() {}
