//! The CUDA backend: for now its kernels, which no GPU has run yet, and no device.
//!
//! Lives here: the kernels' sources (`kernels/`, CUDA C++), what they were compiled to (`generated/`, PTX and a manifest
//! of hashes) and the table that says how each is launched ([`kernels`]). Not here yet: devices, buffers, streams and the
//! traits of `quipu-backend` for them. Tests run the same sources on the host, through `quipu-cuda-emulation`.
//!
//! Nothing depends on this crate, and building it needs neither a toolkit nor a driver.
#![forbid(unsafe_code)]

pub mod kernels;
