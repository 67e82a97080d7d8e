//! `cargo xtask fuzz`: builds the fuzz targets of the crates and runs them.
//!
//! The targets are those of cargo-fuzz, which need not be installed: the flags that count what code an input reaches are given here.
//! A finding stays in `target/fuzz`, with the command that shows it again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::toolchain::cargo_of;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the targets whose `crate/target` holds this text.
    #[arg(long, default_value = "")]
    only: String,
    /// Executions of each target.
    #[arg(long, default_value_t = 100_000)]
    runs: u64,
    /// At most so many seconds for each target; 0 = no limit.
    #[arg(long, default_value_t = 0)]
    seconds: u64,
    /// Build with the compiler at hand and run nothing: that the targets still fit their crates.
    #[arg(long)]
    check: bool,
    /// Without AddressSanitizer, at about twice the speed.
    #[arg(long)]
    no_sanitizer: bool,
    /// The toolchain that takes unstable flags.
    #[arg(long, default_value = "nightly")]
    toolchain: String,
}

/// Where the targets are built for, named so that build scripts and macros are not instrumented.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Count edges and compare operands for libFuzzer.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

/// A crate with a `fuzz` folder, and its targets.
struct Fuzzed {
    name: String,
    folder: PathBuf,
    targets: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let target = target.join("fuzz");
    let mut failed = Vec::new();
    for fuzzed in fuzzed(&root.join("crates"), &args.only)? {
        build(&fuzzed, args, &target)?;
        if args.check {
            continue;
        }
        for name in &fuzzed.targets {
            let line = format!("{}/{name}", fuzzed.name);
            match execute(&target, &fuzzed.name, name, args)? {
                Some(n) => println!("{line}: {n} executions, no finding"),
                None => failed.push(line),
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("findings in {}", failed.join(", "))) }
}

/// The crates that have targets whose names hold `only`, by name.
fn fuzzed(crates: &Path, only: &str) -> Result<Vec<Fuzzed>, String> {
    let mut all = Vec::new();
    for name in names(crates)? {
        let folder = crates.join(&name).join("fuzz");
        if !folder.join("Cargo.toml").is_file() {
            continue;
        }
        let sources = names(&folder.join("fuzz_targets"))?;
        let targets = sources.iter().filter_map(|source| source.strip_suffix(".rs"));
        let targets = targets.filter(|target| format!("{name}/{target}").contains(only));
        let targets: Vec<String> = targets.map(str::to_owned).collect();
        if !targets.is_empty() {
            all.push(Fuzzed { name, folder, targets });
        }
    }
    if all.is_empty() { Err(format!("no fuzz target is called {only}")) } else { Ok(all) }
}

/// What lies in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    let entries = fs::read_dir(folder).map_err(failed)?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<String>, std::io::Error>>().map_err(failed)?;
    names.sort();
    Ok(names)
}

fn build(fuzzed: &Fuzzed, args: &Args, target: &Path) -> Result<(), String> {
    let mut command;
    if args.check {
        command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.arg("check");
    } else {
        command = cargo_of(&args.toolchain);
        command.args(["build", "--release", "--target", TRIPLE]);
        let sanitizer = if args.no_sanitizer { "" } else { " -Zsanitizer=address" };
        command.env("RUSTFLAGS", format!("{COVERAGE}{sanitizer}"));
    }
    command.current_dir(&fuzzed.folder).env("CARGO_TARGET_DIR", target);
    let status = command.status().map_err(|error| format!("cannot build {}: {error}", fuzzed.name))?;
    if status.success() { Ok(()) } else { Err(format!("the fuzz targets of {} do not build", fuzzed.name)) }
}

/// Runs one target; its executions, or `None` if it found something, which libFuzzer has described on standard error.
fn execute(target: &Path, of: &str, name: &str, args: &Args) -> Result<Option<u64>, String> {
    let corpus = target.join("corpus").join(of).join(name);
    fs::create_dir_all(&corpus).map_err(|error| format!("cannot make {}: {error}", corpus.display()))?;
    let log = target.join(format!("{of}-{name}.log"));
    let file = fs::File::create(&log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
    let program = target.join(TRIPLE).join("release").join(name);
    let mut command = Command::new(&program);
    command.current_dir(target).arg(&corpus).stderr(file);
    command.arg(format!("-runs={}", args.runs)).arg(format!("-max_total_time={}", args.seconds));
    command.args(["-print_final_stats=1", "-timeout=30", "-rss_limit_mb=4096"]);
    let status = command.status().map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    let text = fs::read(&log).map_err(|error| format!("cannot read {}: {error}", log.display()))?;
    let text = String::from_utf8_lossy(&text);
    if !status.success() {
        println!("{of}/{name}: {status}, see {}", log.display());
        return Ok(None);
    }
    Ok(Some(executions(&text).ok_or_else(|| format!("{} names no executions", log.display()))?))
}

/// The number that libFuzzer prints at its end.
fn executions(log: &str) -> Option<u64> {
    let line = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_found_and_every_folder_declares_its_targets() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
        let all = fuzzed(&crates, "").expect("there are some");
        assert!(all.len() >= 8, "{} crates", all.len());
        for fuzzed in &all {
            let manifest = fs::read_to_string(fuzzed.folder.join("Cargo.toml")).expect("it was a file");
            for target in &fuzzed.targets {
                assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}");
            }
        }
        assert!(fuzzed(&crates, "no such target").is_err());
    }

    #[test]
    fn executions_stand_at_the_end_of_a_log() {
        assert_eq!(executions("Done\nstat::number_of_executed_units: 2000\nstat::x: 1\n"), Some(2000));
        assert_eq!(executions("stat::x: 1\n"), None);
    }
}
