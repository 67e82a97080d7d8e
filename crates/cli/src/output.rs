//! What commands write: results to stdout, files that appear when they are complete, and notes for a person on stderr.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quipu::gguf::{Inputs, NewFile};

use crate::fail::Failure;

/// Says something to a person. A terminal that is gone hears nothing, and the work goes on.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Where stdout was closed when the program started, the runtime has put `/dev/null` there. What is printed would be lost without a word: it
/// becomes a pipe that nobody reads, so that printing fails as it does where a reader went away.
pub(crate) fn break_closed_stdout() {
    #[cfg(unix)]
    if quipu::gguf::stdout_was_closed()
        && let Ok((reader, writer)) = io::pipe()
    {
        drop(reader);
        let _ = nix::unistd::dup2_stdout(writer);
    }
}

/// A file that a command writes. It takes its name in [`Output::finish`]; without that, what was there stays.
#[derive(Debug)]
pub(crate) struct Output {
    file: BufWriter<NewFile>,
    path: PathBuf,
}

impl Output {
    /// Begins it. An output that is one of `inputs` is refused.
    pub fn create(path: &Path, inputs: &Inputs) -> Result<Output, Failure> {
        let file = BufWriter::with_capacity(1 << 16, NewFile::create(path, inputs)?);
        Ok(Output { file, path: path.to_owned() })
    }

    /// Gives it its name.
    pub fn finish(self) -> Result<(), Failure> {
        let file = self.file.into_inner().map_err(|error| failed(&self.path, error.into_error()))?;
        Ok(file.finish()?)
    }

    /// The failure of writing to it.
    pub fn failed(&self, error: io::Error) -> Failure {
        failed(&self.path, error)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn failed(path: &Path, error: io::Error) -> Failure {
    Failure::Io { what: path.display().to_string(), error }
}

/// A log: handed to somebody who keeps it to the end of the program. What was written is in the file, whatever happens next.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<Mutex<NewFile>>);

impl Log {
    /// Begins it. A log that is one of `inputs` is refused.
    pub fn create(path: &Path, inputs: &Inputs) -> Result<Log, Failure> {
        Ok(Log(Arc::new(Mutex::new(NewFile::create(path, inputs)?))))
    }

    /// Gives the file its name: from here on there is something to log.
    pub fn appear(&self) -> Result<(), Failure> {
        Ok(self.file().appear()?)
    }

    fn file(&self) -> MutexGuard<'_, NewFile> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}
