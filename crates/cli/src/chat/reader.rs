//! Where messages come from: a line editor on a terminal, lines of stdin everywhere else.

use std::io::{self, IsTerminal, StdinLock, Write};
use std::path::PathBuf;

use rustyline::Editor;
use rustyline::config::{Behavior, Config};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;

use super::history;
use crate::fail::Failure;
use crate::input::{Line, MAX_LINE, read_line};
use crate::output::note;

const PROMPT: &str = "> ";
/// Behind a line that ends with a backslash.
const MORE: &str = ". ";

/// What a person says.
#[derive(Debug)]
pub(crate) enum Said {
    Line(Line),
    /// Ctrl-C: what was typed is dropped.
    Interrupt,
    End,
}

/// A source of messages.
#[derive(Debug)]
pub(crate) enum Reader {
    /// Lines as they stand. On a terminal a mark asks for them.
    Plain {
        lines: StdinLock<'static>,
        asks: bool,
    },
    Editor(Box<LineEditor>),
}

impl Reader {
    /// The editor where there is a terminal that can have one and `is_plain` does not say otherwise.
    pub fn new(is_plain: bool) -> Reader {
        let is_terminal = io::stdin().is_terminal();
        if is_terminal && !is_plain && can_move_cursor() {
            match LineEditor::new() {
                Ok(editor) => return Reader::Editor(Box::new(editor)),
                Err(error) => note(format_args!("lines cannot be edited here: {error}")),
            }
        }
        Reader::Plain { lines: io::stdin().lock(), asks: is_terminal }
    }

    /// Whether a person types, and commands of the conversation are commands.
    pub fn is_interactive(&self) -> bool {
        matches!(self, Reader::Editor(_) | Reader::Plain { asks: true, .. })
    }

    /// The next message.
    pub fn next(&mut self) -> Result<Said, Failure> {
        match self {
            Reader::Editor(editor) => editor.message(),
            Reader::Plain { lines, asks } => {
                if *asks {
                    let _ = write!(io::stderr(), "{PROMPT}");
                }
                Ok(read_line(lines).map_err(unreadable)?.map_or(Said::End, Said::Line))
            }
        }
    }
}

fn unreadable(error: io::Error) -> Failure {
    Failure::Io { what: "stdin".to_owned(), error }
}

fn can_move_cursor() -> bool {
    !std::env::var("TERM").is_ok_and(|term| ["dumb", "cons25", "emacs"].contains(&term.as_str()))
}

/// Lines with arrow keys and a history that is kept between runs.
#[derive(Debug)]
pub(crate) struct LineEditor {
    editor: Editor<(), DefaultHistory>,
    history: Option<PathBuf>,
}

/// Messages that are remembered.
const N_HISTORY: usize = 1000;

impl LineEditor {
    fn new() -> Result<LineEditor, ReadlineError> {
        // The terminal itself, so that answers may go to a file.
        let config = Config::builder()
            .behavior(Behavior::PreferTerm)
            .bracketed_paste(true)
            .max_history_size(N_HISTORY)?
            .history_ignore_space(false)
            .build();
        let mut editor = Editor::with_config(config)?;
        let mut history = history::path(|name| std::env::var_os(name));
        if let Some(path) = &history
            && let Err(error) = prepare(path).and_then(|()| load(&mut editor, path))
        {
            note(format_args!("{}: {error}; lines are not remembered", path.display()));
            history = None;
        }
        Ok(LineEditor { editor, history })
    }

    /// A line, and those behind it as long as one ends with a backslash.
    fn message(&mut self) -> Result<Said, Failure> {
        let mut message = String::new();
        let mut prompt = PROMPT;
        loop {
            match self.editor.readline(prompt) {
                Ok(line) => {
                    message.push_str(&line);
                    if message.len() > MAX_LINE {
                        return Ok(Said::Line(Line::TooLong));
                    }
                    if !message.ends_with('\\') {
                        break;
                    }
                    message.pop();
                    message.push('\n');
                    prompt = MORE;
                }
                Err(ReadlineError::Interrupted) => return Ok(Said::Interrupt),
                Err(ReadlineError::Eof) => return Ok(Said::End),
                Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    drop_typed();
                    return Ok(Said::Line(Line::NotText));
                }
                Err(ReadlineError::Io(error)) => return Err(unreadable(error)),
                Err(error) => return Err(Failure::Input(format!("stdin: {error}"))),
            }
        }
        // What was pasted ends with one, and Enter is another.
        message.truncate(message.trim_end_matches('\n').len());
        self.remember(&message);
        Ok(Said::Line(Line::Text(message)))
    }

    fn remember(&mut self, message: &str) {
        if message.trim().is_empty() || !self.editor.add_history_entry(message).unwrap_or(false) {
            return;
        }
        let Some(path) = &self.history else { return };
        if let Err(error) = self.editor.append_history(path) {
            note(format_args!("{}: {error}; lines are not remembered", path.display()));
            self.history = None;
        }
    }
}

/// Forgets what was typed and not read yet: the rest of a line of which the beginning was refused is no message.
fn drop_typed() {
    #[cfg(unix)]
    let _ = nix::sys::termios::tcflush(io::stdin(), nix::sys::termios::FlushArg::TCIFLUSH);
}

/// Makes the folder, for this person alone.
fn prepare(path: &std::path::Path) -> Result<(), ReadlineError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    Ok(builder.create(folder)?)
}

fn load(editor: &mut Editor<(), DefaultHistory>, path: &std::path::Path) -> Result<(), ReadlineError> {
    match editor.load_history(path) {
        Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
