//! Every command under address space limits, from what the loader needs to what the command needs.

use super::form::{LEAST_ADDRESS_SPACE, disturbed};
use super::judge::Verdict;
use super::line::Line;
use super::process::{Limits, Program, Run, Stream};
use super::sandbox::Sandbox;

/// What no sample needs.
const MOST: u64 = 4 << 30;

/// Runs `line` in steps of `percent` of the address space that suffices.
pub(super) fn run(
    program: &Program,
    sandbox: &Sandbox,
    line: &Line,
    percent: u64,
    note: &mut dyn FnMut(&Verdict),
) -> Result<(), String> {
    let run = |bytes: u64| Run {
        args: &line.args,
        stdin: &line.stdin,
        limits: Limits { address_space: Some(bytes), ..Limits::default() },
        stdout: Stream::Read,
        stderr: Stream::Read,
        kill: None,
    };
    let ended = program.run(run(MOST))?;
    let clean = sandbox.restore()?;
    if !ended.status.is_some_and(|status| status.success()) {
        return Err(format!("{line} does not do its work: {}", ended.stderr));
    }
    let mut enough = LEAST_ADDRESS_SPACE;
    while enough < MOST {
        let ended = program.run(run(enough))?;
        sandbox.restore()?;
        if ended.status.is_some_and(|status| status.success()) {
            break;
        }
        enough += enough / 4;
    }
    for step in 1..=100 / percent.clamp(1, 100) {
        let bytes = enough * step * percent / 100;
        if bytes >= LEAST_ADDRESS_SPACE {
            note(&disturbed(program, sandbox, line, run(bytes), Some(&clean))?);
        }
    }
    Ok(())
}
