//! `cargo xtask bench-tokenizers`: runs the program that measures tokenizers, with the crates it compares with.
//! They are built only for it.

use std::process::Command;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Arguments of the program; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "run",
            "--release",
            "-p",
            "quipu-benches",
            "--features",
            "rivals",
            "--example",
            "tokenizers",
            "--",
        ])
        .args(&args.rest)
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("the measurement ended with {status}")) }
}
