//! Options that several commands share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::{PathBufValueParser, TypedValueParser};
use quipu::gguf::{GgufSet, Inputs, MetadataOverride, OverrideValue};
use quipu::{
    BufferOverride, Device, DeviceChoice, LoadMode, LoadOptions, Model, Session, SplitMode, Tokenizer,
};

use quipu_gemma::SbsFile;

use crate::csv;
use crate::fail::{Failure, named};
use crate::models;
use crate::output::note;
use crate::warnings;

/// Which model.
#[derive(Debug, clap::Args)]
pub(crate) struct ModelArgs {
    /// GGUF file, a .sbs file of gemma.cpp, or the name of a model on this machine (quipu models); without it the embedded demo model is
    /// used.
    #[arg(short = 'm', long = "model", value_name = "MODEL", value_parser = model_path())]
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
    /// Memory for tensors whose names match (-ot).
    #[arg(long, value_name = "PATTERN=BUFFER_TYPE,...")]
    pub override_tensor: Vec<String>,
    /// Layers on GPUs (-ngl), counted from the last; the output counts as one more; all, auto or negative = all.
    #[arg(long, value_name = "N", visible_alias = "gpu-layers", allow_negative_numbers = true)]
    #[arg(value_parser = n_gpu_layers)]
    pub n_gpu_layers: Option<i32>,
    /// The GPUs to use (-dev), in this order (CUDA0,CUDA1,...), or none; all by default.
    #[arg(long, value_name = "NAME,...")]
    pub device: Option<String>,
    /// How several GPUs share the layers (-sm): none = one GPU has them all, layer = each has some.
    #[arg(long, value_name = "MODE", default_value = "layer")]
    pub split_mode: SplitMode,
    /// How many of the layers each GPU gets (-ts), as proportions; by free memory if nothing is said.
    #[arg(long, value_name = "N,...", value_parser = shares)]
    pub tensor_split: Option<Shares>,
    /// The GPU that has them all with split mode none (-mg), counted among those that are used; negative = no GPU.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub main_gpu: i32,
    /// Say on stderr what ran where.
    #[arg(short = 'v', long)]
    pub verbose: bool,
}

/// A file, or the file that a name stands for.
fn model_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(models::resolve)
}

/// The overrides of one `--override-kv`.
#[derive(Clone, Debug)]
pub(crate) struct Overrides(Vec<MetadataOverride>);

fn overrides(row: &str) -> Result<Overrides, String> {
    csv::fields(row)?.iter().map(|field| metadata_override(field)).collect::<Result<_, _>>().map(Overrides)
}

/// An override whose integer a key of a model can hold: they have 32 bits, and what is longer would be cut without a word.
pub(crate) fn metadata_override(text: &str) -> Result<MetadataOverride, String> {
    let given: MetadataOverride = text.parse().map_err(|error: quipu::gguf::Error| error.to_string())?;
    match given.value {
        OverrideValue::Int(n) if i32::try_from(n).is_err() && u32::try_from(n).is_err() => {
            Err(format!("{}={n}: expected {} to {}", given.key, i32::MIN, u32::MAX))
        }
        _ => Ok(given),
    }
}

/// The proportions of one `--tensor-split`.
#[derive(Clone, Debug)]
pub(crate) struct Shares(Vec<f32>);

fn shares(row: &str) -> Result<Shares, String> {
    let share = |text: &str| text.parse().map_err(|_| format!("'{text}' is no number, expected N,N,..."));
    row.split(',').map(share).collect::<Result<_, _>>().map(Shares)
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

    /// Opens it, and says what is odd about it: what was not done as asked always, what was guessed of its vocabulary with --verbose.
    pub fn open(&self) -> Result<Model, Failure> {
        let model = warnings::told(|| self.open_quietly())?;
        if self.verbose {
            let tokenizer = model.tokenizer().ok();
            tokenizer.iter().flat_map(|tokenizer| tokenizer.warnings()).for_each(note);
        }
        Ok(model)
    }

    fn open_quietly(&self) -> Result<Model, Failure> {
        let gpus = self.gpus()?;
        match &self.model {
            Some(path) if is_sbs(path) => {
                let name = path.display().to_string();
                Ok(Model::open_set(&from_sbs(path)?, &name, &mut self.load_options()?.into(), &gpus)?)
            }
            Some(path) => Ok(Model::open_on(path, &mut self.load_options()?.into(), &gpus)?),
            None if gpus.is_empty() => Ok(Model::embedded_with(&mut self.load_options()?.into())?),
            None => Ok(Model::embedded_on(&mut self.load_options()?.into(), &gpus)?),
        }
    }

    /// The GPUs that layers are to go to. Without one the CPU does it all, and stderr says so.
    fn gpus(&self) -> Result<Vec<Arc<dyn Device>>, Failure> {
        let names = self.device.as_deref().map(DeviceChoice::names);
        // Asked for, or built for it and not refused.
        let wanted = self.n_gpu_layers.map_or(cfg!(feature = "cuda") || names.is_some(), |n| n != 0);
        let is_shared_out = self.tensor_split.is_some() || self.main_gpu > 0;
        if !wanted || names.as_ref().is_some_and(Vec::is_empty) {
            if is_shared_out {
                note("no GPU is used: --tensor-split and --main-gpu change nothing");
            }
            return Ok(Vec::new());
        }
        let choice = DeviceChoice { names, split_mode: self.split_mode, main_gpu: self.main_gpu };
        match quipu::gpu_devices() {
            Ok(there) => Ok(choice.choose(&there)?),
            Err(error) => {
                let more = if is_shared_out { ", --tensor-split and --main-gpu change nothing" } else { "" };
                note(format_args!("{error}; running on the CPU{more}"));
                Ok(Vec::new())
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
        let lists: Result<Vec<_>, _> =
            self.override_tensor.iter().map(|list| BufferOverride::parse_list(list)).collect();
        Ok(LoadOptions {
            load_mode: self.load_mode,
            check_tensors: self.check_tensors,
            metadata_overrides: self.override_kv.iter().flat_map(|list| list.0.iter().cloned()).collect(),
            n_gpu_layers: self.n_gpu_layers.unwrap_or(-1),
            tensor_split: self.tensor_split.as_ref().map(|shares| shares.0.clone()).unwrap_or_default(),
            buffer_overrides: lists.map_err(|error| Failure::Input(error.to_string()))?.concat(),
            ..LoadOptions::default()
        })
    }

    /// Only the vocabulary: the file may hold no weights.
    pub fn tokenizer(&self) -> Result<Tokenizer, Failure> {
        match &self.model {
            Some(path) if is_sbs(path) => {
                let sbs = SbsFile::open(path).map_err(named(path))?;
                let metadata = quipu_gemma::gguf::vocabulary(&sbs).map_err(named(path))?;
                Ok(Tokenizer::from_gguf(&metadata)?)
            }
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

/// A number of layers, `all` or `auto`: as many as there are.
fn n_gpu_layers(text: &str) -> Result<i32, String> {
    match text {
        "all" | "auto" => Ok(-1),
        number => number.parse().map_err(|_| "expected a number, all or auto".to_owned()),
    }
}

/// Whether a model is one of gemma.cpp's files.
fn is_sbs(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "sbs")
}

/// The model in a .sbs file, as a GGUF file in memory.
fn from_sbs(path: &Path) -> Result<GgufSet, Failure> {
    let sbs = SbsFile::open(path).map_err(named(path))?;
    let file = quipu_gemma::gguf::to_gguf(&sbs, None).map_err(named(path))?;
    Ok(GgufSet::from(&file))
}
