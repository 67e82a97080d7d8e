//! The KV cache: which cell holds which position of which sequences, and where its bytes are.
//!
//! Counterpart of `llama-kv-cache.cpp`, `llama-kv-cells.h` and `llama-memory.h`. [`KvCells`] is the
//! bookkeeping, [`KvCache`] finds slots in it, owns the K and V memory of all layers and fills the inputs a
//! graph needs; [`KvGraph`] puts stores and reads of the cache into a graph under construction. What is
//! attended to with which heads is the model's business, batches and their order the decoder's.
//!
//! One stream: all sequences share the cells. Values are stored untransposed, as flash attention reads them.
#![forbid(unsafe_code)]

mod cache;
mod cells;
mod error;
mod graph;
mod input;
mod memory;
mod seq_set;
mod slot;

pub use cache::{KvCache, KvLayerShape, KvParams};
pub use cells::KvCells;
pub use error::Error;
pub use graph::KvGraph;
pub use input::MaskScratch;
pub use memory::Memory;
pub use seq_set::SeqSet;
pub use slot::{SlotPlan, UbatchView};

/// Position of a token in its sequence (`llama_pos`); -1 = none, or an open end of a range.
pub type Pos = i32;

/// Number of a sequence (`llama_seq_id`); -1 = any, where an operation allows it.
pub type SeqId = i32;

/// Sequences a cell can tell apart (`LLAMA_MAX_SEQ`).
pub const MAX_SEQ: usize = 256;
