//! What goes on around a command: files that are cut off while they are read, no memory, no threads, lines without an end.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/stories-1m.gguf");
const TEMPLATE: &str = "{% for m in messages %}{{ m.content }} {% endfor %}";

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quipu"));
    command.args(args).current_dir(dir).stdin(Stdio::null());
    command
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::copy(MODEL, dir.path().join("m.gguf")).expect("the demo model");
    fs::write(dir.path().join("t.txt"), "Once upon a time there was a fox. ".repeat(40)).expect("writable");
    dir
}

/// Runs a command that is fed `stdin`.
fn fed(dir: &Path, args: &[&str], stdin: &[u8]) -> Output {
    let mut command = command(dir, args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("quipu runs");
    let mut pipe = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = pipe.write_all(stdin);
        });
        child.wait_with_output().expect("quipu ends")
    })
}

/// One line that says why, and exit code 1.
#[track_caller]
fn assert_one_line(output: &Output, part: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = stderr.lines().filter(|line| line.starts_with("quipu:")).collect();
    assert_eq!((output.status.code(), lines.len()), (Some(1), 1), "{:?}: {stderr}", output.status);
    assert!(lines[0].contains(part) && !stderr.contains("panicked"), "{stderr}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_model_that_is_cut_off_while_it_runs_is_an_error() {
    let dir = folder();
    let args = ["run", "-m", "m.gguf", "-p", "x", "-n", "100000000", "--context-shift", "--ignore-eos"];
    let mut child =
        command(dir.path(), &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("quipu runs");
    // It has begun to write when the file is cut off.
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_exact(&mut [0; 20]).expect("text");
    fs::File::options()
        .write(true)
        .open(dir.path().join("m.gguf"))
        .and_then(|file| file.set_len(4096))
        .expect("cut");
    let drain = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    let output = child.wait_with_output().expect("quipu ends");
    drain.join().expect("no panic").expect("readable");
    assert_one_line(&output, "m.gguf was cut off or became unreadable");
}

#[test]
fn a_conversation_outlives_what_is_too_long() {
    let dir = folder();
    // Answers without line breaks of their own.
    let words = ["--grammar", "root ::= [a-z ]+"];
    let args =
        [&["chat", "-m", "m.gguf", "--chat-template", TEMPLATE, "-c", "64", "-n", "4"][..], &words].concat();
    let long = "once upon a time ".repeat(100);
    let endless = "x".repeat((1 << 20) + 1);
    let stdin = format!("Hello\n{long}\n{endless}\n\nBye\n");
    let output = fed(dir.path(), &args, stdin.as_bytes());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(
        stderr.contains("not taken: the prompt has") && stderr.contains("not taken: it is longer than"),
        "{stderr}"
    );
    // Two answers, each with its line.
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2, "{output:?}");
}

#[test]
fn a_conversation_outlives_its_context() {
    let dir = folder();
    let args = ["chat", "-m", "m.gguf", "--chat-template", TEMPLATE, "-c", "64", "-n", "6"];
    let output = fed(dir.path(), &args, "Once upon a time there was a fox.\n".repeat(20).as_bytes());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.contains("turns were forgotten"), "{stderr}");
    assert!(!stderr.contains("not taken"), "{stderr}");
}

#[test]
fn an_empty_line_is_a_row_of_zeros_to_models_without_a_beginning() {
    let dir = folder();
    let bare = "tokenizer.ggml.add_bos_token=bool:false";
    let args = ["embed", "-m", "m.gguf", "--pooling", "mean", "--override-kv", bare, "-o", "rows"];
    let output = fed(dir.path(), &args, b"a\n\nb\n");
    assert!(output.status.success(), "{output:?}");
    let rows = fs::read(dir.path().join("rows")).expect("written");
    let rows: Vec<_> = rows.chunks(rows.len() / 3).map(|row| row.iter().any(|byte| *byte != 0)).collect();
    assert_eq!(rows, [true, false, true]);
}

#[test]
fn alignments_that_pad_gigabytes_are_refused() {
    let dir = folder();
    let args = ["quantize", "--override-kv", "general.alignment=int:2147483648", "m.gguf", "q.gguf", "Q8_0"];
    assert_one_line(&command(dir.path(), &args).output().expect("quipu runs"), "bytes of padding");
    assert!(!dir.path().join("q.gguf").exists());
}

#[test]
fn repetitions_without_end_are_no_allocation() {
    let dir = folder();
    let all = u64::MAX.to_string();
    let args = ["bench", "-m", "m.gguf", "-p", "1", "-n", "0", "-r", &all];
    let mut child = command(dir.path(), &args).stdout(Stdio::null()).spawn().expect("quipu runs");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(child.try_wait().expect("known").is_none(), "it measures");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[test]
#[cfg(unix)]
fn no_thread_to_be_had() {
    let dir = folder();
    std::os::unix::fs::symlink("m.gguf", dir.path().join("link.gguf")).expect("linked");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(dir.path(), mode).expect("ours");
    let is_root = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").expect("there")) == 0;
    for args in [
        &["quantize", "m.gguf", "q.gguf", "Q8_0", "8"][..],
        &["run", "-m", "m.gguf", "--check-tensors", "-p", "Once", "-n", "4", "-t", "8"],
        &["perplexity", "-m", "m.gguf", "-f", "t.txt", "-c", "64", "-t", "4"],
    ] {
        // The limit counts a user's processes and does not bind root; shells differ in its letter.
        let script = "ulimit -u 1 2>/dev/null || ulimit -p 1 || exit 126; exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_quipu")]).args(args).current_dir(dir.path());
        if is_root {
            std::os::unix::process::CommandExt::uid(&mut command, 65_534);
        }
        let output = command.stdin(Stdio::null()).output();
        // A program that lies where that user may not look cannot be tried.
        let Some(output) = output.ok().filter(|output| output.status.code() != Some(126)) else { continue };
        assert!(output.status.success(), "{args:?} {output:?}");
    }
}

/// Under every limit of memory a command does its work or says in one line that it cannot.
#[test]
#[cfg(target_os = "linux")]
fn no_memory_is_no_abort() {
    let dir = folder();
    let limited = |limit: u64, args: &[&str]| {
        let script = format!("ulimit -v {limit}; exec \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_quipu")]).args(args).current_dir(dir.path());
        // A developer's wish for backtraces is more than one line.
        command.env_remove("RUST_BACKTRACE").stdin(Stdio::null()).output().expect("sh runs")
    };
    // What the dynamic loader and the test's own debug information need.
    let mut least = 16 << 10;
    while !limited(least, &["--version"]).status.success() {
        least += 4 << 10;
    }
    let (mut done, mut refused) = (0, 0);
    for args in [
        &["run", "-m", "m.gguf", "-p", "Once", "-n", "2", "-t", "2"][..],
        &["quantize", "m.gguf", "q.gguf", "Q8_0", "2"],
        &["render", "--messages", "messages.json", "--chat-template", TEMPLATE],
    ] {
        fs::write(dir.path().join("messages.json"), r#"[{"role": "user", "content": "Hello"}]"#)
            .expect("writable");
        for step in 0..12 {
            let output = limited(least + step * step * (2 << 10), args);
            let stderr = String::from_utf8_lossy(&output.stderr);
            match output.status.code() {
                Some(0) => done += 1,
                Some(1) => {
                    refused += 1;
                    let tells =
                        |line: &&str| line.starts_with("quipu:") || line.starts_with("memory allocation of");
                    assert_eq!(stderr.lines().filter(tells).count(), 1, "{args:?}: {stderr}");
                }
                _ => {
                    panic!("{args:?} under {} KiB: {:?}: {stderr}", least + step * step * 2048, output.status)
                }
            }
            let left = fs::read_dir(dir.path()).expect("readable").flatten();
            assert!(!left.into_iter().any(|file| file.file_name().to_string_lossy().contains("partial")));
        }
    }
    assert!(done > 0 && refused > 0, "{done} done, {refused} refused");
}

/// A model whose weights are no numbers gives no numbers, and says so.
#[test]
fn results_that_are_no_numbers_are_refused() {
    let dir = folder();
    let mut model = fs::read(dir.path().join("m.gguf")).expect("there");
    let n = model.len();
    // Every type of float reads this as NaN.
    model[n - 100_000..].fill(0xff);
    fs::write(dir.path().join("nan.gguf"), model).expect("writable");
    fs::write(dir.path().join("long.txt"), "Once upon a time there was a fox. ".repeat(40))
        .expect("writable");
    for args in [
        &["embed", "-m", "nan.gguf", "--pooling", "mean"][..],
        &["perplexity", "-m", "nan.gguf", "-f", "long.txt", "-c", "64", "--chunks", "1"],
    ] {
        let output = fed(dir.path(), args, b"Once upon a time\n");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        assert!(stderr.contains("expected a finite number"), "{args:?}: {stderr}");
    }
}

#[test]
fn a_server_refuses_what_it_has_not_in_one_line() {
    let dir = folder();
    for (args, why) in [
        (&["serve", "-nocb"][..], "-nocb is not supported"),
        (&["serve", "--events", "e.json"], "--events is not supported"),
        (&["serve", "-np", "0"], "expected -1, or 1 to"),
        (&["serve", "-md", "m.gguf"], "-md is not supported"),
        (&["serve", "--slot-save-path", "nowhere"], "expected a folder"),
    ] {
        let output = command(dir.path(), args).output().expect("quipu runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{args:?}: {stderr}");
        assert!(stderr.contains(why), "{args:?}: {stderr}");
    }
    let output = command(dir.path(), &["serve"]).env("LLAMA_ARG_MMAP", "maybe").output().expect("quipu runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
}
