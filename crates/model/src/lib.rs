//! Models: metadata to typed hyper-parameters, weights into memory, and one graph builder per architecture.
//!
//! Counterpart of `llama-arch`, `llama-hparams`, `llama-model-loader`, `llama-model` and `src/models/*`.
//! An architecture is one file in `archs/` and one line in its table. Batches, caches' contents and
//! execution belong to `quipu-decoder`; this crate only says what is computed from what.
#![forbid(unsafe_code)]

mod archs;
mod build;
mod error;
mod hparams;
mod loader;
mod model;
mod rope;
mod weights;

pub use archs::ARCHITECTURES;
pub use error::Error;
pub use hparams::Hparams;
pub use loader::LoadParams;
pub use model::{BuiltGraph, GraphInputs, GraphParams, Model, ShiftGraph};
pub use rope::{RopeConfig, RopeOverrides, RopeScaling};
