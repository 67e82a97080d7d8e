//! What disturbs a run: streams that are full or gone, limits, a kill.

use std::fmt;
use std::time::Duration;

use quipu_testing::SplitMix;

use super::judge::{Expected, Verdict, judge};
use super::line::Line;
use super::process::{Limits, Program, Run, Stream};
use super::sandbox::{Contents, Sandbox};
use super::usual;

/// Files this long are cut off where the disk is said to be full.
const MAX_FILE: u64 = 4 << 20;
/// Address spaces are drawn up to this.
const MAX_ADDRESS_SPACE: u64 = 512 << 20;
/// What the dynamic loader needs before the program has a say.
pub(super) const LEAST_ADDRESS_SPACE: u64 = 24 << 20;

/// A disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    None,
    FullStdout,
    ClosedStdout,
    BrokenStdout,
    FullStderr,
    ClosedStderr,
    /// No file may be longer than this: what a full disk is, for who writes.
    FullDisk(u64),
    AddressSpace(u64),
    OneThread,
    /// Kill -9, at a share of the time that an undisturbed run takes, in percent.
    Kill(u64),
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Form::FullDisk(n) | Form::AddressSpace(n) => write!(f, "{} of {n} bytes", self.name()),
            Form::Kill(percent) => write!(f, "{} at {percent} %", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

impl Form {
    /// Half of all runs are not disturbed.
    pub(super) fn draw(random: &mut SplitMix) -> Form {
        match random.below(20) {
            0 => Form::FullStdout,
            1 => Form::ClosedStdout,
            2 => Form::BrokenStdout,
            3 => Form::FullStderr,
            4 => Form::ClosedStderr,
            5 => Form::FullDisk(random.below(MAX_FILE)),
            6 | 7 => {
                let room = MAX_ADDRESS_SPACE - LEAST_ADDRESS_SPACE;
                Form::AddressSpace(LEAST_ADDRESS_SPACE + random.below(room))
            }
            8 => Form::OneThread,
            9 => Form::Kill(random.below(110)),
            _ => Form::None,
        }
    }

    /// The row of the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Form::None => "nothing",
            Form::FullStdout => "full stdout",
            Form::ClosedStdout => "closed stdout",
            Form::BrokenStdout => "stdout that nobody reads",
            Form::FullStderr => "full stderr",
            Form::ClosedStderr => "closed stderr",
            Form::FullDisk(_) => "full disk",
            Form::AddressSpace(_) => "address space",
            Form::OneThread => "no thread to be had",
            Form::Kill(_) => "kill -9",
        }
    }

    /// Runs `line` under it and puts the sandbox back in order.
    pub(super) fn run(self, program: &Program, sandbox: &Sandbox, line: &Line) -> Result<Verdict, String> {
        let usual_run = Run {
            args: &line.args,
            stdin: &line.stdin,
            limits: usual(),
            stdout: Stream::Read,
            stderr: Stream::Read,
            kill: None,
        };
        if self == Form::None {
            return disturbed(program, sandbox, line, usual_run, None);
        }
        // What is written by a run that is not disturbed, and how long that takes.
        let ended = program.run(usual_run)?;
        let clean = sandbox.restore()?;
        let mut run = usual_run;
        match self {
            Form::None => {}
            Form::FullStdout => run.stdout = Stream::Full,
            Form::ClosedStdout => run.stdout = Stream::Closed,
            Form::BrokenStdout => run.stdout = Stream::Broken,
            Form::FullStderr => run.stderr = Stream::Full,
            Form::ClosedStderr => run.stderr = Stream::Closed,
            Form::FullDisk(n) => run.limits.file_size = Some(n),
            Form::AddressSpace(n) => run.limits = Limits { address_space: Some(n), ..run.limits },
            Form::OneThread => run.limits.one_thread = true,
            Form::Kill(percent) => {
                run.kill = Some(ended.time.min(Duration::from_secs(5)) * percent as u32 / 100);
            }
        }
        disturbed(program, sandbox, line, run, Some(&clean))
    }
}

/// Runs, judges, and puts the sandbox back in order.
pub(super) fn disturbed(
    program: &Program,
    sandbox: &Sandbox,
    line: &Line,
    run: Run<'_>,
    clean: Option<&Contents>,
) -> Result<Verdict, String> {
    let ended = program.run(run)?;
    let expected = Expected { stderr: run.stderr == Stream::Read, killed: run.kill.is_some(), clean };
    let verdict = judge(line, &ended, sandbox, expected);
    sandbox.restore()?;
    Ok(verdict)
}
