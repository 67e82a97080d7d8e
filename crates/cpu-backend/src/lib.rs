//! CPU backend: thread pool, kernels per ISA behind runtime dispatch, every op of a graph.
//!
//! Counterpart of `ggml-cpu`. [`CpuDevice`] describes the processor and gives out memory and
//! [`CpuBackend`]s, which check a graph and resolve its tensors to pointers once
//! ([`Backend::prepare`](quipu_backend::Backend::prepare)), and run it on the device's [`pool`]. Matrix products ([`matmul`]) know nothing of graphs:
//! they take pointers, shapes and strides.

mod backend;
mod buffer;
mod check;
mod device;
pub mod isa;
pub mod matmul;
mod ops;
mod pace;
mod plan;
pub mod pool;
pub mod quantize;
mod sync;
mod vec;

pub use backend::CpuBackend;
pub use buffer::{ALIGNMENT, CpuBuffer, CpuBufferType, HostBuffer};
pub use device::{CpuDevice, CpuOptions};
