//! A loaded model: hyper-parameters, weights in memory, and the graphs it can build.

use std::collections::HashMap;
use std::sync::Arc;

use quipu_backend::{Buffer, Devices};
use quipu_gguf::{ByteSource, GgufFile, GgufSet};
use quipu_graph::{DType, Graph};
use quipu_kv_cache::{GraphInput, KShift, KvLayerShape, KvPart, Memory, Rotation, rotate};

use crate::adapter::{Adapted, Adapters, ControlVector, LoraAdapter, Steering};
use crate::archs;
use crate::blocks::{Head, Network};
use crate::build::Builder;
use crate::error::Error;
use crate::graph::{BuiltGraph, GraphParams, ShiftGraph};
use crate::hparams::{Hparams, Keys, SizeFacts};
use crate::layer_map::LayerMap;
use crate::loader::{Filled, LoadParams, LoadStats, Loader};
use crate::memory::LayerMemory;
use crate::pool;
use crate::pooling::Pooling;
use crate::rope::RopeConfig;

/// A model in memory. Answers to `llama_model` without its vocabulary.
///
/// Shared by any number of contexts: weights are read-only once loaded.
#[derive(Debug)]
pub struct Model {
    name: String,
    hparams: Hparams,
    /// Absent if only the vocabulary was wanted.
    network: Option<Box<dyn Network>>,
    buffers: Vec<Arc<dyn Buffer>>,
    layers: LayerMap,
    /// Files whose mappings hold weights.
    sources: Vec<Arc<dyn ByteSource>>,
    stats: LoadStats,
    /// Shapes of the file's tensors.
    shapes: HashMap<String, [usize; 4]>,
    /// Tensors of the file that are no weights.
    unused: Vec<String>,
    description: String,
    n_params: u64,
    n_bytes: u64,
}

impl Model {
    /// Loads the weights of `file`, by itself; as [`Model::load_set`].
    ///
    /// # Errors
    /// As [`Model::load_set`].
    pub fn load<'a>(
        file: &GgufFile,
        devices: impl Into<Devices<'a>>,
        params: &mut LoadParams<'_>,
    ) -> Result<Model, Error> {
        Model::load_set(&GgufSet::from(file), devices, params)
    }

    /// Loads the weights of a model in one file or several, onto one device (`&device`) or several: then the last
    /// [`crate::LoadOptions::n_gpu_layers`] layers go to those that are not the model's own, as [`LayerMap`] says. The load mode
    /// decides only about locking memory here: how the files are read was decided when the set was opened
    /// ([`crate::LoadOptions::open`]).
    ///
    /// # Errors
    /// An unknown architecture, metadata or tensors that contradict it, types no kernel computes, memory
    /// that cannot be had, data that cannot be read or is not numbers, or the caller's cancellation;
    /// [`Error::phase`] says which step it was. Nothing stays allocated.
    pub fn load_set<'a>(
        set: &GgufSet,
        devices: impl Into<Devices<'a>>,
        params: &mut LoadParams<'_>,
    ) -> Result<Model, Error> {
        Model::load_on(set, &devices.into(), params)
    }

    fn load_on(set: &GgufSet, devices: &Devices<'_>, params: &mut LoadParams<'_>) -> Result<Model, Error> {
        let metadata = set.metadata();
        let keys = Keys::new(metadata)?;
        let name = keys.architecture;
        if params.options.vocab_only {
            if params.options.check_architecture {
                archs::find(name)?;
            }
            let hparams = Hparams::vocabulary_only(&keys)?;
            // As in the reference: sizes and description belong to weights.
            return Ok(Model {
                name: name.to_owned(),
                hparams,
                network: None,
                buffers: Vec::new(),
                layers: LayerMap::own(0),
                sources: Vec::new(),
                stats: LoadStats::default(),
                shapes: HashMap::new(),
                unused: Vec::new(),
                description: String::new(),
                n_params: 0,
                n_bytes: 0,
            });
        }
        let architecture = archs::find(name)?;
        let hparams = (architecture.hparams)(&keys)?;
        let options = &params.options;
        let layers = LayerMap::new(hparams.n_layer(), options.n_gpu_layers, &options.tensor_split, devices)?;
        let mut loader = Loader::new(set, devices, &layers, options)?;
        let network = (architecture.load)(&mut loader, &hparams)?;
        let unused = loader.unused();
        let Filled { buffers, sources, stats } = loader.finish(architecture.name, devices, params)?;
        let size_class = (architecture.size_class)(&SizeFacts::from(&hparams));
        let description = crate::describe::description(name, size_class, set)?;
        Ok(Model {
            name: name.to_owned(),
            hparams,
            network: Some(network),
            buffers,
            layers,
            sources,
            stats,
            shapes: set.tensors().map(|info| (info.name.clone(), info.ne.map(|n| n as usize))).collect(),
            unused,
            description,
            n_params: set.n_params(),
            n_bytes: set.n_bytes(),
        })
    }

    /// `general.architecture`.
    pub fn architecture(&self) -> &str {
        &self.name
    }

    /// Architecture, size and file type in the reference's words (`llama_model_desc`); empty without weights.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// What loading did.
    pub fn load_stats(&self) -> LoadStats {
        self.stats
    }

    /// Whether there are weights: false for a model opened with `vocab_only`.
    pub fn has_weights(&self) -> bool {
        self.network.is_some()
    }

    /// Hyper-parameters.
    pub fn hparams(&self) -> &Hparams {
        &self.hparams
    }

    /// Names of the tensors of its file that no graph reads, in the file's order: those of layers that serve to draft tokens, those that the
    /// reference leaves out too, and with [`crate::LoadOptions::check_architecture`] off those nobody knows.
    pub fn unused_tensors(&self) -> &[String] {
        &self.unused
    }

    /// Elements of all tensors (`llama_model_n_params`).
    pub fn n_params(&self) -> u64 {
        self.n_params
    }

    /// Bytes of all tensors (`llama_model_size`).
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// The buffers of the weights. Whoever runs this model's graphs registers them first and in this order:
    /// the graphs name them by number.
    pub fn buffers(&self) -> &[Arc<dyn Buffer>] {
        &self.buffers
    }

    /// The shape of a tensor of its file (`get_tensor`).
    pub(crate) fn tensor_shape(&self, name: &str) -> Option<[usize; 4]> {
        self.shapes.get(name).copied()
    }

    /// Which of the devices that it was loaded on each layer lives on.
    pub fn layer_map(&self) -> &LayerMap {
        &self.layers
    }

    /// Whether the files that weights are used in place of are still there. Whoever computes with them asks when it is done: of
    /// pages that went missing meanwhile, zeros were read.
    ///
    /// # Errors
    /// [`quipu_gguf::Error::MappingChanged`].
    pub fn check_sources(&self) -> Result<(), Error> {
        Ok(self.sources.iter().try_for_each(|source| source.check_unchanged())?)
    }

    /// What each layer remembers of each token; empty without weights.
    pub fn memory(&self) -> Vec<LayerMemory> {
        self.network.as_ref().map_or_else(Vec::new, |network| network.memory())
    }

    /// Whether no layer remembers anything: each batch is seen by itself, and all of it at once.
    pub fn remembers_nothing(&self) -> bool {
        self.memory().iter().all(|layer| *layer == LayerMemory::None)
    }

    /// Elements of what a text is pooled to: `n_embd`, or the number of scores.
    ///
    /// # Errors
    /// [`Error::NoHead`] if scores are asked of a model that makes none.
    pub fn n_pooled(&self, pooling: Pooling) -> Result<usize, Error> {
        if pooling != Pooling::Rank {
            return Ok(self.hparams.n_embd);
        }
        let head = self.network.as_ref().and_then(|network| network.head());
        head.and_then(Head::n_scores).ok_or(Error::NoHead)
    }

    /// Reads a LoRA adapter for this model, which was loaded on these devices (`llama_adapter_lora_init`).
    ///
    /// # Errors
    /// A file that is no LoRA adapter, is one for another architecture, names a tensor that the model does not have or fits it not, has
    /// half a pair, or a type no kernel computes; memory that is not to be had.
    pub fn load_lora<'a>(
        &self,
        file: &GgufFile,
        devices: impl Into<Devices<'a>>,
    ) -> Result<LoraAdapter, Error> {
        let shape = |name: &str| self.tensor_shape(name);
        LoraAdapter::read(file, &self.adapted(&shape), &devices.into())
    }

    /// Puts the directions of the layers from the first to the last of `layers` where this model's layers are, which was loaded on these
    /// devices (`llama_set_adapter_cvec`).
    ///
    /// # Errors
    /// Directions of another length than the model's rows, or memory that is not to be had.
    pub fn steering<'a>(
        &self,
        vector: &ControlVector,
        devices: impl Into<Devices<'a>>,
        layers: [usize; 2],
    ) -> Result<Steering, Error> {
        let shape = |name: &str| self.tensor_shape(name);
        Steering::place(vector, &self.adapted(&shape), &devices.into(), layers)
    }

    fn adapted<'a>(&'a self, shape: &'a dyn Fn(&str) -> Option<[usize; 4]>) -> Adapted<'a> {
        Adapted {
            architecture: self.architecture(),
            hparams: &self.hparams,
            layer_map: self.layer_map(),
            shape,
        }
    }

    /// Shape of each layer's cache.
    pub fn kv_layers(&self) -> Vec<KvLayerShape> {
        self.memory().into_iter().map(LayerMemory::kv_shape).collect()
    }

    /// Of each layer that reads another one's cache, which.
    pub fn kv_reuse(&self) -> Vec<Option<usize>> {
        let of = |memory: LayerMemory| match memory {
            LayerMemory::Reuse { layer } => Some(layer),
            _ => None,
        };
        self.memory().into_iter().map(of).collect()
    }

    /// Builds the graph of a ubatch over `memory` (`llama_model::build_graph`).
    pub fn build_graph(&self, params: &GraphParams, memory: &dyn Memory) -> Result<BuiltGraph, Error> {
        self.build_graph_with(params, memory, &Adapters::NONE)
    }

    /// As [`Model::build_graph`], with adapters at work.
    pub fn build_graph_with(
        &self,
        params: &GraphParams,
        memory: &dyn Memory,
        adapters: &Adapters,
    ) -> Result<BuiltGraph, Error> {
        let network = self.network.as_ref().ok_or(Error::NoWeights)?;
        let mut built = network.forward(Builder::new(&self.hparams, params, memory, adapters)?)?;
        if let Some(pooling) = params.embeddings {
            pool::add(&mut built, pooling, network.head())?;
        }
        Ok(built)
    }

    /// Whether positions can be shifted after the fact: only rotary positions can.
    pub fn can_shift(&self) -> bool {
        self.hparams.rope_mode.is_some() && self.hparams.n_pos() == 1 && self.hparams.can_shift
    }

    /// Builds the graph that rotates every cached key by its cell's shift (`build_graph_shift`); `None` for
    /// models without rotary positions, whose cached keys do not depend on position, and without a cache.
    pub fn build_shift_graph(
        &self,
        rope: &RopeConfig,
        memory: &dyn Memory,
    ) -> Result<Option<ShiftGraph>, Error> {
        let network = self.network.as_ref().ok_or(Error::NoWeights)?;
        let caches = [KvPart::Full, KvPart::Window].map(|part| memory.kv(part).map(|cache| (part, cache)));
        if !self.can_shift() || caches.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut graph = Graph::new();
        let mut inputs: Vec<Box<dyn GraphInput>> = Vec::new();
        for (part, cache) in caches.into_iter().flatten() {
            let mut kv = cache.graph();
            let shift = kv.input_shift(&mut graph)?;
            let n_rows = kv.n_rows();
            let mut rotated = None;
            if let Some(n) = cache.key_rotation() {
                let input = Rotation::new(&mut graph, "k_rot", n)?;
                rotated = Some(input.matrix());
                inputs.push(Box::new(input));
            }
            for il in (0..self.hparams.n_layer()).filter(|il| cache.has_layer(*il)) {
                let Some(rotation) = network.key_rotation(il) else { continue };
                let (n_rot, n_head_kv) = (rotation.n_rot(), rotation.n_head_kv);
                let mut factors = None;
                if let Some(w) = rotation.factors(rope) {
                    factors = Some(graph.external(&w.name, w.dtype, w.ne, w.storage)?);
                }
                // Rotated keys are rotated back first, and that takes whole heads.
                let n_head = if rotated.is_some() { rotation.n_embd_head } else { n_rot };
                let keys = kv.k_to_shift(&mut graph, il, n_head, rotation.n_embd_head, n_head_kv)?;
                let copy = graph.leaf("", DType::F32, [n_head, n_head_kv, n_rows, 1])?;
                let mut copy = graph.cpy(keys, copy)?;
                if let Some(matrix) = rotated {
                    copy = rotate(&mut graph, matrix, copy)?;
                }
                let mut turned = graph.rope(copy, shift, factors, rotation.params(rope))?;
                if let Some(matrix) = rotated {
                    turned = rotate(&mut graph, matrix, turned)?;
                }
                let stored = graph.cpy(turned, keys)?;
                graph.build_forward_expand(stored);
            }
            inputs.push(Box::new(KShift::new(part, shift)));
        }
        Ok(Some(ShiftGraph { graph, inputs }))
    }
}
