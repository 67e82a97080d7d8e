//! Models: metadata to typed hyper-parameters, weights into memory, and one graph builder per architecture.
//!
//! Counterpart of `llama-arch`, `llama-hparams`, `llama-model-loader`, `llama-model` and `src/models/*`.
//! An architecture is one file in `archs/` and one line in its table. Batches, caches' contents and
//! execution belong to `quipu-decoder`; this crate only says what is computed from what.
#![forbid(unsafe_code)]

mod archs;
mod build;
mod describe;
mod error;
mod hparams;
mod inputs;
mod loader;
mod memory;
mod model;
mod pooling;
pub mod quantize;
mod rope;
mod weights;

pub use archs::ARCHITECTURES;
pub use describe::{file_type_name, value_text};
pub use error::{Error, LoadPhase};
pub use hparams::Hparams;
pub use loader::{BufferOverride, LoadOptions, LoadParams, LoadStats, SizeOnly, Upload, UploadSink};
pub use memory::{CACHE_TYPE, KvEstimate, kv_estimate};
pub use model::{BuiltGraph, GraphKind, GraphOutputs, GraphParams, Model, ShiftGraph};
pub use pooling::Pooling;
pub use rope::{RopeConfig, RopeOverrides, RopeScaling};
