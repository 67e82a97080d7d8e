//! Whether a run was as it must be.

use super::line::Line;
use super::process::Ended;
use super::sandbox::{Contents, Sandbox};

/// How a run is judged.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// Exit code 0.
    Done,
    /// One line and exit code 1 (or 2 of `grammar-check`).
    Refused,
    /// Killed on purpose; what it left is as it must be.
    Killed,
    /// Something is wrong.
    Failed(String),
}

/// What is expected of a run beside what is expected of all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    /// Stderr can be read.
    pub stderr: bool,
    /// It was killed on purpose.
    pub killed: bool,
    /// What an undisturbed run leaves under the names of the outputs; nothing if there was none.
    pub clean: Option<&'a Contents>,
}

/// Judges a run of `line` by its end and by what lies in the sandbox.
pub(super) fn judge(line: &Line, ended: &Ended, sandbox: &Sandbox, expected: Expected<'_>) -> Verdict {
    let mut wrong = Vec::new();
    let code = ended.status.and_then(|status| status.code());
    match ended.status {
        None if expected.killed => {}
        None => wrong.push(format!("did not end within {:?}", ended.time)),
        Some(status) => match status.code() {
            Some(0 | 1) => {}
            Some(2) if line.command == "grammar-check" => {}
            _ => wrong.push(format!("ended with {status}")),
        },
    }
    for word in ["panicked", "this is a fault of quipu"] {
        if ended.stderr.contains(word) {
            wrong.push(format!("says {word:?}"));
        }
    }
    if expected.stderr && matches!(code, Some(1 | 2)) {
        let failures = ended.stderr.lines().filter(|line| is_failure(line)).count();
        if failures != 1 {
            wrong.push(format!("has {failures} lines that tell why, expected one"));
        }
    }
    wrong.extend(sandbox.changes().into_iter().filter_map(|change| {
        let output = line.outputs.iter().find(|output| output.is(&change.name));
        match output {
            _ if change.is_temporary() && expected.killed => None,
            Some(output) if output.is_log || code == Some(0) => None,
            // A disturbed run may have come as far as the end.
            Some(_) if expected.clean.is_some_and(|clean| clean.get(&change.name) == change.now.as_ref()) => {
                None
            }
            _ => Some(format!("{change}")),
        }
    }));
    if !wrong.is_empty() {
        let words: String = ended.stderr.chars().take(600).collect();
        wrong.push(format!("stderr: {}", words.trim_end()));
        return Verdict::Failed(wrong.join("\n"));
    }
    match code {
        Some(0) => Verdict::Done,
        Some(_) => Verdict::Refused,
        None => Verdict::Killed,
    }
}

/// A line that says why a run failed: ours, the argument parser's, or that of a program whose memory is all gone.
fn is_failure(line: &str) -> bool {
    line.starts_with("quipu: ") || line.starts_with("error: ") || line.starts_with("memory allocation of ")
}
