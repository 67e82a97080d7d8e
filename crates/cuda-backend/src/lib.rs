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
#[cfg(all(feature = "driver", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod cust_driver;
mod device;
pub mod driver;
pub mod kernels;
mod ledger;
mod ops;
mod plan;
#[cfg(all(feature = "driver", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod raw;
mod recording;
mod replay;
mod shared;
mod staging;
mod support;
mod types;

#[cfg(not(all(
    feature = "driver",
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
mod no_driver;

pub use backend::CudaBackend;
pub use buffer::{CudaBuffer, CudaBufferType};
#[cfg(all(
    feature = "driver",
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub use cust_driver::{ProbeError, probe};
pub use device::CudaDevice;
pub use ledger::{Ledger, Purpose};
#[cfg(not(all(
    feature = "driver",
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
pub use no_driver::{ProbeError, probe};
pub use recording::{Call, RecordingDriver};
