//! Opening a model: file, vocabulary, weights and chat template together.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use quipu_backend::{Device, Devices};
use quipu_chat::ChatTemplate;
use quipu_cpu_backend::{CpuDevice, CpuOptions};
#[cfg(feature = "embedded-model")]
use quipu_gguf::GgufFile;
use quipu_gguf::GgufSet;
use quipu_model::{Hparams, LoadParams, LoadStats};
use quipu_sampler::{Pieces, Vocabulary};
use quipu_tokenizer::Tokenizer;

use crate::chat::ChatTemplates;
use crate::error::Error;
use crate::vocabulary;

/// The demo model that is compiled in: about a million parameters that tell little stories.
#[cfg(feature = "embedded-model")]
static EMBEDDED: &[u8] = include_bytes!("../stories-1m.gguf");

/// A model ready to make sessions. Cheap to clone; clones share weights and vocabulary.
#[derive(Clone, Debug)]
pub struct Model {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    device: Arc<CpuDevice>,
    others: Vec<Arc<dyn Device>>,
    weights: Arc<quipu_model::Model>,
    tokenizer: Option<Tokenizer>,
    chat_templates: ChatTemplates,
    /// Made for the first grammar.
    pieces: OnceLock<Arc<Pieces>>,
    load_time: Duration,
}

impl Model {
    /// Opens a GGUF file, or the files of a split model by the first one (`llama_model_load_from_file`). Weights are used where the file is
    /// mapped.
    ///
    /// # Errors
    /// The file is missing, not GGUF, of an unknown architecture, or holds tensors that do not fit together.
    pub fn open(path: impl AsRef<Path>) -> Result<Model, Error> {
        Model::open_with(path, &mut LoadParams::default())
    }

    /// Opens a model in another way than by default: see [`quipu_model::LoadOptions`].
    ///
    /// ```no_run
    /// # fn main() -> Result<(), quipu::Error> {
    /// let options = quipu::LoadOptions { load_mode: quipu::LoadMode::None, check_tensors: true, ..Default::default() };
    /// let model = quipu::Model::open_with("model.gguf", &mut options.into())?;
    /// # let _ = model; Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Model::open`]; options that the file or the device contradicts, weights that are not numbers, and
    /// the caller's cancellation.
    pub fn open_with(path: impl AsRef<Path>, params: &mut LoadParams<'_>) -> Result<Model, Error> {
        Model::open_at(path.as_ref(), params, &[])
    }

    /// Opens a model with its last [`quipu_model::LoadOptions::n_gpu_layers`] layers on devices of [`crate::gpu_devices`],
    /// split over them by [`quipu_model::LoadOptions::tensor_split`] or by their free memory. What they do not compute is done
    /// by the CPU, and counted: see `Context::scheduler_stats`. Without devices it is [`Model::open_with`].
    ///
    /// # Errors
    /// As [`Model::open_with`]; a device's memory may be too small.
    pub fn open_on(
        path: impl AsRef<Path>,
        params: &mut LoadParams<'_>,
        devices: &[Arc<dyn Device>],
    ) -> Result<Model, Error> {
        Model::open_at(path.as_ref(), params, devices)
    }

    /// Opens a model that is not a file of GGUF but was made into one, as `quipu-gemma` does with `.sbs` files; `name` stands in messages.
    ///
    /// # Errors
    /// As [`Model::open_on`].
    pub fn open_set(
        set: &GgufSet,
        name: &str,
        params: &mut LoadParams<'_>,
        devices: &[Arc<dyn Device>],
    ) -> Result<Model, Error> {
        Model::from_set(set, None, name, params, devices)
    }

    fn open_at(path: &Path, params: &mut LoadParams<'_>, others: &[Arc<dyn Device>]) -> Result<Model, Error> {
        let name = path.display().to_string();
        let set = params.options.open(path).map_err(|source| match source {
            quipu_model::Error::Gguf(source) => Error::Open { path: path.to_owned(), source },
            source => Error::Load { name: name.clone(), source },
        })?;
        Model::from_set(&set, Some(path), &name, params, others)
    }

    /// The demo model.
    ///
    /// # Errors
    /// As [`Model::open`]; the bytes are part of the program.
    #[cfg(feature = "embedded-model")]
    pub fn embedded() -> Result<Model, Error> {
        Model::embedded_with(&mut LoadParams::default())
    }

    /// The demo model, opened in another way than by default, as [`Model::open_with`].
    ///
    /// # Errors
    /// As [`Model::open_with`].
    #[cfg(feature = "embedded-model")]
    pub fn embedded_with(params: &mut LoadParams<'_>) -> Result<Model, Error> {
        Model::from_embedded(params, &[])
    }

    #[cfg(feature = "embedded-model")]
    fn from_embedded(params: &mut LoadParams<'_>, devices: &[Arc<dyn Device>]) -> Result<Model, Error> {
        let file = GgufFile::from_static(EMBEDDED)?;
        let mut set = GgufSet::from(&file);
        params.options.override_metadata(&mut set);
        Model::from_set(&set, None, "embedded model", params, devices)
    }

    /// The demo model on devices, as [`Model::open_on`].
    ///
    /// # Errors
    /// As [`Model::open_on`].
    #[cfg(feature = "embedded-model")]
    pub fn embedded_on(params: &mut LoadParams<'_>, devices: &[Arc<dyn Device>]) -> Result<Model, Error> {
        Model::from_embedded(params, devices)
    }

    fn from_set(
        set: &GgufSet,
        path: Option<&Path>,
        name: &str,
        params: &mut LoadParams<'_>,
        others: &[Arc<dyn Device>],
    ) -> Result<Model, Error> {
        let start = Instant::now();
        let device = Arc::new(CpuDevice::new(CpuOptions::default()));
        let weights = quipu_model::Model::load_set(set, devices(&device, others), params)
            .map_err(|source| Error::Load { name: name.to_owned(), source })?;
        let metadata = set.metadata();
        // Test models carry weights only: everything but text works on them.
        let tokenizer = vocabulary::find(metadata, path)?;
        let chat_templates = ChatTemplates::find(metadata);
        let weights = Arc::new(weights);
        let load_time = start.elapsed();
        tracing::info!(name: "load", bytes = weights.load_stats().bytes_total, seconds = load_time.as_secs_f64());
        Ok(Model {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                device,
                others: others.to_vec(),
                weights,
                tokenizer,
                chat_templates,
                pieces: OnceLock::new(),
                load_time,
            }),
        })
    }

    /// Path or name it was opened by.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What it is in the reference's words: architecture, size class and file type (`llama_model_desc`).
    pub fn description(&self) -> &str {
        self.inner.weights.description()
    }

    /// Hyper-parameters.
    pub fn hparams(&self) -> &Hparams {
        self.inner.weights.hparams()
    }

    /// Elements of what a text is pooled to: the width of a row, or a reranker's scores.
    ///
    /// # Errors
    /// Scores of a model that makes none.
    pub fn n_pooled(&self, pooling: quipu_model::Pooling) -> Result<usize, Error> {
        let named = |source| Error::Load { name: self.name().to_owned(), source };
        self.weights().n_pooled(pooling).map_err(named)
    }

    /// The weights and graphs, for those who drive a decoder themselves.
    pub fn weights(&self) -> &Arc<quipu_model::Model> {
        &self.inner.weights
    }

    /// What opening it did.
    pub fn load_stats(&self) -> LoadStats {
        self.inner.weights.load_stats()
    }

    /// Time that loading weights and vocabulary took.
    pub fn load_time(&self) -> Duration {
        self.inner.load_time
    }

    /// The processor, which has all weights that no other device has.
    pub fn device(&self) -> &CpuDevice {
        &self.inner.device
    }

    /// The other devices that layers were split over.
    pub fn other_devices(&self) -> &[Arc<dyn Device>] {
        &self.inner.others
    }

    /// All of them, as decoders take them.
    pub fn devices(&self) -> Devices<'_> {
        devices(&self.inner.device, &self.inner.others)
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// The file has no vocabulary.
    pub fn tokenizer(&self) -> Result<&Tokenizer, Error> {
        self.inner.tokenizer.as_ref().ok_or(Error::NoVocabulary { name: self.inner.name.clone() })
    }

    /// The vocabulary as samplers ask it.
    ///
    /// # Errors
    /// The file has no vocabulary.
    pub fn vocabulary(&self) -> Result<Arc<dyn Vocabulary>, Error> {
        Ok(Arc::new(self.tokenizer()?.clone()))
    }

    /// The vocabulary as grammars need it, sorted once for all of them.
    ///
    /// # Errors
    /// The file has no vocabulary.
    pub fn pieces(&self) -> Result<&Arc<Pieces>, Error> {
        let vocabulary = self.vocabulary()?;
        Ok(self.inner.pieces.get_or_init(|| Arc::new(Pieces::new(vocabulary))))
    }

    /// The model's chat template (the one for tools where it has no other), or ChatML where it has none.
    ///
    /// # Errors
    /// What the file has in its place is no text or does not parse, or the file has no vocabulary.
    pub fn chat_template(&self) -> Result<ChatTemplate, Error> {
        self.inner.chat_templates.default_template(self.tokenizer()?)
    }

    /// The model's template of this name (`tool_use`, `rag`, ...), if it has one.
    ///
    /// # Errors
    /// As [`Model::chat_template`].
    pub fn named_chat_template(&self, name: &str) -> Result<Option<ChatTemplate>, Error> {
        self.inner.chat_templates.named_template(name, self.tokenizer()?)
    }

    /// A chat template of the user's, with this model's special tokens.
    ///
    /// # Errors
    /// It does not parse, or the file has no vocabulary.
    pub fn chat_template_from(&self, source: &str) -> Result<ChatTemplate, Error> {
        crate::chat::template_for(source, self.tokenizer()?)
    }

    /// A model that was opened without its weights computes nothing.
    pub(crate) fn check_weights(&self) -> Result<(), Error> {
        if self.inner.weights.has_weights() {
            return Ok(());
        }
        let name = self.inner.name.clone();
        Err(Error::Load { name, source: quipu_model::Error::NoWeights })
    }
}

fn devices<'a>(own: &'a CpuDevice, others: &'a [Arc<dyn Device>]) -> Devices<'a> {
    Devices::new(own, others.iter().map(|device| -> &dyn Device { device.as_ref() }))
}
