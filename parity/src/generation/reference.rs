//! The reference's side of a generation.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use tempfile::NamedTempFile;

use super::subject::{Request, Setting, Subject};
use crate::checkout::{Checkout, floats, run};
use crate::error::Error;

/// A subject's model, written out for the reference.
#[derive(Debug)]
pub struct Reference<'a> {
    checkout: &'a Checkout,
    model: NamedTempFile,
}

impl<'a> Reference<'a> {
    /// Writes the model.
    ///
    /// # Errors
    /// It could not be written.
    pub fn new(checkout: &'a Checkout, subject: &Subject) -> Result<Reference<'a>, Error> {
        let mut model = NamedTempFile::new().map_err(Error::io("temporary file"))?;
        let bytes = subject.file.source().in_place().unwrap_or_default();
        model.write_all(bytes).map_err(Error::io(model.path()))?;
        Ok(Reference { checkout, model })
    }

    /// The ids it generates.
    ///
    /// # Errors
    /// The probe failed or answered something else.
    pub fn generate(
        &self,
        subject: &Subject,
        setting: Setting,
        requests: &[Request],
    ) -> Result<Vec<Vec<u32>>, Error> {
        let n = subject.n_predict;
        let lines = requests.iter().map(|request| line(n, &request.prompt, &request.chain));
        let out = self.ask(&lines.collect::<Vec<_>>(), &setting.options())?;
        let ids = |line: &str| line.split(' ').map(str::parse).collect::<Result<Vec<u32>, _>>();
        let ids: Vec<Vec<u32>> = out.lines().map(ids).collect::<Result<_, _>>().map_err(|error| {
            Error::Program { program: "generate probe".to_owned(), message: error.to_string() }
        })?;
        if ids.len() == requests.len() {
            return Ok(ids);
        }
        let message = format!("{} answers to {} cases", ids.len(), requests.len());
        Err(Error::Program { program: "generate probe".to_owned(), message })
    }

    /// Its logits after the prompt and after each of `ids`, fed one by one as in a generation, or `whole`: as one
    /// ubatch.
    ///
    /// # Errors
    /// The probe failed.
    pub fn logits(
        &self,
        setting: Setting,
        prompt: &[u32],
        ids: &[u32],
        whole: bool,
    ) -> Result<Vec<f32>, Error> {
        let out = NamedTempFile::new().map_err(Error::io("temporary file"))?;
        let all: Vec<u32> = prompt.iter().chain(ids).copied().collect();
        let mut options = setting.options();
        options.extend(["--logits".to_owned(), path(out.path())]);
        options.extend(["--whole".to_owned(), u8::from(whole).to_string()]);
        self.ask(&[line(prompt.len(), &all, "")], &options)?;
        Ok(floats(&std::fs::read(out.path()).map_err(Error::io(out.path()))?))
    }

    fn ask(&self, lines: &[String], options: &[String]) -> Result<String, Error> {
        let mut cases = NamedTempFile::new().map_err(Error::io("temporary file"))?;
        cases.write_all(lines.join("\n").as_bytes()).map_err(Error::io(cases.path()))?;
        let mut probe = Command::new(self.checkout.probe("generate")?);
        run(probe.arg(self.model.path()).arg(cases.path()).args(options))
    }
}

fn line(n: usize, ids: &[u32], chain: &str) -> String {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    format!("{n} | {} | {chain}", ids.join(" "))
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
