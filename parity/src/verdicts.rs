//! Files whose metadata is odd: does the reference load them, and do we?
//!
//! Each is a toy with one thing changed: a number stored in another type, an array with a value more or less than there are layers, context
//! lengths at the ends of 32 bits, rotary factors where an architecture does not usually have them. What both load must also compute the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use quipu_cpu_backend::CpuDevice;
use quipu_gguf::{Array, Gguf, GgufFile, GgufWriter, Metadata, StringArray, Value};
use quipu_model::{LoadParams, Model};
use quipu_quant::DType;

use crate::checkout::{Checkout, LogitsRequest};
use crate::engine;
use crate::error::Error;
use crate::logits::bound;
use crate::report::{Row, Verdict};
use crate::tap::TapOptions;
use crate::toy::{N_VOCAB, Rope, TOYS, Toy, tokens};
use quipu_testing::nmse;

const MODULE: &str = "verdicts";
const WEIGHT_SEED: u64 = 3;
/// Tokens of a comparison; beyond the original context length of toys with long factors.
const N_TOKENS: usize = 96;

/// Arrays for layers that contradict the weights: the reference may load them and fail when it computes.
const ODD: [&str; 3] = ["negative", "with a zero", "twice as large behind"];

/// A file, and whether what it computes is compared.
#[derive(Debug)]
struct Case {
    name: String,
    bytes: Vec<u8>,
    runs: bool,
    /// Whether the reference's word is taken only if it can compute too.
    may_run: bool,
}

/// What the reference does with a file.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    /// `loaded`, `refused`, `crashed` or `crashed when run`.
    verdict: String,
    /// Where what it computes is compared: its own spread and the last row of its logits.
    logits: Option<(f64, Vec<f32>)>,
}

/// The toy of this name.
fn toy(name: &str) -> Toy {
    TOYS.into_iter().find(|toy| toy.name == name).unwrap_or(TOYS[0])
}

/// A toy with other metadata.
fn edited(toy: &Toy, edit: impl FnOnce(&mut Metadata)) -> Result<Vec<u8>, Error> {
    let fail = Error::engine::<quipu_gguf::Error>(toy.name);
    let bytes = toy.gguf(DType::F32, WEIGHT_SEED)?;
    let gguf = Gguf::parse(&bytes).map_err(&fail)?;
    let mut writer = GgufWriter::new();
    writer.metadata = gguf.metadata.clone();
    edit(&mut writer.metadata);
    for tensor in &gguf.tensors {
        writer.add_tensor(&tensor.name, tensor.dtype, &tensor.ne[..tensor.n_dims as usize]).map_err(&fail)?;
    }
    let mut out = Vec::new();
    let data = |i: usize, sink: &mut dyn std::io::Write| {
        let start = (gguf.data_offset + gguf.tensors[i].offset) as usize;
        sink.write_all(&bytes[start..start + gguf.tensors[i].n_bytes as usize])
    };
    writer.write_to(&mut out, data).map_err(&fail)?;
    Ok(out)
}

/// A number in every type a value can have.
fn numbers(n: u32) -> Vec<Value> {
    vec![
        Value::U8(n as u8),
        Value::I8(n as i8),
        Value::U16(n as u16),
        Value::I16(n as i16),
        Value::U32(n),
        Value::I32(n as i32),
        Value::U64(n.into()),
        Value::I64(n.into()),
        Value::F32(n as f32),
        Value::F64(n.into()),
        Value::Bool(n != 0),
        Value::from(n.to_string().as_str()),
        Value::Array(Array::U32(vec![n])),
    ]
}

/// An array of `len` equal numbers in every type.
fn arrays(n: u32, len: usize) -> Vec<Value> {
    let texts = vec![n.to_string(); len];
    [
        Array::U8(vec![n as u8; len]),
        Array::I8(vec![n as i8; len]),
        Array::U16(vec![n as u16; len]),
        Array::I16(vec![n as i16; len]),
        Array::U32(vec![n; len]),
        Array::I32(vec![n as i32; len]),
        Array::F32(vec![n as f32; len]),
        Array::Bool(vec![n != 0; len]),
        Array::String(texts.iter().map(String::as_bytes).collect::<StringArray>()),
        Array::U64(vec![n.into(); len]),
        Array::I64(vec![n.into(); len]),
        Array::F64(vec![n.into(); len]),
    ]
    .map(Value::Array)
    .to_vec()
}

/// All cases; `runs` are those that both engines compute.
fn cases() -> Result<Vec<Case>, Error> {
    let plain = toy("llama-plain");
    let mut cases = Vec::new();
    let mut add = |toy: &Toy, what: &str, runs: bool, edit: &dyn Fn(&mut Metadata)| -> Result<(), Error> {
        let may_run = ODD.iter().any(|odd| what.ends_with(odd));
        cases.push(Case { name: format!("{} {what}", toy.name), bytes: edited(toy, edit)?, runs, may_run });
        Ok(())
    };
    for (name, n) in [
        ("context_length", 512),
        ("embedding_length", 256),
        ("block_count", 2),
        ("feed_forward_length", 512),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("attention.key_length", 64),
        ("attention.value_length", 64),
        ("rope.dimension_count", 64),
        ("vocab_size", 256),
        // Absent from the toy, so that any value of another type is one thing too many.
        ("pooling_type", 1),
        ("expert_count", 0),
        ("expert_used_count", 0),
        ("expert_group_count", 0),
        ("expert_group_used_count", 0),
        ("embedding_length_out", 0),
        ("rope.scaling.original_context_length", 512),
    ] {
        for value in numbers(n) {
            let key = format!("llama.{name}");
            add(&plain, &format!("{name} {}", value.type_name()), false, &|m| m.set(&key, value.clone()))?;
        }
    }
    for (name, x) in [
        ("attention.layer_norm_rms_epsilon", 1e-5),
        ("rope.freq_base", 1e4),
        ("rope.scaling.factor", 2.0),
        ("rope.scale_linear", 2.0),
        ("rope.scaling.attn_factor", 1.0),
        ("rope.scaling.alpha", 1.0),
    ] {
        for value in [Value::F32(x), Value::F64(x.into()), Value::U32(1), Value::from("1")] {
            let key = format!("llama.{name}");
            add(&plain, &format!("{name} {}", value.type_name()), false, &|m| m.set(&key, value.clone()))?;
        }
    }
    for key in ["llama.attention.causal", "llama.rope.scaling.finetuned"] {
        for value in [Value::Bool(true), Value::U32(1), Value::U8(1)] {
            add(&plain, &format!("{key} {}", value.type_name()), false, &|m| m.set(key, value.clone()))?;
        }
    }
    for key in ["general.name", "llama.rope.scaling.type"] {
        for value in [Value::from("linear"), Value::U32(1)] {
            add(&plain, &format!("{key} {}", value.type_name()), false, &|m| m.set(key, value.clone()))?;
        }
    }
    for (name, n) in
        [("attention.head_count", 4), ("attention.head_count_kv", 2), ("feed_forward_length", 512)]
    {
        let key = format!("llama.{name}");
        for len in 0..=3 {
            for value in arrays(n, len) {
                let what = format!("{name} {} x {len}", value.type_name());
                let is_whole = len == 2 && matches!(value, Value::Array(Array::U32(_) | Array::I32(_)));
                add(&plain, &what, is_whole, &|m| m.set(&key, value.clone()))?;
            }
        }
        let odd = [
            (ODD[0], Value::Array(Array::I32(vec![n as i32, -1]))),
            (ODD[1], Value::Array(Array::U32(vec![n, 0]))),
            (ODD[2], Value::Array(Array::U32(vec![n, 2 * n]))),
            ("for 600 layers", Value::Array(Array::U32(vec![n; 600]))),
        ];
        for (what, value) in odd {
            add(&plain, &format!("{name} {what}"), false, &|m| m.set(&key, value.clone()))?;
        }
    }
    for n in [0, 1, 100, 1 << 31, u32::MAX - 1, u32::MAX] {
        for toy in [plain, toy("llama-yarn"), toy("gpt2-plain"), toy("phi3-long")] {
            let key =
                |m: &Metadata| format!("{}.context_length", m.str("general.architecture").unwrap_or("llama"));
            let runs = toy.name.starts_with("llama");
            add(&toy, &format!("context_length {n}"), runs, &|m| {
                let key = key(m);
                m.set(&key, Value::U32(n));
            })?;
        }
    }
    let long = Toy { name: "llama-long", rope: Rope::Long, ..plain };
    let short = Toy { name: "llama-short", rope: Rope::Short, ..plain };
    for toy in [long, short] {
        add(&toy, "as it is", true, &|_| ())?;
        for n in [0, 64, 96, 512, u32::MAX] {
            let key = "llama.rope.scaling.original_context_length";
            add(&toy, &format!("original_context_length {n}"), true, &|m| m.set(key, Value::U32(n)))?;
        }
        for kind in ["linear", "none", "yarn", "su", ""] {
            let what = format!("scaling type '{kind}'");
            add(&toy, &what, false, &|m| m.set("llama.rope.scaling.type", Value::from(kind)))?;
        }
        add(&toy, "no scaling type", false, &|m| drop(m.remove("llama.rope.scaling.type")))?;
    }
    add(&toy("llama-3"), "with one set of factors, longrope", false, &|m| {
        m.set("llama.rope.scaling.type", Value::from("longrope"));
    })?;
    add(&plain, "longrope without factors", true, &|m| {
        m.set("llama.rope.scaling.type", Value::from("longrope"));
    })?;
    Ok(cases)
}

/// Ours.
fn our_verdict(bytes: &[u8]) -> Result<String, Error> {
    let file = GgufFile::from_vec(bytes.to_vec()).map_err(Error::engine(MODULE))?;
    Ok(match Model::load(&file, &CpuDevice::default(), &mut LoadParams::default()) {
        Ok(_) => "loaded".to_owned(),
        Err(error) => format!("refused: {error}"),
    })
}

fn ask(checkout: &Checkout, case: &Case) -> Result<Answer, Error> {
    let file = tempfile::NamedTempFile::new().map_err(Error::io("temporary file"))?;
    std::fs::write(file.path(), &case.bytes).map_err(Error::io(file.path()))?;
    let probe = checkout.probe("loader")?;
    let mut command = Command::new(&probe);
    // A debugger for each failed assertion takes seconds.
    command.arg(file.path()).arg("mmap").env("GGML_NO_BACKTRACE", "1");
    let output = command.output().map_err(Error::io(&probe))?;
    let verdict = match output.status.code() {
        Some(0) => "loaded",
        Some(_) => "refused",
        None => "crashed",
    };
    let mut answer = Answer { verdict: verdict.to_owned(), logits: None };
    if case.may_run && verdict == "loaded" {
        let ids = tokens(5, 2);
        let request = LogitsRequest {
            model: file.path(),
            tokens: &ids,
            n_ubatch: 512,
            prefixes: &[],
            flash_attn: true,
        };
        if checkout.logits(&request).is_err() {
            "crashed when run".clone_into(&mut answer.verdict);
        }
    }
    if case.runs && verdict == "loaded" {
        let ids = tokens(5, N_TOKENS);
        let ask = |n_ubatch| {
            let request =
                LogitsRequest { model: file.path(), tokens: &ids, n_ubatch, prefixes: &[], flash_attn: true };
            checkout.logits(&request).map(|(logits, _)| logits)
        };
        let (whole, single) = (ask(512)?, ask(1)?);
        let last = whole[whole.len() - N_VOCAB..].to_vec();
        answer.logits = Some((nmse(&whole, &single), last));
    }
    Ok(answer)
}

/// The live audit, or the recorded answers without a checkout.
///
/// # Errors
/// A probe or the engine failed, or a golden cannot be read.
pub fn audit(checkout: Option<&Checkout>) -> Result<Vec<Row>, Error> {
    let recorded = match checkout {
        Some(_) => BTreeMap::new(),
        None => read()?,
    };
    let mut rows = Vec::new();
    for case in cases()? {
        let answer = match checkout {
            Some(checkout) => ask(checkout, &case)?,
            None => {
                if let Some(answer) = recorded.get(&case.name) {
                    answer.clone()
                } else {
                    let why = Verdict::Skipped("not recorded".to_owned());
                    rows.push(Row::new(MODULE, case.name, why, ""));
                    continue;
                }
            }
        };
        rows.push(judged(&case, &answer)?);
    }
    Ok(rows)
}

fn judged(case: &Case, answer: &Answer) -> Result<Row, Error> {
    let ours = our_verdict(&case.bytes)?;
    let ours_loads = ours == "loaded";
    let same = (answer.verdict == "loaded") == ours_loads;
    let mut note = format!("{}, the reference {}", ours, answer.verdict);
    let mut ok = same;
    if let (true, Some((spread, expected))) = (ours_loads, &answer.logits) {
        let file = GgufFile::from_vec(case.bytes.clone()).map_err(Error::engine(&case.name))?;
        let run = engine::logits(&case.name, &file, &tokens(5, N_TOKENS), 512, TapOptions::default())?;
        let error = nmse(expected, &run.logits[run.logits.len() - N_VOCAB..]);
        // The last row may be off by more than all of them are.
        let allowed = 10.0 * bound(*spread);
        note = format!("{note}, NMSE {error:.1e} <= {allowed:.1e}");
        ok &= error <= allowed;
    }
    let mut row = Row::judged(MODULE, case.name.clone(), ok, note);
    if !same {
        row.allowed_by = allowed_by(&case.name, &answer.verdict, ours_loads).map(str::to_owned);
    }
    Ok(row)
}

/// The entry of the list of deviations under which a verdict may differ.
fn allowed_by(case: &str, theirs: &str, ours_loads: bool) -> Option<&'static str> {
    let is_odd = ODD.iter().any(|odd| case.ends_with(odd));
    (is_odd && theirs == "loaded" && !ours_loads).then_some("LAYER-ARRAYS")
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/loader/verdicts.tsv")
}

/// Records the reference's answers.
///
/// # Errors
/// A probe failed or the file could not be written.
pub fn record(checkout: &Checkout, date: &str) -> Result<(), Error> {
    let mut out = format!(
        "# What llama.cpp {} does with the files of parity/src/verdicts.rs: the case, its verdict, and where both compute it\n\
         # the NMSE of its logits at ubatch 512 against ubatch 1 and the last row of logits, f32 in hexadecimal.\n\
         # By: cargo xtask parity --llama-cpp DIR --module verdicts --record DATE; {date}.\n",
        checkout.revision_or_recorded()
    );
    for case in cases()? {
        let Answer { verdict, logits } = ask(checkout, &case)?;
        // Writing to a string cannot fail.
        let _ = write!(out, "{}\t{verdict}", case.name);
        if let Some((spread, row)) = logits {
            let _ = write!(out, "\t{spread:e}\t");
            for logit in row {
                let _ = write!(out, "{:08x}", logit.to_bits());
            }
        }
        out.push('\n');
    }
    std::fs::write(golden(), out).map_err(Error::io(golden()))
}

fn read() -> Result<BTreeMap<String, Answer>, Error> {
    let text = std::fs::read_to_string(golden()).map_err(Error::io(golden()))?;
    let bad = |line: &str| Error::Golden {
        name: "verdicts.tsv".to_owned(),
        message: line.chars().take(80).collect(),
    };
    let parsed = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let (name, verdict, logits) = match fields[..] {
            [name, verdict] => (name, verdict, None),
            [name, verdict, spread, row] => {
                let spread = spread.parse().map_err(|_| bad(line))?;
                let words = row.as_bytes().chunks(8).map(|word| {
                    let word = std::str::from_utf8(word).ok()?;
                    u32::from_str_radix(word, 16).ok().map(f32::from_bits)
                });
                (name, verdict, Some((spread, words.collect::<Option<Vec<f32>>>().ok_or_else(|| bad(line))?)))
            }
            _ => return Err(bad(line)),
        };
        Ok((name.to_owned(), Answer { verdict: verdict.to_owned(), logits }))
    });
    parsed.collect()
}
