//! The weights of a model as the graph builders see them: name, shape and place.

use quipu_graph::{DType, Storage};

/// A weight in memory.
#[derive(Clone, Debug)]
pub(crate) struct Weight {
    pub name: String,
    pub dtype: DType,
    pub ne: [usize; 4],
    pub storage: Storage,
}

/// A matrix with what may follow it: a bias, and one factor for the whole product (which files quantised
/// to types with narrow scales carry).
#[derive(Debug)]
pub(crate) struct Linear {
    pub w: Weight,
    pub b: Option<Weight>,
    pub scale: Option<Weight>,
}

impl Linear {
    /// Without its factor: in some places the reference loads factors and does not apply them.
    pub fn unscaled(self) -> Linear {
        Linear { scale: None, ..self }
    }
}

/// The weights outside the layers.
#[derive(Debug)]
pub(crate) struct Weights {
    pub tok_embd: Weight,
    /// Learned positions, `[n_embd, n_ctx_train]`.
    pub pos_embd: Option<Weight>,
    pub output_norm: Weight,
    pub output_norm_b: Option<Weight>,
    /// The output matrix; a second use of the token embeddings where the two are tied.
    pub output: Linear,
    pub layers: Vec<Layer>,
}

/// The weights of a layer. Answers to `llama_layer`.
#[derive(Debug)]
pub(crate) struct Layer {
    pub attn_norm: Weight,
    pub attn_norm_b: Option<Weight>,
    pub qkv: Qkv,
    pub attn_q_norm: Option<Weight>,
    pub attn_k_norm: Option<Weight>,
    pub wo: Linear,
    /// Per-frequency divisors, shared by all layers.
    pub rope_freqs: Option<Weight>,
    pub ffn_norm: Weight,
    pub ffn_norm_b: Option<Weight>,
    pub ffn_gate: Option<Linear>,
    pub ffn_up: Linear,
    pub ffn_down: Linear,
}

/// The projections to queries, keys and values: one matrix or three.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one for each layer, never moved
pub(crate) enum Qkv {
    Fused(Linear),
    Separate { q: Linear, k: Linear, v: Linear },
}
