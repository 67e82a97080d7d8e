//! The flags of `run` that say how long a text goes on and what is reported of it.

use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quipu"))
        .args(["run", "-p", "Once upon a time", "--seed", "7"])
        .args(args)
        .output()
        .expect("the binary runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_full_context_ends_the_text_or_is_shifted() {
    let ended = run(&["-c", "256", "-n", "400", "--ignore-eos"]);
    assert!(ended.status.success() && stderr(&ended).contains("ContextFull"), "{}", stderr(&ended));
    let shifted = run(&["-c", "256", "-n", "400", "--ignore-eos", "--context-shift", "--keep", "4"]);
    assert!(shifted.status.success() && stderr(&shifted).contains("MaxTokens"), "{}", stderr(&shifted));
    assert!(shifted.stdout.len() > ended.stdout.len());
    let last = run(&["-c", "256", "-n", "400", "--ignore-eos", "--context-shift", "--no-context-shift"]);
    assert_eq!(last.stdout, ended.stdout);
}

#[test]
fn no_time_is_no_text() {
    let output = run(&["--time-limit", "0"]);
    assert!(output.status.success() && stderr(&output).contains("TimeLimit"), "{}", stderr(&output));
    for wrong in ["-1", "soon", "nan"] {
        let output = run(&[&format!("--time-limit={wrong}")]);
        assert!(!output.status.success() && stderr(&output).contains("expected seconds"), "{wrong}");
    }
}

#[test]
fn what_happens_is_reported_where_it_was_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("events.jsonl");
    let name = path.to_str().expect("UTF-8");
    let output = run(&["-n", "8", "--perf", "--events", name]);
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("prompt eval time =") && text.contains("8 tokens"), "{text}");
    let lines = std::fs::read_to_string(&path).expect("written");
    assert_eq!(lines.lines().filter(|line| line.contains("\"name\":\"sample\"")).count(), 8, "{lines}");
    assert!(lines.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{lines}");
    let quiet = run(&["-n", "8"]);
    assert_eq!(quiet.stdout, output.stdout);
    assert!(!stderr(&quiet).contains("prompt eval time"));
    let output = run(&["--events", folder.path().to_str().expect("UTF-8")]);
    assert!(!output.status.success() && stderr(&output).trim_end().lines().count() == 1);
}
