//! The loading options of every command that takes a model.

use std::process::{Command, Output};

fn run(flags: &[&str]) -> Output {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/stories-1m.gguf");
    let mut command = Command::new(env!("CARGO_BIN_EXE_quipu"));
    command.args(["run", "-m", model, "-p", "Once upon a time", "-n", "8", "--temp", "0", "-t", "1"]);
    command.args(flags).output().expect("it starts")
}

#[test]
fn every_load_mode_runs_to_the_same_text() {
    let mapped = run(&[]);
    assert!(mapped.status.success() && !mapped.stdout.is_empty());
    for mode in ["none", "mmap", "mlock", "mmap+mlock", "dio"] {
        let out = run(&["--load-mode", mode, "--check-tensors"]);
        assert!(out.status.success(), "{mode}: {}", String::from_utf8_lossy(&out.stderr));
        assert_eq!(out.stdout, mapped.stdout, "{mode}");
    }
    let moved = run(&["--override-tensor", "ffn=CPU", "--override-kv", "llama.context_length=int:64"]);
    assert_eq!(moved.stdout, mapped.stdout);
}

/// Commas within quotation marks belong to the value, and a mark is written twice; several entries and several flags add up.
#[test]
fn overrides_are_rows_of_csv() {
    let shown = |flags: &[&str]| {
        let out = run(&[&["--verbose"], flags].concat());
        (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    // A name with a comma and a mark in it, an architecture that is none: the message shows what the value became.
    let (ok, text) =
        shown(&["--override-kv", "llama.context_length=int:64,\"general.architecture=str:a,\"\"b\"\"\""]);
    assert!(!ok && text.contains("architecture 'a,\"b\"' is not supported"), "{text}");
    let (ok, text) = shown(&["--override-kv", "llama.block_count=int:5,llama.block_count=int:0"]);
    assert!(ok, "the first of two counts: {text}");
    let (ok, text) = shown(&["--override-kv", "a=int:1", "--override-kv", "llama.block_count=int:0"]);
    assert!(!ok && text.contains("llama.block_count is 0"), "{text}");
    let (ok, text) = shown(&["--override-kv", "a=int:1,"]);
    assert!(!ok && text.contains("expected KEY=TYPE:VALUE"), "{text}");
}

/// Also where only the vocabulary is read, and for the embedded model.
#[test]
fn overrides_reach_the_vocabulary() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/stories-1m.gguf");
    let ids = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quipu"));
        let out = command.args(["tokenize", "-p", "The fox"]).args(more).output().expect("it starts");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let (plain, without) = (ids(&[]), ids(&["--no-special"]));
    assert_ne!(plain, without);
    let no_bos = ["--override-kv", "tokenizer.ggml.add_bos_token=bool:false"];
    assert_eq!(ids(&no_bos), without);
    assert_eq!(ids(&[&["-m", model], &no_bos[..]].concat()), without);
}

#[test]
fn options_that_make_no_sense_are_one_line_and_a_failure() {
    for (flags, message) in [
        (["--load-mode", "swap"], "load mode 'swap' is unknown"),
        (["--override-tensor", "x=TPU"], "buffer type 'TPU' is unknown, expected one of: CPU"),
        (["--override-tensor", "x"], "expected PATTERN=BUFFER_TYPE"),
        (["--override-kv", "llama.block_count=int:0"], "llama.block_count is 0"),
        (["--override-kv", "nonsense"], "nonsense"),
        (
            ["--split-mode", "row"],
            "split mode 'row', expected one of: none, layer (matrices are not split here)",
        ),
        (["-sm", "tensor"], "split mode 'tensor'"),
        (["--tensor-split", "3,x"], "'x' is no number, expected N,N,..."),
        (["-ts", "3,-1"], "a share of -1 in the split of layers over devices, expected 0 or more"),
        (["-ngl", "some"], "expected a number, all or auto"),
    ] {
        let out = run(&flags);
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{text}");
        assert!(text.contains(message), "{text}");
    }
}

#[test]
fn layers_for_a_gpu_that_is_not_there_run_on_the_cpu_and_stderr_says_so_once() {
    let plain = run(&["-ngl", "0"]);
    let text = String::from_utf8_lossy(&plain.stderr);
    assert!(plain.status.success() && !text.contains("running on the CPU"), "{text}");
    let out = run(&["-ngl", "99", "-v"]);
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{text}");
    let device = if text.contains("running on the CPU") {
        assert_eq!(text.matches("running on the CPU").count(), 1, "{text}");
        assert!(text.contains("no CUDA") || text.contains("no GPU support"), "{text}");
        assert_eq!(out.stdout, plain.stdout);
        "CPU: "
    } else {
        "CUDA0: "
    };
    assert!(text.contains(device) && text.contains(" nodes in "), "{text}");
}

#[test]
fn devices_are_those_that_were_named() {
    let plain = run(&["-ngl", "0"]);
    // None: nothing is looked for, whatever the others say.
    for flags in [
        ["--device", "none", "-ngl", "all"],
        ["-dev", "none", "-ts", "3,1"],
        ["--device", "CUDA0", "-ngl", "0"],
        ["-sm", "none", "-mg", "-1"],
    ] {
        let out = run(&flags);
        let text = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && out.stdout == plain.stdout, "{flags:?}: {text}");
        assert!(!text.contains("running on the CPU") || flags[0] == "-sm", "{flags:?}: {text}");
    }
    let out = run(&["--device", "CUDA77"]);
    let text = String::from_utf8_lossy(&out.stderr);
    // Where there are no GPUs at all, that is what is said.
    let said = if text.contains("running on the CPU") {
        out.status.success()
    } else {
        text.contains("no device CUDA77")
    };
    assert!(said, "{text}");
}
