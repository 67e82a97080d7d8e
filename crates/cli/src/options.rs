//! Options that several commands share.

use std::path::PathBuf;
use std::sync::Arc;

use quipu::gguf::{Inputs, MetadataOverride};
use quipu::{BufferOverride, Device, LoadMode, LoadOptions, Model, Session, SessionOptions, Tokenizer};

use crate::csv;
use crate::fail::Failure;
use crate::output::note;

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
    /// Metadata to use instead of the file's; types: int, float, bool, str. An entry with commas stands in quotation marks,
    /// in which a mark itself is written twice.
    #[arg(long, value_name = "KEY=TYPE:VALUE,...", value_parser = overrides)]
    pub override_kv: Vec<Overrides>,
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

/// The overrides of one `--override-kv`.
#[derive(Clone, Debug)]
pub(crate) struct Overrides(Vec<MetadataOverride>);

fn overrides(row: &str) -> Result<Overrides, quipu::gguf::Error> {
    csv::fields(row).iter().map(|field| field.parse()).collect::<Result<_, _>>().map(Overrides)
}

impl ModelArgs {
    /// The files that are read: no output may be one of them.
    pub fn inputs(&self) -> Inputs {
        let mut inputs = Inputs::new();
        if let Some(path) = &self.model {
            inputs.add_model(path);
        }
        inputs
    }

    pub fn open(&self) -> Result<Model, Failure> {
        match (self.gpu(), &self.model) {
            (None, Some(path)) => Ok(Model::open_with(path, &mut self.load_options()?.into())?),
            (None, None) => Ok(Model::embedded_with(&mut self.load_options()?.into())?),
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
                    note(format_args!(
                        "no device {}, only {}; running on the CPU",
                        wanted.unwrap_or(""),
                        known.join(", ")
                    ));
                }
                found
            }
            Err(error) => {
                note(format_args!("{error}; running on the CPU"));
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
            note(format_args!(
                "{}: {} nodes in {} splits, {} copies of {} bytes to it",
                backend.name, backend.n_nodes, backend.n_splits, backend.n_copies, backend.copied_bytes
            ));
        }
    }

    fn load_options(&self) -> Result<LoadOptions, Failure> {
        let overrides = self.override_tensor.as_deref().map(BufferOverride::parse_list).transpose();
        Ok(LoadOptions {
            load_mode: self.load_mode,
            check_tensors: self.check_tensors,
            metadata_overrides: self.override_kv.iter().flat_map(|list| list.0.iter().cloned()).collect(),
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
            Some(path) if self.override_kv.is_empty() => Ok(quipu::open_tokenizer(path)?),
            Some(path) => {
                let options =
                    LoadOptions { vocab_only: true, check_architecture: false, ..self.load_options()? };
                Ok(Model::open_with(path, &mut options.into())?.tokenizer()?.clone())
            }
            None => Ok(Model::embedded_with(&mut self.load_options()?.into())?.tokenizer()?.clone()),
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
