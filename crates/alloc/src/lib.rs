//! Memory planning for compute graphs, after ggml-alloc.
//!
//! What lives here:
//! - [`ChunkAllocator`]: best-fit offsets inside up to 16 growing chunks (`ggml_dyn_tallocr`);
//! - [`Planner`] and [`Plan`]: where every tensor of a graph goes, with in-place reuse (`ggml_gallocr_alloc_graph_impl`);
//! - [`Plan::realloc_reason`]: whether a plan still serves a rebuilt graph (`ggml_gallocr_needs_realloc`);
//! - [`GraphAllocator`]: a plan plus the memory behind it (`ggml_gallocr`);
//! - [`split_tensors`], [`LinearAllocator`]: placing weights in a row of buffers (`ggml_backend_alloc_ctx_tensors_from_buft`);
//! - [`lifetimes`], [`peak_live_bytes`]: when each tensor is live, and the lower bound no plan can beat.
//!
//! What does not: tensors, ops and real buffers. The crate sees a graph through [`PlanGraph`], a buffer type
//! as a [`BufferSpec`] and memory through [`BackingAllocator`], so it is usable without the rest of Quipu.
//! Nothing here touches memory; all sizes and offsets are bytes.
#![forbid(unsafe_code)]

mod chunk;
mod error;
mod graph;
mod graph_allocator;
mod lifetime;
mod linear;
mod plan;
mod planner;
mod realloc;

pub use chunk::{Address, ChunkAllocator, FreeBlock, MAX_CHUNKS, MAX_SIZE};
pub use error::AllocError;
pub use graph::{BufferAssignment, BufferSpec, INPLACE_OPS, PlanGraph, View};
pub use graph_allocator::{BackingAllocator, GraphAllocator};
pub use lifetime::{Lifetime, lifetimes, peak_live_bytes};
pub use linear::{LinearAllocator, SplitLayout, split_tensors};
pub use plan::{Placement, Plan};
pub use planner::Planner;
pub use realloc::ReallocReason;
