//! `quipu merge`: the files of a split GGUF model into one.

use std::path::PathBuf;

use quipu::gguf::MergePlan;

use crate::fail::{Failure, named};
use crate::output::note;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only check the set.
    #[arg(long)]
    dry_run: bool,
    /// The first file of the set, NAME-00001-of-00003.gguf.
    first: PathBuf,
    /// The file to write; it must not exist.
    output: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    // Asked first: reading a large set for nothing would be a pity.
    if args.output.exists() {
        return Err(Failure::Input(format!("{} exists already, expected a new file", args.output.display())));
    }
    let plan = MergePlan::new(&args.first).map_err(named(&args.first))?;
    for path in plan.paths() {
        note(format_args!("reading {}", path.display()));
    }
    if !args.dry_run {
        plan.write(&args.output).map_err(named(&args.first))?;
    }
    let (n_files, n_tensors) = (plan.paths().len(), plan.n_tensors());
    note(format_args!("{}: {n_files} files with {n_tensors} tensors", args.output.display()));
    Ok(())
}
