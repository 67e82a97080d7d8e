//! `cargo xtask miri`: the tests of the crates at the bottom under Miri, which finds what is undefined.
//!
//! Miri computes some thousand times slower, so tests of deep graphs take shallower ones there (`cfg!(miri)`), properties few cases, and
//! what searches whole grids is left out; so is what asks the system for more than Miri plays: locks, renames, links.

use crate::toolchain::cargo_of;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this crate: quant, gguf, alloc, graph or batch.
    #[arg(long)]
    only: Option<String>,
    /// The toolchain that has Miri.
    #[arg(long, default_value = "nightly")]
    toolchain: String,
}

/// A crate, and what of its tests is run.
struct Subset {
    name: &'static str,
    targets: &'static [&'static str],
    /// Tests that are left out, by parts of their names.
    skipped: &'static [&'static str],
}

const SUBSETS: [Subset; 5] = [
    Subset { name: "quant", targets: &["--lib"], skipped: &["grids::"] },
    Subset {
        name: "gguf",
        targets: &["--lib", "--test", "errors", "--test", "properties"],
        skipped: &["output::", "source::lock"],
    },
    Subset { name: "alloc", targets: &["--lib", "--test", "scenarios", "--test", "tensors"], skipped: &[] },
    Subset { name: "graph", targets: &["--lib", "--test", "graph", "--test", "raw"], skipped: &[] },
    Subset { name: "batch", targets: &["--lib", "--test", "batch"], skipped: &[] },
];

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let toolchain = args.toolchain.as_str();
    let miri = || {
        let mut command = cargo_of(toolchain);
        command.arg("miri");
        command
    };
    let there = miri().arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        return Err(format!(
            "no Miri; `rustup component add miri rust-src --toolchain {toolchain}` installs it"
        ));
    }
    if let Some(only) = &args.only
        && !SUBSETS.iter().any(|subset| subset.name == only)
    {
        let names: Vec<&str> = SUBSETS.iter().map(|subset| subset.name).collect();
        return Err(format!("no subset for {only}, expected one of {}", names.join(", ")));
    }
    let mut failed = Vec::new();
    for subset in SUBSETS.iter().filter(|subset| args.only.as_deref().is_none_or(|only| only == subset.name))
    {
        println!("== {}", subset.name);
        let mut command = miri();
        command.args(["test", "--locked", "-p", &format!("quipu-{}", subset.name)]).args(subset.targets);
        command.arg("--").args(subset.skipped.iter().flat_map(|name| ["--skip", *name]));
        // Snapshots of tests; nothing else is asked of the system.
        command.env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", "8");
        let status = command.status().map_err(|error| format!("rustup: {error}"))?;
        if !status.success() {
            failed.push(subset.name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed under Miri: {}", failed.join(", "))) }
}
