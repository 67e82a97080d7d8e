//! The decoder: batches of tokens in, logits and embeddings out.
//!
//! Counterpart of `llama-context.cpp` and `llama-graph.cpp`. A [`Batch`] is checked, completed and split into
//! ubatches (`quipu-batch`), placed in the memory (`quipu-kv-cache`) and run through the model's
//! graph, which is kept and reused while its shape stays. [`Context`] owns everything a session needs: cache,
//! compute memory, outputs. What the graph computes is `quipu-model`'s business, where it runs
//! `quipu-backend`'s; sampling and text are above.
//!
//! In steady decoding nothing is allocated: all working memory lives in the context.
//!
//! A prompt, then the likeliest token again and again:
//!
//! ```
//! use std::sync::Arc;
//!
//! use quipu_cpu_backend::CpuDevice;
//! use quipu_decoder::{Batch, Context, ContextParams};
//! use quipu_model::{LoadParams, Model};
//!
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../quipu/stories-1m.gguf");
//! let device = CpuDevice::default();
//! let file = quipu_gguf::GgufFile::open(path)?;
//! let model = Arc::new(Model::load(&file, &device, &mut LoadParams::default())?);
//! let params = ContextParams { n_ctx: 256, n_threads: 2, n_threads_batch: 2, ..ContextParams::default() };
//! let mut context = Context::new(model, &device, &params)?;
//!
//! context.decode(&Batch::single(&[1, 2, 3]))?;
//! for _ in 0..4 {
//!     let logits = context.logits(-1)?;
//!     let likeliest = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap_or(0);
//!     context.decode(&Batch::single(&[likeliest as u32]))?;
//! }
//! assert_eq!(context.memory().seq_pos_max(0), 6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod adapters;
mod callbacks;
mod context;
mod error;
mod output;
mod params;
mod perf;
mod state_file;

pub use adapters::LoraUse;
pub use context::{Context, MemoryBytes, StateFlags};
pub use error::Error;
pub use params::{ContextParams, FlashAttn};
pub use perf::Perf;
pub use quipu_batch::{Batch, Error as BatchError, MAX_SEQ, Pos, SeqId, SeqLists, TokenId};
pub use quipu_kv_cache::{Memory, StateBytes, StateRead, StateSize, StateWrite};
pub use quipu_model::{GraphKind, Pooling, RopeOverrides, RopeScaling};
