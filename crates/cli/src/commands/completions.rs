//! `quipu completions`: what a shell needs to complete command lines.

use std::io::Write;

use crate::fail::{Failure, writing};

/// Prints a shell's completions for all commands and flags, to be put where the shell looks for them: for bash in
/// ~/.local/share/bash-completion/completions/quipu, for zsh as _quipu in a folder of $fpath, for fish in
/// ~/.config/fish/completions/quipu.fish.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &Args, mut parser: clap::Command) -> Result<(), Failure> {
    // Into memory: the generator ends the program where it cannot write.
    let mut text = Vec::new();
    let name = parser.get_name().to_owned();
    clap_complete::generate(args.shell, &mut parser, name, &mut text);
    let mut out = std::io::stdout().lock();
    out.write_all(&text).and_then(|()| out.flush()).map_err(writing)
}
