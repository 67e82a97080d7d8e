//! `quipu split` and `quipu merge` through the binary.

use std::path::Path;
use std::process::{Command, Output};

use quipu::gguf::{GgufFile, GgufWriter, Value};

fn quipu(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quipu")).args(args).current_dir(dir).output().expect("quipu runs")
}

/// A folder with `in.gguf`: five empty tensors.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut w = GgufWriter::new();
    w.metadata.set("general.architecture", Value::from("llama"));
    for i in 0..5 {
        w.add_tensor(&format!("t{i}"), quipu_quant::DType::F32, &[0]).expect("a new name");
    }
    std::fs::write(dir.path().join("in.gguf"), w.header().expect("no alignment key")).expect("writable");
    dir
}

#[test]
fn split_and_merge_give_the_tensors_back() {
    let dir = folder();
    let plan = "n_split: 3\nsplit 00001: n_tensors = 2, total_size = 0M\n\
                split 00002: n_tensors = 2, total_size = 0M\nsplit 00003: n_tensors = 1, total_size = 0M\n";
    for dry_run in [true, false] {
        let mut args = vec!["split", "--max-tensors", "2", "in.gguf", "out"];
        if dry_run {
            args.insert(1, "--dry-run");
        }
        let output = quipu(&args, dir.path());
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), plan);
        assert_eq!(dir.path().join("out-00003-of-00003.gguf").exists(), !dry_run);
    }
    let merge = ["merge", "out-00001-of-00003.gguf", "merged.gguf"];
    assert!(quipu(&merge, dir.path()).status.success());
    assert_eq!(GgufFile::open(dir.path().join("merged.gguf")).expect("readable").tensors().len(), 5);
    let again = quipu(&merge, dir.path());
    assert_eq!(again.status.code(), Some(1));
    let message = String::from_utf8_lossy(&again.stderr);
    assert_eq!(message, "quipu: merged.gguf exists already, expected a new file\n");
}

#[test]
fn mistakes_are_one_line_each() {
    let dir = folder();
    for args in [
        &["split", "missing.gguf", "out"][..],
        &["merge", "in.gguf", "merged.gguf"],
        &["merge", "missing.gguf", "merged.gguf"],
        &["split", "in.gguf", "no/such/folder/out"],
    ] {
        let output = quipu(args, dir.path());
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert_eq!(
            String::from_utf8_lossy(&output.stderr).lines().filter(|l| l.starts_with("quipu:")).count(),
            1
        );
    }
    let none: [&[&str]; 3] =
        [&["--max-size", "5"], &["--max-tensors", "0"], &["--max-tensors", "1", "--max-size", "1M"]];
    for options in none {
        let args = [&["split"], options, &["in.gguf", "out"]].concat();
        assert_eq!(quipu(&args, dir.path()).status.code(), Some(1), "{args:?}");
    }
}
