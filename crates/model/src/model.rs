//! A loaded model: hyper-parameters, weights in memory, and the graphs it can build.

use std::sync::Arc;

use quipu_backend::{Buffer, Device};
use quipu_gguf::GgufFile;
use quipu_graph::{DType, Graph, TensorId};
use quipu_kv_cache::{KvCache, KvLayerShape};

use crate::archs::{self, Architecture};
use crate::build::Builder;
use crate::error::Error;
use crate::hparams::Hparams;
use crate::loader::{LoadParams, Loader};
use crate::rope::RopeConfig;
use crate::weights::Weights;

/// A model in memory. Answers to `llama_model` without its vocabulary.
///
/// Shared by any number of contexts: weights are read-only once loaded.
#[derive(Debug)]
pub struct Model {
    architecture: Architecture,
    hparams: Hparams,
    weights: Weights,
    buffers: Vec<Arc<dyn Buffer>>,
    n_params: u64,
    n_bytes: u64,
}

/// What shapes a ubatch's graph. Two equal values give interchangeable graphs, which is what graph reuse
/// rests on (`llm_graph_params::allow_reuse`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GraphParams {
    /// Tokens of the ubatch.
    pub n_tokens: usize,
    /// Rows wanted as output, at most `n_tokens`.
    pub n_outputs: usize,
    /// Cache cells the attention looks at.
    pub n_kv: usize,
    /// Rotary parameters.
    pub rope: RopeConfig,
    /// The input is rows of `n_embd` floats instead of tokens.
    pub from_embeddings: bool,
}

/// The tensors to fill before a run.
#[derive(Clone, Copy, Debug)]
pub struct GraphInputs {
    /// Token ids, i32 `[n_tokens]`.
    pub tokens: Option<TensorId>,
    /// Embeddings instead of tokens, f32 `[n_embd, n_tokens]`.
    pub embd: Option<TensorId>,
    /// Positions, i32 `[n_tokens]`.
    pub pos: TensorId,
    /// Rows to keep, i32 `[n_outputs]`; `None` if all are kept.
    pub out_ids: Option<TensorId>,
    /// Cache cells the tokens are stored in, i64 `[n_tokens]`.
    pub kv_idxs: TensorId,
    /// Who sees which cell, f16 `[n_kv, n_tokens]`: 0 or -inf.
    pub kq_mask: TensorId,
}

/// A graph and the handles its runner needs.
#[derive(Clone, Debug)]
pub struct BuiltGraph {
    /// The graph; its weights and caches are bound, the rest is the planner's.
    pub graph: Graph,
    /// Tensors to fill.
    pub inputs: GraphInputs,
    /// Logits, f32 `[n_vocab, n_outputs]`.
    pub logits: TensorId,
    /// Final normalised rows, f32 `[n_embd, n_outputs]`.
    pub embd: TensorId,
}

/// The graph that re-rotates cached keys after positions were shifted.
#[derive(Clone, Debug)]
pub struct ShiftGraph {
    /// The graph.
    pub graph: Graph,
    /// Shift of each cell, i32 `[n_cells]`.
    pub shift: TensorId,
}

impl Model {
    /// Loads the weights of `file` onto `device`.
    ///
    /// # Errors
    /// An unknown architecture, metadata or tensors that contradict it, types no kernel computes, memory
    /// that cannot be had, or the caller's cancellation.
    pub fn load(file: &GgufFile, device: &dyn Device, params: &mut LoadParams<'_>) -> Result<Model, Error> {
        let gguf = file.gguf();
        let architecture = archs::find(gguf.metadata.str("general.architecture")?)?;
        let hparams = (architecture.hparams)(gguf)?;
        let mut loader = Loader::new(file, device);
        let weights = (architecture.weights)(&mut loader, &hparams)?;
        let buffers = loader.finish(architecture.name, params)?;
        let n_params = gguf.tensors.iter().map(|t| t.ne.iter().product::<u64>()).sum();
        let n_bytes = gguf.tensors.iter().map(|t| t.n_bytes).sum();
        Ok(Model { architecture, hparams, weights, buffers, n_params, n_bytes })
    }

    /// `general.architecture`.
    pub fn architecture(&self) -> &'static str {
        self.architecture.name
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

    /// Shape of each layer's cache.
    pub fn kv_layers(&self) -> Vec<KvLayerShape> {
        (0..self.hparams.n_layer)
            .map(|il| KvLayerShape {
                n_embd_k_gqa: self.hparams.n_embd_k_gqa(il),
                n_embd_v_gqa: self.hparams.n_embd_v_gqa(il),
            })
            .collect()
    }

    /// Builds the graph of a ubatch over `cache` (`llama_model::build_graph`).
    pub fn build_graph(&self, params: &GraphParams, cache: &KvCache) -> Result<BuiltGraph, Error> {
        let builder = Builder::new(&self.hparams, &self.weights, params, cache)?;
        (self.architecture.graph)(builder)
    }

    /// Whether positions can be shifted after the fact: only rotary positions can.
    pub fn can_shift(&self) -> bool {
        self.hparams.rope_mode.is_some()
    }

    /// Builds the graph that rotates every cached key by its cell's shift (`build_graph_shift`); `None` for
    /// models without rotary positions, whose cached keys do not depend on position.
    pub fn build_shift_graph(&self, rope: &RopeConfig, cache: &KvCache) -> Result<Option<ShiftGraph>, Error> {
        let Some(mode) = self.hparams.rope_mode else { return Ok(None) };
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
        if let Some(w) = self.weights.layers.first().and_then(|layer| layer.rope_freqs.as_ref()) {
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
        Ok(Some(ShiftGraph { graph, shift }))
    }
}
