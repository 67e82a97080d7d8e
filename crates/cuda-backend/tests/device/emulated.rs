//! A CUDA device without a GPU.

use std::ffi::c_void;

use quipu_cuda_backend::driver::{Launch, Value};
use quipu_cuda_backend::{CudaDevice, RecordingDriver};
use quipu_cuda_emulation as emulation;
pub use quipu_cuda_emulation::skipped;

/// A device whose kernels run in the emulation, and the driver behind it.
pub fn emulated(total: usize) -> (CudaDevice, RecordingDriver) {
    emulated_as(0, total)
}

/// As [`emulated`], device number `ordinal`.
#[allow(dead_code, reason = "each test file uses its part")]
pub fn emulated_as(ordinal: u32, total: usize) -> (CudaDevice, RecordingDriver) {
    let driver = RecordingDriver::new(total).with_kernels(|launch: &Launch<'_>| {
        let pointers: Vec<*const c_void> = launch.args.iter().map(Value::address).collect();
        let (kernel, grid) = (launch.kernel, launch.grid);
        // SAFETY: the arguments are of the kernel's kinds, or the backend would not have planned the launch; addresses are
        // of the recording driver's blocks, inside of which the backend placed every tensor.
        unsafe { emulation::launch(kernel.name, grid, kernel.block, &pointers) }
            .map_err(|error| error.to_string())
    });
    (CudaDevice::new(ordinal, Box::new(driver.clone())).expect("new enough"), driver)
}
