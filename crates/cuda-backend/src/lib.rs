//! The CUDA backend: devices, memory and execution on them, and the kernels. No GPU has run them yet.
//!
//! Counterpart of `ggml-cuda`. [`CudaDevice`] gives out memory and [`CudaBackend`]s, which turn a graph's nodes into launches
//! (`plan`, `ops`) on the strength of checks (`support`). They reach a device through the small trait [`driver::Driver`]: the
//! real driver answers it with the feature `driver` (through cust, opened at run time), [`RecordingDriver`] in host memory, and
//! tests run whole models on the latter with the kernels' emulation. The kernels' sources are `kernels/` (CUDA C++), what they
//! were compiled to is `generated/`, and [`kernels`] says how each is launched.
//!
//! Building this crate needs neither a toolkit nor a driver, with the feature or without.

mod backend;
mod buffer;
mod device;
pub mod driver;
pub mod kernels;
mod ledger;
mod ops;
mod plan;
mod recording;
mod shared;
mod staging;
mod support;
mod types;

pub use backend::CudaBackend;
pub use buffer::{CudaBuffer, CudaBufferType};
pub use device::CudaDevice;
pub use ledger::{Ledger, Purpose};
pub use recording::{Call, RecordingDriver};
