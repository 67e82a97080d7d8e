//! `quipu inspect --plan` on the embedded model.

use std::process::{Command, Output};

fn quipu(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quipu")).args(args).output().expect("the binary runs")
}

#[test]
fn the_plan_is_shown_and_drawn() {
    let dir = tempfile::tempdir().expect("a folder");
    let svg = dir.path().join("plan.svg").display().to_string();
    let output = quipu(&["inspect", "--plan", "--n-ctx", "256", "--ubatch", "16", "--svg", &svg]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    for part in ["16 tokens, context of 256", "lower bound", "offline plan", "buffer 0, chunk 0", "kq_mask"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let svg = std::fs::read_to_string(&svg).expect("the picture");
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("<title>kq_mask"));
}

#[test]
fn mistakes_are_one_line() {
    let missing = quipu(&["inspect", "--plan", "/no/such/model.gguf"]);
    assert!(!missing.status.success() && missing.stdout.is_empty());
    assert_eq!(String::from_utf8_lossy(&missing.stderr).trim().lines().count(), 1);
    assert!(!quipu(&["inspect"]).status.success(), "a file is needed without --plan");
    assert!(!quipu(&["inspect", "--svg", "x", "model.gguf"]).status.success(), "--svg needs --plan");
    let large = quipu(&["inspect", "--plan", "--n-ctx", "99999999999999"]);
    assert!(!large.status.success());
    assert_eq!(String::from_utf8_lossy(&large.stderr).trim().lines().count(), 1);
}
