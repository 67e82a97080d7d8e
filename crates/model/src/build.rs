//! A graph under construction: its inputs, its weights, what its layers remember, its outputs. What is computed, blocks say.
//!
//! Answers to `llm_graph_context`. Names given to tensors are the reference's, `{name}-{layer}`.

mod adapted;
mod relative;

use std::collections::HashMap;

use quipu_graph::{DType, Graph, TensorId, UnaryOp};
use quipu_kv_cache::{AttentionGraph, AttentionKind, GraphInput, KvPart, Memory, RecurrentGraph, StatePart};

use adapted::LoraFactors;

use crate::adapter::Adapters;
use crate::error::Error;
use crate::graph::{BuiltGraph, GraphKind, GraphOutputs, GraphParams};
use crate::hparams::{Hparams, Temperature};
use crate::inputs::{EmbdInput, InputConstant, InputEmbd, InputOutIds, InputPos, InputTemperature};
use crate::rope::RopeConfig;
use crate::weight::Weight;

/// A graph under construction.
pub(crate) struct Builder<'a> {
    pub graph: Graph,
    hparams: &'a Hparams,
    params: &'a GraphParams,
    adapters: &'a Adapters,
    /// Which tokens each LoRA adapter is for, once a matrix asked.
    lora_factors: Vec<Option<LoraFactors>>,
    attn: AttentionGraph<'a>,
    /// States of recurrent layers, if the memory has such.
    recurrent: Option<RecurrentGraph<'a>>,
    inputs: Vec<Box<dyn GraphInput>>,
    embd: EmbdInput,
    pos: TensorId,
    /// Rows to keep; `None` if all are kept.
    out_ids: Option<TensorId>,
    /// One leaf for each weight, however often it is used.
    leafs: HashMap<*const Weight, TensorId>,
    /// Factors of queries by position, once a layer asked for them.
    temperature: Option<TensorId>,
    /// Biases by distance, once a layer asked for them.
    by_distance: Option<(*const Weight, TensorId)>,
    /// What an encoder left and who sees it, once a layer asked for them.
    cross: Option<[TensorId; 2]>,
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
pub(crate) struct AttentionInput {
    pub il: usize,
    pub heads: Heads,
    /// Factor on the scores.
    pub kq_scale: f32,
    /// Bound that scores are bent to; 0: none.
    pub logit_softcap: f32,
    /// Scores without values, f32 `[n_head]`.
    pub sinks: Option<TensorId>,
}

/// How scores become weights of values.
#[derive(Clone, Copy)]
struct Scores {
    il: usize,
    kq_scale: f32,
    logit_softcap: f32,
    sinks: Option<TensorId>,
    /// Values lie element by element.
    is_transposed: bool,
}

impl<'a> Builder<'a> {
    /// Starts a graph with the inputs every architecture has.
    pub fn new(
        hparams: &'a Hparams,
        params: &'a GraphParams,
        memory: &'a dyn Memory,
        adapters: &'a Adapters,
    ) -> Result<Builder<'a>, Error> {
        let mut graph = Graph::new();
        let mut inputs: Vec<Box<dyn GraphInput>> = Vec::new();
        let (shape, n_tokens) = (&params.shape, params.shape.n_tokens);
        let embd = EmbdInput::new(&mut graph, shape, hparams.n_embd_inp())?;
        inputs.push(Box::new(InputEmbd { input: embd, n_tokens }));
        let pos = graph.input("inp_pos", DType::I32, [n_tokens * hparams.n_pos(), 1, 1, 1])?;
        inputs.push(Box::new(InputPos { pos, n_tokens, values: Vec::new() }));
        let memory = (params.kind == GraphKind::Decoder).then_some(memory);
        let alibi = hparams.max_alibi_bias > 0.0;
        let (causal, window, flash) = (params.causal, hparams.window(), params.flash_attn);
        let kind = AttentionKind { causal, window, alibi, flash };
        let attn = AttentionGraph::new(&mut graph, memory, shape, kind, &mut inputs)?;
        let states = memory.and_then(|memory| memory.recurrent());
        let recurrent =
            states.map(|states| RecurrentGraph::new(&mut graph, states, shape, &mut inputs)).transpose()?;
        let n_outputs = shape.n_outputs;
        let mut out_ids = None;
        if n_outputs < n_tokens {
            let ids = graph.input("inp_out_ids", DType::I32, [n_outputs, 1, 1, 1])?;
            inputs.push(Box::new(InputOutIds { out_ids: ids, n_outputs, values: Vec::new() }));
            out_ids = Some(ids);
        }
        Ok(Builder {
            graph,
            hparams,
            params,
            adapters,
            lora_factors: vec![None; adapters.loras.len()],
            attn,
            recurrent,
            inputs,
            embd,
            pos,
            out_ids,
            leafs: HashMap::new(),
            temperature: None,
            by_distance: None,
            cross: None,
        })
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

    /// Closes the graph over the final rows of a model that has no logits.
    pub fn finish_rows(mut self, embd: TensorId) -> BuiltGraph {
        self.graph.set_name(embd, "result_norm");
        self.graph.set_output(embd);
        self.graph.build_forward_expand(embd);
        let outputs = GraphOutputs { logits: None, embd, pooled: None };
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

    /// Tokens of the ubatch.
    pub fn n_tokens(&self) -> usize {
        self.params.shape.n_tokens
    }

    /// The rows whose outputs are wanted; `None` if all are.
    pub fn out_ids(&self) -> Option<TensorId> {
        self.out_ids
    }

    /// Adds an input, which is filled before each run.
    pub fn add_input(&mut self, input: Box<dyn GraphInput>) {
        self.inputs.push(input);
    }

    /// A matrix times rows, with what adapters add (`build_lora_mm`).
    pub fn mul_mat(&mut self, weight: &Weight, x: TensorId) -> Result<TensorId, Error> {
        let w = self.weight(weight)?;
        let product = self.graph.mul_mat(w, x)?;
        self.adapted(weight, x, product)
    }

    /// Positions of the ubatch's tokens.
    pub fn positions(&self) -> TensorId {
        self.pos
    }

    /// Whether the ubatch comes as rows instead of tokens.
    pub fn is_from_embeddings(&self) -> bool {
        matches!(self.embd, EmbdInput::Embd(_))
    }

    /// Factors of queries by their positions, f32 `[1, 1, n_tokens]` (`build_inp_attn_scale`). All layers share them.
    pub fn temperature(&mut self, temperature: Temperature) -> Result<TensorId, Error> {
        if let Some(factors) = self.temperature {
            return Ok(factors);
        }
        let n_tokens = self.params.shape.n_tokens;
        let factors = self.graph.input("attn_scale", DType::F32, [1, 1, n_tokens, 1])?;
        self.inputs.push(Box::new(InputTemperature { factors, n_tokens, temperature, values: Vec::new() }));
        self.temperature = Some(factors);
        Ok(factors)
    }

    /// The rows to keep in the last layer, of what is not handed from layer to layer.
    pub fn keep_if_last(&mut self, il: usize, x: TensorId) -> Result<TensorId, Error> {
        let [x] = self.keep_outputs(il, [x])?;
        Ok(x)
    }

    /// What the graph is for.
    pub fn kind(&self) -> GraphKind {
        self.params.kind
    }

    /// The ubatch's rows by sequence: `[n, n_tokens]` as `[n, n_seq_tokens, n_seqs]`.
    pub fn by_sequence(&mut self, x: TensorId) -> Result<TensorId, Error> {
        let [n, n_tokens, ..] = self.graph[x].ne;
        let n_seqs = self.states()?.1.n_seqs();
        Ok(self.graph.reshape(x, [n, n_tokens / n_seqs, n_seqs, 1])?)
    }

    /// The ubatch's rows in a row again: `[n, n_seq_tokens, n_seqs]` as `[n, n_tokens]`.
    pub fn in_a_row(&mut self, x: TensorId) -> Result<TensorId, Error> {
        let [n, n_seq_tokens, n_seqs, _] = self.graph[x].ne;
        Ok(self.graph.reshape(x, [n, n_seq_tokens * n_seqs, 1, 1])?)
    }

    /// The states of layer `il` before the ubatch, f32 `[n_embd, n_seqs]` (`build_rs`).
    pub fn load_state(&mut self, il: usize, part: StatePart) -> Result<TensorId, Error> {
        let (graph, states) = self.states()?;
        Ok(states.load(graph, il, part)?)
    }

    /// As [`Builder::load_state`], by an op that is given all rows and the numbers of those it is about.
    pub fn load_state_with(
        &mut self,
        il: usize,
        part: StatePart,
        read: impl FnOnce(&mut Graph, TensorId, TensorId) -> Result<TensorId, Error>,
    ) -> Result<TensorId, Error> {
        let (graph, states) = self.states()?;
        states.load_with(graph, il, part, read)
    }

    /// Replaces the states of layer `il` by `x`, of as many elements.
    pub fn store_state(&mut self, il: usize, part: StatePart, x: TensorId) -> Result<(), Error> {
        let (graph, states) = self.states()?;
        Ok(states.store(graph, il, part, x)?)
    }

    fn states(&mut self) -> Result<(&mut Graph, &mut RecurrentGraph<'a>), Error> {
        let states = self.recurrent.as_mut().ok_or(quipu_kv_cache::Error::NoCache)?;
        Ok((&mut self.graph, states))
    }

    /// Rotary parameters of the context.
    pub fn rope_config(&self) -> &'a RopeConfig {
        &self.params.rope
    }

    /// The ubatch's embeddings, or the rows of `table` for its tokens: `[n_embd, n_tokens]`.
    pub fn input_embeddings(&mut self, table: &Weight) -> Result<TensorId, Error> {
        let tokens = match self.embd {
            EmbdInput::Embd(embd) if self.graph[embd].ne[0] == self.hparams.n_embd => return Ok(embd),
            EmbdInput::Embd(embd) => return self.part_of_rows(embd, 0),
            EmbdInput::Tokens(tokens) => tokens,
        };
        let leaf = self.weight(table)?;
        let rows = self.graph.get_rows(leaf, tokens)?;
        self.graph.set_name(rows, "embd");
        self.adapted_rows(table, tokens, rows)
    }

    /// Part `i` of rows that are several parts side by side: `[n_embd, n_tokens]`.
    fn part_of_rows(&mut self, rows: TensorId, i: usize) -> Result<TensorId, Error> {
        let ([_, n_tokens, ..], nb, n_embd) = (self.graph[rows].ne, self.graph[rows].nb, self.hparams.n_embd);
        let strides = [nb[1], nb[2], nb[3]];
        Ok(self.graph.view(rows, [n_embd, n_tokens, 1, 1], strides, i * n_embd * size_of::<f32>())?)
    }

    /// The residual stream before layer `il`, with what embeddings of images have for that layer. Tokens have nothing there.
    pub fn add_deepstack(&mut self, il: usize, x: TensorId) -> Result<TensorId, Error> {
        let part = self.hparams.deepstack.get(il).copied().flatten();
        let (Some(part), EmbdInput::Embd(rows)) = (part, self.embd) else { return Ok(x) };
        let part = self.part_of_rows(rows, part)?;
        Ok(self.graph.add(x, part)?)
    }

    /// The ubatch's tokens, i32 `[n_tokens]`, unless it comes as rows.
    pub fn tokens(&self) -> Option<TensorId> {
        match self.embd {
            EmbdInput::Tokens(tokens) => Some(tokens),
            EmbdInput::Embd(_) => None,
        }
    }

    /// Numbers that are the same for every ubatch, i32 `[1, n]`.
    pub fn constant(&mut self, name: &str, values: Vec<i32>) -> Result<TensorId, Error> {
        let input = self.graph.input(name, DType::I32, [1, values.len(), 1, 1])?;
        self.inputs.push(Box::new(InputConstant { input, values }));
        Ok(input)
    }

    /// Keeps only the rows whose logits are wanted, before the last feed-forward network.
    pub fn keep_outputs<const N: usize>(
        &mut self,
        il: usize,
        rows: [TensorId; N],
    ) -> Result<[TensorId; N], Error> {
        let last = il + 1 == self.hparams.n_layer();
        if last { self.keep_rows(rows) } else { Ok(rows) }
    }

    /// Keeps only the rows whose logits are wanted.
    pub fn keep_rows<const N: usize>(&mut self, mut rows: [TensorId; N]) -> Result<[TensorId; N], Error> {
        if let Some(ids) = self.out_ids {
            for row in &mut rows {
                *row = self.graph.get_rows(*row, ids)?;
            }
        }
        Ok(rows)
    }

    /// Stores keys and values and attends over the layer's memory: `[d_v * n_head, n_tokens]` (`build_attn` up to the projection).
    pub fn attend(&mut self, input: &AttentionInput) -> Result<TensorId, Error> {
        let AttentionInput { il, mut heads, .. } = *input;
        let part = self.part_of(il);
        self.name(heads.q, "Qcur", il);
        self.name(heads.k, "Kcur", il);
        self.name(heads.v, "Vcur", il);
        heads.q = self.attn.rotate_k(&mut self.graph, part, heads.q)?;
        heads.k = self.attn.rotate_k(&mut self.graph, part, heads.k)?;
        heads.v = self.attn.rotate_v(&mut self.graph, part, heads.v)?;
        // The reference evaluates these three before the stores, and the stores before the attention.
        self.graph.build_forward_expand(heads.q);
        self.graph.build_forward_expand(heads.v);
        self.graph.build_forward_expand(heads.k);
        self.attn.store(&mut self.graph, part, il, heads.k, heads.v)?;
        let [k, v] = self.attn.keys_and_values(&mut self.graph, part, il, heads.k, heads.v)?;
        self.attend_over(input, part, [heads.q, k, v])
    }

    /// Stores keys alone, f32 `[d_k, 1, n_tokens]`, and attends with queries `[d_k, n_head, n_tokens]`; of the keys, the first `d_v`
    /// elements are the values, which heads take each through its matrix of `v` (`[d_v, n, n_head]`): `[n * n_head, n_tokens]` (`build_attn`
    /// over `llm_graph_input_attn_k`). Quantised caches hold such keys as they are: their beginning must be readable as values.
    pub fn attend_latent(
        &mut self,
        il: usize,
        [q, k]: [TensorId; 2],
        v: &Weight,
        kq_scale: f32,
    ) -> Result<TensorId, Error> {
        let part = self.part_of(il);
        self.name(q, "Qcur", il);
        self.name(k, "Kcur", il);
        self.graph.build_forward_expand(q);
        self.graph.build_forward_expand(k);
        self.attn.store_keys(&mut self.graph, part, il, k)?;
        let k = self.attn.keys(&mut self.graph, part, il, k)?;
        let ([_, n_kv, n_head_kv, n_stream], nb) = (self.graph[k].ne, self.graph[k].nb);
        let values = self.graph.view(k, [v.ne[0], n_kv, n_head_kv, n_stream], [nb[1], nb[2], nb[3]], 0)?;
        let how = Scores { il, kq_scale, logit_softcap: 0.0, sinks: None, is_transposed: false };
        let out = self.scored(part, [q, k, values], &how)?;
        let out = self.graph.permute(out, [0, 2, 1, 3])?;
        let v = self.weight(v)?;
        let out = self.graph.mul_mat(v, out)?;
        let out = self.graph.permute(out, [0, 2, 1, 3])?;
        let out = self.graph.cont(out)?;
        let [d, n_head, n_tokens, n_stream] = self.graph[out].ne;
        let out = self.graph.reshape(out, [d * n_head, n_tokens * n_stream, 1, 1])?;
        self.name(out, "kqv_out", il);
        Ok(out)
    }

    /// Attends over what another layer stored, of which layer `il` has no own (`layer_reuse_cb`): `[d_v * n_head, n_tokens]`. Of `input.heads`
    /// only the queries count.
    pub fn attend_reusing(&mut self, input: &AttentionInput) -> Result<TensorId, Error> {
        let (il, mut q) = (input.il, input.heads.q);
        let layer = &self.hparams.layers[il];
        let heads = [layer.n_embd_head_k, layer.n_embd_head_v, layer.n_head_kv];
        let part = self.part_of(il);
        self.name(q, "Qcur", il);
        q = self.attn.rotate_k(&mut self.graph, part, q)?;
        self.graph.build_forward_expand(q);
        let [k, v] = self.attn.reused(&mut self.graph, part, il, heads)?;
        self.attend_over(input, part, [q, k, v])
    }

    /// The cache that holds layer `il`.
    fn part_of(&self, il: usize) -> KvPart {
        if self.hparams.layers[il].window.is_some() { KvPart::Window } else { KvPart::Full }
    }

    /// Attention of queries `[d_k, n_head, n_tokens]` over keys and values as a memory gives them.
    fn attend_over(
        &mut self,
        input: &AttentionInput,
        part: KvPart,
        [q, k, v]: [TensorId; 3],
    ) -> Result<TensorId, Error> {
        let AttentionInput { il, kq_scale, logit_softcap, sinks, .. } = *input;
        let is_transposed = self.attn.is_transposed(part);
        let how = Scores { il, kq_scale, logit_softcap, sinks, is_transposed };
        let out = self.scored(part, [q, k, v], &how)?;
        let [d, heads, n_tokens, n_stream] = self.graph[out].ne;
        let out = self.graph.reshape(out, [d * heads, n_tokens * n_stream, 1, 1])?;
        self.name(out, "kqv_out", il);
        Ok(self.attn.rotate_v(&mut self.graph, part, out)?)
    }

    /// What queries `[d_k, n_head, n_tokens]` make of keys and values: f32 `[d_v, n_head, n_tokens, n_stream]` (`build_attn_mha`).
    fn scored(&mut self, part: KvPart, [q, k, v]: [TensorId; 3], how: &Scores) -> Result<TensorId, Error> {
        let Scores { kq_scale, logit_softcap, sinks, .. } = *how;
        let q = self.queries_by_stream(q, self.attn.n_stream(part))?;
        let q = self.graph.permute(q, [0, 2, 1, 3])?;
        if !self.params.flash_attn {
            return self.scores_as_tensor(part, [q, k, v], how);
        }
        let (mask, max_bias) = (self.attn.mask(part), self.hparams.max_alibi_bias);
        let out = match sinks {
            Some(sinks) => {
                self.graph.flash_attn_with_sinks(q, k, v, mask, sinks, kq_scale, max_bias, logit_softcap)
            }
            None => self.graph.flash_attn(q, k, v, Some(mask), kq_scale, max_bias, logit_softcap),
        };
        Ok(out?)
    }

    /// As [`Builder::scored`], without flash attention.
    fn scores_as_tensor(
        &mut self,
        part: KvPart,
        [q, k, v]: [TensorId; 3],
        how: &Scores,
    ) -> Result<TensorId, Error> {
        let Scores { il, kq_scale, logit_softcap, sinks, is_transposed } = *how;
        let mut kq = self.graph.mul_mat(k, q)?;
        self.name(kq, "kq", il);
        let mut kq_scale = kq_scale;
        if logit_softcap != 0.0 {
            let before =
                if self.hparams.scores_are_tensors { std::mem::replace(&mut kq_scale, 1.0) } else { 1.0 };
            kq = self.graph.scale(kq, before / logit_softcap, 0.0)?;
            kq = self.graph.unary(UnaryOp::Tanh, kq)?;
            kq = self.graph.scale(kq, logit_softcap, 0.0)?;
        }
        let (mask, max_bias) = (self.attn.mask(part), self.hparams.max_alibi_bias);
        kq = match sinks {
            Some(sinks) => self.graph.soft_max_with_sinks(kq, mask, sinks, kq_scale, max_bias)?,
            None => self.graph.soft_max(kq, Some(mask), kq_scale, max_bias)?,
        };
        self.name(kq, "kq_soft_max", il);
        let v = if is_transposed {
            v
        } else {
            let v = self.graph.transpose(v);
            self.graph.cont(v)?
        };
        let kqv = self.graph.mul_mat(v, kq)?;
        self.name(kqv, "kqv", il);
        let kqv = self.graph.permute(kqv, [0, 2, 1, 3])?;
        Ok(self.graph.cont(kqv)?)
    }

    /// Queries `[d, n_head, n_tokens]` as those of each stream: `[d, n_head, n_tokens / n_stream, n_stream]`.
    fn queries_by_stream(&mut self, q: TensorId, n_stream: usize) -> Result<TensorId, Error> {
        if n_stream == 1 {
            return Ok(q);
        }
        let ([d, n_head, n_tokens, _], nb) = (self.graph[q].ne, self.graph[q].nb);
        let n_tokens = n_tokens / n_stream;
        let ne = [d, n_head, n_tokens, n_stream];
        Ok(self.graph.view(q, ne, [nb[1], nb[2], nb[2] * n_tokens], 0)?)
    }
}
