//! `quipu man`: a manual page for the program and each of its commands.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap_mangen::Man;
use quipu::gguf::Inputs;

use crate::fail::Failure;
use crate::output::{Output, note};

/// Writes quipu.1 and a page for each command (quipu-run.1, ...) into a folder, which is made if it is not there; man finds them in
/// ~/.local/share/man/man1.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder.
    folder: PathBuf,
}

pub(crate) fn run(args: &Args, parser: &clap::Command) -> Result<(), Failure> {
    let folder = &args.folder;
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure::Io { what: folder.display().to_string(), error })?;
    let mut n = 1;
    page(folder, parser.clone(), parser.get_name())?;
    for command in parser.get_subcommands().filter(|command| !command.is_hide_set()) {
        if command.get_name() != "help" {
            page(folder, command.clone(), &format!("{}-{}", parser.get_name(), command.get_name()))?;
            n += 1;
        }
    }
    note(format_args!("{}: {n} pages", folder.display()));
    Ok(())
}

fn page(folder: &Path, command: clap::Command, name: &str) -> Result<(), Failure> {
    let mut text = Vec::new();
    let failed = |error| Failure::Io { what: name.to_owned(), error };
    Man::new(command.display_name(name)).title(name).render(&mut text).map_err(failed)?;
    let mut output = Output::create(&folder.join(format!("{name}.1")), &Inputs::new())?;
    output.write_all(&text).map_err(|error| output.failed(error))?;
    output.finish()
}
