//! LLM inference in Rust that mirrors ggml / llama.cpp module for module.
//!
//! This is the crate a program embeds: open a model, make a session, generate or embed. The parts it stands
//! on (`quipu-gguf`, `quipu-tokenizer`, `quipu-decoder`, ...) are crates of their own and usable alone.
//!
//! ```
//! # #[cfg(feature = "embedded-model")]
//! fn main() -> Result<(), quipu::Error> {
//!     let model = quipu::Model::embedded()?; // or quipu::Model::open("model.gguf")
//!     let mut session = model.session(&quipu::SessionOptions::default())?;
//!     let options = quipu::GenerateOptions { max_tokens: Some(24), ..Default::default() };
//!     let outcome = session.generate("Once upon a time", &options, |text| {
//!         print!("{text}");
//!         quipu::Flow::Continue
//!     })?;
//!     println!("\n[{} tokens, {:?}]", outcome.n_generated, outcome.stop);
//!     Ok(())
//! }
//! # #[cfg(not(feature = "embedded-model"))]
//! # fn main() {}
//! ```
#![forbid(unsafe_code)]

mod bench;
mod chat;
#[cfg(feature = "convert")]
pub mod convert;
mod embed;
mod error;
mod generate;
mod gpu;
mod imatrix;
mod memory;
mod model;
mod perplexity;
mod plan;
mod quantize;
mod session;
mod stop;
pub mod telemetry;
mod vocabulary;

pub use bench::{BenchTest, run_bench};
pub use chat::{open_chat_template, template_for as chat_template_for};
pub use error::Error;
pub use generate::{
    CancelToken, ContextFull, Event, Flow, GenerateOptions, Generation, Outcome, StopReason, TokenLogprobs,
    TopToken,
};
pub use gpu::gpu_devices;
pub use imatrix::{ImatrixOptions, ImatrixProgress};
pub use memory::{MemoryEstimate, memory_estimate};
pub use model::Model;
pub use perplexity::Perplexity;
pub use plan::{MemoryPlan, PlanOptions};
pub use quantize::{FileType, QuantizeParams, QuantizePlan, Quantizer, TensorPlan};
pub use quipu_chat::{Capabilities, ChatTemplate, Conversation, Message, Variables};
pub use quipu_decoder::Pooling;
pub use quipu_gguf::LoadMode;
pub use quipu_model::quantize::Imatrix;
pub use quipu_model::{BufferOverride, LoadOptions, LoadParams, LoadPhase, LoadStats, file_type_name};
pub use quipu_sampler::{Chain, SamplerParams};
pub use quipu_tokenizer::Tokenizer;
pub use session::{Session, SessionOptions, Timings};
pub use vocabulary::open_tokenizer;

/// What devices are, and what ran on them.
pub use quipu_backend::{Device, DeviceKind, DeviceMemory, SchedulerStats};

/// The memory planner, for programs that look into plans.
pub use quipu_alloc as alloc;
/// Tensor types, for programs that quantise.
pub use quipu_quant::DType;

/// The GGUF reader, for programs that look into files.
pub use quipu_gguf as gguf;

/// Samplers, grammars and their parameters.
pub use quipu_sampler as sampler;

/// Token id in a model's vocabulary.
pub type TokenId = u32;

/// The programs in the documents compile and run.
#[cfg(all(doctest, feature = "embedded-model"))]
#[doc = include_str!("../../../docs/embedding.md")]
#[doc = include_str!("../../../README.md")]
struct Documents;
