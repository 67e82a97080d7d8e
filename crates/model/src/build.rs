//! A graph under construction: its inputs, its weights, what its layers remember, its outputs. What is computed, blocks say.
//!
//! Answers to `llm_graph_context`. Names given to tensors are the reference's, `{name}-{layer}`.

use std::collections::HashMap;

use quipu_graph::{DType, Graph, TensorId};
use quipu_kv_cache::{KvCache, KvGraph};

use crate::error::Error;
use crate::hparams::{Hparams, LayerHparams};
use crate::model::{BuiltGraph, GraphInputs, GraphParams};
use crate::rope::RopeConfig;
use crate::weight::Weight;

/// A graph under construction.
pub(crate) struct Builder<'a> {
    pub graph: Graph,
    hparams: &'a Hparams,
    params: &'a GraphParams,
    kv: KvGraph<'a>,
    inputs: GraphInputs,
    /// One leaf for each weight, however often it is used.
    leafs: HashMap<*const Weight, TensorId>,
}

/// Queries, keys and values of a ubatch: `[head size, heads, n_tokens]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub q: TensorId,
    pub k: TensorId,
    pub v: TensorId,
}

/// What attention over a layer's memory takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionInput<'a> {
    pub il: usize,
    pub heads: Heads,
    pub shape: &'a LayerHparams,
    /// Factor on the scores.
    pub kq_scale: f32,
}

impl<'a> Builder<'a> {
    /// Starts a graph with the inputs every architecture has.
    pub fn new(
        hparams: &'a Hparams,
        params: &'a GraphParams,
        cache: &'a KvCache,
    ) -> Result<Builder<'a>, Error> {
        let mut graph = Graph::new();
        let n_tokens = params.n_tokens;
        let (tokens, embd) = if params.from_embeddings {
            (None, Some(graph.input("inp_embd", DType::F32, [hparams.n_embd, n_tokens, 1, 1])?))
        } else {
            (Some(graph.input("inp_tokens", DType::I32, [n_tokens, 1, 1, 1])?), None)
        };
        let pos = graph.input("inp_pos", DType::I32, [n_tokens, 1, 1, 1])?;
        let kv = cache.graph();
        let kv_idxs = kv.input_idxs(&mut graph, n_tokens)?;
        let kq_mask = kv.input_mask(&mut graph, params.n_kv, n_tokens)?;
        let out_ids = if params.n_outputs < n_tokens {
            Some(graph.input("inp_out_ids", DType::I32, [params.n_outputs, 1, 1, 1])?)
        } else {
            None
        };
        let inputs = GraphInputs { tokens, embd, pos, out_ids, kv_idxs, kq_mask };
        Ok(Builder { graph, hparams, params, kv, inputs, leafs: HashMap::new() })
    }

    /// Closes the graph over the final normalised rows and the logits.
    pub fn finish(mut self, embd: TensorId, logits: TensorId) -> BuiltGraph {
        self.graph.set_name(embd, "result_norm");
        self.graph.set_output(embd);
        self.graph.set_name(logits, "result_output");
        self.graph.set_output(logits);
        self.graph.build_forward_expand(logits);
        BuiltGraph { graph: self.graph, inputs: self.inputs, logits, embd }
    }

    /// Names a tensor as the reference names it in layer `il`.
    pub fn name(&mut self, id: TensorId, name: &str, il: usize) {
        self.graph.set_name(id, &format!("{name}-{il}"));
    }

    /// The leaf of a weight.
    pub fn weight(&mut self, weight: &Weight) -> Result<TensorId, Error> {
        if let Some(id) = self.leafs.get(&std::ptr::from_ref(weight)) {
            return Ok(*id);
        }
        let id = self.graph.external(&weight.name, weight.dtype, weight.ne, weight.storage)?;
        self.leafs.insert(std::ptr::from_ref(weight), id);
        Ok(id)
    }

    /// Positions of the ubatch's tokens.
    pub fn positions(&self) -> TensorId {
        self.inputs.pos
    }

    /// Rotary parameters of the context.
    pub fn rope_config(&self) -> &'a RopeConfig {
        &self.params.rope
    }

    /// The ubatch's embeddings, or the rows of `table` for its tokens: `[n_embd, n_tokens]`.
    pub fn input_embeddings(&mut self, table: &Weight) -> Result<TensorId, Error> {
        if let Some(embd) = self.inputs.embd {
            return Ok(embd);
        }
        let table = self.weight(table)?;
        // Exactly one of the two inputs exists.
        let Some(tokens) = self.inputs.tokens else { return Ok(table) };
        let rows = self.graph.get_rows(table, tokens)?;
        self.graph.set_name(rows, "embd");
        Ok(rows)
    }

    /// Keeps only the rows whose logits are wanted, before the last feed-forward network.
    pub fn keep_outputs<const N: usize>(
        &mut self,
        il: usize,
        mut rows: [TensorId; N],
    ) -> Result<[TensorId; N], Error> {
        let last = il + 1 == self.hparams.n_layer();
        if let Some(ids) = self.inputs.out_ids.filter(|_| last) {
            for row in &mut rows {
                *row = self.graph.get_rows(*row, ids)?;
            }
        }
        Ok(rows)
    }

    /// Stores keys and values and attends over the layer's memory: `[d_v * n_head, n_tokens]` (`build_attn` up to the projection).
    pub fn attend(&mut self, input: &AttentionInput<'_>) -> Result<TensorId, Error> {
        let AttentionInput { il, heads, shape, kq_scale } = input;
        let il = *il;
        self.name(heads.q, "Qcur", il);
        self.name(heads.k, "Kcur", il);
        self.name(heads.v, "Vcur", il);
        // The reference evaluates these three before the stores, and the stores before the attention.
        self.graph.build_forward_expand(heads.q);
        self.graph.build_forward_expand(heads.v);
        self.graph.build_forward_expand(heads.k);
        let stored = self.kv.store_k(&mut self.graph, il, heads.k, self.inputs.kv_idxs)?;
        self.graph.build_forward_expand(stored);
        let stored = self.kv.store_v(&mut self.graph, il, heads.v, self.inputs.kv_idxs)?;
        self.graph.build_forward_expand(stored);

        let q = self.graph.permute(heads.q, [0, 2, 1, 3])?;
        let (n_kv, n_head_kv) = (self.params.n_kv, shape.n_head_kv);
        let k = self.kv.k(&mut self.graph, il, n_kv, shape.n_embd_head_k, n_head_kv)?;
        let v = self.kv.v(&mut self.graph, il, n_kv, shape.n_embd_head_v, n_head_kv)?;
        let mask = Some(self.inputs.kq_mask);
        let out = self.graph.flash_attn(q, k, v, mask, *kq_scale, 0.0, 0.0)?;
        let [d, heads, n_tokens, _] = self.graph[out].ne;
        let out = self.graph.reshape(out, [d * heads, n_tokens, 1, 1])?;
        self.name(out, "kqv_out", il);
        Ok(out)
    }
}
