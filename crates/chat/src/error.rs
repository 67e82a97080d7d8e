//! What can go wrong with a chat template.

use std::error::Error as StdError;

use minijinja::ErrorKind;

/// Errors of parsing and rendering a chat template. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source is not a template.
    #[error("chat template, line {line}: {detail}")]
    Syntax {
        /// Line of the template.
        line: usize,
        /// What the parser found.
        detail: String,
    },
    /// The source is longer than any real template.
    #[error("chat template is {len} bytes long, expected at most {max}")]
    SourceTooLong {
        /// Length found.
        len: usize,
        /// Length allowed.
        max: usize,
    },
    /// The template refused the messages by `raise_exception`.
    #[error("chat template, line {line}, refuses these messages: {message}")]
    Raised {
        /// Line of the call.
        line: usize,
        /// The template's own words.
        message: String,
    },
    /// An operation of the template failed on these messages.
    #[error("chat template, line {line}: {detail}")]
    Render {
        /// Line of the operation.
        line: usize,
        /// What failed.
        detail: String,
    },
    /// The template ran for too long.
    #[error("chat template, line {line}: stopped after {max} instructions")]
    TooMuchWork {
        /// Line it had reached.
        line: usize,
        /// Instructions allowed for this number of messages.
        max: u64,
    },
    /// The system gave no thread to run the engine on.
    #[error("chat template: no thread with a stack of {stack} bytes: {detail}")]
    NoThread {
        /// Stack asked for.
        stack: usize,
        /// The system's answer.
        detail: String,
    },
    /// The rendered text grew too long.
    #[error("chat template writes more than {max} bytes")]
    OutputTooLong {
        /// Bytes allowed.
        max: usize,
    },
}

/// The message of `raise_exception`, carried through the engine's error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct RaisedByTemplate(pub String);

/// The line of an error of the engine (1 when it gives none) and its words.
fn place(error: &minijinja::Error) -> (usize, String) {
    let mut detail = error.kind().to_string();
    if let Some(d) = error.detail() {
        detail = format!("{detail}: {d}");
    }
    (error.line().unwrap_or(1), detail)
}

/// An error while parsing.
pub(crate) fn from_parse(error: &minijinja::Error) -> Error {
    let (line, detail) = place(error);
    Error::Syntax { line, detail }
}

/// An error while rendering with `fuel` instructions.
pub(crate) fn from_render(error: &minijinja::Error, fuel: u64) -> Error {
    let (line, mut detail) = place(error);
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(e) = cause {
        if let Some(RaisedByTemplate(message)) = e.downcast_ref() {
            return Error::Raised { line, message: message.clone() };
        }
        if let Some(inner) = e.downcast_ref::<minijinja::Error>() {
            if inner.kind() == ErrorKind::OutOfFuel {
                return Error::TooMuchWork { line, max: fuel };
            }
            detail = place(inner).1;
        }
        cause = e.source();
    }
    Error::Render { line, detail }
}
