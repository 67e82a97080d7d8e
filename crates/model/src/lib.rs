//! Models: metadata to typed hyper-parameters, weights into memory, and one graph builder per architecture.
//!
//! Counterpart of `llama-arch`, `llama-hparams`, `llama-model-loader`, `llama-model` and `src/models/*`.
//! An architecture is one file in `archs/` and one line in its table: what its metadata says, and which blocks (`blocks/`) it is composed
//! of. A block owns its weights, builds its part of the graph and says what it remembers. Batches, caches' contents and
//! execution belong to `quipu-decoder`; this crate only says what is computed from what.
//!
//! ```
//! use quipu_backend::BufferTable;
//! use quipu_cpu_backend::{CpuBufferType, CpuDevice};
//! use quipu_kv_cache::{KvCache, KvParams};
//! use quipu_model::{CACHE_TYPE, GraphParams, LoadParams, Model, RopeConfig, RopeOverrides};
//!
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../quipu/stories-1m.gguf");
//! let file = quipu_gguf::GgufFile::open(path)?; // a model of a million parameters
//! let model = Model::load(&file, &CpuDevice::default(), &mut LoadParams::default())?;
//! assert_eq!(model.architecture(), "llama");
//! assert_eq!(model.kv_layers().len(), model.hparams().n_layer());
//!
//! // The graph of four tokens that ends in the logits of the last, over a cache of 256 cells.
//! let cells = KvParams { n_cells: 256, layers: model.kv_layers(), ..KvParams::default() };
//! let cache = KvCache::new(&cells, &CpuBufferType, &mut BufferTable::new())?;
//! let rope = RopeConfig::new(model.hparams(), &RopeOverrides::default(), 256);
//! let built = model.build_graph(&GraphParams::decoder(4, 1, 256, rope), &cache)?;
//! let logits = built.outputs.logits.expect("a decoder has logits");
//! assert_eq!(built.graph[logits].ne, [model.hparams().n_vocab, 1, 1, 1]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod adapter;
mod archs;
mod blocks;
mod build;
mod describe;
mod error;
mod graph;
mod hparams;
mod inputs;
mod layer_map;
mod loader;
mod memory;
mod model;
mod pool;
mod pooling;
pub mod quantize;
mod rope;
mod weight;

pub use adapter::{ActiveLora, ActiveSteering, Adapters, ControlVector, LoraAdapter, Steering};
pub use archs::ARCHITECTURES;
pub use describe::{file_type_name, value_text};
pub use error::{Error, LoadPhase};
pub use graph::{BuiltGraph, GraphKind, GraphOutputs, GraphParams, ShiftGraph};
pub use hparams::{
    Chunks, EncoderHparams, Experts, Gating, Hparams, LayerHparams, LayerRope, Multipliers, NormKind,
    RopeScaling, Rwkv, Ssm, Window, WindowKind, Xielu, Yarn,
};
pub use layer_map::LayerMap;
pub use loader::{BufferOverride, LoadOptions, LoadParams, LoadStats, SizeOnly, Upload, UploadSink};
pub use memory::{CACHE_TYPE, KvEstimate, LayerMemory, kv_estimate};
pub use model::Model;
pub use pooling::Pooling;
pub use rope::{RopeConfig, RopeOverrides};
