//! What architectures are composed of. A block owns its weights: it takes them from the file (`load`), adds its part to a ubatch's graph
//! (`forward`) and says what its layer remembers of each token (`memory`).
//!
//! Answers to the building half of `llm_graph_context` and the tensors of `llama_layer`. Which blocks an architecture has, in which order
//! and with which options, its file in `archs/` says.

mod attention;
mod beside;
mod by_input;
mod decoder;
mod delta_net;
mod embeddings;
mod encoder;
mod ffn;
mod gated_attention;
mod grove;
mod head;
mod kda;
mod layer;
mod linear;
mod mamba;
mod mamba2;
mod mla;
mod moe;
mod norm;
mod per_layer;
mod relative;
mod rope;
mod rwkv;
mod rwkv_parts;
mod short_conv;
mod single;
mod time_mix6;
mod time_mix7;
mod transformer;

use std::fmt::Debug;

use quipu_graph::TensorId;

use crate::build::Builder;
use crate::error::Error;
use crate::graph::BuiltGraph;
use crate::memory::LayerMemory;

pub(crate) use attention::{
    Attention, AttentionSpec, GateSpec, GateWidth, Projections, QkNorm, Scale, Values,
};
pub(crate) use beside::Beside;
pub(crate) use by_input::ByInput;
pub(crate) use decoder::{Decoder, Factors, MoeLayers, Norms};
pub(crate) use delta_net::{DeltaNet, DeltaNetKind};
pub(crate) use embeddings::{Embeddings, Output, OutputSpec, Tied};
pub(crate) use encoder::Encoder;
pub(crate) use ffn::{Activation, Ffn, FfnSpec, Gate, Scales};
pub(crate) use gated_attention::GatedAttention;
pub(crate) use grove::Grove;
pub(crate) use head::{Head, HeadSpec, Headed};
pub(crate) use kda::Kda;
pub(crate) use layer::{Layer, Residual};
pub(crate) use linear::{Bias, Linear};
pub(crate) use mamba::{Conv, Mamba, columns, parts, scan};
pub(crate) use mamba2::Mamba2;
pub(crate) use mla::{Mla, MlaSpec};
pub(crate) use moe::{Choice, Moe, MoeSpec, Shared};
pub(crate) use norm::Norm;
pub(crate) use per_layer::{PerLayer, PerLayerInputs, slice};
pub(crate) use relative::{CrossAttention, RelativeAttention};
pub(crate) use rope::{KeyRotation, Rope, RopeFactors};
pub(crate) use rwkv::{ChannelMix, Feed, Rwkv, RwkvLayer, TimeMix};
pub(crate) use short_conv::ShortConv;
pub(crate) use single::Singles;
pub(crate) use time_mix6::TimeMix6;
pub(crate) use time_mix7::TimeMix7;
pub(crate) use transformer::Transformer;

/// A part of a layer: rows of the residual stream in, rows of the same width out.
pub(crate) trait Block: Debug + Send + Sync {
    /// Adds the block to a graph: f32 `[n_embd, n_tokens]` to f32 `[n_embd, n_tokens]`.
    fn forward(&self, b: &mut Builder<'_>, x: TensorId) -> Result<TensorId, Error>;

    /// [`Block::forward`] of a feed-forward block, most of which do not care what the layer as a whole was given.
    fn forward_in_layer(
        &self,
        b: &mut Builder<'_>,
        x: TensorId,
        _layer_input: TensorId,
    ) -> Result<TensorId, Error> {
        self.forward(b, x)
    }

    /// What it remembers of each token.
    fn memory(&self) -> LayerMemory {
        LayerMemory::None
    }

    /// How the keys it remembers follow their tokens to other positions; `None` if they do not depend on them.
    fn key_rotation(&self) -> Option<KeyRotation<'_>> {
        None
    }
}

/// All of a model: an architecture's composition. Most are [`Transformer`]s.
pub(crate) trait Network: Debug + Send + Sync {
    /// Adds the model to a graph, from its inputs to its logits, and closes it.
    fn forward(&self, b: Builder<'_>) -> Result<BuiltGraph, Error>;

    /// What each layer remembers.
    fn memory(&self) -> Vec<LayerMemory>;

    /// How the remembered keys of layer `il` follow their tokens to other positions.
    fn key_rotation(&self, il: usize) -> Option<KeyRotation<'_>>;

    /// What scores texts and what stands behind their pooled rows, if there is such.
    fn head(&self) -> Option<&Head> {
        None
    }
}
