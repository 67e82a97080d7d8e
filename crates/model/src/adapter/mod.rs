//! What changes a model at work without changing its weights: low-rank additions to its matrices ([`LoraAdapter`]) and directions added
//! to what its layers give ([`ControlVector`]).
//!
//! Answers to `llama-adapter.cpp`. Here are the files, their checks against a model and their memory, and what they add to a graph; which
//! of them are at work, how strongly and for whom, is the context's business ([`Adapters`]).

mod control_vector;
mod files;
mod lora;

use std::sync::Arc;

use quipu_kv_cache::SeqId;

use crate::hparams::Hparams;
use crate::layer_map::LayerMap;

pub use control_vector::{ControlVector, Steering};
pub use lora::LoraAdapter;

pub(crate) use files::shifted;

/// What is at work on a model's graphs.
#[derive(Clone, Debug, Default)]
pub struct Adapters {
    /// Low-rank additions, in the order in which they are added.
    pub loras: Vec<ActiveLora>,
    /// Directions.
    pub steering: Option<ActiveSteering>,
}

impl Adapters {
    /// None.
    pub const NONE: Adapters = Adapters { loras: Vec::new(), steering: None };
}

/// An adapter at work.
#[derive(Clone, Debug)]
pub struct ActiveLora {
    /// The adapter.
    pub adapter: Arc<LoraAdapter>,
    /// How strongly.
    pub scale: f32,
    /// For tokens whose first sequence is one of these; `None`: for all.
    pub sequences: Option<Vec<SeqId>>,
    /// The number that the adapter's first buffer has where the graph runs; the others follow.
    pub first_buffer: u32,
}

/// Directions at work.
#[derive(Clone, Debug)]
pub struct ActiveSteering {
    /// The directions.
    pub steering: Arc<Steering>,
    /// The number that their first buffer has where the graph runs; the others follow.
    pub first_buffer: u32,
}

/// What adapters must know of a model to fit it.
pub(crate) struct Adapted<'a> {
    pub architecture: &'a str,
    pub hparams: &'a Hparams,
    pub layer_map: &'a LayerMap,
    /// Shapes of its tensors by name.
    pub shape: &'a dyn Fn(&str) -> Option<[usize; 4]>,
}
