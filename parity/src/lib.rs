//! The parity audit: the same inputs through Quipu and through a llama.cpp build, compared by stated rules.
//!
//! With a checkout, small C++ probes (`probes/`) are compiled against its headers and libraries and asked
//! live; without one, recorded answers (`goldens/`) are replayed. A comparison ends in a [`Verdict`]; what was
//! not compared is counted as skipped, never as passed. Nothing of the engine depends on this crate.
#![forbid(unsafe_code)]

pub mod adapters;
pub mod alloc;
pub mod architectures;
pub mod cache_types;
pub mod checkout;
mod commands;
pub mod convert;
pub mod encoders;
pub mod engine;
mod error;
pub mod gemma;
pub mod generation;
pub mod gguf;
mod golden_files;
pub mod goldens;
pub mod imatrix;
pub mod loader;
pub mod logits;
pub mod memory;
pub mod models;
pub mod nodes;
pub mod quant;
pub mod quantize;
pub mod report;
pub mod sampler;
pub mod small;
pub mod state_files;
pub mod tap;
pub mod tokenizer;
pub mod toy;
pub mod verdicts;

pub use error::Error;
pub use report::{Report, Row, Verdict};
