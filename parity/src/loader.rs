//! Loading: hyper-parameters, metadata as text, vocabulary and a checksum of every weight, through every load mode.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use quipu_cpu_backend::CpuDevice;
use quipu_gguf::{GgufSet, LoadMode, SplitLimit, SplitOptions, SplitPlan, Value};
use quipu_graph::RopeMode;
use quipu_model::{ARCHITECTURES, LoadOptions, Model, value_text};
use quipu_quant::DType;
use quipu_testing::fnv1a;
use quipu_tokenizer::Tokenizer;

use crate::checkout::{Checkout, run};
use crate::error::Error;
use crate::generation::demo_model;
use crate::report::{Row, Verdict};
use crate::tokenizer::vocabulary_folder;
use crate::toy::TOYS;

/// Seed of the toys' weights.
const WEIGHT_SEED: u64 = 1;

/// Facts about a model, by name.
type Facts = BTreeMap<String, String>;

/// The live audit, or the recorded answers without a checkout.
///
/// # Errors
/// A probe or the engine failed, or a file could not be read.
pub fn audit(checkout: Option<&Checkout>) -> Result<Vec<Row>, Error> {
    let Some(checkout) = checkout else { return replay() };
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let mut rows = Vec::new();
    for (case, path) in recorded_models(dir.path())?.into_iter().chain(reference_toys(checkout, dir.path())?)
    {
        for mode in LoadMode::ALL {
            let expected = ask(checkout, &path, mode.name())?;
            rows.push(compare(&format!("{case}, {mode}"), &expected, &our_facts(&case, &path, mode)?));
        }
    }
    let mut folder: Vec<PathBuf> = Vec::new();
    if let Some(vocabularies) = vocabulary_folder() {
        let entries = std::fs::read_dir(&vocabularies).map_err(Error::io(&vocabularies))?;
        folder.extend(
            entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "gguf")),
        );
        folder.sort();
    } else {
        let why = "no vocabularies beside the checkout".to_owned();
        rows.push(Row::new("loader", "vocabularies", Verdict::Skipped(why), ""));
    }
    for path in folder {
        let case = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let expected = ask(checkout, &path, "vocab_only")?;
        rows.push(compare(&format!("{case}, vocab_only"), &expected, &our_vocabulary(&case, &path)?));
    }
    Ok(rows)
}

/// Models that can be made or found without a checkout: toys of each architecture in some types, one of them in
/// pieces, and the demo model.
fn recorded_models(dir: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let mut models = vec![("stories-1m".to_owned(), demo_model())];
    for toy in &TOYS {
        for dtype in [DType::F32, DType::Q8_0] {
            let path = dir.join(format!("{}-{dtype}.gguf", toy.name));
            std::fs::write(&path, toy.gguf(dtype, WEIGHT_SEED)?).map_err(Error::io(&path))?;
            models.push((format!("{} {dtype}", toy.name), path));
        }
    }
    let case = format!("{} f32 in pieces", TOYS[0].name);
    let limit = SplitLimit::Tensors(std::num::NonZeroU32::MIN.saturating_add(6));
    let options = SplitOptions { limit, ..SplitOptions::default() };
    let plan = SplitPlan::new(&models[1].1, &options).map_err(Error::engine(&case))?;
    let prefix = dir.join("pieces");
    plan.write(&prefix, |_| ()).map_err(Error::engine(&case))?;
    let first = plan.paths(&prefix).swap_remove(0);
    models.push((case, first));
    Ok(models)
}

/// The toys of the reference's own test program, of the architectures we run.
fn reference_toys(checkout: &Checkout, dir: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let program = checkout.programs().join("test-llama-archs");
    if !program.is_file() {
        return Ok(Vec::new());
    }
    let out = dir.join("reference");
    std::fs::create_dir_all(&out).map_err(Error::io(&out))?;
    run(Command::new(program).arg("--out").arg(&out).args(["--seed", "1"]))?;
    let toys = ARCHITECTURES.map(|arch| (arch, out.join(format!("{arch}-dense.gguf"))));
    let made = toys.into_iter().filter(|(_, path)| path.is_file());
    Ok(made.map(|(arch, path)| (format!("test-llama-archs {arch}"), path)).collect())
}

fn ask(checkout: &Checkout, model: &Path, mode: &str) -> Result<Facts, Error> {
    Ok(facts_of(&run(Command::new(checkout.probe("loader")?).arg(model).arg(mode))?))
}

fn facts_of(text: &str) -> Facts {
    text.lines().filter_map(|line| line.split_once(' ')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// Everything a loaded model says of itself; weights are summed from the source that the mode reads through.
fn our_facts(case: &str, path: &Path, load_mode: LoadMode) -> Result<Facts, Error> {
    let options = LoadOptions { load_mode, check_tensors: true, ..LoadOptions::default() };
    let set = options.open(path).map_err(Error::engine(case))?;
    let model =
        Model::load_set(&set, &CpuDevice::default(), &mut options.into()).map_err(Error::engine(case))?;
    let hparams = model.hparams();
    let mut facts = common(case, &model, &set)?;
    let mut put = |key: &str, value: String| facts.insert(key.to_owned(), value);
    put("n_ctx_train", hparams.n_ctx_train.to_string());
    put("n_embd", hparams.n_embd.to_string());
    put("n_layer", hparams.n_layer().to_string());
    put("n_head", hparams.layers[0].n_head.to_string());
    put("n_head_kv", hparams.layers[0].n_head_kv.to_string());
    let rope_type = match hparams.rope_mode {
        None => -1,
        Some(RopeMode::Norm) => 0,
        Some(RopeMode::Neox) => 2,
        Some(RopeMode::Sections { interleaved: false, .. }) => 8,
        Some(RopeMode::Sections { interleaved: true, .. }) => 40,
    };
    put("rope_type", rope_type.to_string());
    put("rope_freq_scale", format!("{:08x}", hparams.rope_freq_scale.to_bits()));
    for (i, tensor) in set.tensors().enumerate() {
        let data = set.tensor_data(i).map_err(Error::engine(case))?;
        let sum = format!("{} {} {:016x}", tensor.dtype.name(), data.len(), fnv1a(&data));
        put(&format!("tensor:{}", tensor.name), sum);
    }
    Ok(facts)
}

fn our_vocabulary(case: &str, path: &Path) -> Result<Facts, Error> {
    // Vocabularies of architectures that we cannot run are vocabularies all the same.
    let options = LoadOptions { vocab_only: true, check_architecture: false, ..LoadOptions::default() };
    let set = options.open(path).map_err(Error::engine(case))?;
    let model =
        Model::load_set(&set, &CpuDevice::default(), &mut options.into()).map_err(Error::engine(case))?;
    common(case, &model, &set)
}

/// What there is with and without weights.
fn common(case: &str, model: &Model, set: &GgufSet) -> Result<Facts, Error> {
    let mut facts = Facts::new();
    let mut put = |key: &str, value: String| facts.insert(key.to_owned(), value);
    put("n_vocab", model.hparams().n_vocab.to_string());
    put("desc", model.description().to_owned());
    put("size", model.n_bytes().to_string());
    put("n_params", model.n_params().to_string());
    let metadata = set.metadata();
    let scalars: Vec<_> = metadata.iter().filter(|(_, value)| !matches!(value, Value::Array(_))).collect();
    put("meta_count", scalars.len().to_string());
    for (key, value) in scalars {
        put(&format!("meta:{key}"), escaped(&value_text(value)));
    }
    let family = metadata.optional::<&str>("tokenizer.ggml.model").map_err(Error::engine(case))?;
    if matches!(family, None | Some("none" | "no_vocab")) {
        put("vocab_type", "none".to_owned());
        return Ok(facts);
    }
    let tokenizer = Tokenizer::from_gguf(metadata).map_err(Error::engine(case))?;
    put("vocab_type", format!("{:?}", tokenizer.vocab_type()).to_lowercase());
    let special = tokenizer.special_tokens();
    for (name, id) in [
        ("bos", special.bos),
        ("eos", special.eos),
        ("eot", special.eot),
        ("sep", special.sep),
        ("nl", special.nl),
        ("pad", special.pad),
        ("mask", special.mask),
        ("fim_pre", special.fim_pre),
        ("fim_suf", special.fim_suf),
        ("fim_mid", special.fim_mid),
        ("fim_pad", special.fim_pad),
        ("fim_rep", special.fim_rep),
        ("fim_sep", special.fim_sep),
    ] {
        put(&format!("token_{name}"), id.map_or(-1, i64::from).to_string());
    }
    put("add_bos", u8::from(tokenizer.add_bos()).to_string());
    put("add_eos", u8::from(tokenizer.add_eos()).to_string());
    put("add_sep", u8::from(tokenizer.add_sep()).to_string());
    let (mut texts, mut scores, mut attrs, mut eog) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for id in 0..tokenizer.n_tokens() as u32 {
        // As C text: up to a NUL byte, and one behind.
        let text = tokenizer.text(id).map_err(Error::engine(case))?;
        texts.extend(text.iter().take_while(|byte| **byte != 0));
        texts.push(0);
        scores.extend(tokenizer.score(id).map_err(Error::engine(case))?.to_le_bytes());
        attrs.extend(tokenizer.attr(id).map_err(Error::engine(case))?.0.to_le_bytes());
        eog.push(u8::from(tokenizer.is_eog(id)));
    }
    for (name, bytes) in [("texts", texts), ("scores", scores), ("attrs", attrs), ("eog", eog)] {
        put(name, format!("{:016x}", fnv1a(&bytes)));
    }
    Ok(facts)
}

/// As the probe writes text.
fn escaped(text: &[u8]) -> String {
    let mut out = String::new();
    for byte in text {
        match byte {
            b'\\' => out.push_str("\\x5c"),
            0x20..=0x7e => out.push(char::from(*byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(out, "\\x{byte:02x}")),
        }
    }
    out
}

fn compare(case: &str, expected: &Facts, ours: &Facts) -> Row {
    let keys: std::collections::BTreeSet<&String> = expected.keys().chain(ours.keys()).collect();
    let different: Vec<&str> =
        keys.iter().filter(|key| expected.get(**key) != ours.get(**key)).map(|key| key.as_str()).collect();
    let note = match different.as_slice() {
        [] => format!("{} facts", keys.len()),
        [first, ..] => {
            let value = |facts: &Facts| facts.get(*first).cloned().unwrap_or_else(|| "(none)".to_owned());
            format!(
                "{} of {} facts differ, first {first}: {}, expected {}",
                different.len(),
                keys.len(),
                value(ours),
                value(expected)
            )
        }
    };
    Row::judged("loader", case, different.is_empty() && keys.len() > 8, note)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/loader")
}

fn golden(case: &str) -> PathBuf {
    folder().join(format!("{}.txt", case.replace(' ', "-")))
}

/// Records the reference's answers for the models that need no checkout.
///
/// # Errors
/// A probe failed or a file could not be written.
pub fn record(checkout: &Checkout, date: &str) -> Result<(), Error> {
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    std::fs::create_dir_all(folder()).map_err(Error::io(folder()))?;
    let write = |path: PathBuf, text: String| std::fs::write(&path, text).map_err(Error::io(&path));
    for (case, path) in recorded_models(dir.path())? {
        let facts = ask(checkout, &path, "mmap")?;
        let lines: Vec<String> = facts.iter().map(|(key, value)| format!("{key} {value}\n")).collect();
        write(golden(&case), lines.concat())?;
    }
    let provenance = format!(
        "What llama.cpp says of the models that parity/src/loader.rs makes, printed by parity/probes/loader.cpp (load mode mmap).\n\n\
         reference: {}\ncommand: cargo xtask parity --llama-cpp DIR --module loader --record {date}\ndate: {date}\n",
        checkout.revision_or_recorded()
    );
    write(folder().join("PROVENANCE"), provenance)
}

/// Compares with the recorded answers, through every load mode.
///
/// # Errors
/// Goldens that cannot be read, or an engine that refuses.
pub fn replay() -> Result<Vec<Row>, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
    let mut rows = Vec::new();
    for (case, path) in recorded_models(dir.path())? {
        let recorded = golden(&case);
        let text = std::fs::read_to_string(&recorded).map_err(Error::io(&recorded))?;
        for mode in LoadMode::ALL {
            let ours = our_facts(&case, &path, mode)?;
            rows.push(compare(&format!("{case}, {mode}"), &facts_of(&text), &ours));
        }
    }
    Ok(rows)
}
