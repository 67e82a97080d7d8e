//! The binary as a user meets it: results on stdout, one line on stderr and exit code 1 for every mistake.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn quipu(args: &[&str]) -> Output {
    quipu_with_stdin(args, b"")
}

fn quipu_with_stdin(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_quipu"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    child.stdin.take().expect("a pipe").write_all(input).expect("the child reads");
    child.wait_with_output().expect("the child ends")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Asserts exit code 1 and a single line, which it returns.
fn failure(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(!text.contains("panicked"), "{text}");
    text.trim_end().to_owned()
}

fn demo_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/stories-1m.gguf")
}

fn temp_file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).expect("writable");
    let path = path.to_str().expect("UTF-8").to_owned();
    (dir, path)
}

#[test]
fn the_same_seed_gives_the_same_story() {
    let args = ["run", "-p", "Once upon a time", "-n", "40", "--seed", "7"];
    let first = stdout(&quipu(&args));
    assert!(first.starts_with("Once upon a time"));
    assert!(first.len() > 80, "{first}");
    assert_eq!(stdout(&quipu(&args)), first);
    let threads = ["run", "-p", "Once upon a time", "-n", "40", "--seed", "7", "-t", "3"];
    assert_eq!(stdout(&quipu(&threads)), first);
}

#[test]
fn stop_strings_end_the_text_before_them() {
    let text = stdout(&quipu(&["run", "-p", "Once upon a time", "--temp", "0", "-n", "60", "--stop", "."]));
    assert!(!text.contains('.'), "{text}");
}

#[test]
fn tokenize_and_detokenize_are_inverse() {
    let ids = stdout(&quipu(&["tokenize", "--no-special", "-p", "The fox had a red kite. Größe 🦊"]));
    let text = stdout(&quipu_with_stdin(&["detokenize"], ids.as_bytes()));
    assert_eq!(text, "The fox had a red kite. Größe 🦊");
}

#[test]
fn tokenize_reads_nul_separated_files() {
    let (_dir, path) = temp_file("texts", b"one\0two words\0\xff\xfe\0");
    let lines = stdout(&quipu(&["tokenize", "-f", &path, "--nul", "--no-special"]));
    assert_eq!(lines.lines().count(), 3, "{lines}");
}

#[test]
fn logits_are_rows_of_the_vocabulary() {
    let (dir, tokens) = temp_file("tokens.txt", b"0 300 301\n302");
    let out = dir.path().join("logits.bin");
    let out = out.to_str().expect("UTF-8");
    stdout(&quipu(&["logits", "--tokens", &tokens, "-o", out]));
    let one_by_one = format!("{out}.1");
    stdout(&quipu(&["logits", "--tokens", &tokens, "-o", &one_by_one, "--ubatch", "1"]));
    let (a, b) = (std::fs::read(out).expect("written"), std::fs::read(&one_by_one).expect("written"));
    assert_eq!(a.len(), 4 * 1024 * 4);
    let floats = |bytes: &[u8]| -> Vec<f64> {
        bytes.chunks(4).map(|c| f64::from(f32::from_le_bytes([c[0], c[1], c[2], c[3]]))).collect()
    };
    let (a, b) = (floats(&a), floats(&b));
    let error: f64 = a.iter().zip(&b).map(|(x, y)| (x - y) * (x - y)).sum();
    let power: f64 = a.iter().map(|x| x * x).sum();
    assert!(error / power < 1e-6, "NMSE {}", error / power);
}

#[test]
fn embeddings_have_length_one() {
    let rows = stdout(&quipu_with_stdin(&["embed", "--pooling", "mean"], b"a dog\na cat\n"));
    assert_eq!(rows.lines().count(), 2);
    for row in rows.lines() {
        let squares: f64 = row.split(' ').map(|x| x.parse::<f64>().expect("a number").powi(2)).sum();
        assert!((squares - 1.0).abs() < 1e-4, "{squares}");
    }
}

/// The card's figure, measured by llama-perplexity too; the tolerance covers kernels of other processors.
#[test]
fn perplexity_is_what_the_model_card_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let card = std::fs::read_to_string(root.join("models/README.md")).expect("the card");
    let line = card.lines().find(|line| line.contains("quipu perplexity")).expect("the card's line");
    let stated: f64 = line
        .split('|')
        .find_map(|cell| cell.trim().trim_matches('*').parse().ok())
        .expect("a figure in the card's line");
    let heldout = root.join("models/heldout.txt");
    let text = stdout(&quipu(&["perplexity", "-f", heldout.to_str().expect("UTF-8"), "-c", "256"]));
    let measured: f64 = text.split_whitespace().nth(4).expect("a figure").parse().expect("a number");
    assert!((measured - stated).abs() < 0.002 * stated, "card {stated}, measured {measured}");
}

#[test]
fn bench_speaks_llama_bench() {
    let text = stdout(&quipu(&["bench", "-p", "16", "-n", "4", "-r", "2", "-o", "json"]));
    let rows: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(rows.as_array().map(Vec::len), Some(2));
    assert_eq!(rows[0]["n_prompt"], 16);
    assert_eq!(rows[1]["n_gen"], 4);
    assert_eq!(rows[1]["samples_ts"].as_array().map(Vec::len), Some(2));
    // What llama-bench calls this model.
    assert!(text.contains("\"model_type\": \"llama ?B F16\""), "{text}");
    let rows = stdout(&quipu(&["bench", "-p", "16", "-n", "0", "-r", "1", "-o", "csv"]));
    assert!(rows.contains("\"llama ?B F16\",2110976,1054080,"), "{rows}");
    let table = stdout(&quipu(&["bench", "-p", "16", "-n", "0", "-r", "1"]));
    assert!(table.contains("| llama ?B F16 | 2.01 MiB | 1.05 M |"), "{table}");
    assert!(table.contains("| pp16 |"), "{table}");
}

#[test]
fn inspect_shows_text_and_json() {
    let path = demo_model();
    let path = path.to_str().expect("UTF-8");
    let text = stdout(&quipu(&["inspect", path]));
    assert!(text.contains("general.architecture: str = \"llama\""), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&quipu(&["inspect", path, "--json"]))).expect("JSON");
    assert_eq!(
        json["n_params"],
        json["tensors"].as_array().map_or(0, |tensors| {
            tensors
                .iter()
                .map(|t| {
                    let shape = t["shape"].as_array().expect("a shape");
                    shape.iter().map(|n| n.as_u64().expect("a number")).product::<u64>()
                })
                .sum()
        })
    );
}

#[test]
fn chat_answers_each_line() {
    let answers =
        stdout(&quipu_with_stdin(&["chat", "--seed", "1", "-n", "30"], b"Tell me a story.\n\nHello!\n"));
    assert!(answers.lines().count() >= 2, "{answers}");
}

/// Every way to hold it wrong, with its message. Run with `UPDATE_SNAPSHOTS=1` to accept new texts.
#[test]
fn mistakes_are_one_line_each() {
    let model = std::fs::read(demo_model()).expect("the demo model");
    let (dir, truncated) = temp_file("truncated.gguf", &model[..model.len() / 2]);
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("writable");
        path.to_str().expect("UTF-8").to_owned()
    };
    let cut_header = file("cut-header.gguf", &model[..100]);
    let not_gguf = file("text.gguf", b"Once upon a time");
    let empty = file("empty.gguf", b"");
    let latin1 = file("latin1.txt", b"caf\xe9 au lait");
    let bad_ids = file("bad-ids.txt", b"1 2 99999");
    let no_ids = file("no-ids.txt", b"1 2 x");
    let good_ids = file("ids.txt", b"1 2 3");
    let at = model.windows(5).position(|w| w == b"llama").expect("the architecture's name");
    let mut other = model.clone();
    other[at..at + 5].copy_from_slice(b"llamo");
    let other = file("other-arch.gguf", &other);
    let long = "word ".repeat(2000);
    let out = dir.path().join("out.bin");
    let out = out.to_str().expect("UTF-8");

    let cases: Vec<(&str, Vec<&str>)> = vec![
        ("missing file", vec!["run", "-m", "/nonexistent.gguf", "-p", "x"]),
        ("truncated model", vec!["run", "-m", &truncated, "-p", "x"]),
        ("cut header", vec!["run", "-m", &cut_header, "-p", "x"]),
        ("not GGUF", vec!["run", "-m", &not_gguf, "-p", "x"]),
        ("empty file", vec!["inspect", &empty]),
        ("wrong architecture", vec!["run", "-m", &other, "-p", "x"]),
        ("prompt file not UTF-8", vec!["run", "-f", &latin1]),
        ("prompt too long", vec!["run", "-p", &long, "-c", "256"]),
        ("token out of range", vec!["logits", "--tokens", &bad_ids, "-o", out]),
        ("not a token id", vec!["logits", "--tokens", &no_ids, "-o", out]),
        ("output not writable", vec!["logits", "--tokens", &good_ids, "-o", "/nonexistent/out"]),
        ("text too short", vec!["perplexity", "-f", &not_gguf]),
        ("bad temperature", vec!["run", "-p", "x", "--temp", "nan"]),
        ("bad penalty", vec!["run", "-p", "x", "--repeat-penalty", "0"]),
        ("too many threads", vec!["run", "-p", "x", "-t", "1000000"]),
    ];
    let folder = dir.path().to_str().expect("UTF-8");
    // The list of architectures grows, and is the table's.
    let known = quipu::ARCHITECTURES.join(", ");
    let message = |args: &[&str]| failure(&quipu(args)).replace(folder, "DIR").replace(&known, "...");
    let mut lines: Vec<String> =
        cases.iter().map(|(name, args)| format!("{name}: {}\n", message(args))).collect();
    let line = failure(&quipu_with_stdin(&["detokenize"], b"5 4294967295"));
    lines.push(format!("id beyond the vocabulary: {line}\n"));
    let line = failure(&quipu_with_stdin(&["tokenize"], b"\xff"));
    lines.push(format!("stdin not UTF-8: {line}\n"));
    let report = lines.concat();

    let snapshot = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/mistakes.txt");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&snapshot, &report).expect("writable");
    }
    let expected = std::fs::read_to_string(&snapshot).expect("the snapshot");
    assert_eq!(report, expected);
}

#[test]
fn convert_refuses_what_is_no_model() {
    let (dir, path) = temp_file("config.json", b"{\"architectures\": [\"Unheard\"]}");
    let folder = dir.path().to_str().expect("UTF-8");
    let out = dir.path().join("out.gguf");
    let out = out.to_str().expect("UTF-8");
    assert!(
        failure(&quipu(&["convert", folder, "-o", out])).contains("architecture Unheard cannot be converted")
    );
    assert!(failure(&quipu(&["convert", &path, "-o", out])).contains("is not a directory"));
    assert!(!Path::new(out).exists());
}
