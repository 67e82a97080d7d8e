//! LLM inference in Rust that mirrors ggml / llama.cpp module for module.
//!
//! This is the crate a program embeds: open a [`Model`], make a [`Session`], generate or embed. The parts it stands
//! on (`quipu-gguf`, `quipu-tokenizer`, `quipu-decoder`, ...) are crates of their own and usable alone.
//!
//! One text after the other:
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
//!
//! Several at once, with one batch per step. Each gives what it would give alone, and an error of one is no error of the
//! others:
//!
//! ```
//! # #[cfg(feature = "embedded-model")]
//! fn main() -> Result<(), quipu::Error> {
//!     use quipu::{EngineOptions, EventRef, GenerateOptions, Model};
//!     let mut engine = Model::embedded()?.engine(&EngineOptions::default())?; // four places
//!     let options = GenerateOptions { max_tokens: Some(24), ..Default::default() };
//!     for prompt in ["Once upon a time", "The old man", "One day"] {
//!         engine.add_text(prompt, &options)?; // also while others are under way
//!     }
//!     while engine.n_live() > 0 {
//!         engine.step()?;
//!         while let Some((key, event)) = engine.next_event() {
//!             if let EventRef::Done(outcome) = event? {
//!                 println!("{key:?}: {}", outcome.text);
//!             }
//!         }
//!     }
//!     Ok(())
//! }
//! # #[cfg(not(feature = "embedded-model"))]
//! # fn main() {}
//! ```
//!
//! The layers, from the top: a [`Session`] is an [`Engine`] with one sequence; an [`Engine`] drives [`Sequence`]s over one
//! decoder; a [`Sequence`] is a value that is fed logits and says what it wants next, for those who drive a decoder of
//! their own ([`Session::context`] is one).
#![forbid(unsafe_code)]

mod audit;
mod bench;
mod chat;
mod embed;
mod engine;
mod error;
mod eval;
mod generate;
mod generation;
mod gpu;
mod imatrix;
mod memory;
mod model;
mod options;
mod perplexity;
mod plan;
mod quantize;
mod sequence;
mod session;
mod stop;
pub mod telemetry;
mod vocabulary;

pub use audit::{Agreement, AuditOptions, Parting, Transcript};
pub use bench::{BenchTest, run_bench};
pub use chat::{open_chat_template, template_for as chat_template_for};
pub use embed::normalize_row;
pub use engine::{Engine, SequenceKey};
pub use error::Error;
pub use eval::{Answer, AnswerMatch, EvalReport};
pub use generate::{
    CancelToken, ContextFull, Event, EventRef, Flow, GenerateOptions, Outcome, StopReason, TokenLogprobs,
    TopToken,
};
pub use generation::Generation;
pub use gpu::{DeviceChoice, SplitMode, gpu_devices};
pub use imatrix::{ImatrixOptions, ImatrixProgress};
pub use memory::{MemoryEstimate, memory_estimate, n_active_params};
pub use model::Model;
pub use options::{DEFAULT_N_CTX, EngineOptions, SessionOptions};
pub use perplexity::{BaseReader, BaseWriter, Estimate, KlDivergence, Perplexity, PerplexityOptions};
pub use plan::{MemoryPlan, PlanOptions};
pub use quantize::{FileType, QuantizeParams, QuantizePlan, Quantizer, TensorPlan};
pub use quipu_chat::{Capabilities, ChatTemplate, Conversation, Message, Variables};
pub use quipu_decoder::{Context, FlashAttn, LoraUse, MAX_SEQ, Pooling, RopeOverrides, RopeScaling};
pub use quipu_gguf::LoadMode;
pub use quipu_kv_cache::CACHE_TYPES;
pub use quipu_model::quantize::Imatrix;
pub use quipu_model::{
    ARCHITECTURES, BufferOverride, ControlVector, LoadOptions, LoadParams, LoadPhase, LoadStats, LoraAdapter,
    Steering, file_type_name,
};
pub use quipu_sampler::{Chain, SamplerParams};
pub use quipu_tokenizer::Tokenizer;
pub use sequence::{Sequence, Step};
pub use session::Session;
pub use telemetry::Timings;
pub use vocabulary::open_tokenizer;

/// What devices are, and what ran on them.
pub use quipu_backend::{Device, DeviceKind, DeviceMemory, Devices, SchedulerStats};

/// The memory planner, for programs that look into plans.
pub use quipu_alloc as alloc;
/// Tensor types, for programs that quantise.
pub use quipu_quant::DType;

/// The GGUF reader, for programs that look into files.
pub use quipu_gguf as gguf;

/// Samplers, grammars and their parameters.
pub use quipu_sampler as sampler;

/// Token id in a model's vocabulary.
pub use quipu_batch::TokenId;

/// The programs in the documents compile and run.
#[cfg(all(doctest, feature = "embedded-model"))]
#[doc = include_str!("../../../docs/embedding.md")]
#[doc = include_str!("../../../README.md")]
struct Documents;
