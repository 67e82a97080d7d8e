//! The crate's one error type: what kept a comparison from being made.

use std::path::PathBuf;

/// Why an audit could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The checkout is not one, or is not built.
    #[error("{}: {found}, expected {expected}", path.display())]
    Checkout {
        /// Where it was looked for.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A program failed.
    #[error("{program}: {message}")]
    Program {
        /// The program.
        program: String,
        /// Its last words.
        message: String,
    },
    /// Recorded data that cannot be what it says.
    #[error("golden {name}: {message}")]
    Golden {
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// The engine refused.
    #[error("{case}: {message}")]
    Engine {
        /// What was computed.
        case: String,
        /// The engine's message.
        message: String,
    },
}

impl Error {
    /// For `map_err` on file operations.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }

    /// For `map_err` on the engine's results.
    pub fn engine<E: std::fmt::Display>(case: &str) -> impl Fn(E) -> Error {
        let case = case.to_owned();
        move |error| Error::Engine { case: case.clone(), message: error.to_string() }
    }
}
