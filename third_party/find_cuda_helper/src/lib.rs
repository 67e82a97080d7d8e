//! Stands in for the crate of this name, which cust's build scripts call.
//!
//! The original looks for a CUDA toolkit, fails without one, and links libcuda. Quipu needs neither: the crate
//! quipu-cuda-driver-shim defines every function that cust calls, and opens the driver at run time.

/// Does what is left to do for a build script: nothing.
pub fn include_cuda() {
    println!("cargo:rerun-if-changed=build.rs");
}
