//! One run of the program: its limits, its streams, its end.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A run that takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(1);
/// Bytes of stderr that are kept.
const KEPT: usize = 1 << 16;

/// What a run may not exceed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// Bytes of address space.
    pub address_space: Option<u64>,
    /// Bytes of a file.
    pub file_size: Option<u64>,
    /// No thread beside the first.
    pub one_thread: bool,
}

/// Where a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// It is read.
    Read,
    /// `/dev/full`.
    Full,
    /// It is closed.
    Closed,
    /// A pipe that nobody reads.
    Broken,
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Absent if it did not end in time.
    pub status: Option<ExitStatus>,
    pub stderr: String,
    pub time: Duration,
}

/// How to run the program.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    folder: PathBuf,
}

/// What is to be run, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    pub args: &'a [String],
    pub stdin: &'a [u8],
    pub limits: Limits,
    pub stdout: Stream,
    pub stderr: Stream,
    /// The run is killed after this time.
    pub kill: Option<Duration>,
}

impl Program {
    pub(super) fn new(path: &Path, folder: &Path) -> Program {
        Program { path: path.to_owned(), folder: folder.to_owned() }
    }

    /// Runs it to its end.
    pub(super) fn run(&self, run: Run<'_>) -> Result<Ended, String> {
        let io = |error: std::io::Error| format!("cannot run {}: {error}", self.path.display());
        let mut command = Command::new("sh");
        command.args(["-c", &script(run), "sh"]).arg(&self.path).args(run.args);
        command.current_dir(&self.folder).env_remove("RUST_BACKTRACE").stdin(Stdio::piped());
        command.stdout(stream(run.stdout).map_err(io)?).stderr(stream(run.stderr).map_err(io)?);
        #[cfg(unix)]
        if run.limits.one_thread && is_root() {
            // The limit counts a user's processes, and does not bind root.
            std::os::unix::process::CommandExt::uid(&mut command, NOBODY);
        }
        let start = Instant::now();
        let mut child = command.spawn().map_err(io)?;
        let stdin = child.stdin.take();
        let stderr = child.stderr.take();
        let stdout = child.stdout.take();
        let (status, stderr) = std::thread::scope(|scope| {
            let feed = scope.spawn(move || {
                // Who does not read has no need of it.
                let _ = stdin.map(|mut stdin| stdin.write_all(run.stdin));
            });
            let drain =
                scope.spawn(move || stdout.map(|mut out| std::io::copy(&mut out, &mut std::io::sink())));
            let words = scope.spawn(move || {
                let mut kept = Vec::new();
                let _ = stderr.map(|mut stderr| {
                    let mut piece = [0; 4096];
                    while let Ok(n @ 1..) = stderr.read(&mut piece) {
                        let room = KEPT - kept.len();
                        kept.extend_from_slice(&piece[..n.min(room)]);
                    }
                });
                String::from_utf8_lossy(&kept).into_owned()
            });
            let status = wait(&mut child, run.kill.unwrap_or(PATIENCE));
            let (_, _) = (feed.join(), drain.join());
            (status, words.join().unwrap_or_default())
        });
        Ok(Ended { status: status.map_err(io)?, stderr, time: start.elapsed() })
    }
}

/// Waits for the end, and brings it about after `patience`; then there is no status.
fn wait(child: &mut Child, patience: Duration) -> std::io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= patience {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause.min(patience.saturating_sub(start.elapsed())));
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

/// The limits as a shell sets them; streams are closed there, too.
fn script(run: Run<'_>) -> String {
    let mut script = String::new();
    if let Some(bytes) = run.limits.address_space {
        let _ = write!(script, "ulimit -v {} || exit 126; ", bytes >> 10);
    }
    if let Some(bytes) = run.limits.file_size {
        // In blocks of 512 bytes, or of 1024 in some shells.
        let _ = write!(script, "ulimit -f {} || exit 126; ", bytes >> 9);
    }
    if run.limits.one_thread {
        script.push_str("ulimit -u 1 2>/dev/null || ulimit -p 1 || exit 126; ");
    }
    script.push_str("exec \"$@\"");
    if run.stdout == Stream::Closed {
        script.push_str(" >&-");
    }
    if run.stderr == Stream::Closed {
        script.push_str(" 2>&-");
    }
    script
}

fn stream(stream: Stream) -> std::io::Result<Stdio> {
    Ok(match stream {
        Stream::Read => Stdio::piped(),
        Stream::Full => File::options().write(true).open("/dev/full")?.into(),
        Stream::Closed => Stdio::null(),
        Stream::Broken => std::io::pipe()?.1.into(),
    })
}

/// A user without rights.
#[cfg(unix)]
const NOBODY: u32 = 65_534;

/// Whether files made here belong to root.
#[cfg(unix)]
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
