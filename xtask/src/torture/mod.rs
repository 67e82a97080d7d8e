//! `cargo xtask torture`: random command lines over random inputs and outputs, under faults, in a sandbox folder.
//!
//! Every run must end by itself: no signal, no panic, success or one line and exit code 1. No input changes, and under the
//! name of an output is what was there before or what an undisturbed run writes. A run is told by the seed and its number:
//! `--seed S --from N --runs 1` repeats it.

mod form;
mod judge;
mod line;
mod process;
mod sandbox;
mod sweep;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use quipu_testing::SplitMix;

use self::form::Form;
use self::judge::Verdict;
use self::line::Line;
use self::process::{Limits, Program};
use self::sandbox::Sandbox;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seed of the command lines.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Random command lines to run.
    #[arg(long, default_value_t = 20_000)]
    runs: u64,
    /// Number of the first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// The program; without it it is built in release mode.
    #[arg(long, value_name = "FILE")]
    quipu: Option<PathBuf>,
    /// Also run each command under address space limits in steps of so many percent of what it needs; 0 = don't.
    #[arg(long, default_value_t = 5)]
    sweep: u64,
    /// Say what is run.
    #[arg(short = 'v', long)]
    verbose: bool,
}

/// How many runs ended how.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    done: u64,
    refused: u64,
    killed: u64,
    failed: u64,
}

impl Tally {
    fn add(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Done => self.done += 1,
            Verdict::Refused => self.refused += 1,
            Verdict::Killed => self.killed += 1,
            Verdict::Failed(_) => self.failed += 1,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let program = match &args.quipu {
        Some(path) => path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?,
        None => build()?,
    };
    let mut sandbox = Sandbox::new(&program)?;
    let program = Program::new(&program, sandbox.root());
    let mut table: BTreeMap<String, Tally> = BTreeMap::new();
    let mut findings = 0u64;
    let mut note = |what: &str, line: &Line, verdict: &Verdict, table: &mut BTreeMap<String, Tally>| {
        for row in [line.command.to_owned(), format!("under: {what}")] {
            table.entry(row).or_default().add(verdict);
        }
        if let Verdict::Failed(why) = verdict {
            findings += 1;
            println!("FINDING {what}: {line}\n    {}", why.replace('\n', "\n    "));
        }
    };
    for number in args.from..args.from.saturating_add(args.runs) {
        let mut random = SplitMix::new(args.seed.wrapping_mul(0x9E37_79B9).wrapping_add(number));
        random.next_u64();
        sandbox.damage(&mut random)?;
        let form = Form::draw(&mut random);
        let line = Line::draw(&mut random);
        if args.verbose {
            println!("{number} {form}: {line}");
        }
        let verdict = form.run(&program, &sandbox, &line)?;
        let name = form.name();
        let line = Line { text: format!("#{number} {}", line.text), ..line };
        note(name, &line, &verdict, &mut table);
    }
    if args.sweep > 0 {
        for line in line::samples() {
            sweep::run(&program, &sandbox, &line, args.sweep, &mut |verdict| {
                note("address space", &line, verdict, &mut table);
            })?;
        }
    }
    println!("| command or fault | runs | done | refused | killed by us | findings |");
    println!("|---|---:|---:|---:|---:|---:|");
    for (name, Tally { done, refused, killed, failed }) in &table {
        let runs = done + refused + killed + failed;
        println!("| {name} | {runs} | {done} | {refused} | {killed} | {failed} |");
    }
    if findings == 0 { Ok(()) } else { Err(format!("{findings} findings")) }
}

fn build() -> Result<PathBuf, String> {
    let root =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args(["build", "--release", "--locked", "-p", "quipu-cli"])
        .status()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !status.success() {
        return Err(format!("cargo build failed: {status}"));
    }
    Ok(target.join("release/quipu"))
}

/// Address space that a run may take where no fault limits it further: a runaway ends by itself.
const ADDRESS_SPACE: u64 = 6 << 30;

/// What a run gets where nothing is limited.
fn usual() -> Limits {
    Limits { address_space: Some(ADDRESS_SPACE), ..Limits::default() }
}
