//! What a command can fail with: always one line.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// A command's failure.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine refused.
    Engine(Box<quipu::Error>),
    /// A file or stream could not be read or written.
    Io { what: String, error: io::Error },
    /// Input that makes no sense.
    Input(String),
    /// What the input was to be judged by makes no sense.
    Refused(String),
    /// Whoever read stdout went away.
    Pipe,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Failure::Engine(error) => error.to_string(),
            Failure::Io { what, error } => format!("{what}: {error}"),
            Failure::Input(message) | Failure::Refused(message) => message.clone(),
            Failure::Pipe => "stdout was closed before everything was written".to_owned(),
        };
        // Messages quote input, and input may hold line breaks.
        f.write_str(&text.replace(['\n', '\r'], " "))
    }
}

impl Failure {
    /// 1, or 2 where 1 is an answer.
    pub(crate) fn exit_code(&self) -> ExitCode {
        if matches!(self, Failure::Refused(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
    }

    /// The same about what the input was to be judged by. A file that cannot be read is what it is in every command.
    pub(crate) fn refused(self) -> Failure {
        let is_unreadable = match &self {
            Failure::Io { .. } => true,
            Failure::Engine(error) => matches!(
                **error,
                quipu::Error::Open { source: quipu::gguf::Error::Open { .. }, .. }
                    | quipu::Error::Gguf(quipu::gguf::Error::Open { .. })
            ),
            _ => false,
        };
        if is_unreadable { self } else { Failure::Refused(self.to_string()) }
    }
}

impl<E: Into<quipu::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Engine(Box::new(error.into()))
    }
}

/// Tells a closed pipe from other failures of writing results.
pub(crate) fn writing(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::Pipe
    } else {
        Failure::Io { what: "stdout".to_owned(), error }
    }
}

/// A failure that names the file it is of, once.
pub(crate) fn named<E: fmt::Display>(path: &Path) -> impl Fn(E) -> Failure {
    move |error| {
        let (path, message) = (path.display().to_string(), error.to_string());
        let is_named = !path.is_empty() && message.contains(&path);
        Failure::Input(if is_named { message } else { format!("{path}: {message}") })
    }
}
