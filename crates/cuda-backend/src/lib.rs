//! The CUDA backend: devices, memory and execution on them, and the kernels. No GPU has run them yet.
//!
//! Counterpart of `ggml-cuda`. [`CudaDevice`] gives out memory and [`CudaBackend`]s, which turn a graph's nodes into launches
//! (`plan`, `ops`) on the strength of checks (`support`). They reach a device through the small trait [`driver::Driver`]: the
//! real driver answers it with the feature `driver` (through cust, opened at run time), [`RecordingDriver`] in host memory, and
//! tests run whole models on the latter with the kernels' emulation. The kernels' sources are `kernels/` (CUDA C++), what they
//! were compiled to is `generated/`, and [`kernels`] says how each is launched.
//!
//! Building this crate needs neither a toolkit nor a driver, with the feature or without.
//!
//! A device that is not there, in host memory, and what it was asked to do ([`probe`] finds devices that are there):
//!
//! ```
//! use quipu_backend::Device;
//! use quipu_cuda_backend::{Call, CudaDevice, RecordingDriver};
//!
//! let driver = RecordingDriver::new(1 << 20); // bytes
//! let gpu = CudaDevice::new(0, Box::new(driver.clone()))?;
//! assert_eq!(gpu.name(), "CUDA0");
//!
//! let mut buffer = gpu.buffer_type().allocate(4096)?;
//! buffer.write(256, b"from the host")?;
//! let mut back = [0; 13];
//! buffer.read(256, &mut back)?;
//! assert_eq!(&back, b"from the host");
//! assert!(driver.take_calls().iter().any(|call| matches!(call, Call::CopyIn { len: 13, .. })));
//!
//! drop(buffer);
//! assert_eq!(driver.device_bytes(), 0);
//! # Ok::<(), quipu_backend::Error>(())
//! ```

mod backend;
mod buffer;
#[cfg(all(feature = "driver", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod cust_driver;
mod device;
pub mod driver;
pub mod kernels;
mod ledger;
mod plan;
#[cfg(all(feature = "driver", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod raw;
mod recording;
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
