//! What commands write: results to stdout, files that appear when they are complete, and notes for a person on stderr.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use quipu::gguf::{Inputs, NewFile};

use crate::fail::Failure;

/// Says something to a person. A terminal that is gone hears nothing, and the work goes on.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
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

/// An output that is handed to somebody who keeps it to the end of the program, and finished from outside.
#[derive(Clone, Debug)]
pub(crate) struct SharedOutput(Arc<Mutex<Option<Output>>>);

impl SharedOutput {
    pub fn new(output: Output) -> SharedOutput {
        SharedOutput(Arc::new(Mutex::new(Some(output))))
    }

    /// Gives the file its name; what is written later goes nowhere.
    pub fn finish(&self) -> Result<(), Failure> {
        let output = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        output.map_or(Ok(()), Output::finish)
    }

    fn with(
        &self,
        write: impl FnOnce(&mut Output) -> io::Result<usize>,
        otherwise: usize,
    ) -> io::Result<usize> {
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        output.as_mut().map_or(Ok(otherwise), write)
    }
}

impl Write for SharedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|output| output.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(|output| output.flush().map(|()| 0), 0).map(drop)
    }
}
