//! The decoder: batches of tokens in, logits and embeddings out.
//!
//! Counterpart of `llama-context.cpp` and `llama-graph.cpp`. A [`Batch`] is checked, completed and split into
//! ubatches (`quipu-batch`), placed in the memory (`quipu-kv-cache`) and run through the model's
//! graph, which is kept and reused while its shape stays. [`Context`] owns everything a session needs: cache,
//! compute memory, outputs. What the graph computes is `quipu-model`'s business, where it runs
//! `quipu-backend`'s; sampling and text are above.
//!
//! In steady decoding nothing is allocated: all working memory lives in the context.
#![forbid(unsafe_code)]

mod context;
mod error;
mod inputs;
mod output;
mod params;
mod perf;

pub use context::Context;
pub use error::Error;
pub use params::{ContextParams, Pooling};
pub use perf::Perf;
pub use quipu_batch::{Batch, Error as BatchError, MAX_SEQ, Pos, SeqId, SeqIds, TokenId};
pub use quipu_kv_cache::Memory;
pub use quipu_model::{RopeOverrides, RopeScaling};
