//! `quipu quantize` and `quipu imatrix` from the outside: arguments, files, messages.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/stories-1m.gguf")
}

fn quipu(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quipu")).current_dir(dir).args(args).output().expect("runs")
}

fn refusal(dir: &Path, args: &[&str]) -> String {
    let output = quipu(dir, args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn types_and_outputs_are_taken_as_llama_quantize_takes_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let input = dir.path().join("in.gguf");
    std::fs::copy(model(), &input).expect("copied");
    for args in [
        &["quantize", "in.gguf", "named.gguf", "q8_0", "2"][..],
        &["quantize", "in.gguf", "Q8_0"],
        &["quantize", "in.gguf", "numbered.gguf", "7"],
    ] {
        let output = quipu(dir.path(), args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    let read = |name: &str| std::fs::read(dir.path().join(name)).expect(name);
    let named = read("named.gguf");
    assert_eq!(named, read("ggml-model-Q8_0.gguf"));
    assert_eq!(named, read("numbered.gguf"));
    assert!(named.len() < read("in.gguf").len());
    let run = quipu(dir.path(), &["run", "-m", "named.gguf", "-p", "Once", "-n", "4", "--seed", "1"]);
    assert!(run.status.success());
}

#[test]
fn a_dry_run_shows_types_and_writes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let input = model();
    let args = ["quantize", "--dry-run", input.to_str().expect("text"), "out.gguf", "Q4_K_M"];
    let output = quipu(dir.path(), &args);
    let text = String::from_utf8(output.stdout).expect("text");
    let line = text.lines().find(|line| line.starts_with("blk.0.attn_q.weight")).expect("a tensor");
    assert!(line.contains("f16 -> q5_0") && line.ends_with("(stand-in)"), "{line}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("the folder").count(), 0);
}

#[test]
fn mistakes_are_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let input = model();
    let input = input.to_str().expect("text");
    let unknown = refusal(dir.path(), &["quantize", input, "out.gguf", "Q9_K"]);
    assert!(unknown.contains("file type 'Q9_K' is unknown, expected COPY or one of F32, F16"), "{unknown}");
    let same = dir.path().join("same.gguf");
    std::fs::copy(model(), &same).expect("copied");
    let same = refusal(dir.path(), &["quantize", "same.gguf", "same.gguf", "Q8_0"]);
    assert!(same.contains("it is the input same.gguf, expected another output"), "{same}");
    let none = refusal(dir.path(), &["quantize", "--imatrix", "none.dat", input, "out.gguf", "Q8_0"]);
    assert!(none.starts_with("quipu: importance matrix none.dat: "), "{none}");
    let pair = refusal(dir.path(), &["quantize", "--tensor-type", "attn_q", input, "out.gguf", "Q8_0"]);
    assert!(pair.contains("tensor type 'attn_q': expected PATTERN=TYPE"), "{pair}");
    let nothing = refusal(dir.path(), &["imatrix", "-o", "i.gguf"]);
    assert!(nothing.contains("no text and nothing to combine"), "{nothing}");
}

#[test]
fn a_collected_matrix_serves_and_is_noted() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = model().with_file_name("heldout.txt");
    let text = text.to_str().expect("text");
    let collect = ["imatrix", "-f", text, "-o", "i.gguf", "-c", "64", "--chunks", "3", "--process-output"];
    assert!(quipu(dir.path(), &collect).status.success());
    assert!(
        quipu(dir.path(), &["imatrix", "--in-file", "i.gguf", "-o", "i.dat", "--output-format", "dat"])
            .status
            .success()
    );
    let input = model();
    let input = input.to_str().expect("text");
    let output = quipu(dir.path(), &["quantize", "--imatrix", "i.gguf", input, "out.gguf", "Q4_K_M"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = quipu(dir.path(), &["inspect", "out.gguf"]);
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert!(shown.contains("quantize.imatrix.chunks_count") && shown.contains("heldout.txt"), "{shown}");
}
