//! A graph under construction: its inputs, its weights, what its layers remember, its outputs. What is computed, blocks say.
//!
//! Answers to `llm_graph_context`. Names given to tensors are the reference's, `{name}-{layer}`.

use std::collections::HashMap;

use quipu_graph::{DType, Graph, TensorId};
use quipu_kv_cache::{AttentionGraph, AttentionKind, GraphInput, KvPart, Memory, RecurrentGraph, StatePart};

use crate::error::Error;
use crate::graph::{BuiltGraph, GraphKind, GraphOutputs, GraphParams};
use crate::hparams::{Hparams, Temperature};
use crate::inputs::{EmbdInput, InputEmbd, InputOutIds, InputPos, InputTemperature};
use crate::rope::RopeConfig;
use crate::weight::Weight;

/// A graph under construction.
pub(crate) struct Builder<'a> {
    pub graph: Graph,
    hparams: &'a Hparams,
    params: &'a GraphParams,
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
}

impl<'a> Builder<'a> {
    /// Starts a graph with the inputs every architecture has.
    pub fn new(
        hparams: &'a Hparams,
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
        let memory = (params.kind == GraphKind::Decoder).then_some(memory);
        let alibi = hparams.max_alibi_bias > 0.0;
        let kind = AttentionKind { causal: params.causal, window: hparams.window(), alibi };
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
        let leafs = HashMap::new();
        Ok(Builder {
            graph,
            hparams,
            params,
            attn,
            recurrent,
            inputs,
            embd,
            pos,
            out_ids,
            leafs,
            temperature: None,
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
            EmbdInput::Embd(embd) => return Ok(embd),
            EmbdInput::Tokens(tokens) => tokens,
        };
        let table = self.weight(table)?;
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
        if let Some(ids) = self.out_ids.filter(|_| last) {
            for row in &mut rows {
                *row = self.graph.get_rows(*row, ids)?;
            }
        }
        Ok(rows)
    }

    /// Stores keys and values and attends over the layer's memory: `[d_v * n_head, n_tokens]` (`build_attn` up to the projection).
    pub fn attend(&mut self, input: &AttentionInput) -> Result<TensorId, Error> {
        let AttentionInput { il, mut heads, kq_scale, logit_softcap } = *input;
        let part = if self.hparams.layers[il].window.is_some() { KvPart::Window } else { KvPart::Full };
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

        let q = self.queries_by_stream(heads.q, self.attn.n_stream(part))?;
        let q = self.graph.permute(q, [0, 2, 1, 3])?;
        let [k, v] = self.attn.keys_and_values(&mut self.graph, part, il, heads.k, heads.v)?;
        let mask = Some(self.attn.mask(part));
        let out =
            self.graph.flash_attn(q, k, v, mask, kq_scale, self.hparams.max_alibi_bias, logit_softcap)?;
        let [d, heads, n_tokens, n_stream] = self.graph[out].ne;
        let out = self.graph.reshape(out, [d * heads, n_tokens * n_stream, 1, 1])?;
        self.name(out, "kqv_out", il);
        Ok(self.attn.rotate_v(&mut self.graph, part, out)?)
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
