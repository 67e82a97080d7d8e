//! What can go wrong with a chat template.

use crate::jinja::meter::{Bound, Fail, FailKind};

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
    /// The template met one of its bounds.
    #[error("chat template, line {line}: {bound}")]
    Exceeded {
        /// Line it had reached.
        line: usize,
        /// The bound.
        bound: Bound,
    },
    /// The system gave no thread to run the engine on.
    #[error("chat template: no thread with a stack of {stack} bytes: {detail}")]
    NoThread {
        /// Stack asked for.
        stack: usize,
        /// The system's answer.
        detail: String,
    },
    /// A conversation that is not a list of messages.
    #[error("chat messages: {detail}")]
    Messages {
        /// What was found and what was expected.
        detail: String,
    },
}

/// An error of a render.
pub(crate) fn from_fail(line: u32, fail: Fail) -> Error {
    let line = line as usize;
    match fail.kind {
        FailKind::Bound(bound) => Error::Exceeded { line, bound },
        FailKind::Raised => Error::Raised { line, message: fail.message },
        _ => Error::Render { line, detail: fail.message },
    }
}
