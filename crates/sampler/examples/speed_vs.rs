//! Both engines in one run, one call each in turn: the default chain, and masking a vocabulary by a grammar.
//!
//!     cargo run --release -p quipu-sampler --example speed_vs -- PROBES VOCAB.gguf [N_VOCAB] [ROUNDS]
//!
//! A byte-level vocabulary of fewer than N_VOCAB tokens is extended to that many by tokens that join two others.
//! VOCAB.gguf may be `-`: then it begins with the 256 bytes alone. The masks along a text are measured 7 times.
//!
//! PROBES is the folder of the compiled probes `sampler` and `grammar` (`cargo xtask parity --module sampler` with a
//! checkout makes them in target/parity-probes).

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use quipu_gguf::{Array, GgufFile, GgufWriter, Value};
use quipu_sampler::{Candidates, Chain, Grammar, Pieces, Sampler as _, SamplerParams};
use quipu_testing::SplitMix;

/// A probe that answers each line with a time in nanoseconds and a number.
struct Probe {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Probe {
    fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the probe starts");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, input, output }
    }

    fn ask(&mut self, line: i32) -> (f64, i64) {
        writeln!(self.input, "{line}").expect("the probe listens");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("the probe answers");
        let (ns, n) = answer.trim().split_once(' ').expect("two numbers");
        (ns.parse().expect("nanoseconds"), n.parse().expect("a number"))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn report(what: &str, theirs: Vec<f64>, ours: Vec<f64>) {
    let n = ours.len();
    let (theirs, ours) = (median(theirs) / 1000.0, median(ours) / 1000.0);
    println!(
        "{what}: reference {theirs:.1} us, quipu {ours:.1} us, ratio {:.3} (medians of {n})",
        ours / theirs
    );
}

fn default_chain(probes: &Path, n_vocab: usize, rounds: usize) {
    let mut probe = Probe::start(Command::new(probes.join("sampler")).arg("time").arg(n_vocab.to_string()));
    let params = SamplerParams { seed: 1, ..SamplerParams::default() };
    let mut chain = Chain::from_params(&params, n_vocab).expect("valid parameters");
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    let mut random = SplitMix::new(1);
    for _ in 0..rounds {
        let (ns, chosen) = probe.ask(0);
        theirs.push(ns);
        let logit = |_| {
            let u = random.fraction();
            let v = u * u;
            v * v * 30.0 - 10.0
        };
        let row: Vec<f32> = (0..n_vocab).map(logit).collect();
        let started = Instant::now();
        let token = chain.sample(&row).expect("a token");
        ours.push(started.elapsed().as_nanos() as f64);
        assert_eq!(i64::from(token), chosen, "both engines choose the same token");
    }
    report(&format!("default chain, {n_vocab} tokens"), theirs, ours);
}

const JSON: &str = r#"root ::= value
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (pair ("," ws pair)*)? "}"
pair ::= string ":" ws value
array ::= "[" ws (value ("," ws value)*)? "]" ws
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" ws
number ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]+)? ws
ws ::= [ \n]{0,2}"#;

/// How byte-level vocabularies write a byte.
fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(256 + before).expect("below 512")
}

/// The file of a vocabulary with at least `n_vocab` tokens.
fn extended(vocab: &str, n_vocab: usize) -> PathBuf {
    let (mut writer, mut texts, mut merges, mut types) = if vocab == "-" {
        let mut writer = GgufWriter::new();
        writer.metadata.set("general.architecture", Value::from("llama"));
        writer.metadata.set("tokenizer.ggml.model", Value::from("gpt2"));
        writer.metadata.set("tokenizer.ggml.pre", Value::from("gpt-2"));
        for name in ["bos", "eos"] {
            writer.metadata.set(&format!("tokenizer.ggml.{name}_token_id"), Value::U32(256));
        }
        let bytes = (0..=255).map(|byte| byte_char(byte).to_string().into_bytes());
        let texts: Vec<Vec<u8>> = bytes.chain([b"<|endoftext|>".to_vec()]).collect();
        let types = [vec![NORMAL; 256], vec![CONTROL]].concat();
        (writer, texts, Vec::new(), types)
    } else {
        let file = GgufFile::open(vocab).expect("a vocabulary file");
        let strings = |key: &str| -> Vec<Vec<u8>> {
            let found = file.metadata().strings(key).expect("a byte-level vocabulary");
            found.iter().map(<[u8]>::to_vec).collect()
        };
        let types = match file.metadata().get("tokenizer.ggml.token_type") {
            Some(Value::Array(Array::I32(types))) => types.clone(),
            other => panic!("token types are {other:?}"),
        };
        let (texts, merges) = (strings("tokenizer.ggml.tokens"), strings("tokenizer.ggml.merges"));
        (GgufWriter::from_gguf(file.gguf()), texts, merges, types)
    };
    let mut known: HashSet<Vec<u8>> = texts.iter().cloned().collect();
    let normal: Vec<usize> = (0..texts.len()).filter(|&i| types[i] == NORMAL).collect();
    let mut made = Vec::new();
    let mut random = SplitMix::new(7);
    while texts.len() < n_vocab {
        // Short and early tokens are joined more often, as in trained vocabularies.
        let mut pick = || {
            let early = if random.one_in(3) { normal.len().min(256) } else { normal.len() + made.len() };
            let i = random.index(early);
            texts[normal.get(i).copied().unwrap_or_else(|| made[i - normal.len()])].clone()
        };
        let (left, right) = (pick(), pick());
        let joint = [left.as_slice(), &right].concat();
        if joint.len() <= 24 && known.insert(joint.clone()) {
            made.push(texts.len());
            texts.push(joint);
            types.push(NORMAL);
            merges.push([left.as_slice(), b" ", &right].concat());
        }
    }
    let strings = |texts: &[Vec<u8>]| Value::Array(Array::String(texts.iter().collect()));
    writer.metadata.set("tokenizer.ggml.tokens", strings(&texts));
    writer.metadata.set("tokenizer.ggml.merges", strings(&merges));
    writer.metadata.set("tokenizer.ggml.token_type", Value::Array(Array::I32(types)));
    writer.metadata.remove("tokenizer.ggml.scores");
    let path = std::env::temp_dir().join(format!("quipu-speed-vs-{}.gguf", std::process::id()));
    let mut out = std::fs::File::create(&path).expect("a temporary file");
    writer.write_to(&mut out, |_, _| Ok(())).expect("room for it");
    path
}

const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const REPEATS: usize = 7;

fn masks(probes: &Path, path: &Path) {
    let vocab = path.to_str().expect("UTF-8");
    let file = GgufFile::open(path).expect("a vocabulary file");
    let tokenizer = quipu_tokenizer::Tokenizer::from_gguf(file.metadata()).expect("a vocabulary");
    let n = tokenizer.n_tokens();
    let text =
        r#"{"name": "a longer text, in which nothing changes", "list": [1, 2.5, {"k": null}], "é": "ü€"}"#;
    let tokens = tokenizer.encode(text, false, false).expect("tokens");
    let started = Instant::now();
    let pieces = Arc::new(Pieces::new(Arc::new(tokenizer)));
    println!("arranging {n} tokens, once: {:.0} ms", started.elapsed().as_secs_f64() * 1e3);

    let hex = JSON.bytes().map(|b| format!("{b:02x}")).collect::<Vec<_>>().concat();
    let grammar = Grammar::new(&pieces, JSON, "root").expect("a grammar");
    let row = vec![0.0; n];
    let (mut theirs, mut as_it_goes, mut from_scratch) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        let mut probe =
            Probe::start(Command::new(probes.join("grammar")).args(["time", vocab, &format!("x{hex}")]));
        let (mut warm, mut c) = (grammar.clone(), Candidates::new());
        let mut before = Vec::new();
        for token in std::iter::once(None).chain(tokens.iter().map(|t| Some(*t))) {
            let (ns, allowed) = probe.ask(token.map_or(-1, |token| token as i32));
            theirs.push(ns);
            // A grammar that goes on, and remembers what it has seen.
            c.load(&row);
            let started = Instant::now();
            if let Some(token) = token {
                warm.accept_token(token).expect("the text fits");
            }
            warm.apply(&mut c).expect("within the bounds");
            as_it_goes.push(started.elapsed().as_nanos() as f64);
            let ours = c.data.iter().filter(|c| c.logit == 0.0).count();
            assert_eq!(ours as i64, allowed, "both engines allow the same number of tokens");
            // A fresh one that has to find everything out again.
            let mut cold = grammar.clone();
            for &token in &before {
                cold.accept_token(token).expect("the text fits");
            }
            c.load(&row);
            let started = Instant::now();
            if let Some(token) = token {
                cold.accept_token(token).expect("the text fits");
                before.push(token);
            }
            cold.apply(&mut c).expect("within the bounds");
            from_scratch.push(started.elapsed().as_nanos() as f64);
        }
    }
    report(&format!("grammar mask, {n} tokens, nothing remembered"), theirs.clone(), from_scratch);
    report(&format!("grammar mask, {n} tokens, along a text"), theirs, as_it_goes);
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [probes, vocab, rest @ ..] = args.as_slice() else {
        panic!("usage: speed_vs PROBES VOCAB.gguf [N_VOCAB] [ROUNDS]");
    };
    let number = |i: usize, default| rest.get(i).map_or(default, |n| n.parse().expect("a number"));
    let n_vocab = number(0, 150_000);
    default_chain(Path::new(probes), n_vocab, number(1, 101));
    let path = extended(vocab, n_vocab);
    masks(Path::new(probes), &path);
    let _ = std::fs::remove_file(path);
}
