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
