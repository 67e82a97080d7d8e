//! The memory of a context: what it keeps of tokens that were computed, and where.
//!
//! Counterpart of `llama-memory.h`, `llama-kv-cache.cpp`, `llama-kv-cache-iswa.cpp`, `llama-kv-cells.h`, `llama-memory-recurrent.cpp`
//! and `llama-memory-hybrid*.cpp`. [`Memory`] is what every kind of
//! memory offers: sequence operations, planning a batch ([`MemoryPlan`]), pending updates, state. There are five kinds: [`KvCache`], whose
//! cells all sequences share or which has a stream of cells for each; [`WindowedKvCache`], a pair of them for models in which some layers
//! see only a [`Window`] of the past; [`RecurrentMemory`], with one state for each sequence; [`HybridMemory`], caches and states for models
//! with layers of both kinds; and [`NoMemory`], where a ubatch attends over itself. [`KvCells`] is a stream's bookkeeping: which cell
//! holds which position of which sequences.
//!
//! [`AttentionGraph`] and [`RecurrentGraph`] put a memory's part into a graph under construction and register its inputs ([`GraphInput`]). What is attended to
//! with which heads is the model's business, running graphs the decoder's.
//!
//! Values are stored row by row, as flash attention reads them, or element by element for attention without it (`KvParams::v_trans`).
//!
//! A cache of 256 cells takes a prompt of five tokens in ubatches of three, then forgets its last two:
//!
//! ```
//! use quipu_backend::BufferTable;
//! use quipu_batch::{Batch, BatchLimits, CheckedBatch, SeqPositions};
//! use quipu_kv_cache::{KvCache, KvLayerShape, KvParams, KvPart, Memory, MemoryPlan};
//!
//! let layers = vec![KvLayerShape { n_embd_k_gqa: 64, n_embd_v_gqa: 64 }; 2];
//! let params = KvParams { n_cells: 256, layers, ..KvParams::default() };
//! let mut buffers = BufferTable::new();
//! let mut cache = KvCache::new(&params, &quipu_cpu_backend::CpuBufferType, &mut buffers)?;
//!
//! let limits = BatchLimits { n_vocab: 100, n_embd: 64, n_seq_max: 1, n_pos: 1, output_all: false };
//! let mut batch = CheckedBatch::new();
//! batch.init(&Batch::single(&[5, 7, 9, 11, 13]), &limits, Some(&cache))?;
//! let mut plan = MemoryPlan::new();
//! cache.plan(&mut batch, 3, &mut plan)?; // nothing is taken yet
//! while cache.apply(&mut plan) {
//!     // Here the graph runs that computes `plan.ubatch()` into the cells `plan.slot(KvPart::Full)`.
//!     assert!(plan.slot(KvPart::Full).len() <= 3);
//! }
//! assert_eq!((plan.len(), cache.n_used(), cache.seq_pos_max(0)), (2, 5, 4));
//!
//! assert!(cache.seq_rm(0, 3, -1)?);
//! assert_eq!((cache.n_used(), cache.seq_pos_max(0)), (3, 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod attention;
mod attention_kind;
mod cache;
mod cache_input;
mod cache_memory;
mod cache_state;
mod cells;
mod cross;
mod error;
mod graph;
mod hybrid;
mod input;
mod layout;
mod memory;
mod none;
mod part;
mod plan;
mod recurrent;
mod recurrent_cells;
mod recurrent_graph;
mod recurrent_memory;
mod recurrent_state;
mod rotation;
mod rotation_input;
mod slot;
mod state;
mod stream;
mod window;
mod windowed;

pub use attention::{AttentionGraph, as_half};
pub use attention_kind::AttentionKind;
pub use cache::{CACHE_TYPES, KvCache, KvLayerShape, KvParams};
pub use cache_input::{KShift, MaskScratch};
pub use cells::KvCells;
pub use cross::CrossState;
pub use error::Error;
pub use graph::{KvGraph, KvView};
pub use hybrid::{HybridKvParams, HybridMemory};
pub use input::{GraphInput, GraphShape, InputSource, write_input, write_input_rows};
pub use memory::Memory;
pub use none::NoMemory;
pub use part::KvPart;
pub use plan::{MemoryKey, MemoryPlan, RecurrentKey};
pub use quipu_batch::{MAX_SEQ, Pos, SeqId, SeqPositions, SeqSet};
pub use recurrent::{RecurrentMemory, RecurrentParams, RecurrentShape, StatePart};
pub use recurrent_cells::RecurrentCell;
pub use recurrent_graph::RecurrentGraph;
pub use rotation_input::{Rotation, rotate};
pub use slot::SlotPlan;
pub use state::{StateBytes, StateRead, StateSize, StateWrite};
pub use window::{Window, WindowKind};
pub use windowed::{WindowedKvCache, WindowedKvParams};
