//! The driver's functions that cust's safe layer lacks, or whose answers it cannot tell apart.
//!
//! cust turns answers into an enum that lacks newer codes and folds others into "unknown": here they are numbers. The symbols
//! are those cust's own bindings use, defined by quipu-cuda-driver-shim; types are as in CUDA's `cuda.h`, checked against
//! version 13.0.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};

use crate::driver::DriverError;

/// A handle: context, stream, event, module or function.
pub(crate) type Handle = *mut c_void;

unsafe extern "C" {
    pub(crate) fn cuInit(flags: c_uint) -> u32;
    pub(crate) fn cuDriverGetVersion(version: *mut c_int) -> u32;
    pub(crate) fn cuGetErrorName(code: u32, name: *mut *const c_char) -> u32;
    pub(crate) fn cuDeviceGetCount(count: *mut c_int) -> u32;
    pub(crate) fn cuCtxSetCurrent(context: Handle) -> u32;
    pub(crate) fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> u32;
    pub(crate) fn cuMemAlloc_v2(address: *mut u64, size: usize) -> u32;
    pub(crate) fn cuMemFree_v2(address: u64) -> u32;
    pub(crate) fn cuMemHostAlloc(memory: *mut *mut c_void, size: usize, flags: c_uint) -> u32;
    pub(crate) fn cuMemFreeHost(memory: *mut c_void) -> u32;
    pub(crate) fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, size: usize, stream: Handle) -> u32;
    pub(crate) fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, size: usize, stream: Handle) -> u32;
    pub(crate) fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, size: usize, stream: Handle) -> u32;
    pub(crate) fn cuMemsetD8Async(to: u64, byte: u8, size: usize, stream: Handle) -> u32;
    pub(crate) fn cuStreamCreate(stream: *mut Handle, flags: c_uint) -> u32;
    pub(crate) fn cuStreamSynchronize(stream: Handle) -> u32;
    pub(crate) fn cuStreamDestroy_v2(stream: Handle) -> u32;
    pub(crate) fn cuStreamBeginCapture_v2(stream: Handle, mode: c_uint) -> u32;
    pub(crate) fn cuStreamEndCapture(stream: Handle, graph: *mut Handle) -> u32;
    pub(crate) fn cuGraphInstantiateWithFlags(exec: *mut Handle, graph: Handle, flags: c_ulonglong) -> u32;
    pub(crate) fn cuGraphDestroy(graph: Handle) -> u32;
    pub(crate) fn cuGraphLaunch(exec: Handle, stream: Handle) -> u32;
    pub(crate) fn cuGraphExecDestroy(exec: Handle) -> u32;
    pub(crate) fn cuEventCreate(event: *mut Handle, flags: c_uint) -> u32;
    pub(crate) fn cuEventRecord(event: Handle, stream: Handle) -> u32;
    pub(crate) fn cuEventSynchronize(event: Handle) -> u32;
    pub(crate) fn cuEventElapsedTime(milliseconds: *mut f32, start: Handle, end: Handle) -> u32;
    pub(crate) fn cuEventDestroy_v2(event: Handle) -> u32;
    pub(crate) fn cuModuleLoadDataEx(
        module: *mut Handle,
        image: *const c_void,
        n_options: c_uint,
        options: *mut c_uint,
        values: *mut *mut c_void,
    ) -> u32;
    pub(crate) fn cuModuleUnload(module: Handle) -> u32;
    pub(crate) fn cuModuleGetFunction(function: *mut Handle, module: Handle, name: *const c_char) -> u32;
    #[allow(clippy::too_many_arguments)] // the driver's own list
    pub(crate) fn cuLaunchKernel(
        function: Handle,
        grid_x: c_uint,
        grid_y: c_uint,
        grid_z: c_uint,
        block_x: c_uint,
        block_y: c_uint,
        block_z: c_uint,
        shared_bytes: c_uint,
        stream: Handle,
        params: *mut *mut c_void,
        extra: *mut *mut c_void,
    ) -> u32;
}

/// `CU_STREAM_NON_BLOCKING`: does not wait for the default stream.
pub(crate) const STREAM_NON_BLOCKING: c_uint = 1;
/// `CU_STREAM_CAPTURE_MODE_THREAD_LOCAL`: other threads may allocate and wait meanwhile.
pub(crate) const CAPTURE_THREAD_LOCAL: c_uint = 1;
/// `CU_JIT_ERROR_LOG_BUFFER` and `CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES`.
pub(crate) const JIT_ERROR_LOG: c_uint = 5;
pub(crate) const JIT_ERROR_LOG_BYTES: c_uint = 6;

/// The name of an answer (`CUDA_ERROR_...`).
pub(crate) fn name_of(code: u32) -> String {
    let mut name: *const c_char = std::ptr::null();
    // SAFETY: `name` may be written; the shim answers without a driver too.
    let answer = unsafe { cuGetErrorName(code, &raw mut name) };
    if answer != 0 || name.is_null() {
        return "a code that this driver has no name for".to_owned();
    }
    // SAFETY: the call left a terminated string that lives as long as the driver.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

/// Turns an answer into a result.
pub(crate) fn answer(call: &'static str, code: u32, bytes: Option<usize>) -> Result<(), DriverError> {
    if code == 0 { Ok(()) } else { Err(DriverError { call, code, name: name_of(code), bytes }) }
}
