//! What a place to compute must offer, and the scheduler that runs a graph on such places.
//!
//! Counterpart of `ggml-backend.cpp`. The traits say what the rest of Quipu may ask of a device: memory
//! ([`BufferType`], [`Buffer`]), a description of itself ([`Device`]) and execution ([`Backend`]). The
//! [`Scheduler`] assigns a graph's nodes to backends, has `quipu-alloc` plan their memory, has the backends prepare them
//! once, and runs them. What all backends ask of nodes is here: [`check`] of their shapes, [`Resolver`] of their memory.
//! Kernels live in the backends; what a graph computes is `quipu-graph`'s business.
#![forbid(unsafe_code)]

pub mod check;
mod compute_memory;
mod error;
mod fusion;
mod plan_graph;
mod resolve;
mod scheduler;
mod split;
mod stats;
mod table;
mod traits;

pub use error::Error;
pub use fusion::NormChain;
pub use plan_graph::GraphView;
pub use resolve::{Place, Regions, Resolver, Span};
pub use scheduler::Scheduler;
pub use stats::{BackendStats, SchedulerStats};
pub use table::BufferTable;
pub use traits::{
    Abort, Backend, Buffer, BufferType, Device, DeviceKind, DeviceMemory, HostBytes, Observer, Prepared,
    WeightSpec, WeightUse,
};
