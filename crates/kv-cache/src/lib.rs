//! The memory of a context: what it keeps of tokens that were computed, and where.
//!
//! Counterpart of `llama-memory.h`, `llama-kv-cache.cpp` and `llama-kv-cells.h`. [`Memory`] is what every kind of memory offers:
//! sequence operations, planning a batch ([`MemoryPlan`]), pending updates, state. There are two kinds: [`KvCache`], the unified cache,
//! and [`NoMemory`], where a ubatch attends over itself. [`KvCells`] is the cache's bookkeeping: which cell holds which position of which
//! sequences.
//!
//! [`AttentionGraph`] puts a memory's part into a graph under construction and registers its inputs ([`GraphInput`]). What is attended to
//! with which heads is the model's business, running graphs the decoder's.
//!
//! One stream: all sequences share the cells. Values are stored untransposed, as flash attention reads them.
//!
//! A cache of 256 cells takes a prompt of five tokens in ubatches of three, then forgets its last two:
//!
//! ```
//! use quipu_backend::BufferTable;
//! use quipu_batch::{Batch, BatchLimits, CheckedBatch, SeqPositions};
//! use quipu_graph::DType;
//! use quipu_kv_cache::{KvCache, KvLayerShape, KvParams, Memory, MemoryPlan};
//!
//! let layers = vec![KvLayerShape { n_embd_k_gqa: 64, n_embd_v_gqa: 64 }; 2];
//! let params = KvParams { n_cells: 256, n_seq_max: 1, type_k: DType::F16, type_v: DType::F16, layers };
//! let mut buffers = BufferTable::new();
//! let mut cache = KvCache::new(&params, &quipu_cpu_backend::CpuBufferType, &mut buffers)?;
//!
//! let limits = BatchLimits { n_vocab: 100, n_embd: 64, n_seq_max: 1, output_all: false };
//! let mut batch = CheckedBatch::new();
//! batch.init(&Batch::single(&[5, 7, 9, 11, 13]), &limits, Some(&cache))?;
//! let mut plan = MemoryPlan::new();
//! cache.plan(&mut batch, 3, &mut plan)?; // nothing is taken yet
//! while cache.apply(&mut plan) {
//!     // Here the graph runs that computes `plan.ubatch()` into the cells `plan.slot()`.
//! }
//! assert_eq!((plan.len(), cache.n_used(), cache.seq_pos_max(0)), (2, 5, 4));
//!
//! assert!(cache.seq_rm(0, 3, -1)?);
//! assert_eq!((cache.n_used(), cache.seq_pos_max(0)), (3, 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod attention;
mod cache;
mod cache_input;
mod cache_state;
mod cells;
mod error;
mod graph;
mod input;
mod memory;
mod none;
mod plan;
mod slot;
mod state;
mod unified;

pub use attention::AttentionGraph;
pub use cache::{KvCache, KvLayerShape, KvParams};
pub use cache_input::{KShift, MaskScratch};
pub use cells::KvCells;
pub use error::Error;
pub use graph::KvGraph;
pub use input::{GraphInput, GraphShape, InputSource, write_input};
pub use memory::Memory;
pub use none::NoMemory;
pub use plan::{MemoryKey, MemoryPlan};
pub use quipu_batch::{MAX_SEQ, Pos, SeqId, SeqPositions, SeqSet};
pub use slot::SlotPlan;
pub use state::{StateBytes, StateRead, StateSize, StateWrite};
