//! Graphs of ubatches as their runner sees them: what they are built for, what they take, what they give.

use quipu_backend::BufferTable;
use quipu_graph::{Graph, TensorId};
use quipu_kv_cache::{GraphInput, GraphShape, InputSource, MemoryKey};

use crate::pooling::Pooling;
use crate::rope::RopeConfig;

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
    /// Flash attention computes the layers' attention, where nothing stands against it; else their scores are tensors.
    pub flash_attn: bool,
    /// Final rows are wanted as embeddings, pooled this way. With a pooling no logits are computed.
    pub embeddings: Option<Pooling>,
}

impl GraphParams {
    /// A decoder's graph over the tokens of one sequence, for their logits.
    pub fn decoder(n_tokens: usize, n_outputs: usize, n_kv: usize, rope: RopeConfig) -> GraphParams {
        let memory = MemoryKey { n_kv, ..MemoryKey::default() };
        let shape =
            GraphShape { n_tokens, n_seqs_unq: 1, n_outputs, from_embeddings: false, n_enc: 0, memory };
        GraphParams {
            kind: GraphKind::Decoder,
            shape,
            rope,
            causal: true,
            flash_attn: true,
            embeddings: None,
        }
    }

    /// Whether nobody looks at single rows, so that logits need not be computed.
    pub fn is_pooled(&self) -> bool {
        self.embeddings.is_some_and(|pooling| pooling != Pooling::None)
    }

    /// Whether a graph built for `other` has the nodes this one would have, inputs aside (`allow_reuse`).
    fn same_nodes(&self, other: &GraphParams) -> bool {
        let nodes = |p: &GraphParams| {
            (
                p.kind,
                p.causal,
                p.embeddings,
                p.shape.n_tokens,
                p.shape.n_outputs,
                p.shape.from_embeddings,
                p.shape.n_enc,
            )
        };
        let settings = |p: &GraphParams| (p.rope, p.flash_attn);
        nodes(self) == nodes(other) && settings(self) == settings(other)
    }
}

/// What a graph computes for others than itself.
#[derive(Clone, Copy, Debug)]
pub struct GraphOutputs {
    /// Logits, f32 `[n_vocab, n_outputs]`; `None` where sequences are pooled, and of models that have none.
    pub logits: Option<TensorId>,
    /// Final normalised rows, f32 `[n_embd, n_outputs]`.
    pub embd: TensorId,
    /// One row per sequence in the order of `Ubatch::seq_id_unq`, f32 `[n_embd, n_seqs_unq]`; with [`Pooling::Rank`] its scores,
    /// `[n_scores, n_seqs_unq]`.
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
    /// Its inputs: the shift of each cell of each cache, and what keys are rotated by.
    pub inputs: Vec<Box<dyn GraphInput>>,
}
