//! Options that several commands share.

use std::path::PathBuf;
use std::sync::Arc;

use quipu::gguf::MetadataOverride;
use quipu::{
    BufferOverride, Device, GenerateOptions, LoadMode, LoadOptions, Model, SamplerParams, Session,
    SessionOptions, Tokenizer,
};

use crate::fail::Failure;

/// Which model.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelArgs {
    /// GGUF file; without it the embedded demo model is used.
    #[arg(short = 'm', long = "model", value_name = "MODEL")]
    pub model: Option<PathBuf>,
    /// How the file is read: none, mmap, mlock, mmap+mlock or dio (past the page cache).
    #[arg(long, value_name = "MODE", default_value_t = LoadMode::Mmap)]
    pub load_mode: LoadMode,
    /// Refuse weights that are not finite numbers.
    #[arg(long)]
    pub check_tensors: bool,
    /// Metadata to use instead of the file's; types: int, float, bool, str.
    #[arg(long, value_name = "KEY=TYPE:VALUE", value_delimiter = ',')]
    pub override_kv: Vec<MetadataOverride>,
    /// Memory for tensors whose names match.
    #[arg(long, value_name = "PATTERN=BUFFER_TYPE,...")]
    pub override_tensor: Option<String>,
    /// Layers on the GPU (-ngl), counted from the last; the output counts as one more; negative = all.
    #[arg(long, value_name = "N", visible_alias = "gpu-layers", allow_negative_numbers = true)]
    pub n_gpu_layers: Option<i32>,
    /// The GPU to use (CUDA0, CUDA1, ...); the first by default.
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Say on stderr what ran where.
    #[arg(short = 'v', long)]
    pub verbose: bool,
}

impl ModelArgs {
    pub fn open(&self) -> Result<Model, Failure> {
        match (self.gpu(), &self.model) {
            (None, Some(path)) => Ok(Model::open_with(path, &mut self.load_options()?.into())?),
            (None, None) => Ok(Model::embedded()?),
            (Some(gpu), Some(path)) => Ok(Model::open_on(path, self.load_options()?.into(), &gpu)?),
            (Some(gpu), None) => Ok(Model::embedded_on(self.load_options()?.into(), &gpu)?),
        }
    }

    /// The first GPU, if layers are to go to one. Without one the CPU does it all, and stderr says so.
    fn gpu(&self) -> Option<Arc<dyn Device>> {
        // Asked for, or built for it and not refused.
        if self.n_gpu_layers.map_or(!cfg!(feature = "cuda"), |n| n == 0) {
            return None;
        }
        match quipu::gpu_devices() {
            Ok(devices) => {
                let wanted = self.device.as_deref();
                let known: Vec<String> = devices.iter().map(|device| device.name().to_owned()).collect();
                let found = devices.into_iter().find(|gpu| wanted.is_none_or(|name| name == gpu.name()));
                if found.is_none() {
                    eprintln!(
                        "no device {}, only {}; running on the CPU",
                        wanted.unwrap_or(""),
                        known.join(", ")
                    );
                }
                found
            }
            Err(error) => {
                eprintln!("{error}; running on the CPU");
                None
            }
        }
    }

    /// Says what ran where, if that was asked for.
    pub fn report(&self, session: &mut Session) {
        if !self.verbose {
            return;
        }
        for backend in &session.context().scheduler_stats().backends {
            eprintln!(
                "{}: {} nodes in {} splits, {} copies of {} bytes to it",
                backend.name, backend.n_nodes, backend.n_splits, backend.n_copies, backend.copied_bytes
            );
        }
    }

    fn load_options(&self) -> Result<LoadOptions, Failure> {
        let overrides = self.override_tensor.as_deref().map(BufferOverride::parse_list).transpose();
        Ok(LoadOptions {
            load_mode: self.load_mode,
            check_tensors: self.check_tensors,
            metadata_overrides: self.override_kv.clone(),
            n_gpu_layers: self.n_gpu_layers.unwrap_or(-1),
            buffer_overrides: overrides
                .map_err(|error| Failure::Input(error.to_string()))?
                .unwrap_or_default(),
            ..LoadOptions::default()
        })
    }

    /// Only the vocabulary: the file may hold no weights.
    pub fn tokenizer(&self) -> Result<Tokenizer, Failure> {
        match &self.model {
            Some(path) => Ok(quipu::open_tokenizer(path)?),
            None => Ok(Model::embedded()?.tokenizer()?.clone()),
        }
    }
}

/// How to compute.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_field_names)] // the field's names: n_ctx, n_threads, n_ubatch
pub(crate) struct ContextArgs {
    /// Context length in tokens; 0 = the model's, at most 4096.
    #[arg(short = 'c', long = "ctx-size", default_value_t = 0)]
    pub n_ctx: usize,
    /// Threads; 0 = one for each core.
    #[arg(short = 't', long = "threads", default_value_t = 0)]
    pub n_threads: usize,
    /// Most tokens computed at once.
    #[arg(long = "ubatch", visible_alias = "ubatch-size", default_value_t = 512)]
    pub n_ubatch: usize,
}

impl ContextArgs {
    pub fn session(&self) -> SessionOptions {
        SessionOptions {
            n_ctx: self.n_ctx,
            n_threads: self.n_threads,
            n_ubatch: self.n_ubatch,
            ..SessionOptions::default()
        }
    }
}

/// How to sample, with llama-cli's defaults.
#[derive(Debug, clap::Args)]
pub(crate) struct SamplingArgs {
    /// Temperature; 0 = always the likeliest token.
    #[arg(long, default_value_t = 0.8)]
    pub temp: f32,
    /// Keep the K likeliest tokens; 0 = all.
    #[arg(long, default_value_t = 40)]
    pub top_k: i32,
    /// Keep the likeliest tokens up to this probability; 1 = all.
    #[arg(long, default_value_t = 0.95)]
    pub top_p: f32,
    /// Drop tokens below this share of the likeliest; 0 = none.
    #[arg(long, default_value_t = 0.05)]
    pub min_p: f32,
    /// Seed; the same seed gives the same text. Random if absent.
    #[arg(short = 's', long)]
    pub seed: Option<u32>,
    /// Tokens the penalties look back on; 0 = none, -1 = the context.
    #[arg(long, default_value_t = 64, allow_negative_numbers = true)]
    pub repeat_last_n: i32,
    /// Repeat penalty; 1 = none.
    #[arg(long, default_value_t = 1.0)]
    pub repeat_penalty: f32,
    /// Frequency penalty; 0 = none.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub frequency_penalty: f32,
    /// Presence penalty; 0 = none.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub presence_penalty: f32,
}

impl SamplingArgs {
    pub fn options(&self, n_predict: i64, stop: &[String]) -> GenerateOptions {
        let defaults = SamplerParams::default();
        GenerateOptions {
            max_tokens: usize::try_from(n_predict).ok(),
            sampling: SamplerParams {
                temp: self.temp,
                top_k: self.top_k,
                top_p: self.top_p,
                min_p: self.min_p,
                seed: self.seed.unwrap_or(defaults.seed),
                penalty_last_n: self.repeat_last_n,
                penalty_repeat: self.repeat_penalty,
                penalty_freq: self.frequency_penalty,
                penalty_present: self.presence_penalty,
                ..defaults
            },
            stop: stop.to_vec(),
            ..GenerateOptions::default()
        }
    }
}
