//! The pieces architectures are built from: norms, projections, attention, feed-forward networks.
//!
//! Answers to `llm_graph_context`. Names given to tensors are the reference's, `{name}-{layer}`.

use std::collections::HashMap;

use quipu_graph::{DType, GluOp, Graph, RopeMode, TensorId, UnaryOp};
use quipu_kv_cache::{AttentionGraph, GraphInput, Memory};

use crate::error::Error;
use crate::hparams::Hparams;
use crate::inputs::{EmbdInput, InputEmbd, InputOutIds, InputPos};
use crate::model::{BuiltGraph, GraphKind, GraphOutputs, GraphParams};
use crate::weights::{Layer, Linear, Qkv, Weight, Weights};

/// A graph under construction.
pub(crate) struct Builder<'a> {
    pub graph: Graph,
    pub hparams: &'a Hparams,
    pub weights: &'a Weights,
    params: &'a GraphParams,
    attn: AttentionGraph<'a>,
    inputs: Vec<Box<dyn GraphInput>>,
    embd: EmbdInput,
    pos: TensorId,
    /// Rows to keep; `None` if all are kept.
    out_ids: Option<TensorId>,
    /// One leaf for each weight, however often it is used.
    leafs: HashMap<*const Weight, TensorId>,
}

/// Queries, keys and values of a ubatch: `[head size, heads, n_tokens]`.
pub(crate) struct Heads {
    pub q: TensorId,
    pub k: TensorId,
    pub v: TensorId,
}

impl<'a> Builder<'a> {
    /// Starts a graph with the inputs every architecture has.
    pub fn new(
        hparams: &'a Hparams,
        weights: &'a Weights,
        params: &'a GraphParams,
        memory: &'a dyn Memory,
    ) -> Result<Builder<'a>, Error> {
        let mut graph = Graph::new();
        let mut inputs: Vec<Box<dyn GraphInput>> = Vec::new();
        let (shape, n_tokens) = (&params.shape, params.shape.n_tokens);
        let embd = EmbdInput::new(&mut graph, shape, hparams.n_embd)?;
        inputs.push(Box::new(InputEmbd { input: embd, n_tokens }));
        let pos = graph.input("inp_pos", DType::I32, [n_tokens, 1, 1, 1])?;
        inputs.push(Box::new(InputPos { pos, n_tokens }));
        let cache = memory.kv().filter(|_| params.kind == GraphKind::Decoder);
        let attn = AttentionGraph::new(&mut graph, cache, shape, params.causal, &mut inputs)?;
        let n_outputs = shape.n_outputs;
        let mut out_ids = None;
        if n_outputs < n_tokens {
            let ids = graph.input("inp_out_ids", DType::I32, [n_outputs, 1, 1, 1])?;
            inputs.push(Box::new(InputOutIds { out_ids: ids, n_outputs, values: Vec::new() }));
            out_ids = Some(ids);
        }
        let leafs = HashMap::new();
        Ok(Builder { graph, hparams, weights, params, attn, inputs, embd, pos, out_ids, leafs })
    }

    /// Closes the graph over the final normalised rows and the logits.
    pub fn finish(mut self, embd: TensorId, logits: TensorId) -> BuiltGraph {
        self.graph.set_name(embd, "result_norm");
        self.graph.set_output(embd);
        let mut outputs = GraphOutputs { logits: None, embd, pooled: None };
        if self.params.is_pooled() {
            self.graph.build_forward_expand(embd);
        } else {
            self.graph.set_name(logits, "result_output");
            self.graph.set_output(logits);
            self.graph.build_forward_expand(logits);
            outputs.logits = Some(logits);
        }
        BuiltGraph { graph: self.graph, params: *self.params, inputs: self.inputs, outputs }
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
        self.pos
    }

    /// Embedding rows of the ubatch: `[n_embd, n_tokens]` (`build_inp_embd`).
    pub fn input_embeddings(&mut self) -> Result<TensorId, Error> {
        let tokens = match self.embd {
            EmbdInput::Embd(embd) => return Ok(embd),
            EmbdInput::Tokens(tokens) => tokens,
        };
        let table = self.weight(&self.weights.tok_embd)?;
        let rows = self.graph.get_rows(table, tokens)?;
        self.graph.set_name(rows, "embd");
        Ok(rows)
    }

    /// Keeps only the rows whose logits are wanted, before the last feed-forward network.
    pub fn keep_outputs(&mut self, il: usize, rows: [TensorId; 2]) -> Result<[TensorId; 2], Error> {
        let last = il + 1 == self.hparams.n_layer;
        let Some(ids) = self.out_ids.filter(|_| last) else { return Ok(rows) };
        Ok([self.graph.get_rows(rows[0], ids)?, self.graph.get_rows(rows[1], ids)?])
    }

    /// `rms_norm(x) * w`.
    pub fn rms_norm(&mut self, x: TensorId, w: &Weight) -> Result<TensorId, Error> {
        let normed = self.graph.rms_norm(x, self.hparams.norm_eps)?;
        let w = self.weight(w)?;
        Ok(self.graph.mul(normed, w)?)
    }

    /// `norm(x) * w + b`.
    pub fn norm(&mut self, x: TensorId, w: &Weight, b: Option<&Weight>) -> Result<TensorId, Error> {
        let normed = self.graph.norm(x, self.hparams.norm_eps)?;
        let w = self.weight(w)?;
        let scaled = self.graph.mul(normed, w)?;
        self.add_bias(scaled, b)
    }

    /// `scale * (w x) + b`, the order outside feed-forward networks.
    pub fn linear(&mut self, linear: &Linear, x: TensorId) -> Result<TensorId, Error> {
        let product = self.product(linear, x)?;
        let scaled = self.apply_scale(product, linear)?;
        self.add_bias(scaled, linear.b.as_ref())
    }

    /// `scale * (w x + b)`, the order inside feed-forward networks (`build_ffn`).
    fn ffn_linear(&mut self, linear: &Linear, x: TensorId) -> Result<TensorId, Error> {
        let product = self.product(linear, x)?;
        let shifted = self.add_bias(product, linear.b.as_ref())?;
        self.apply_scale(shifted, linear)
    }

    fn product(&mut self, linear: &Linear, x: TensorId) -> Result<TensorId, Error> {
        let w = self.weight(&linear.w)?;
        Ok(self.graph.mul_mat(w, x)?)
    }

    fn apply_scale(&mut self, x: TensorId, linear: &Linear) -> Result<TensorId, Error> {
        let Some(scale) = &linear.scale else { return Ok(x) };
        let scale = self.weight(scale)?;
        Ok(self.graph.mul(x, scale)?)
    }

    /// Queries, keys and values of `x` (`build_qkv`).
    pub fn qkv(&mut self, layer: &Layer, x: TensorId, il: usize) -> Result<Heads, Error> {
        let (n_head, n_head_kv) = (self.hparams.n_head[il], self.hparams.n_head_kv[il]);
        let (d_k, d_v) = (self.hparams.n_embd_head_k, self.hparams.n_embd_head_v);
        let n_tokens = self.graph[x].ne[1];
        match &layer.qkv {
            Qkv::Fused(fused) => {
                let all = self.linear(fused, x)?;
                self.name(all, "wqkv", il);
                let row = self.graph[all].nb[1];
                let float = size_of::<f32>();
                let mut part = |d: usize, heads: usize, first: usize| {
                    self.graph.view(
                        all,
                        [d, heads, n_tokens, 1],
                        [d * float, row, row * n_tokens],
                        first * float,
                    )
                };
                let q = part(d_k, n_head, 0)?;
                let k = part(d_k, n_head_kv, d_k * n_head)?;
                let v = part(d_v, n_head_kv, d_k * (n_head + n_head_kv))?;
                Ok(Heads { q, k, v })
            }
            Qkv::Separate { q, k, v } => {
                let q = self.linear(q, x)?;
                let q = self.graph.reshape(q, [d_k, n_head, n_tokens, 1])?;
                let k = self.linear(k, x)?;
                let k = self.graph.reshape(k, [d_k, n_head_kv, n_tokens, 1])?;
                let v = self.linear(v, x)?;
                let v = self.graph.reshape(v, [d_v, n_head_kv, n_tokens, 1])?;
                Ok(Heads { q, k, v })
            }
        }
    }

    /// Rotates queries and keys by their positions.
    pub fn rope(&mut self, heads: &mut Heads, layer: &Layer, mode: RopeMode) -> Result<(), Error> {
        let factors = layer.rope_freqs.as_ref().map(|w| self.weight(w)).transpose()?;
        let params = self.params.rope.params(self.hparams.n_rot, mode);
        heads.q = self.graph.rope(heads.q, self.pos, factors, params)?;
        heads.k = self.graph.rope(heads.k, self.pos, factors, params)?;
        Ok(())
    }

    /// Stores keys and values, attends over the cache, projects back: `[n_embd, n_tokens]` (`build_attn`).
    pub fn attention(&mut self, layer: &Layer, heads: &Heads, il: usize) -> Result<TensorId, Error> {
        self.name(heads.q, "Qcur", il);
        self.name(heads.k, "Kcur", il);
        self.name(heads.v, "Vcur", il);
        // The reference evaluates these three before the stores, and the stores before the attention.
        self.graph.build_forward_expand(heads.q);
        self.graph.build_forward_expand(heads.v);
        self.graph.build_forward_expand(heads.k);
        self.attn.store(&mut self.graph, il, heads.k, heads.v)?;

        let q = self.graph.permute(heads.q, [0, 2, 1, 3])?;
        let [k, v] = self.attn.keys_and_values(&mut self.graph, il, heads.k, heads.v)?;
        let mask = Some(self.attn.mask());
        let out = self.graph.flash_attn(q, k, v, mask, self.hparams.kq_scale(), 0.0, 0.0)?;
        let [d, heads, n_tokens, _] = self.graph[out].ne;
        let out = self.graph.reshape(out, [d * heads, n_tokens, 1, 1])?;
        self.name(out, "kqv_out", il);
        let out = self.linear(&layer.wo, out)?;
        self.name(out, "attn_out", il);
        Ok(out)
    }

    /// `down(silu(gate x) * up x)`, biases where the layer has them.
    pub fn ffn_swiglu(&mut self, layer: &Layer, x: TensorId) -> Result<TensorId, Error> {
        let up = self.ffn_linear(&layer.ffn_up, x)?;
        let gated = match &layer.ffn_gate {
            Some(gate) => {
                let gate = self.ffn_linear(gate, x)?;
                self.graph.glu(GluOp::Swiglu, gate, up)?
            }
            None => self.graph.unary(UnaryOp::Silu, up)?,
        };
        self.ffn_linear(&layer.ffn_down, gated)
    }

    /// `down(gelu(up x))` with biases.
    pub fn ffn_gelu(&mut self, layer: &Layer, x: TensorId) -> Result<TensorId, Error> {
        let up = self.ffn_linear(&layer.ffn_up, x)?;
        let bent = self.graph.unary(UnaryOp::Gelu, up)?;
        self.ffn_linear(&layer.ffn_down, bent)
    }

    /// The output matrix over the final rows.
    pub fn logits(&mut self, x: TensorId) -> Result<TensorId, Error> {
        self.linear(&self.weights.output, x)
    }

    fn add_bias(&mut self, x: TensorId, bias: Option<&Weight>) -> Result<TensorId, Error> {
        let Some(bias) = bias else { return Ok(x) };
        let bias = self.weight(bias)?;
        Ok(self.graph.add(x, bias)?)
    }
}
