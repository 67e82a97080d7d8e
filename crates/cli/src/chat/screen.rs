//! What a person sees: answers on stdout, thoughts dimmed, and how far a long prompt is.

use std::io::{self, IsTerminal, StdoutLock, Write};

use super::thoughts::Part;

/// When to use the terminal's colours.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Color {
    On,
    Off,
    // On a terminal, unless `NO_COLOR` is set. (A comment in the help would spread its lines.)
    Auto,
}

/// Prompts with fewer new tokens than this are there before their progress would be read.
const LONG_PROMPT: usize = 256;

/// Where answers go.
#[derive(Debug)]
pub(crate) struct Screen {
    out: StdoutLock<'static>,
    dims: bool,
    /// Whether progress is shown at all.
    has_progress: bool,
    shows_progress: bool,
}

impl Screen {
    /// `is_terminal` is whether a person types the messages.
    pub fn new(color: Color, is_terminal: bool) -> Screen {
        let out = io::stdout();
        // By its convention, whatever it is set to but nothing.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dims = match color {
            Color::On => true,
            Color::Off => false,
            Color::Auto => out.is_terminal() && !refused,
        };
        let has_progress = is_terminal && io::stderr().is_terminal();
        Screen { out: out.lock(), dims, has_progress, shows_progress: false }
    }

    /// A piece of an answer, or of the thoughts before it.
    pub fn show(&mut self, part: Part, text: &str) -> io::Result<()> {
        self.clear_progress();
        match part {
            // One by one, so that an end at any time leaves the terminal as it was.
            Part::Thought if self.dims => write!(self.out, "\x1b[2m{text}\x1b[0m")?,
            _ => write!(self.out, "{text}")?,
        }
        self.out.flush()
    }

    /// The end of an answer.
    pub fn end(&mut self) -> io::Result<()> {
        self.clear_progress();
        writeln!(self.out).and_then(|()| self.out.flush())
    }

    /// How much of a prompt is done, of which `n_cached` tokens were there before.
    pub fn progress(&mut self, n_cached: usize, n_done: usize, n_prompt: usize) {
        if self.has_progress && n_prompt - n_cached.min(n_prompt) >= LONG_PROMPT {
            let _ = write!(io::stderr(), "\r\x1b[Kprompt: {n_done} of {n_prompt} tokens");
            self.shows_progress = true;
        }
    }

    fn clear_progress(&mut self) {
        if std::mem::take(&mut self.shows_progress) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
