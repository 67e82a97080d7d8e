//! The CUDA driver's functions, found at run time: nothing to link, nothing to install.
//!
//! cust declares the functions of libcuda as foreign symbols, which normally means that the library must be there when a
//! program is linked and again when it starts. This crate defines those symbols itself: each is a jump through a slot of
//! a table. Until the driver is opened, which the first `cuInit` does, every slot leads to a function that answers
//! "not initialized"; afterwards to the driver's own. Without a driver `cuInit` answers "no device", and a program goes
//! on without one.
//!
//! Lives here: the table, the jumps, opening the driver. Not here: anything that knows what the functions do.
//!
//! A program that uses cust must name this crate somewhere (`use quipu_cuda_driver_shim as _;`), or the linker does not
//! see it. On other systems than Linux on x86-64 and aarch64 the crate says that there is no driver, and defines nothing.
//!
//! ```
//! use quipu_cuda_driver_shim::{load_error, missing, symbol};
//!
//! match load_error() {
//!     Some(error) => println!("no driver here: {error}"),
//!     None => println!("a driver, without {} of cust's functions", missing().len()),
//! }
//! // Functions that cust does not declare are asked for by name.
//! let launch = symbol(c"cuLaunchKernelEx");
//! assert!(launch.is_none() || load_error().is_none());
//! ```

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod driver;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod names;

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub use driver::{load_error, missing, symbol};

/// Why there is no driver: this system has none.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub fn load_error() -> Option<&'static str> {
    Some("CUDA drivers are opened on Linux on x86-64 and aarch64 only")
}

/// Functions that the driver lacks.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub fn missing() -> &'static [&'static str] {
    &[]
}

/// The address of one of the driver's functions: none.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub fn symbol(_name: &std::ffi::CStr) -> Option<std::ptr::NonNull<std::ffi::c_void>> {
    None
}
