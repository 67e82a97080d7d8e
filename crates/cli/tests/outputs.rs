//! What commands write: nothing that is read is written over, nothing appears half, and a stdout or stderr that takes
//! nothing is one line and a failure.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/stories-1m.gguf");

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quipu"));
    command.args(args).current_dir(dir).stdin(Stdio::null());
    command
}

fn quipu(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().expect("quipu runs")
}

/// A folder with the demo model as `m.gguf`, texts, ids, and the model split into `s-0000N-of-00003.gguf`.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::copy(MODEL, dir.path().join("m.gguf")).expect("the demo model");
    let text = "Once upon a time there was a fox. ".repeat(40);
    for (name, text) in [("p.txt", "Once upon a time"), ("t.txt", &text), ("ids.txt", "1 2 3")] {
        fs::write(dir.path().join(name), text).expect("writable");
    }
    assert!(quipu(dir.path(), &["split", "--max-tensors", "16", "m.gguf", "s"]).status.success());
    dir
}

/// Every file of a folder with its contents.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("readable")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), fs::read(path).expect("readable")))
        .collect();
    files.sort();
    files
}

/// One line on stderr that begins as the program's failures do, and exit code 1.
#[track_caller]
fn assert_one_line(output: &Output, args: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = stderr.lines().filter(|line| line.starts_with("quipu:")).collect();
    assert_eq!((output.status.code(), lines.len()), (Some(1), 1), "{args:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
}

#[test]
fn no_output_is_an_input() {
    let dir = folder();
    fs::copy(dir.path().join("m.gguf"), dir.path().join("m.gguf.partial")).expect("copied");
    fs::hard_link(dir.path().join("m.gguf"), dir.path().join("hard.gguf")).expect("linked");
    #[cfg(unix)]
    std::os::unix::fs::symlink("m.gguf", dir.path().join("soft.gguf")).expect("linked");
    let before = contents(dir.path());
    for args in [
        &["logits", "-m", "m.gguf", "--tokens", "ids.txt", "-o", "m.gguf"][..],
        &["logits", "-m", "m.gguf", "--tokens", "ids.txt", "-o", "ids.txt"],
        &["logits", "-m", "hard.gguf", "--tokens", "ids.txt", "-o", "m.gguf"],
        &["imatrix", "-m", "m.gguf", "-f", "t.txt", "-o", "m.gguf"],
        &["imatrix", "-m", "m.gguf", "-f", "t.txt", "-o", "t.txt"],
        &["embed", "-m", "m.gguf", "-f", "p.txt", "-o", "m.gguf"],
        &["embed", "-m", "m.gguf", "-f", "p.txt", "-o", "p.txt"],
        &["run", "-m", "m.gguf", "-p", "x", "-n", "1", "--events", "m.gguf"],
        &["run", "-m", "m.gguf", "-f", "p.txt", "-n", "1", "--events", "p.txt"],
        &["run", "-m", "s-00001-of-00003.gguf", "-p", "x", "--events", "s-00002-of-00003.gguf"],
        &["chat", "-m", "m.gguf", "--events", "m.gguf"],
        &["quantize", "m.gguf", "m.gguf", "Q8_0"],
        &["quantize", "m.gguf", "hard.gguf", "Q8_0"],
        &["quantize", "s-00001-of-00003.gguf", "s-00003-of-00003.gguf", "Q8_0"],
        &["quantize", "--keep-split", "s-00001-of-00003.gguf", "s", "Q8_0"],
        &["quantize", "--tensor-type-file", "p.txt", "m.gguf", "p.txt", "Q8_0"],
        &["split", "--max-tensors", "16", "s-00001-of-00003.gguf", "m"],
        &["inspect", "m.gguf", "--plan", "--svg", "m.gguf"],
        #[cfg(unix)]
        &["logits", "-m", "m.gguf", "--tokens", "ids.txt", "-o", "soft.gguf"],
        #[cfg(unix)]
        &["quantize", "soft.gguf", "m.gguf", "Q8_0"],
    ] {
        if args[0] == "split" {
            // Its own input under the name of the first file it would write.
            fs::copy(dir.path().join("s-00001-of-00003.gguf"), dir.path().join("x.gguf")).expect("copied");
            fs::hard_link(dir.path().join("x.gguf"), dir.path().join("y-00001-of-00001.gguf"))
                .expect("linked");
            let args = ["split", "--max-tensors", "64", "x.gguf", "y"];
            assert_one_line(&quipu(dir.path(), &args), &args);
            for name in ["x.gguf", "y-00001-of-00001.gguf"] {
                fs::remove_file(dir.path().join(name)).expect("removed");
            }
            continue;
        }
        assert_one_line(&quipu(dir.path(), args), args);
        assert_eq!(contents(dir.path()), before, "{args:?}");
    }
    // What used to empty its own input.
    let output = quipu(dir.path(), &["quantize", "m.gguf.partial", "m.gguf", "Q8_0"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read(dir.path().join("m.gguf.partial")).expect("there"), fs::read(MODEL).expect("there"));
}

#[test]
fn a_checkpoint_is_not_written_over() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for name in ["config.json", "model.safetensors"] {
        fs::write(dir.path().join(name), "{}").expect("writable");
    }
    let before = contents(dir.path());
    let args = ["convert", ".", "-o", "model.safetensors"];
    assert_one_line(&quipu(dir.path(), &args), &args);
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn what_fails_leaves_the_old_output() {
    let dir = folder();
    fs::write(dir.path().join("old"), "old").expect("writable");
    fs::write(dir.path().join("bad.gguf"), "GGUF").expect("writable");
    let before = contents(dir.path());
    for args in [
        &["run", "-m", "bad.gguf", "-p", "x", "--events", "old"][..],
        &["logits", "-m", "bad.gguf", "--tokens", "ids.txt", "-o", "old"],
        &["logits", "-m", "m.gguf", "--tokens", "p.txt", "-o", "old"],
        &["embed", "-m", "bad.gguf", "-f", "p.txt", "-o", "old"],
        &["imatrix", "-m", "m.gguf", "-f", "p.txt", "-o", "old"],
        &["quantize", "bad.gguf", "old", "Q8_0"],
    ] {
        assert_one_line(&quipu(dir.path(), args), args);
        assert_eq!(contents(dir.path()), before, "{args:?}");
    }
}

#[test]
fn events_are_there_when_the_run_is_over() {
    let dir = folder();
    fs::write(dir.path().join("e.jsonl"), "old").expect("writable");
    let output = quipu(dir.path(), &["run", "-m", "m.gguf", "-p", "x", "-n", "2", "--events", "e.jsonl"]);
    assert!(output.status.success(), "{output:?}");
    let events = fs::read_to_string(dir.path().join("e.jsonl")).expect("there");
    assert!(events.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{events}");
    assert!(events.contains("\"generation\""), "{events}");
}

#[test]
fn a_prefix_is_not_a_folder() {
    let dir = folder();
    for prefix in ["/", "out/", ".."] {
        let args = ["split", "m.gguf", prefix];
        assert_one_line(&quipu(dir.path(), &args), &args);
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::FileTypeExt;
    use std::os::unix::process::ExitStatusExt;
    use std::time::Duration;

    use super::*;

    /// Every command that prints, with what makes it print little.
    const PRINTING: [&[&str]; 10] = [
        &["run", "-p", "x", "-n", "2"],
        &["tokenize", "-p", "x"],
        &["detokenize"],
        &["embed", "-f", "p.txt"],
        &["perplexity", "-f", "t.txt", "-c", "64"],
        &["inspect", "m.gguf"],
        &["inspect", "m.gguf", "--json"],
        &["inspect", "m.gguf", "--plan"],
        &["bench", "-p", "4", "-n", "1", "-r", "1"],
        &["quantize", "--dry-run", "m.gguf", "Q8_0"],
    ];

    #[test]
    fn a_full_stdout_is_one_line() {
        let dir = folder();
        for args in PRINTING {
            if args[0] == "detokenize" {
                continue; // Of nothing it prints nothing.
            }
            let full = fs::File::options().write(true).open("/dev/full").expect("/dev/full");
            let output = command(dir.path(), args).stdout(full).output().expect("quipu runs");
            assert_one_line(&output, args);
        }
    }

    #[test]
    fn a_closed_pipe_is_no_success() {
        let dir = folder();
        for args in PRINTING {
            if args[0] == "detokenize" {
                continue;
            }
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            let output = command(dir.path(), args).stdout(writer).output().expect("quipu runs");
            assert_one_line(&output, args);
        }
    }

    #[test]
    fn a_closed_stdout_is_no_success() {
        let dir = folder();
        let questions = r#"{"prompt": "Once", "answer": "upon"}"#;
        fs::write(dir.path().join("q.jsonl"), questions).expect("writable");
        let run = |args: &[&str]| {
            let mut command = Command::new("sh");
            command.args(["-c", "exec \"$@\" >&-", "sh", env!("CARGO_BIN_EXE_quipu")]).args(args);
            command.current_dir(dir.path()).stdin(Stdio::null()).output().expect("sh runs")
        };
        for args in PRINTING.iter().copied().chain([&["eval", "q.jsonl", "-n", "2"][..]]) {
            if args[0] == "detokenize" {
                continue;
            }
            assert_one_line(&run(args), args);
        }
        // Who prints nothing has no need of it.
        assert!(run(&["quantize", "m.gguf", "q.gguf", "Q8_0"]).status.success());
    }

    #[test]
    fn a_closed_pipe_does_not_cut_the_work_short() {
        let dir = folder();
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let args = ["split", "--max-tensors", "16", "m.gguf", "again"];
        let output = command(dir.path(), &args).stdout(writer).output().expect("quipu runs");
        assert_one_line(&output, &args);
        for no in 1..=3 {
            let part = |prefix: &str| fs::read(dir.path().join(format!("{prefix}-0000{no}-of-00003.gguf")));
            assert_eq!(part("again").expect("written"), part("s").expect("written"));
        }
    }

    #[test]
    fn a_full_stderr_changes_nothing() {
        let dir = folder();
        for args in [
            &["run", "-p", "x", "-n", "2"][..],
            &["logits", "--tokens", "ids.txt", "-o", "l.bin"],
            &["merge", "s-00001-of-00003.gguf", "merged.gguf"],
            &["quantize", "m.gguf", "q.gguf", "Q8_0"],
            &["split", "m.gguf", "t"],
        ] {
            let full = fs::File::options().write(true).open("/dev/full").expect("/dev/full");
            let output = command(dir.path(), args).stderr(full).output().expect("quipu runs");
            assert!(output.status.success(), "{args:?} {output:?}");
        }
        assert_eq!(fs::metadata(dir.path().join("l.bin")).expect("written").len() % 12, 0);
    }

    #[test]
    fn special_files_are_written_to_and_stay() {
        let dir = folder();
        for args in [
            &["logits", "--tokens", "ids.txt", "-o", "/dev/null"][..],
            &["quantize", "m.gguf", "/dev/null", "Q8_0"],
        ] {
            let output = quipu(dir.path(), args);
            assert!(output.status.success(), "{args:?} {output:?}");
            assert!(fs::metadata("/dev/null").expect("there").file_type().is_char_device());
        }
        let output = quipu(dir.path(), &["logits", "--tokens", "ids.txt", "-o", "/dev/stdout"]);
        let file = quipu(dir.path(), &["logits", "--tokens", "ids.txt", "-o", "l.bin"]);
        assert!(output.status.success() && file.status.success());
        assert_eq!(output.stdout, fs::read(dir.path().join("l.bin")).expect("written"));
    }

    /// Starts a command that writes for minutes, and waits until it does.
    fn caught_writing(dir: &Path) -> Child {
        fs::write(dir.join("q.gguf"), "old").expect("writable");
        fs::write(dir.join("lines.txt"), "a line of text\n".repeat(1_000_000)).expect("writable");
        let args = ["embed", "-m", "m.gguf", "-f", "lines.txt", "-o", "q.gguf"];
        let child = command(dir, &args).stderr(Stdio::null()).spawn().expect("quipu runs");
        while unfinished(dir) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        child
    }

    fn unfinished(dir: &Path) -> usize {
        let names = fs::read_dir(dir).expect("readable").map(|entry| entry.expect("an entry").file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".partial")).count()
    }

    /// Whether whoever started the tests had this signal ignored (a shell does that to what it puts in the background). Commands then ignore
    /// it, too, and to wait for their end would be for ever.
    fn is_ignored(number: i32) -> bool {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        let is_ignored = mask >> (number - 1) & 1 == 1;
        if is_ignored {
            println!("skipped: signal {number} was ignored before the tests began");
        }
        is_ignored
    }

    #[test]
    fn signals_leave_nothing_behind() {
        for (name, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
            if is_ignored(number) {
                continue;
            }
            let dir = folder();
            let mut child = caught_writing(dir.path());
            assert_eq!(unfinished(dir.path()), 1);
            let kill = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
            assert!(kill.expect("kill runs").success());
            let status = child.wait().expect("it ends");
            assert_eq!(status.signal(), Some(number), "{status:?}");
            assert_eq!(unfinished(dir.path()), 0, "{name}");
            assert_eq!(fs::read(dir.path().join("q.gguf")).expect("there"), b"old");
        }
    }

    #[test]
    fn a_killed_run_leaves_the_old_file_and_blocks_nobody() {
        let dir = folder();
        let mut child = caught_writing(dir.path());
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        assert_eq!(fs::read(dir.path().join("q.gguf")).expect("there"), b"old");
        assert_eq!(unfinished(dir.path()), 1);
        // Another target, and a run that is under way.
        assert!(quipu(dir.path(), &["quantize", "m.gguf", "other.gguf", "Q8_0"]).status.success());
        assert_eq!(unfinished(dir.path()), 1);
        let args = ["run", "-m", "m.gguf", "-p", "x", "-n", "2", "--events", "q.gguf"];
        assert!(quipu(dir.path(), &args).status.success());
        assert!(fs::metadata(dir.path().join("q.gguf")).expect("there").len() > 3);
        assert_eq!(unfinished(dir.path()), 0, "what the killed run left");
    }

    #[test]
    fn signals_that_are_ignored_stay_ignored() {
        let dir = folder();
        fs::write(dir.path().join("lines.txt"), "a line of text\n".repeat(2_000)).expect("writable");
        let quipu = env!("CARGO_BIN_EXE_quipu");
        // The shell hands its ignored signal down, as nohup does.
        let script = format!(
            "trap '' HUP; '{quipu}' embed -m m.gguf -f lines.txt -o q.bin & \
             while ! ls -A | grep -q partial; do sleep 0.01; done; kill -HUP $!; wait $!"
        );
        let output = Command::new("sh").args(["-c", &script]).current_dir(dir.path()).output();
        let output = output.expect("sh runs");
        assert!(output.status.success(), "{output:?}");
        assert!(dir.path().join("q.bin").exists());
    }

    #[test]
    fn a_log_is_there_while_it_is_written() {
        if is_ignored(2) {
            return;
        }
        let dir = folder();
        let args =
            ["run", "-m", "m.gguf", "-p", "x", "-n", "1000000", "--context-shift", "--events", "e.jsonl"];
        let mut child = command(dir.path(), &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.as_mut().expect("quipu runs");
        let log = || fs::read_to_string(dir.path().join("e.jsonl")).unwrap_or_default();
        while !log().contains("\"prompt\"") {
            std::thread::sleep(Duration::from_millis(5));
        }
        let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(kill.expect("kill runs").success());
        child.wait().expect("it ends");
        assert!(log().contains("\"prompt\""));
        assert_eq!(unfinished(dir.path()), 0);
    }

    #[test]
    fn no_thread_to_be_had() {
        let dir = folder();
        // The shell's limit counts the whole user's processes; as root it does not hold, and the quantizing just works.
        let quipu = env!("CARGO_BIN_EXE_quipu");
        let script = format!("ulimit -u 1 2>/dev/null; exec '{quipu}' quantize m.gguf q.gguf Q8_0 8");
        let output = Command::new("sh").args(["-c", &script]).current_dir(dir.path()).output();
        let output = output.expect("sh runs");
        assert!(output.status.success(), "{output:?}");
    }
}

/// A device that is full: what could not be written is named, and not what was read.
#[test]
#[cfg(target_os = "linux")]
fn outputs_that_take_nothing_are_named() {
    let dir = folder();
    for args in [
        &["quantize", "m.gguf", "/dev/full", "Q8_0"][..],
        &["imatrix", "-m", "m.gguf", "-f", "t.txt", "-c", "64", "--chunks", "1", "-o", "/dev/full"],
        &[
            "perplexity",
            "-m",
            "m.gguf",
            "-f",
            "t.txt",
            "-c",
            "64",
            "--chunks",
            "1",
            "--kl-divergence-base",
            "/dev/full",
        ],
        &["logits", "-m", "m.gguf", "--tokens", "ids.txt", "-o", "/dev/full"],
        &["run", "-m", "m.gguf", "-p", "x", "-n", "1", "--events", "/dev/full"],
    ] {
        let output = quipu(dir.path(), args);
        assert_one_line(&output, args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let line = stderr.lines().find(|line| line.starts_with("quipu:")).unwrap_or_default();
        assert!(line.contains("/dev/full") && !line.contains("m.gguf"), "{args:?}: {line}");
    }
}
