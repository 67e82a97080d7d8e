//! A real Gemma of a GGUF file as `.sbs` in both: bytes, tokens, logits, what they say.

use std::path::{Path, PathBuf};
use std::process::Command;

use quipu_gemma::gguf::{WriteOptions, to_gguf, write_sbs};
use quipu_gemma::{Model, SbsFile, Type, codec::bf16};
use quipu_gguf::{GgufFile, GgufSet, GgufWriter, SourceKind, Value};
use quipu_quant::DType;
use quipu_testing::nmse;
use quipu_tokenizer::Tokenizer;

use super::checkout::{GemmaCheckout, RunOptions};
use super::engine::Ours;
use crate::checkout::run;
use crate::error::Error;
use crate::logits::{bound, equal_argmax};
use crate::report::{Row, Verdict};

/// Tokens of text whose logits are compared.
const N_TOKENS: usize = 512;
/// How many of them are read as a batch where the reference is compared with itself.
const N_PROMPT: usize = 256;
/// Tokens that follow a prompt.
const N_GREEDY: usize = 64;
/// What a real model may differ by where the reference rounds to bf16.
const ROUNDING: f64 = 3e-3;
/// Prose that no model of ours has been made with.
const TEXT: &str = include_str!("../../../models/heldout.txt");
/// Begins of texts to go on with.
const PROMPTS: [&str; 3] =
    ["The capital of France is", "Once upon a time, in a small village,", "Water boils at a temperature of"];

/// The model of a GGUF file, dequantised and written as `.sbs` in SFP and BF16.
///
/// # Errors
/// A file that is no Gemma; a probe or the engine failed.
pub fn audit_model(
    checkout: &GemmaCheckout,
    model: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Row>, Error> {
    let fail = Error::engine("the model");
    let set = GgufSet::open(model, SourceKind::Mapped).map_err(Error::engine("the model"))?;
    let tokenizer = Tokenizer::from_gguf(set.metadata()).map_err(Error::engine("the model"))?;
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let mut rows = Vec::new();
    for weight in [Type::Sfp, Type::Bf16] {
        progress(weight.name());
        let path = dir.path().join(format!("{weight}.sbs"));
        let file = std::fs::File::create(&path).map_err(Error::io(&path))?;
        let options = WriteOptions { weight, instructed: None, tokenizer: None };
        let (mut file, config) = write_sbs(&set, &options, std::io::BufWriter::new(file)).map_err(&fail)?;
        std::io::Write::flush(&mut file).map_err(Error::io(&path))?;
        drop(file);
        let sbs = SbsFile::open(&path).map_err(&fail)?;
        if weight == Type::Sfp {
            rows.extend(tokens_of(checkout, &path, &tokenizer)?);
        }
        rows.push(compressed(checkout, &sbs, &path, dir.path())?);
        let gguf = to_gguf(&sbs, None).map_err(&fail)?;
        let in_its_way = if config.model == Model::Gemma3_270M { Some(as_gemma_cpp(&gguf)?) } else { None };
        rows.extend(logits(checkout, weight, &path, &tokenizer, &gguf, in_its_way.as_ref())?);
        progress("what it says");
        let subject = in_its_way.as_ref().unwrap_or(&gguf);
        for prompt in PROMPTS {
            rows.push(greedy(checkout, weight, &path, &tokenizer, subject, prompt)?);
        }
    }
    Ok(rows)
}

fn encode(tokenizer: &Tokenizer, text: &str, special: bool) -> Result<Vec<u32>, Error> {
    tokenizer.encode(text, special, true).map_err(Error::engine("tokens"))
}

/// The tokenizer that was made of the vocabulary, on every line of the text.
fn tokens_of(checkout: &GemmaCheckout, path: &Path, tokenizer: &Tokenizer) -> Result<Vec<Row>, Error> {
    let mut child = Command::new(checkout.probe("gemma")?)
        .arg("tokenize")
        .arg(path)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .map_err(Error::io("gemma"))?;
    let odd = "two  spaces\n  before\nna\u{ef}ve caf\u{e9} \u{4f60}\u{597d}\n<start_of_turn>user\n12345 67\n\u{1f680}\ttab\n";
    let lines: Vec<&str> = TEXT.lines().chain(odd.lines()).filter(|line| !line.is_empty()).collect();
    let text = lines.join("\n");
    let stdin = child.stdin.take();
    let said = std::thread::scope(|scope| {
        if let Some(mut stdin) = stdin {
            let text = &text;
            // It reads to the end; if it does not, what it said tells.
            scope.spawn(move || std::io::Write::write_all(&mut stdin, text.as_bytes()).ok());
        }
        child.wait_with_output().map_err(Error::io("gemma"))
    })?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut different = 0;
    for (line, ids) in lines.iter().zip(said.lines()) {
        let ours: Vec<String> = encode(tokenizer, line, false)?.iter().map(u32::to_string).collect();
        different += usize::from(ours.join(" ") != ids);
    }
    let found = said.lines().count();
    let note = format!("{found} of {} lines, {different} differ", lines.len());
    Ok(vec![Row::judged("gemma", "tokens of the model's file", different == 0 && found == lines.len(), note)])
}

/// The reference's own writer with the same weights: the same file.
fn compressed(checkout: &GemmaCheckout, sbs: &SbsFile, path: &Path, dir: &Path) -> Result<Row, Error> {
    let fail = Error::engine::<quipu_gemma::Error>("the model");
    let raw = dir.join("raw");
    std::fs::create_dir_all(&raw).map_err(Error::io(&raw))?;
    let mut order = Vec::new();
    for mat in sbs.mats() {
        let values = sbs.values(&mat.name, 0, mat.n_values() as usize).map_err(&fail)?;
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let file = raw.join(format!("{}.f32", mat.name));
        std::fs::write(&file, bytes).map_err(Error::io(&file))?;
        order.push(format!("{} {}\n", mat.name, mat.dtype));
    }
    let names = ["order.txt", "tokenizer.model"].map(|name| raw.join(name));
    let tokenizer = sbs.tokenizer().map_err(&fail)?.unwrap_or_default();
    for (file, bytes) in names.iter().zip([order.concat().into_bytes(), tokenizer]) {
        std::fs::write(file, bytes).map_err(Error::io(file))?;
    }
    let theirs = dir.join("theirs.sbs");
    let specifier = sbs.config().specifier();
    let mut probe = Command::new(checkout.probe("gemma")?);
    run(probe.arg("sbs").arg(specifier).arg(&raw).arg(&theirs).arg(&names[1]))?;
    std::fs::remove_dir_all(&raw).map_err(Error::io(&raw))?;
    let read = |path: &PathBuf| std::fs::read(path).map_err(Error::io(path));
    let (theirs_bytes, ours) = (read(&theirs)?, read(&path.to_owned())?);
    let again = SbsFile::open(&theirs).and_then(|sbs| sbs.migrate(Vec::new(), None)).map_err(&fail)?;
    let ok = theirs_bytes == ours && again == theirs_bytes;
    let note = format!("{} bytes, expected {}", theirs_bytes.len(), ours.len());
    Ok(Row::judged("gemma", format!("{} compressed by the reference", sbs.config().specifier()), ok, note))
}

/// The file with the two things that gemma.cpp does otherwise in this size: layers that see everything rotate by the
/// windows' base, and embeddings are scaled by the root of the width rounded to bf16.
fn as_gemma_cpp(file: &GgufFile) -> Result<GgufFile, Error> {
    let fail = Error::engine::<quipu_gguf::Error>("the model");
    let width = file.metadata().integer("gemma3.embedding_length").map_err(&fail)? as f32;
    let change = bf16::to_f32(bf16::from_f32(width.sqrt())) / width.sqrt();
    let mut writer = GgufWriter::new();
    writer.metadata = file.metadata().clone();
    writer.metadata.set("gemma3.rope.freq_base", Value::F32(10_000.0));
    let mut sources = Vec::new();
    for (i, info) in file.tensors().iter().enumerate() {
        let dims = &info.ne[..if info.ne[1] == 1 { 1 } else { 2 }];
        if info.name == "token_embd.weight" {
            writer.add_tensor("output.weight", info.dtype, dims).map_err(&fail)?;
            sources.push((i, false));
            writer.add_tensor(&info.name, DType::F32, dims).map_err(&fail)?;
            sources.push((i, true));
        } else {
            writer.add_tensor(&info.name, info.dtype, dims).map_err(&fail)?;
            sources.push((i, false));
        }
    }
    let mut out = Vec::new();
    writer
        .write_to(&mut out, |i, sink| {
            let (source, scaled) = sources[i];
            let bytes = file.tensor_bytes_at(source).map_err(std::io::Error::other)?;
            if !scaled {
                return sink.write_all(bytes);
            }
            for pair in bytes.as_chunks::<2>().0 {
                sink.write_all(&(bf16::to_f32(u16::from_le_bytes(*pair)) * change).to_le_bytes())?;
            }
            Ok(())
        })
        .map_err(&fail)?;
    GgufFile::from_vec(out).map_err(&fail)
}

fn logits(
    checkout: &GemmaCheckout,
    weight: Type,
    path: &Path,
    tokenizer: &Tokenizer,
    gguf: &GgufFile,
    in_its_way: Option<&GgufFile>,
) -> Result<Vec<Row>, Error> {
    let mut tokens = encode(tokenizer, TEXT, true)?;
    tokens.truncate(N_TOKENS);
    let one_by_one = checkout.logits(path, &tokens, RunOptions::default())?;
    let n_vocab = one_by_one.len() / tokens.len();
    let tail = &one_by_one[(N_PROMPT - 1) * n_vocab..];
    let batch = checkout.logits(
        path,
        &tokens,
        RunOptions { prompt: N_PROMPT, threads: 2, ..RunOptions::default() },
    )?;
    let spread = nmse(tail, &batch);
    drop(batch);
    let mut rows = Vec::new();
    let as_it_is = (gguf, "", "GEMMA-ROPE");
    let in_its_way = in_its_way.map(|file| (file, ", rotated and scaled as there", "GEMMA-BF16"));
    for (file, how, listed) in std::iter::once(as_it_is).chain(in_its_way) {
        let ours = Ours::load("the model", file)?.logits(&tokens, 0)?;
        let (error, bound) = (nmse(&one_by_one, &ours), bound(spread));
        let argmax = 100.0 * equal_argmax(&one_by_one, &ours, n_vocab);
        let note = format!(
            "{} tokens: NMSE {error:.1e} <= {bound:.1e}, spread {spread:.1e}, argmax equal {argmax:.1}%",
            tokens.len()
        );
        let mut row = Row::judged("gemma", format!("logits in {weight}{how}"), error <= bound, note);
        if row.verdict == Verdict::Deviating && (listed == "GEMMA-ROPE" || error <= ROUNDING) {
            row.allowed_by = Some(listed.to_owned());
        }
        rows.push(row);
    }
    Ok(rows)
}

/// What follows a prompt by the largest logit. Where ours is another one, both were nearer to each other than the
/// engines are.
fn greedy(
    checkout: &GemmaCheckout,
    weight: Type,
    path: &Path,
    tokenizer: &Tokenizer,
    gguf: &GgufFile,
    prompt: &str,
) -> Result<Row, Error> {
    let mut tokens = encode(tokenizer, prompt, true)?;
    let n_prompt = tokens.len();
    tokens.extend(checkout.greedy(path, &tokens, N_GREEDY)?);
    let last = tokens.len() - 1;
    // The end that it said is not fed.
    let theirs = checkout.logits(path, &tokens[..last], RunOptions::default())?;
    let ours = Ours::load("the model", gguf)?.logits(&tokens[..last], 0)?;
    let n_vocab = theirs.len() / last;
    let (mut ties, mut worst) = (0, 0.0f32);
    for position in n_prompt - 1..last {
        let row = |logits: &[f32]| logits[position * n_vocab..(position + 1) * n_vocab].to_vec();
        let (theirs, ours) = (row(&theirs), row(&ours));
        let id = tokens[position + 1] as usize;
        let best = ours.iter().copied().fold(f32::MIN, f32::max);
        let apart = theirs.iter().zip(&ours).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let gap = best - ours[id];
        if gap > 0.0 {
            ties += 1;
            // A shift of all by as much as they differ could turn them round.
            worst = worst.max(gap / (2.0 * apart).max(f32::MIN_POSITIVE));
        }
    }
    let note =
        format!("{} ids, {ties} others, gap {worst:.2} of what logits differ there", last + 1 - n_prompt);
    Ok(Row::judged("gemma", format!("says in {weight} after '{prompt}'"), worst <= 1.0, note))
}
