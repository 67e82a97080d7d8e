//! What a place to compute must offer, and the scheduler that runs a graph on such places.
//!
//! Counterpart of `ggml-backend.cpp`. The traits say what the rest of Quipu may ask of a device: memory
//! ([`BufferType`], [`Buffer`]), a description of itself ([`Device`]) and execution ([`Backend`]). The
//! [`Scheduler`] assigns a graph's nodes to backends, has `quipu-alloc` plan their memory, has the backends prepare them
//! once, and runs them. What all backends ask of nodes is here: [`check`] of their shapes, [`Resolver`] of their memory.
//! Kernels live in the backends; what a graph computes is `quipu-graph`'s business.
//!
//! A graph whose tensors are placed by hand, prepared once and run twice, on the backend of `quipu-cpu-backend`:
//!
//! ```
//! use quipu_backend::{Backend, BufferTable, Device};
//! use quipu_graph::{DType, Graph, Storage};
//!
//! let mut graph = Graph::new();
//! let x = graph.input("x", DType::F32, [1, 1, 1, 1])?;
//! let y = graph.scale(x, 2.0, 1.0)?;
//! graph.build_forward_expand(y);
//!
//! let device: &dyn Device = &quipu_cpu_backend::CpuDevice::default();
//! let mut buffers = BufferTable::new();
//! let buffer = buffers.add_owned(device.buffer_type().allocate(128)?);
//! graph[x].storage = Storage::Planned { buffer, offset: 0 };
//! graph[y].storage = Storage::Planned { buffer, offset: 64 };
//!
//! let mut backend = device.backend(1)?;
//! let mut prepared = backend.prepare(&graph, 0..graph.nodes().len(), &buffers)?;
//! for (given, expected) in [(3.0f32, 7.0f32), (-1.0, -1.0)] {
//!     buffers.write_tensor(&graph[x], &given.to_le_bytes())?;
//!     backend.run(&mut prepared, &mut buffers, None)?;
//!     let mut found = [0; 4];
//!     buffers.read_tensor(&graph[y], 0, &mut found)?;
//!     assert_eq!(f32::from_le_bytes(found), expected);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod buffer;
pub mod check;
mod compute_memory;
mod devices;
mod error;
mod fusion;
mod plan_graph;
mod resolve;
mod scheduler;
mod split;
mod stats;
mod table;
mod traits;
mod unique;

pub use buffer::{Buffer, BufferType, HostBytes, WeightSpec, WeightUse};
pub use devices::{DeviceId, Devices};
pub use error::Error;
pub use fusion::NormChain;
pub use plan_graph::GraphView;
pub use resolve::{Place, Regions, Resolver, Span};
pub use scheduler::Scheduler;
pub use stats::{BackendStats, SchedulerStats};
pub use table::BufferTable;
pub use traits::{Abort, Backend, Device, DeviceKind, DeviceMemory, Observer, Prepared};
pub use unique::AllocationId;
