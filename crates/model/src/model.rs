//! A loaded model: hyper-parameters, weights in memory, and the graphs it can build.

use std::sync::Arc;

use quipu_backend::{Buffer, BufferTable, Device};
use quipu_gguf::{GgufFile, GgufSet};
use quipu_graph::{DType, Graph, TensorId};
use quipu_kv_cache::{GraphInput, GraphShape, InputSource, KShift, KvLayerShape, Memory, MemoryKey};

use crate::archs::{self, Architecture};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::{Filled, LoadParams, LoadStats, Loader, OffloadedLayers};
use crate::pooling::{self, Pooling};
use crate::rope::RopeConfig;
use crate::weights::Weights;

/// A model in memory. Answers to `llama_model` without its vocabulary.
///
/// Shared by any number of contexts: weights are read-only once loaded.
#[derive(Debug)]
pub struct Model {
    name: String,
    hparams: Hparams,
    /// Absent if only the vocabulary was wanted.
    runnable: Option<(Architecture, Weights)>,
    buffers: Vec<Arc<dyn Buffer>>,
    offloaded: OffloadedLayers,
    stats: LoadStats,
    description: String,
    n_params: u64,
    n_bytes: u64,
}

/// What a graph is for (`llm_graph_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GraphKind {
    /// Attends over what the memory holds and adds to it.
    #[default]
    Decoder,
    /// Attends over its own ubatch and leaves nothing behind.
    Encoder,
}

/// What shapes a ubatch's graph (`llm_graph_params`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GraphParams {
    /// What it is for.
    pub kind: GraphKind,
    /// Sizes of the ubatch and its place in the memory.
    pub shape: GraphShape,
    /// Rotary parameters.
    pub rope: RopeConfig,
    /// A token sees no later position.
    pub causal: bool,
    /// Final rows are wanted as embeddings, pooled this way. With a pooling no logits are computed.
    pub embeddings: Option<Pooling>,
}

impl GraphParams {
    /// A decoder's graph over the tokens of one sequence, for their logits.
    pub fn decoder(n_tokens: usize, n_outputs: usize, n_kv: usize, rope: RopeConfig) -> GraphParams {
        let memory = MemoryKey { n_kv };
        let shape = GraphShape { n_tokens, n_seqs_unq: 1, n_outputs, from_embeddings: false, memory };
        GraphParams { kind: GraphKind::Decoder, shape, rope, causal: true, embeddings: None }
    }

    /// Whether nobody looks at single rows, so that logits need not be computed.
    pub fn is_pooled(&self) -> bool {
        self.embeddings.is_some_and(|pooling| pooling != Pooling::None)
    }

    /// Whether a graph built for `other` has the nodes this one would have, inputs aside (`allow_reuse`).
    fn same_nodes(&self, other: &GraphParams) -> bool {
        let nodes = |p: &GraphParams| {
            (p.kind, p.causal, p.embeddings, p.shape.n_tokens, p.shape.n_outputs, p.shape.from_embeddings)
        };
        nodes(self) == nodes(other) && self.rope == other.rope
    }
}

/// What a graph computes for others than itself.
#[derive(Clone, Copy, Debug)]
pub struct GraphOutputs {
    /// Logits, f32 `[n_vocab, n_outputs]`; `None` where sequences are pooled.
    pub logits: Option<TensorId>,
    /// Final normalised rows, f32 `[n_embd, n_outputs]`.
    pub embd: TensorId,
    /// One row per sequence in the order of `Ubatch::seq_id_unq`, f32 `[n_embd, n_seqs_unq]`.
    pub pooled: Option<TensorId>,
}

/// A graph and what its runner needs. Answers to `llm_graph_result`.
#[derive(Debug)]
pub struct BuiltGraph {
    /// The graph; its weights and caches are bound, the rest is the planner's.
    pub graph: Graph,
    /// What it was built for.
    pub params: GraphParams,
    /// Inputs, to be filled before each run.
    pub inputs: Vec<Box<dyn GraphInput>>,
    /// Results, to be read after it.
    pub outputs: GraphOutputs,
}

impl BuiltGraph {
    /// Whether this graph serves a ubatch with these parameters too, once its inputs are filled (`can_reuse`).
    pub fn can_reuse(&self, params: &GraphParams) -> bool {
        self.params.same_nodes(params) && self.inputs.iter().all(|input| input.can_reuse(&params.shape))
    }

    /// Fills all inputs (`set_inputs`).
    pub fn set_inputs(
        &mut self,
        source: &InputSource<'_>,
        buffers: &mut BufferTable,
    ) -> Result<(), quipu_kv_cache::Error> {
        self.inputs.iter_mut().try_for_each(|input| input.set(&self.graph, source, buffers))
    }
}

/// The graph that re-rotates cached keys after positions were shifted.
#[derive(Debug)]
pub struct ShiftGraph {
    /// The graph.
    pub graph: Graph,
    /// Its input: the shift of each cell.
    pub shift: KShift,
}

impl Model {
    /// Loads the weights of `file`, by itself, onto `device`; as [`Model::load_set`].
    pub fn load(file: &GgufFile, device: &dyn Device, params: &mut LoadParams<'_>) -> Result<Model, Error> {
        Model::load_set(&GgufSet::from(file), device, params)
    }

    /// Loads the weights of a model in one file or several onto `device`. The load mode decides only about locking memory here: how the
    /// files are read was decided when the set was opened ([`crate::LoadOptions::open`]).
    ///
    /// # Errors
    /// An unknown architecture, metadata or tensors that contradict it, types no kernel computes, memory
    /// that cannot be had, data that cannot be read or is not numbers, or the caller's cancellation;
    /// [`Error::phase`] says which step it was. Nothing stays allocated.
    pub fn load_set(set: &GgufSet, device: &dyn Device, params: &mut LoadParams<'_>) -> Result<Model, Error> {
        let metadata = set.metadata();
        let name = metadata.str("general.architecture")?;
        if params.options.vocab_only {
            if params.options.check_architecture {
                archs::find(name)?;
            }
            let hparams = Hparams::vocabulary_only(metadata)?;
            // As in the reference: sizes and description belong to weights.
            return Ok(Model {
                name: name.to_owned(),
                hparams,
                runnable: None,
                buffers: Vec::new(),
                offloaded: OffloadedLayers::default(),
                stats: LoadStats::default(),
                description: String::new(),
                n_params: 0,
                n_bytes: 0,
            });
        }
        let architecture = archs::find(name)?;
        let hparams = (architecture.hparams)(metadata)?;
        let layers = OffloadedLayers::last(hparams.n_layer, params.options.n_gpu_layers);
        let offload = params.offload.map(|device| (device, layers));
        let mut loader = Loader::new(set, device, &params.options, offload)?;
        let weights = (architecture.weights)(&mut loader, &hparams)?;
        let Filled { buffers, stats } = loader.finish(architecture.name, device, params)?;
        let description = crate::describe::description(name, &hparams, set)?;
        Ok(Model {
            name: name.to_owned(),
            hparams,
            runnable: Some((architecture, weights)),
            buffers,
            offloaded: offload.map_or_else(OffloadedLayers::default, |(_, layers)| layers),
            stats,
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
        self.runnable.is_some()
    }

    /// Hyper-parameters.
    pub fn hparams(&self) -> &Hparams {
        &self.hparams
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

    /// Whether layer `il` lies on the device that layers were offloaded to, and its cache should too; `n_layer` asks for the
    /// output.
    pub fn is_offloaded(&self, il: usize) -> bool {
        self.offloaded.contains(il)
    }

    /// Shape of each layer's cache.
    pub fn kv_layers(&self) -> Vec<KvLayerShape> {
        (0..self.hparams.n_layer)
            .map(|il| KvLayerShape {
                n_embd_k_gqa: self.hparams.n_embd_k_gqa(il),
                n_embd_v_gqa: self.hparams.n_embd_v_gqa(il),
            })
            .collect()
    }

    /// Builds the graph of a ubatch over `memory` (`llama_model::build_graph`).
    pub fn build_graph(&self, params: &GraphParams, memory: &dyn Memory) -> Result<BuiltGraph, Error> {
        let (architecture, weights) = self.runnable.as_ref().ok_or(Error::NoWeights)?;
        let builder = Builder::new(&self.hparams, weights, params, memory)?;
        let mut built = (architecture.graph)(builder)?;
        if let Some(pooling) = params.embeddings {
            let (graph, inputs) = (&mut built.graph, &mut built.inputs);
            built.outputs.pooled = pooling::build(graph, built.outputs.embd, pooling, &params.shape, inputs)?;
        }
        Ok(built)
    }

    /// Whether positions can be shifted after the fact: only rotary positions can.
    pub fn can_shift(&self) -> bool {
        self.hparams.rope_mode.is_some()
    }

    /// Builds the graph that rotates every cached key by its cell's shift (`build_graph_shift`); `None` for
    /// models without rotary positions, whose cached keys do not depend on position, and without a cache.
    pub fn build_shift_graph(
        &self,
        rope: &RopeConfig,
        memory: &dyn Memory,
    ) -> Result<Option<ShiftGraph>, Error> {
        let (_, weights) = self.runnable.as_ref().ok_or(Error::NoWeights)?;
        let (Some(mode), Some(cache)) = (self.hparams.rope_mode, memory.kv()) else { return Ok(None) };
        let mut graph = Graph::new();
        let n_cells = cache.n_cells();
        let mut kv = cache.graph();
        let shift = kv.input_shift(&mut graph)?;
        let (d_k, n_rot) = (self.hparams.n_embd_head_k, self.hparams.n_rot);
        // A shift is a rotation by the difference of two positions: the magnitude was applied when the key
        // was stored and must not be applied again.
        let mut params = rope.params(n_rot, mode);
        params.attn_factor =
            if params.ext_factor == 0.0 { 1.0 } else { 1.0 / (1.0 + 0.1 * (1.0 / params.freq_scale).ln()) };
        let mut factors = None;
        if let Some(w) = weights.layers.first().and_then(|layer| layer.rope_freqs.as_ref()) {
            factors = Some(graph.external(&w.name, w.dtype, w.ne, w.storage)?);
        }
        for il in 0..self.hparams.n_layer {
            let n_head_kv = self.hparams.n_head_kv[il];
            let keys = kv.k_to_shift(&mut graph, il, n_rot, d_k, n_head_kv)?;
            let copy = graph.leaf("", DType::F32, [n_rot, n_head_kv, n_cells, 1])?;
            let copy = graph.cpy(keys, copy)?;
            let turned = graph.rope(copy, shift, factors, params)?;
            let stored = graph.cpy(turned, keys)?;
            graph.build_forward_expand(stored);
        }
        Ok(Some(ShiftGraph { graph, shift: KShift::new(shift) }))
    }
}
