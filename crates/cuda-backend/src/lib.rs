//! The room of the CUDA backend, empty in this version: there are no kernels, no device and no feature to
//! turn on. What a device has to offer to move in here is fixed by the traits of `quipu-backend`
//! (`Device`, `BufferType`, `Buffer`, `Backend`), which no other crate needs to know a device by more than.
//!
//! Nothing depends on this crate, and building it needs neither a toolkit nor a driver.
#![forbid(unsafe_code)]

pub mod kernels;
