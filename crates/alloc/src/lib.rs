//! Memory planning for compute graphs, after ggml-alloc.
//!
//! What lives here:
//! - [`ChunkAllocator`]: best-fit offsets inside up to 16 growing chunks (`ggml_dyn_tallocr`);
//! - [`Planner`] and [`Plan`]: which tensors share memory and when, with in-place reuse (`ggml_gallocr_alloc_graph_impl`);
//! - [`Strategy`]: where the memory lies; [`Greedy`] gives ggml's plans, [`Offline`] needs less;
//! - [`Plan::realloc_reason`]: whether a plan still serves a rebuilt graph (`ggml_gallocr_needs_realloc`);
//! - [`GraphAllocator`]: a plan plus the memory behind it (`ggml_gallocr`);
//! - [`split_tensors`], [`TensorMemory`], [`LinearAllocator`]: weights in a row of buffers
//!   (`ggml_backend_alloc_ctx_tensors_from_buft`, `ggml_tallocr`);
//! - [`lifetimes`], [`peak_live_bytes`]: when each tensor is live, and the lower bound no plan can beat;
//! - [`Timeline`]: a plan as text or SVG, who lies where and when.
//!
//! What does not: tensors, ops and real buffers. The crate sees a graph through [`PlanGraph`], a buffer type
//! as a [`BufferSpec`] and memory through [`BackingAllocator`], so it is usable without the rest of Quipu.
//! Nothing here touches memory; all sizes and offsets are bytes.
//!
//! ```
//! use quipu_alloc::{BufferAssignment, BufferSpec, Offline, PlanGraph, Planner, View, peak_live_bytes};
//!
//! /// A pipeline: stage `i` reads what stage `i - 1` wrote.
//! struct Pipeline {
//!     sizes: Vec<u64>,
//! }
//!
//! impl PlanGraph for Pipeline {
//!     fn n_tensors(&self) -> usize { self.sizes.len() }
//!     fn n_nodes(&self) -> usize { self.sizes.len() - 1 }
//!     fn node(&self, i: usize) -> u32 { i as u32 + 1 }
//!     fn n_leafs(&self) -> usize { 1 }
//!     fn leaf(&self, _: usize) -> u32 { 0 }
//!     fn n_sources(&self, tensor: u32) -> usize { usize::from(tensor > 0) }
//!     fn source(&self, tensor: u32, _: usize) -> Option<u32> { tensor.checked_sub(1) }
//!     fn view_of(&self, _: u32) -> Option<View> { None }
//!     fn alloc_size(&self, tensor: u32, _buffer: u32) -> u64 { self.sizes[tensor as usize] }
//!     fn is_input(&self, tensor: u32) -> bool { tensor == 0 }
//!     fn is_output(&self, tensor: u32) -> bool { tensor as usize == self.sizes.len() - 1 }
//!     fn is_external(&self, _: u32) -> bool { false }
//!     fn can_inplace(&self, _: u32) -> bool { false }
//!     fn same_layout(&self, a: u32, b: u32) -> bool { self.alloc_size(a, 0) == self.alloc_size(b, 0) }
//! }
//!
//! let graph = Pipeline { sizes: vec![400, 300, 1000, 200, 900] };
//! let memory = BufferSpec { id: 0, alignment: 8, max_size: u64::MAX };
//! let greedy = Planner::new(&[memory])?.plan(&graph, BufferAssignment::default())?;
//! let offline = Planner::with_strategy(&[memory], Offline::default())?.plan(&graph, BufferAssignment::default())?;
//! assert_eq!(greedy.total_size(0), 1704);
//! assert_eq!(offline.total_size(0), peak_live_bytes(&graph, 0, 8)?);
//! assert_eq!(offline.total_size(0), 1304);
//! # Ok::<(), quipu_alloc::AllocError>(())
//! ```
#![forbid(unsafe_code)]

mod chunk;
mod error;
mod graph;
mod graph_allocator;
mod lifetime;
mod linear;
mod offline;
mod plan;
mod planner;
mod realloc;
mod strategy;
mod tensor_allocator;
mod timeline;

pub use chunk::{Address, ChunkAllocator, FreeBlock, MAX_CHUNKS, MAX_SIZE};
pub use error::{AllocError, ReallocReason};
pub use graph::{BufferAssignment, BufferSpec, PlanGraph, View};
pub use graph_allocator::{BackingAllocator, GraphAllocator};
pub use lifetime::{Lifetime, lifetimes, peak_live_bytes};
pub use linear::{LinearAllocator, SplitLayout, split_tensors};
pub use offline::Offline;
pub use plan::{Placement, Plan};
pub use planner::Planner;
pub use strategy::{Block, Greedy, Strategy};
pub use tensor_allocator::TensorMemory;
pub use timeline::{ChunkInfo, Resident, Timeline};
