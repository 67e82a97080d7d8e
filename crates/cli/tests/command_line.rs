//! What the command line takes, and what is said about what it does not.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/stories-1m.gguf");

fn quipu(args: &[&str]) -> Output {
    fed(args, b"")
}

fn fed(args: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quipu"));
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("quipu runs");
    // Who does not read has no need of it.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("quipu ends")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts exit code 1, nothing on stdout and one line, which has `part` in it.
#[track_caller]
fn assert_refused(args: &[&str], part: &str) {
    let output = quipu(args);
    let text = stderr(&output);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{args:?}: {output:?}");
    assert!(text.trim_end().lines().count() == 1 && text.contains(part), "{args:?}: {text}");
}

#[test]
fn mistakes_of_usage_are_one_line() {
    assert_refused(
        &["run", "--nonsense"],
        "error: unexpected argument '--nonsense' found; see quipu run --help",
    );
    assert_refused(&["nonsense"], "error: unrecognized subcommand 'nonsense'; see quipu --help");
    assert_refused(
        &["quantize", MODEL],
        "were not provided: <[OUTPUT] TYPE [THREADS]>...; see quipu quantize --help",
    );
    assert_refused(
        &["convert", "x", "-o", "y", "--outtype", "q9"],
        "[possible values: f32, f16, bf16, q8_0, auto]; see",
    );
    assert_refused(&["run", "-hf", "a/b", "-p", "x"], "error: -hf is not supported: nothing is downloaded");
    assert_refused(
        &["run", "-p", "x", "-fa", "yes"],
        "for '--flash-attn <MODE>': expected on, off or auto; see",
    );
    assert_refused(&["run", "-p", "x", "-ctk", "q6_K"], "expected one of: f32, f16, bf16, q8_0");
    assert_refused(&["bench", "-r", "0"], "invalid value '0' for '--repetitions");
    assert_refused(
        &["run", "-p", "x", "--seed", "4294967296"],
        "expected an integer, -2147483648 to 4294967295",
    );
    let wide = "llama.block_count=int:4294967301";
    assert_refused(
        &["run", "-m", MODEL, "-p", "x", "--override-kv", wide],
        "expected -2147483648 to 4294967295",
    );
    assert_refused(&["run", "-p", "x", "--override-kv", "\"a=str:b"], "a quotation mark is not closed");
    assert_refused(&["imatrix", "--in-file", "\"a"], "--in-file: a quotation mark is not closed");
}

#[test]
fn help_says_what_this_is() {
    let help = stdout(&quipu(&["--help"]));
    assert!(
        help.starts_with("Runs GGUF language models on this machine") && help.contains("docs/flags.md"),
        "{help}"
    );
    assert!(stdout(&quipu(&["run", "--usage"])).contains("--cache-type-k"));
    assert!(stdout(&quipu(&["run", "--version"])).contains(env!("CARGO_PKG_VERSION")));
    assert!(stdout(&quipu(&["--list-devices"])).starts_with("CPU"));
    assert!(stdout(&quipu(&["bench", "--list-devices"])).starts_with("CPU"));
    let nothing = quipu(&[]);
    assert!(nothing.status.code() == Some(1) && nothing.stdout.is_empty());
}

const GREEDY: [&str; 8] = ["run", "-m", MODEL, "--temp", "0", "-n", "8", "-t"];

fn greedy(more: &[&str]) -> Output {
    quipu(&[&GREEDY[..], &["-1"], more].concat())
}

#[test]
fn flags_of_the_reference_do_what_they_do_there() {
    let plain = stdout(&greedy(&["-p", "Once upon\na time"]));
    for more in [
        &["-p", "Once upon\\na time"][..],
        &["-p", "Once upon\na time", "--no-escape"],
        &["-p", "x", "-p", "Once upon\na time", "-fa", "on", "--no-mmap", "-ub", "4", "-tb", "1", "-no-cnv"],
        &["-p", "Once upon\na time", "-ctk", "f32", "-ctv", "f32", "--log-disable"],
    ] {
        assert_eq!(stdout(&greedy(more)), plain, "{more:?}");
    }
    assert_ne!(stdout(&greedy(&["-p", "Once upon\\na time", "--no-escape"])), plain);
    let generated = stdout(&greedy(&["-p", "Once upon\na time", "--no-display-prompt"]));
    assert_eq!(plain, format!("Once upon\na time{generated}"));
    assert!(greedy(&["-p", "x", "-ctk", "q8_0", "-ctv", "q4_0"]).status.success());
    assert_eq!(
        stdout(&quipu(&["tokenize", "-p", "a\\tb"])),
        stdout(&quipu(&["tokenize", "-p", "a\tb", "--ids"]))
    );
    let lines = stdout(&quipu(&["embed", "-p", "a dog\\na cat", "--pooling", "mean"]));
    assert_eq!(lines.lines().count(), 2);
}

#[test]
fn a_variable_is_a_flag() {
    let with = |value: &str, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quipu"));
        command.args(["run", "-m", MODEL, "-p", "Once", "--temp", "0", "--no-display-prompt"]).args(args);
        command.env("LLAMA_ARG_N_PREDICT", value).output().expect("quipu runs")
    };
    assert!(stderr(&with("5", &[])).contains("generated 5 tokens"));
    assert!(stderr(&with("5", &["-n", "7"])).contains("generated 7 tokens"));
    assert!(stderr(&with("x", &[])).contains("error: invalid value 'x'"));
}

#[test]
fn a_prompt_may_come_from_stdin() {
    let plain = stdout(&greedy(&["-p", "Once upon"]));
    let args = [&GREEDY[..], &["1", "-f", "-"]].concat();
    assert_eq!(stdout(&fed(&args, b"Once upon\n")), plain);
    let output = fed(&["run", "-f", "-"], b"\xff");
    assert_eq!(stderr(&output), "quipu: stdin: byte 0 is not UTF-8, expected UTF-8 text\n");
    assert_eq!(
        stdout(&fed(&["tokenize", "-f", "-"], b"The fox")),
        stdout(&quipu(&["tokenize", "-p", "The fox"]))
    );
}

#[test]
fn a_prompt_that_is_refused_is_not_shown() {
    let long = "word ".repeat(2000);
    assert_refused(&["run", "-p", &long, "-c", "256"], "the prompt has 4003 tokens");
}

#[test]
fn counts_are_what_was_asked_for() {
    for (n, prompt) in [("32", "Once upon a time"), ("0", "Once upon a time"), ("1", "")] {
        let output = quipu(&["run", "-m", MODEL, "-p", prompt, "-n", n, "--ignore-eos", "-s", "1"]);
        let text = stderr(&output);
        assert!(output.status.success(), "{text}");
        let n_prompt = stdout(&quipu(&["tokenize", "-p", prompt])).split_whitespace().count();
        assert!(text.starts_with(&format!("prompt {n_prompt} tokens, ")), "{text}");
        assert!(text.contains(&format!("| generated {n} tokens, ")), "{text}");
    }
    let output = fed(&["chat", "--seed", "1", "-n", "5", "--ignore-eos"], b"Hello\nHello\n");
    assert!(stderr(&output).contains("| generated 10 tokens, "), "{output:?}");
}

#[test]
fn a_conversation_may_be_one_turn() {
    let output =
        fed(&["chat", "-s", "1", "-n", "5", "-st", "-p", "Hello", "-sys", "Be kind."], b"Never read\n");
    assert!(stderr(&output).contains("| generated 5 tokens, "), "{output:?}");
}

#[test]
fn a_context_that_is_rounded_up_is_told() {
    let said = |n: &str| stderr(&quipu(&["run", "-p", "x", "-n", "1", "-c", n]));
    assert!(said("50").starts_with("a context of 50 tokens is rounded up to 256, a multiple of 256\n"));
    assert!(!said("256").contains("rounded") && !said("0").contains("rounded"));
}

#[test]
fn shares_of_no_gpu_are_told() {
    for flags in [["-ts", "3,1"], ["-mg", "1"]] {
        let output = quipu(&[&["run", "-p", "x", "-n", "1", "-ngl", "0"], &flags[..]].concat());
        assert!(output.status.success() && stderr(&output).contains("change nothing"), "{output:?}");
    }
}

#[test]
fn layers_and_threads_that_are_not_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("q.gguf");
    let out = out.to_str().expect("UTF-8");
    assert_refused(
        &["quantize", "--prune-layers", "1,999", MODEL, out, "Q8_0"],
        "layer 999 is to be left out, but no tensor is of it",
    );
    assert_refused(
        &["quantize", MODEL, out, "Q8_0", "1000000"],
        "'1000000' is not a number of threads, expected 0 to 512",
    );
    assert_refused(
        &["quantize", "--tensor-type", "a(=q8_0", MODEL, out, "Q8_0"],
        "tensor pattern 'a(' is not a regular expression: unclosed group",
    );
    assert!(!Path::new(out).exists());
    assert!(quipu(&["quantize", "--prune-layers", "1", MODEL, out, "Q8_0"]).status.success());
}

/// A file that cannot be read is exit code 1, also where 1 is an answer; what makes no sense is 2.
#[test]
fn a_missing_file_is_the_same_everywhere_and_named_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (none, text) = (path("none"), path("text"));
    std::fs::write(&text, "root ::= (").expect("writable");
    for args in [
        &["audit-log", &none][..],
        &["grammar-check", &none, &text],
        &["grammar-check", "-j", &none, &text],
        &["inspect", &none],
        &["split", &none, "x"],
        &["merge", &none, "x"],
        &["quantize", &none, "Q8_0"],
        &["sbs", "inspect", &none],
        &["run", "-p", "x", "-m", &none],
        &["imatrix", "--in-file", &none],
        &["convert", &format!("{none}.sbs"), "-o", "x"],
    ] {
        assert_refused(args, &none);
        let said = stderr(&quipu(args));
        let n = said.matches(none.as_str()).count();
        assert!(n == 1 || args[0] == "imatrix", "{said}");
    }
    for args in [&["audit-log", &text][..], &["grammar-check", &text, &text]] {
        assert_eq!(quipu(args).status.code(), Some(2), "{args:?}");
    }
    let to_sbs = path("out.sbs");
    assert_refused(
        &["convert", MODEL, "-o", &to_sbs],
        "the architecture is 'llama', expected gemma2 or gemma3",
    );
}

#[test]
fn no_ubatch_is_the_whole_batch() {
    let text = |n: &str| stdout(&greedy(&["-p", "Once upon a time", "-ub", n]));
    assert_eq!(text("0"), text("2048"));
    assert_refused(&["run", "-p", "x", "-b", "0"], "n_batch");
}

#[test]
fn biases_are_of_tokens_there_are() {
    assert_refused(&["run", "-p", "x", "-l", "1024+1"], "--logit-bias: token 1024, expected 0 to 1023");
    assert_refused(&["chat", "-l", "5-1", "-l", "4294967295-inf"], "expected TOKEN+BIAS");
    assert_refused(&["run", "-p", "x", "-l", "-1+1"], "token -1 is in no vocabulary");
    assert!(quipu(&["run", "-p", "x", "-n", "1", "-l", "1023+1"]).status.success());
}

/// What the shells that are there say to it.
#[test]
#[cfg(unix)]
fn completions_are_of_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = stdout(&quipu(&["completions", shell]));
        for word in ["perplexity", "grammar-check", "models", "--reasoning-budget"] {
            // Fish has its dashes elsewhere.
            assert!(text.contains(word.trim_start_matches('-')), "{shell}: {word}");
        }
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("completions");
        std::fs::write(&path, text).expect("writable");
        let checked = Command::new(shell).arg("-n").arg(&path).output();
        // A shell that is not there cannot be asked.
        if let Ok(output) = checked {
            assert!(output.status.success(), "{shell}: {output:?}");
        }
    }
    assert_refused(&["completions", "csh"], "possible values: bash");
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let folder = dir.path().join("man1");
    assert!(quipu(&["man", folder.to_str().expect("UTF-8")]).status.success());
    let page = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let help = stdout(&quipu(&["--help"]));
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    let mut n = 1;
    for command in listed.filter(|command| *command != "help") {
        let text = page(&format!("quipu-{command}.1"));
        assert!(text.contains(".SH SYNOPSIS") && text.contains("OPTIONS"), "{command}: {text}");
        n += 1;
    }
    assert!(n > 20, "{n}");
    assert!(page("quipu.1").contains("Runs GGUF language models on this machine"));
    assert_eq!(std::fs::read_dir(&folder).expect("readable").count(), n);
}

/// Folders as the programs that own them make them.
#[cfg(unix)]
fn caches() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let model = std::fs::read(MODEL).expect("the demo model");
    let write = |path: &str, bytes: &[u8]| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("writable");
    };
    // Snapshots link to blobs.
    let hub = "hf/hub/models--someone--Tiny-GGUF";
    write(&format!("{hub}/blobs/abc"), &model);
    write(&format!("{hub}/refs/main"), b"0123");
    write(&format!("{hub}/snapshots/0123/config.json"), b"{}");
    for name in ["tiny-F16.gguf", "tiny-Q4_K_M.gguf"] {
        let link = dir.path().join(hub).join("snapshots/0123").join(name);
        std::os::unix::fs::symlink("../../blobs/abc", link).expect("linked");
    }
    let digest = "a".repeat(64);
    let manifest = format!(
        r#"{{"layers": [{{"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:00"}},
            {{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:{digest}"}}]}}"#
    );
    write("ollama/manifests/registry.ollama.ai/library/tiny/0.5b", manifest.as_bytes());
    write("ollama/manifests/registry.ollama.ai/library/broken/latest", b"{");
    write(&format!("ollama/blobs/sha256-{digest}"), &model);
    write("home/.lmstudio/models/else/Other-GGUF/other.gguf", &model[..5000]);
    write("cache/flat-model.gguf", &model);
    dir
}

#[cfg(unix)]
fn with_caches(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quipu"));
    for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"] {
        command.env_remove(name);
    }
    command.env("HOME", dir.join("home")).env("HF_HOME", dir.join("hf"));
    command.env("OLLAMA_MODELS", dir.join("ollama")).env("LLAMA_CACHE", dir.join("cache"));
    command.args(args).stdin(Stdio::null()).output().expect("quipu runs")
}

#[test]
#[cfg(unix)]
fn models_of_other_programs_are_shown_and_found() {
    let dir = caches();
    let found = stdout(&with_caches(dir.path(), &["models"]));
    let rows: Vec<&str> = found.lines().collect();
    assert_eq!(rows.len(), 5, "{found}");
    for (row, (name, owner)) in rows.iter().zip([
        ("someone/Tiny-GGUF/tiny-F16.gguf", "Hugging Face"),
        ("someone/Tiny-GGUF/tiny-Q4_K_M.gguf", "Hugging Face"),
        ("flat-model.gguf", "llama.cpp"),
        ("else/Other-GGUF/other.gguf", "LM Studio"),
        ("tiny:0.5b", "Ollama"),
    ]) {
        assert!(row.starts_with(name) && row.contains(owner), "{row}");
        // The one that is cut off says so.
        let runs = row.contains("llama ") && row.contains("2.0 MiB") && row.ends_with("runs");
        assert!(runs != (owner == "LM Studio"), "{row}");
        assert_eq!(row.contains("refused: "), owner == "LM Studio", "{row}");
    }
    assert_eq!(stdout(&with_caches(dir.path(), &["models", "OLLAMA-none"])), "");
    let json = stdout(&with_caches(dir.path(), &["models", "--json", "tiny:"]));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["runs"], &json["owner"]), (&true.into(), &"Ollama".into()));
    for name in ["tiny:0.5b", "someone/Tiny-GGUF", "someone/tiny-gguf:f16", "tiny-Q4_K_M.gguf", "flat-model"]
    {
        let output = with_caches(dir.path(), &["tokenize", "-m", name, "-p", "The fox"]);
        assert_eq!(stdout(&output), stdout(&quipu(&["tokenize", "-p", "The fox"])), "{name}");
        assert!(stderr(&output).starts_with(&format!("{name}: ")), "{output:?}");
    }
    let output = with_caches(dir.path(), &["run", "-m", "nobody/has-this", "-p", "x"]);
    assert!(stderr(&output).contains("no such file, and no model of this name; quipu models"), "{output:?}");
    // A path that is none stays one.
    let output = with_caches(dir.path(), &["run", "-m", "missing.gguf", "-p", "x"]);
    assert!(stderr(&output).contains("missing.gguf: No such file"), "{output:?}");
}

#[test]
fn what_is_odd_about_a_model_is_told() {
    let run = |more: &[&str]| {
        let output = quipu(&[&["run", "-m", MODEL, "-p", "x", "-n", "1"][..], more].concat());
        assert!(output.status.success(), "{output:?}");
        stderr(&output)
    };
    let ignored = "warning: override of metadata key 'llama.block_count' is of type";
    let odd = ["--override-kv", "llama.block_count=str:x,tokenizer.ggml.eos_token_id=int:5000"];
    let told = run(&odd);
    assert!(told.contains(ignored) && !told.contains("5000 is not one"), "{told}");
    // Also while events are recorded, and with guesses about the vocabulary.
    let told = run(&[&odd[..], &["-v", "--perf"]].concat());
    assert!(told.contains(ignored) && told.contains("5000 is not one of the 1024 tokens"), "{told}");
    assert!(told.contains("load"), "{told}");
    assert!(!run(&["-v"]).contains("warning"));
}
