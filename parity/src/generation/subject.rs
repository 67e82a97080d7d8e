//! What generates: models, the arithmetic both engines are asked for, and the runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quipu_cpu_backend::{CpuDevice, CpuOptions};
use quipu_decoder::{Context, ContextParams};
use quipu_gguf::{GgufFile, GgufWriter};
use quipu_model::Model;
use quipu_quant::{DType, dequantize_row};
use quipu_sampler::Vocabulary;
use quipu_testing::SplitMix;
use quipu_tokenizer::Tokenizer;

use super::chains::{default_chain, other_chains, without};
use crate::engine;
use crate::error::Error;
use crate::logits::WEIGHT_SEED;
use crate::toy::{Arch, TOYS, tokens};

/// Context of a generation.
pub const N_CTX: usize = 512;
/// Most ids of a run.
pub const N_PREDICT: usize = 256;
/// Runs of a model whose share of divergences is limited.
pub const N_RUNS: usize = 200;
/// Runs of a model that is looked at besides.
const N_RUNS_BESIDES: usize = 40;
/// What a peaked toy's last norm is multiplied by: its logits then spread as a trained model's do, where those of
/// random weights are so flat that dozens of candidates are nearly tied at every step.
const PEAK: f32 = 4.0;
/// The demo model.
const STORIES: &str = "stories";
/// Beginnings of prompts for the demo model; one ends with a space, which is a token of its own.
const OPENINGS: [&str; 10] = [
    "Once upon a time ",
    "Once upon a time there was",
    "One rainy day,",
    "The bear lost her",
    "\"Help!\" said",
    "In the garden",
    "Tom and Mia",
    "",
    "It was late. The moon",
    "Every morning,",
];
/// How they go on.
const HEROES: [&str; 10] = [
    "",
    " a little fox",
    " the duck",
    " an old dog named Max",
    " and",
    " a red ball.",
    " She was very",
    "\nThen",
    " who could not sleep because",
    " ten birds, and they",
];

/// The arithmetic of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Whether the reference fuses attention (its default); Quipu always does, in f32.
    pub fused: bool,
    /// Type of cached keys and values, in both.
    pub kv: DType,
}

impl Setting {
    /// The reference's defaults.
    pub const DEFAULT: Setting = Setting { fused: true, kv: DType::F16 };
    /// Nothing rounded to f16 on the way.
    pub const F32: Setting = Setting { fused: false, kv: DType::F32 };

    /// Arguments of the probe.
    pub fn options(&self) -> Vec<String> {
        let kv = if self.kv == DType::F32 { "f32" } else { "f16" };
        let fused = u8::from(self.fused).to_string();
        ["--ctx", &N_CTX.to_string(), "--flash-attn", &fused, "--kv", kv].map(str::to_owned).to_vec()
    }

    /// The same with the reference's other attention.
    #[must_use]
    pub fn other_attention(self) -> Setting {
        Setting { fused: !self.fused, ..self }
    }
}

/// One run: a prompt and the line of its chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Prompt ids.
    pub prompt: Vec<u32>,
    /// As [`super::chains`] reads it.
    pub chain: String,
}

/// A model under a setting.
pub struct Subject {
    /// Name of model and weights.
    pub name: String,
    /// The model.
    pub file: GgufFile,
    /// The arithmetic.
    pub setting: Setting,
    /// How many runs.
    pub n_runs: usize,
    /// Most ids of a run.
    pub n_predict: usize,
    /// Whether fewer than one in a hundred may part: where both engines compute in f32 all the way. GPT-2 does not
    /// even then: its GELU goes through a table of f16, which makes a step of f16 of a last bit.
    pub strict: bool,
    tokenizer: Option<Tokenizer>,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.label())
    }
}

impl Subject {
    /// The model of this name: a plain toy and its type, or the demo model as it is or widened.
    ///
    /// # Errors
    /// An unknown name, or what the engine refuses.
    pub fn new(name: &str, setting: Setting, n_runs: usize, strict: bool) -> Result<Subject, Error> {
        let unknown = || Error::Golden { name: name.to_owned(), message: "no such model".to_owned() };
        let (base, peaked) = name.strip_suffix(" peaked").map_or((name, false), |base| (base, true));
        let (model, dtype) = base.rsplit_once(' ').ok_or_else(unknown)?;
        let fail = Error::engine::<quipu_gguf::Error>(name);
        let file = if model == STORIES {
            GgufFile::open(demo_model()).map_err(&fail)?
        } else {
            let toy = TOYS.iter().find(|toy| toy.name == model).ok_or_else(unknown)?;
            let types = [DType::F32, DType::Q8_0, DType::Q4_K];
            let is_asked = |t: &DType| t.to_string().eq_ignore_ascii_case(dtype);
            let dtype = types.into_iter().find(is_asked).ok_or_else(unknown)?;
            GgufFile::from_vec(toy.gguf(dtype, WEIGHT_SEED)?).map_err(&fail)?
        };
        let file = if dtype == "F32" { widened(name, &file, if peaked { PEAK } else { 1.0 })? } else { file };
        let tokenizer = match model {
            STORIES => Some(Tokenizer::from_gguf(file.metadata()).map_err(Error::engine(name))?),
            _ => None,
        };
        Ok(Subject { name: name.to_owned(), file, setting, n_runs, n_predict: N_PREDICT, strict, tokenizer })
    }

    /// The model of a file that somebody else made; no runs of its own.
    ///
    /// # Errors
    /// Its vocabulary is refused.
    pub fn of_file(name: &str, file: GgufFile, setting: Setting, n_predict: usize) -> Result<Subject, Error> {
        let tokenizer = Tokenizer::from_gguf(file.metadata()).map_err(Error::engine(name))?;
        let tokenizer = Some(tokenizer);
        Ok(Subject { name: name.to_owned(), file, setting, n_runs: 0, n_predict, strict: false, tokenizer })
    }

    /// The vocabulary, where it has one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// All of the live audit.
    ///
    /// # Errors
    /// As [`Subject::new`].
    pub fn all() -> Result<Vec<Subject>, Error> {
        let plain = || TOYS.iter().filter(|toy| toy.name.ends_with("-plain"));
        let mut all = vec![Subject::new("stories F32", Setting::F32, N_RUNS, true)?];
        for toy in plain() {
            let strict = toy.arch != Arch::Gpt2;
            all.push(Subject::new(&format!("{} F32 peaked", toy.name), Setting::F32, N_RUNS, strict)?);
        }
        for setting in [Setting { fused: false, kv: DType::F32 }, Setting::DEFAULT] {
            all.push(Subject::new("stories F16", setting, N_RUNS, false)?);
        }
        for toy in plain() {
            all.push(Subject::new(&format!("{} F32", toy.name), Setting::F32, N_RUNS, false)?);
            for dtype in ["F32", "Q8_0", "Q4_K"] {
                let name = format!("{} {dtype}", toy.name);
                all.push(Subject::new(&name, Setting::DEFAULT, N_RUNS_BESIDES, false)?);
            }
        }
        Ok(all)
    }

    /// Model and setting in words.
    pub fn label(&self) -> String {
        let attention = if self.setting.fused { "fused attention" } else { "unfused attention" };
        format!("{}, {attention}, {} cache", self.name, self.setting.kv)
    }

    /// The vocabulary's texts, where it has some.
    pub fn texts(&self) -> Option<Arc<dyn Vocabulary>> {
        self.tokenizer.clone().map(|tokenizer| Arc::new(tokenizer) as Arc<dyn Vocabulary>)
    }

    /// Whether an id ends generation.
    pub fn is_end(&self, id: u32) -> bool {
        self.tokenizer.as_ref().is_some_and(|tokenizer| tokenizer.is_eog(id))
    }

    /// The runs: every other one by the default chain, the others by all other chains in turn, all with seeds of
    /// their own. Three of four may not end before their last id.
    ///
    /// # Errors
    /// A prompt that cannot be tokenised.
    pub fn requests(&self) -> Result<Vec<Request>, Error> {
        let mut random = SplitMix::new(2026);
        let n_tokens = self.tokenizer.as_ref().map_or(0, Tokenizer::n_tokens) as u32;
        let ends: Vec<u32> = (0..n_tokens).filter(|id| self.is_end(*id)).collect();
        (0..self.n_runs)
            .map(|i| {
                let seed = random.next_u64() as u32;
                let others = other_chains(seed, self.tokenizer.is_some());
                let mut chain =
                    if i % 2 == 0 { default_chain(seed) } else { others[i / 2 % others.len()].clone() };
                if i % 4 != 3 && !ends.is_empty() {
                    chain = without(&ends, &chain);
                }
                Ok(Request { prompt: self.prompt(i)?, chain })
            })
            .collect()
    }

    fn prompt(&self, i: usize) -> Result<Vec<u32>, Error> {
        let Some(tokenizer) = &self.tokenizer else {
            return Ok(tokens(100 + i as u64, 1 + i % 40));
        };
        let text = format!("{}{}", OPENINGS[i % 10], HEROES[i / 10 % 10]);
        tokenizer.encode(&text, true, true).map_err(Error::engine(&self.name))
    }

    /// Quipu's context for it.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn context(&self) -> Result<Context, Error> {
        let device = CpuDevice::new(CpuOptions::default());
        let model: Arc<Model> = engine::load(&self.name, &self.file, &device)?;
        let (type_k, type_v) = (self.setting.kv, self.setting.kv);
        let params = ContextParams {
            n_ctx: N_CTX,
            n_threads: 1,
            n_threads_batch: 1,
            type_k,
            type_v,
            ..ContextParams::default()
        };
        Context::new(model, &device, &params).map_err(Error::engine(&self.name))
    }
}

/// The demo model's file.
pub fn demo_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/stories-1m.gguf")
}

/// The same values in F32, the last norm's times `peak`.
fn widened(name: &str, file: &GgufFile, peak: f32) -> Result<GgufFile, Error> {
    let fail = Error::engine::<quipu_gguf::Error>(name);
    let mut writer = GgufWriter::new();
    writer.metadata = file.metadata().clone();
    let mut rows = Vec::new();
    for (i, tensor) in file.tensors().iter().enumerate() {
        writer.add_tensor(&tensor.name, DType::F32, &tensor.ne).map_err(&fail)?;
        let mut row = vec![0.0; tensor.n_elements() as usize];
        let bytes = file.tensor_bytes_at(i).map_err(&fail)?;
        dequantize_row(tensor.dtype, bytes, &mut row).map_err(Error::engine(name))?;
        let scale = if tensor.name.starts_with("output_norm.") { peak } else { 1.0 };
        rows.push(row.iter().flat_map(|value| (value * scale).to_le_bytes()).collect::<Vec<u8>>());
    }
    let mut out = Vec::new();
    writer.write_to(&mut out, |i, sink| sink.write_all(&rows[i])).map_err(&fail)?;
    GgufFile::from_vec(out).map_err(&fail)
}
