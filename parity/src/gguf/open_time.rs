//! The time to open a file with a large vocabulary, against `gguf_init_from_file`: in turns, medians.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use quipu_gguf::{Array, GgufFile, GgufWriter, StringArray, Value};
use quipu_quant::DType;

use super::MODULE;
use crate::checkout::Checkout;
use crate::error::Error;
use crate::report::Row;

const N_TOKENS: usize = 150_000;
const N_OPENS: usize = 21;
/// Our time may be this part of the reference's.
const BOUND: f64 = 0.5;

/// 150,000 tokens, as many merges, scores and types; 300 small tensors.
fn file() -> Vec<u8> {
    let mut w = GgufWriter::new();
    let tokens: StringArray = (0..N_TOKENS).map(|i| format!("token{i}")).collect();
    let merges: StringArray = (0..N_TOKENS).map(|i| format!("tok{} en{i}", i % 977)).collect();
    w.metadata.set("general.architecture", Value::from("llama"));
    w.metadata.set("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)));
    w.metadata.set("tokenizer.ggml.merges", Value::Array(Array::String(merges)));
    w.metadata.set("tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.5; N_TOKENS])));
    w.metadata.set("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![1; N_TOKENS])));
    for i in 0..300 {
        w.add_tensor(&format!("blk.{i}.weight"), DType::F32, &[64]).expect("a new name");
    }
    let mut out = Vec::new();
    w.write_to(&mut out, |_, sink| sink.write_all(&[0; 256])).expect("memory is writable");
    out
}

fn median(mut times: Vec<u128>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2] as f64 / 1e6
}

fn in_turns(checkout: &Checkout, path: &Path) -> Result<(f64, f64), Error> {
    let fail =
        |message: &str| Error::Program { program: "gguf probe".to_owned(), message: message.to_owned() };
    let mut child = Command::new(checkout.probe("gguf")?)
        .arg("time")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Error::io("gguf probe"))?;
    let mut asked = child.stdin.take().ok_or_else(|| fail("no stdin"))?;
    let mut answers = BufReader::new(child.stdout.take().ok_or_else(|| fail("no stdout"))?);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..N_OPENS {
        let start = Instant::now();
        let file = GgufFile::open(path).map_err(Error::engine("large vocabulary"))?;
        ours.push(start.elapsed().as_nanos());
        drop(file);
        asked.write_all(b"open\n").and_then(|()| asked.flush()).map_err(Error::io("gguf probe"))?;
        let mut line = String::new();
        answers.read_line(&mut line).map_err(Error::io("gguf probe"))?;
        theirs.push(line.trim().parse().map_err(|_| fail("not a number"))?);
    }
    drop(asked);
    child.wait().map_err(Error::io("gguf probe"))?;
    Ok((median(ours), median(theirs)))
}

pub(super) fn row(checkout: &Checkout) -> Result<Row, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let path = dir.path().join("vocabulary.gguf");
    std::fs::write(&path, file()).map_err(Error::io(&path))?;
    let (ours, theirs) = in_turns(checkout, &path)?;
    let ratio = ours / theirs;
    let note = format!(
        "{ours:.2} ms against {theirs:.2} ms, medians of {N_OPENS} in turns: {ratio:.2} times, at most {BOUND}"
    );
    Ok(Row::judged(MODULE, "time to open 300,000 strings", ratio <= BOUND, note))
}
