//! The decoder: batches of tokens in, logits and embeddings out.
//!
//! Counterpart of `llama-batch.cpp`, `llama-context.cpp` and `llama-graph.cpp`. A [`Batch`] is checked and
//! completed ([`CheckedBatch`]), split into [`Ubatch`]es, placed in the KV cache and run through the model's
//! graph, which is kept and reused while its shape stays. [`Context`] owns everything a session needs: cache,
//! compute memory, outputs. What the graph computes is `quipu-model`'s business, where it runs
//! `quipu-backend`'s; sampling and text are above.
//!
//! In steady decoding nothing is allocated: all working memory lives in the context.
#![forbid(unsafe_code)]

mod batch;
mod check;
mod context;
mod error;
mod inputs;
mod output;
mod params;
mod perf;
mod split;

pub use batch::{Batch, SeqIds, TokenId};
pub use check::{BatchLimits, CheckedBatch};
pub use context::Context;
pub use error::Error;
pub use params::{ContextParams, Pooling};
pub use perf::Perf;
pub use quipu_kv_cache::{MAX_SEQ, Memory, Pos, SeqId, SeqSet};
pub use quipu_model::{RopeOverrides, RopeScaling};
pub use split::Ubatch;
