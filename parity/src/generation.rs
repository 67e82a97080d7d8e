//! Generated tokens: same prompt, same seed, same ids, from toys and from the demo model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quipu_cpu_backend::{CpuDevice, CpuOptions};
use quipu_decoder::Batch;
use quipu_gguf::GgufFile;
use quipu_quant::DType;
use quipu_sampler::{Chain, Dist, Greedy, MinP, Temp, TopK, TopP};
use quipu_tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};

use crate::checkout::{Checkout, LogitsRequest};
use crate::engine;
use crate::error::Error;
use crate::logits::{WEIGHT_SEED, bound, nmse};
use crate::random::SplitMix;
use crate::report::{Row, Verdict};
use crate::toy::{TOYS, tokens};

/// Tokens generated per prompt.
const N_PREDICT: usize = 48;
/// Tokens the spread is taken over: as short as the prompts.
const N_SPREAD: usize = 32;
/// Context of a generation.
const N_CTX: usize = 512;
/// Prompts for the demo model; the first ends with a space, which is a token of its own.
const TEXTS: [&str; 6] = [
    "Once upon a time ",
    "Once upon a time there was a little fox",
    "The bear lost her",
    "\"Help!\" said the duck.",
    "One rainy day, Mia and Tom",
    "",
];

/// One prompt and what the reference made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerationCase {
    /// A toy with its type, or `stories` for the demo model.
    pub model: String,
    /// Prompt ids.
    pub prompt: Vec<u32>,
    /// Seed; `None` is greedy.
    pub seed: Option<u32>,
    /// What the reference is from itself on that model: the larger NMSE of ubatch 512 against ubatch 1 and of
    /// fused against unfused attention, 32 tokens.
    pub spread: f64,
    /// The reference's ids.
    pub expected: Vec<u32>,
    /// Its ids without fused attention, which sums in f32 as ours does.
    pub unfused: Vec<u32>,
}

/// `generation.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenerationGolden {
    /// How it was made.
    pub provenance: BTreeMap<String, String>,
    /// The cases.
    pub cases: Vec<GenerationCase>,
}

/// The demo model's file.
pub fn demo_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/stories-1m.gguf")
}

/// The models of the comparison: each architecture's plain toy in three types, and the demo model.
fn models() -> Result<Vec<(String, GgufFile)>, Error> {
    let mut models = Vec::new();
    for toy in TOYS.iter().filter(|toy| toy.name.ends_with("-plain")) {
        for dtype in [DType::F32, DType::Q8_0, DType::Q4_K] {
            let name = format!("{} {dtype}", toy.name);
            let file = GgufFile::from_vec(toy.gguf(dtype, WEIGHT_SEED)?).map_err(Error::engine(&name))?;
            models.push((name, file));
        }
    }
    let demo = GgufFile::open(demo_model()).map_err(Error::engine("stories"))?;
    models.push(("stories".to_owned(), demo));
    Ok(models)
}

fn prompts(name: &str, file: &GgufFile) -> Result<Vec<Vec<u32>>, Error> {
    if name != "stories" {
        return Ok((0..2).map(|seed| tokens(100 + seed, 8)).collect());
    }
    let tokenizer = Tokenizer::from_gguf(file.metadata()).map_err(Error::engine(name))?;
    TEXTS.iter().map(|text| tokenizer.encode(text, true, true).map_err(Error::engine(name))).collect()
}

/// Asks the reference.
///
/// # Errors
/// A probe failed.
pub fn record(checkout: &Checkout) -> Result<Vec<GenerationCase>, Error> {
    let mut cases = Vec::new();
    for (name, file) in models()? {
        let copy = tempfile::NamedTempFile::new().map_err(Error::io("temporary file"))?;
        std::fs::write(copy.path(), file.source().in_place().unwrap_or_default())
            .map_err(Error::io(copy.path()))?;
        let prompts = prompts(&name, &file)?;
        let ids: Vec<u32> = prompts.iter().flatten().copied().cycle().take(N_SPREAD).collect();
        let logits = |n_ubatch, flash_attn| {
            let request =
                LogitsRequest { model: copy.path(), tokens: &ids, n_ubatch, prefixes: &[], flash_attn };
            checkout.logits(&request).map(|(logits, _)| logits)
        };
        let whole = logits(512, true)?;
        let spread = nmse(&whole, &logits(1, true)?).max(nmse(&whole, &logits(512, false)?));
        for seed in [None, Some(1), Some(42)] {
            let mut options = vec!["--ctx".to_owned(), N_CTX.to_string()];
            if let Some(seed) = seed {
                options.extend([
                    "--seed".to_owned(),
                    seed.to_string(),
                    "--temp".to_owned(),
                    "0.8".to_owned(),
                ]);
            }
            let lines = checkout.generate(copy.path(), &prompts, N_PREDICT, &options)?;
            options.extend(["--flash-attn".to_owned(), "0".to_owned()]);
            let other_lines = checkout.generate(copy.path(), &prompts, N_PREDICT, &options)?;
            for ((prompt, expected), unfused) in prompts.iter().zip(lines).zip(other_lines) {
                let (model, prompt) = (name.clone(), prompt.clone());
                cases.push(GenerationCase { model, prompt, seed, spread, expected, unfused });
            }
        }
    }
    Ok(cases)
}

/// Generates the same and compares.
///
/// # Errors
/// The engine refused.
pub fn compare(cases: &[GenerationCase]) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for (name, file) in models()? {
        let device = CpuDevice::new(CpuOptions::default());
        let model = engine::load(&name, &file, &device)?;
        let tokenizer = match name.as_str() {
            "stories" => Some(Tokenizer::from_gguf(file.metadata()).map_err(Error::engine(&name))?),
            _ => None,
        };
        let mut context = engine::context(&name, &model, &device, N_CTX, 512)?;
        for (number, case) in cases.iter().filter(|case| case.model == name).enumerate() {
            context.memory_mut().clear();
            let mut chain = Chain::new();
            match case.seed {
                None => chain.add(Greedy),
                Some(seed) => chain
                    .add(TopK::new(40))
                    .add(TopP::new(0.95, 1))
                    .add(MinP::new(0.05, 1))
                    .add(Temp::new(0.8))
                    .add(Dist::new(seed)),
            };
            let fail = Error::engine::<quipu_decoder::Error>(&name);
            let mut batch = Batch::single(&case.prompt);
            let mut ids = Vec::new();
            // Where the two part: how much noise it takes to draw the reference's id.
            let mut parting = None;
            while ids.len() < N_PREDICT {
                context.decode(&batch).map_err(&fail)?;
                let logits = context.logits(-1).map_err(&fail)?;
                let before = chain.clone();
                let id = chain.sample(logits).map_err(Error::engine(&name))? as u32;
                let expected = case.expected.get(ids.len()).copied();
                if parting.is_none() && expected != Some(id) {
                    parting = Some(expected.is_some_and(|id| near_tie(&before, logits, case.spread, id)));
                }
                ids.push(id);
                if tokenizer.as_ref().is_some_and(|tokenizer| tokenizer.is_eog(id)) {
                    break;
                }
                batch = Batch::single(&[id]);
            }
            let kind = case.seed.map_or("greedy".to_owned(), |seed| format!("seed {seed}"));
            let same = ids.iter().zip(&case.expected).take_while(|(a, b)| a == b).count();
            let note = match parting {
                None => format!("{same} ids equal"),
                Some(true) => format!("equal up to {same}, a near tie there"),
                Some(false) => format!("equal up to {same}, not a near tie"),
            };
            let case_name = format!("{name} {kind} #{number}");
            let mut row = Row::judged("generation", case_name, ids == case.expected, note);
            if row.verdict == Verdict::Deviating && ids == case.unfused {
                row.allowed_by = Some("FA-F32".to_owned());
                row.note += ", the ids of the reference's unfused attention";
            } else if parting == Some(true) {
                row.allowed_by = Some("NEAR-TIE".to_owned());
            }
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Whether the chain draws `expected` when its logits are moved by noise as large as the two engines may differ
/// on this model (three times the reference's own spread), in one of a thousand tries.
fn near_tie(chain: &Chain, logits: &[f32], spread: f64, expected: u32) -> bool {
    let power: f64 = logits.iter().map(|l| f64::from(*l) * f64::from(*l)).sum();
    let sigma = (bound(spread) * power / logits.len() as f64).sqrt() as f32;
    let mut random = SplitMix::new(1);
    (0..1000).any(|_| {
        let moved: Vec<f32> = logits.iter().map(|l| l + sigma * random.normal()).collect();
        chain.clone().sample(&moved).is_ok_and(|id| id as u32 == expected)
    })
}
