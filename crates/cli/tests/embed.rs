//! `quipu embed`: embeddings mean what the file says.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use quipu::gguf::{GgufFile, GgufWriter, Metadata, Value};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/stories-1m.gguf");

/// The demo model with other metadata.
fn write_model(path: &Path, edit: impl Fn(&mut Metadata)) {
    let file = GgufFile::open(DEMO).expect("the demo model");
    let mut writer = GgufWriter::new();
    writer.metadata = file.metadata().clone();
    edit(&mut writer.metadata);
    for tensor in file.tensors() {
        writer
            .add_tensor(&tensor.name, tensor.dtype, &tensor.ne[..tensor.n_dims as usize])
            .expect("a new name");
    }
    let mut out = Vec::new();
    writer
        .write_to(&mut out, |i, sink| sink.write_all(file.tensor_bytes_at(i).expect("its data")))
        .expect("memory is writable");
    std::fs::write(path, out).expect("writable");
}

fn embed(model: &str, more: &[&str], text: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_quipu"))
        .args(["embed", "-m", model, "-t", "1"])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), text.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

fn rows(output: &Output) -> Vec<Vec<f64>> {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    parse(text.lines())
}

fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Vec<f64>> {
    lines.map(|line| line.split_whitespace().map(|x| x.parse().expect("a number")).collect()).collect()
}

fn failure(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    text
}

/// Sets a key as `--override-kv` writes it.
fn set(metadata: &mut Metadata, entry: &str) {
    let (key, typed) = entry.split_once('=').expect("KEY=TYPE:VALUE");
    let value = match typed.split_once(':').expect("TYPE:VALUE") {
        ("int", number) => Value::U32(number.parse().expect("a number")),
        (_, flag) => Value::Bool(flag == "true"),
    };
    metadata.set(key, value);
}

/// Numbers of the reference's tool, for every kind of pooling and for a model whose tokens see later ones: with keys in the file
/// and with the same keys on the command line.
#[test]
fn the_files_pooling_is_the_default() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("model.gguf");
    let model = path.to_str().expect("UTF-8");
    let golden = include_str!("goldens/embeddings.txt");
    let mut n = 0;
    for case in golden.split("\n> ").skip(1) {
        let (keys, expected) = case.split_once('\n').expect("keys and rows");
        let expected = parse(expected.lines());
        write_model(&path, |metadata| {
            keys.split(',').filter(|key| !key.is_empty()).for_each(|key| set(metadata, key));
        });
        let in_file = rows(&embed(model, &[], "a dog\n"));
        let flags: &[&str] = if keys.is_empty() { &[] } else { &["--override-kv", keys] };
        assert_eq!(rows(&embed(DEMO, flags, "a dog\n")), in_file, "{keys}");
        assert_eq!(in_file.len(), expected.len(), "{keys}");
        for (found, expected) in in_file.iter().flatten().zip(expected.iter().flatten()) {
            // Rows of length 1 in f16 arithmetic.
            assert!((found - expected).abs() < 2e-3, "{keys}: {found} {expected}");
        }
        n += 1;
    }
    assert_eq!(n, 8);
}

#[test]
fn a_flag_wins_over_the_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("model.gguf");
    let model = path.to_str().expect("UTF-8");
    write_model(&path, |metadata| metadata.set("llama.pooling_type", Value::U32(3)));
    let of_file = rows(&embed(model, &[], "a dog\n"));
    assert_eq!(rows(&embed(model, &["--pooling", "last"], "a dog\n")), of_file);
    assert_ne!(rows(&embed(model, &["--pooling", "mean"], "a dog\n")), of_file);
    assert_eq!(rows(&embed(model, &["--pooling", "none"], "a dog\n")).len(), 3);
}

/// The embedded model is opened like any other.
#[test]
fn overrides_hold_for_the_embedded_model_too() {
    let out = Command::new(env!("CARGO_BIN_EXE_quipu"))
        .args(["embed", "-f", "/dev/null", "--override-kv", "llama.pooling_type=int:4"])
        .output()
        .expect("it runs");
    assert!(failure(&out).contains("pooling is rank and the model has no classification head"));
}

/// What cannot be pooled is refused when embeddings are asked for, by name, and only then.
#[test]
fn poolings_that_are_not_there_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("model.gguf");
    let model = path.to_str().expect("UTF-8");
    let cases = [
        (4, "no classification head", "expected none, mean, cls or last"),
        (7, "llama.pooling_type is 7", "expected 0 (none), 1 (mean)"),
    ];
    for (value, found, expected) in cases {
        write_model(&path, |metadata| metadata.set("llama.pooling_type", Value::U32(value)));
        let message = failure(&embed(model, &[], "a dog\n"));
        assert!(message.contains(found) && message.contains(expected), "{message}");
        assert_eq!(rows(&embed(model, &["--pooling", "cls"], "a dog\n")).len(), 1);
        let run = Command::new(env!("CARGO_BIN_EXE_quipu"))
            .args(["run", "-m", model, "-p", "The", "-n", "2", "--temp", "0"])
            .output()
            .expect("it runs");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }
    write_model(&path, |metadata| metadata.set("llama.pooling_type", Value::I32(1)));
    assert!(failure(&embed(model, &[], "a dog\n")).contains("is of type i32, expected u32"));
}

/// The limit in a message is the one that holds.
#[test]
fn texts_of_the_limits_length_are_taken_and_longer_ones_are_not() {
    let limit = 256;
    let words = |n: usize| format!("the{}", " the".repeat(n - 1));
    let out =
        Command::new(env!("CARGO_BIN_EXE_quipu")).args(["tokenize", "-p", "the"]).output().expect("it runs");
    let n_first = String::from_utf8_lossy(&out.stdout).split_whitespace().count();
    // One token for each word behind the first.
    let text = |n: usize| format!("{}\n", words(n + 1 - n_first));
    for pooling in ["mean", "none"] {
        let flags = ["--pooling", pooling, "-c", "256"];
        let n_rows = if pooling == "none" { limit } else { 1 };
        assert_eq!(rows(&embed(DEMO, &flags, &text(limit))).len(), n_rows);
        let message = failure(&embed(DEMO, &flags, &text(limit + 1)));
        assert!(message.contains(&format!("{} tokens, expected at most {limit}", limit + 1)), "{message}");
    }
}
