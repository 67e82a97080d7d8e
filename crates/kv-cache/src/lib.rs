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
mod slot;

pub use cache::{KvCache, KvLayerShape, KvParams};
pub use cells::KvCells;
pub use error::Error;
pub use graph::KvGraph;
pub use input::MaskScratch;
pub use memory::Memory;
pub use quipu_batch::{MAX_SEQ, Pos, SeqId, SeqPositions, SeqSet};
pub use slot::SlotPlan;
