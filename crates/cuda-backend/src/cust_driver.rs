//! The real driver: devices and contexts by cust, queues and copies by `raw`.

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::NonNull;

use cust::context::Context;
use cust::device::{Device, DeviceAttribute};
use cust::error::CudaError;
use quipu_backend::DeviceMemory;
// Defines the functions that cust calls; nothing else names it.
use quipu_cuda_driver_shim as shim;

use crate::device::CudaDevice;
use crate::driver::{DeviceInfo, Driver, DriverError, Event, Function, Launch, Module, Recording, Stream};
use crate::kernels::Kernel;
use crate::raw::{self, Handle, answer};

/// Bytes for what the compiler of kernels has to say.
const LOG_BYTES: usize = 4096;

/// Why there are no CUDA devices to use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// libcuda is not there.
    #[error("no CUDA driver: {0}")]
    NoDriver(String),
    /// It is there, and finds no device or cannot start.
    #[error("no CUDA device: {0}")]
    NoDevice(#[from] DriverError),
}

/// The CUDA devices of this machine that can be used, in the driver's order; those that cannot are told to `refused`.
///
/// # Errors
/// [`ProbeError`]: no driver, no device. Nothing was changed then.
pub fn probe(mut refused: impl FnMut(u32, String)) -> Result<Vec<CudaDevice>, ProbeError> {
    if let Some(error) = shim::load_error() {
        return Err(ProbeError::NoDriver(error.to_owned()));
    }
    // SAFETY: no flags are defined.
    answer("cuInit", unsafe { raw::cuInit(0) }, None)?;
    let mut count: c_int = 0;
    // SAFETY: `count` may be written.
    answer("cuDeviceGetCount", unsafe { raw::cuDeviceGetCount(&raw mut count) }, None)?;
    let mut devices = Vec::new();
    for ordinal in 0..u32::try_from(count).unwrap_or(0) {
        let device = CustDriver::new(ordinal).map_err(|error| error.to_string());
        let device = device
            .and_then(|driver| CudaDevice::new(ordinal, Box::new(driver)).map_err(|error| error.to_string()));
        match device {
            Ok(device) => devices.push(device),
            Err(message) => refused(ordinal, message),
        }
    }
    Ok(devices)
}

/// One device, through its primary context.
#[derive(Debug)]
pub(crate) struct CustDriver {
    info: DeviceInfo,
    /// Kept for its end: it gives the primary context back.
    context: Context,
}

// SAFETY: a context is a handle that the driver lets any thread use; every call makes it the thread's own first.
unsafe impl Send for CustDriver {}
// SAFETY: as above; the driver's functions may be called from several threads at once.
unsafe impl Sync for CustDriver {}

/// cust's error with the call it came from.
fn cust_error(call: &'static str) -> impl FnOnce(CudaError) -> DriverError {
    move |error| DriverError { call, code: error as u32, name: format!("{error:?}"), bytes: None }
}

fn handle(value: u64) -> Handle {
    value as usize as Handle
}

impl CustDriver {
    /// Device number `ordinal`, after `cuInit`.
    pub fn new(ordinal: u32) -> Result<CustDriver, DriverError> {
        let device = Device::get_device(ordinal).map_err(cust_error("cuDeviceGet"))?;
        let attribute = |attribute| {
            let value = device.get_attribute(attribute).map_err(cust_error("cuDeviceGetAttribute"))?;
            Ok(u32::try_from(value).unwrap_or(0))
        };
        let mut version: c_int = 0;
        // SAFETY: `version` may be written.
        answer("cuDriverGetVersion", unsafe { raw::cuDriverGetVersion(&raw mut version) }, None)?;
        let info = DeviceInfo {
            name: device.name().map_err(cust_error("cuDeviceGetName"))?,
            compute_capability: (
                attribute(DeviceAttribute::ComputeCapabilityMajor)?,
                attribute(DeviceAttribute::ComputeCapabilityMinor)?,
            ),
            n_multiprocessors: attribute(DeviceAttribute::MultiprocessorCount)?,
            driver_version: u32::try_from(version).unwrap_or(0),
        };
        let context = Context::new(device).map_err(cust_error("cuDevicePrimaryCtxRetain"))?;
        Ok(CustDriver { info, context })
    }

    /// Makes the context this thread's own: which one is, is said per thread.
    fn enter(&self) -> Result<(), DriverError> {
        // SAFETY: the context is alive as long as `self`.
        answer("cuCtxSetCurrent", unsafe { raw::cuCtxSetCurrent(self.context.as_raw().cast()) }, None)
    }
}

// SAFETY: every call is answered by CUDA's driver, whose promises are those that the trait asks for.
unsafe impl Driver for CustDriver {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn memory(&self) -> Result<DeviceMemory, DriverError> {
        self.enter()?;
        let (mut free, mut total) = (0usize, 0usize);
        // SAFETY: both may be written.
        let code = unsafe { raw::cuMemGetInfo_v2(&raw mut free, &raw mut total) };
        answer("cuMemGetInfo_v2", code, None)?;
        Ok(DeviceMemory { free: free as u64, total: total as u64 })
    }

    fn alloc(&self, size: usize) -> Result<u64, DriverError> {
        self.enter()?;
        let mut address = 0;
        // SAFETY: `address` may be written.
        answer("cuMemAlloc_v2", unsafe { raw::cuMemAlloc_v2(&raw mut address, size) }, Some(size))?;
        Ok(address)
    }

    unsafe fn free(&self, address: u64) -> Result<(), DriverError> {
        self.enter()?;
        // SAFETY: as the caller promises. Memory is given back when all work of the context is done.
        answer("cuMemFree_v2", unsafe { raw::cuMemFree_v2(address) }, None)
    }

    fn alloc_pinned(&self, size: usize) -> Result<NonNull<u8>, DriverError> {
        const CALL: &str = "cuMemHostAlloc";
        self.enter()?;
        let mut memory = std::ptr::null_mut();
        // SAFETY: `memory` may be written; no flags.
        answer(CALL, unsafe { raw::cuMemHostAlloc(&raw mut memory, size, 0) }, Some(size))?;
        NonNull::new(memory.cast()).ok_or(DriverError {
            call: CALL,
            code: 0,
            name: "no memory, and no error".to_owned(),
            bytes: Some(size),
        })
    }

    unsafe fn free_pinned(&self, memory: NonNull<u8>) -> Result<(), DriverError> {
        self.enter()?;
        // SAFETY: as the caller promises.
        answer("cuMemFreeHost", unsafe { raw::cuMemFreeHost(memory.as_ptr().cast()) }, None)
    }

    fn create_stream(&self) -> Result<Stream, DriverError> {
        self.enter()?;
        let mut stream: Handle = std::ptr::null_mut();
        // SAFETY: `stream` may be written. cust would drop the flag.
        let code = unsafe { raw::cuStreamCreate(&raw mut stream, raw::STREAM_NON_BLOCKING) };
        answer("cuStreamCreate", code, None)?;
        Ok(Stream(stream as u64))
    }

    unsafe fn destroy_stream(&self, stream: Stream) -> Result<(), DriverError> {
        self.enter()?;
        // SAFETY: as the caller promises.
        answer("cuStreamDestroy_v2", unsafe { raw::cuStreamDestroy_v2(handle(stream.0)) }, None)
    }

    fn synchronize(&self, stream: Stream) -> Result<(), DriverError> {
        self.enter()?;
        // SAFETY: the stream is from `create_stream`.
        answer("cuStreamSynchronize", unsafe { raw::cuStreamSynchronize(handle(stream.0)) }, None)
    }

    fn create_event(&self) -> Result<Event, DriverError> {
        self.enter()?;
        let mut event: Handle = std::ptr::null_mut();
        // SAFETY: `event` may be written; no flags: events take the time too.
        answer("cuEventCreate", unsafe { raw::cuEventCreate(&raw mut event, 0) }, None)?;
        Ok(Event(event as u64))
    }

    unsafe fn destroy_event(&self, event: Event) -> Result<(), DriverError> {
        self.enter()?;
        // SAFETY: as the caller promises.
        answer("cuEventDestroy_v2", unsafe { raw::cuEventDestroy_v2(handle(event.0)) }, None)
    }

    fn record(&self, event: Event, stream: Stream) -> Result<(), DriverError> {
        self.enter()?;
        // SAFETY: both are from this driver and alive.
        answer("cuEventRecord", unsafe { raw::cuEventRecord(handle(event.0), handle(stream.0)) }, None)
    }

    fn wait(&self, event: Event) -> Result<(), DriverError> {
        self.enter()?;
        // SAFETY: the event is from this driver and alive.
        answer("cuEventSynchronize", unsafe { raw::cuEventSynchronize(handle(event.0)) }, None)
    }

    fn elapsed_ms(&self, start: Event, end: Event) -> Result<f32, DriverError> {
        self.enter()?;
        let mut milliseconds = 0.0;
        // SAFETY: both are from this driver and alive; the time may be written.
        let code = unsafe { raw::cuEventElapsedTime(&raw mut milliseconds, handle(start.0), handle(end.0)) };
        answer("cuEventElapsedTime", code, None)?;
        Ok(milliseconds)
    }

    unsafe fn copy_in(
        &self,
        stream: Stream,
        to: u64,
        from: *const u8,
        len: usize,
    ) -> Result<(), DriverError> {
        self.enter()?;
        // SAFETY: as the caller promises.
        let code = unsafe { raw::cuMemcpyHtoDAsync_v2(to, from.cast(), len, handle(stream.0)) };
        answer("cuMemcpyHtoDAsync_v2", code, Some(len))
    }

    unsafe fn copy_out(&self, stream: Stream, to: *mut u8, from: u64, len: usize) -> Result<(), DriverError> {
        self.enter()?;
        // SAFETY: as the caller promises.
        let code = unsafe { raw::cuMemcpyDtoHAsync_v2(to.cast(), from, len, handle(stream.0)) };
        answer("cuMemcpyDtoHAsync_v2", code, Some(len))
    }

    unsafe fn copy_within(&self, stream: Stream, to: u64, from: u64, len: usize) -> Result<(), DriverError> {
        self.enter()?;
        // SAFETY: as the caller promises.
        let code = unsafe { raw::cuMemcpyDtoDAsync_v2(to, from, len, handle(stream.0)) };
        answer("cuMemcpyDtoDAsync_v2", code, Some(len))
    }

    unsafe fn fill(&self, stream: Stream, to: u64, byte: u8, len: usize) -> Result<(), DriverError> {
        self.enter()?;
        // SAFETY: as the caller promises.
        let code = unsafe { raw::cuMemsetD8Async(to, byte, len, handle(stream.0)) };
        answer("cuMemsetD8Async", code, Some(len))
    }

    fn load_module(&self, ptx: &str) -> Result<Module, DriverError> {
        const CALL: &str = "cuModuleLoadDataEx";
        self.enter()?;
        let wrong = |name: String| DriverError { call: CALL, code: 1, name, bytes: Some(ptx.len()) };
        let image = CString::new(ptx).map_err(|_| wrong("PTX with a zero inside".to_owned()))?;
        let mut log = vec![0u8; LOG_BYTES];
        let mut options = [raw::JIT_ERROR_LOG, raw::JIT_ERROR_LOG_BYTES];
        let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), LOG_BYTES as *mut c_void];
        let mut module: Handle = std::ptr::null_mut();
        // SAFETY: a terminated text, two options with their values (a buffer, its size as a number), and `module` may be
        // written; all outlive the call.
        let code = unsafe {
            raw::cuModuleLoadDataEx(
                &raw mut module,
                image.as_ptr().cast(),
                2,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        answer(CALL, code, Some(ptx.len())).map_err(|mut error| {
            let said = CStr::from_bytes_until_nul(&log).map(CStr::to_string_lossy).unwrap_or_default();
            if !said.trim().is_empty() {
                error.name = format!("{}: {}", error.name, said.trim());
            }
            error
        })?;
        Ok(Module(module as u64))
    }

    unsafe fn unload_module(&self, module: Module) -> Result<(), DriverError> {
        self.enter()?;
        // SAFETY: as the caller promises.
        answer("cuModuleUnload", unsafe { raw::cuModuleUnload(handle(module.0)) }, None)
    }

    fn function(&self, module: Module, kernel: &'static Kernel) -> Result<Function, DriverError> {
        const CALL: &str = "cuModuleGetFunction";
        self.enter()?;
        let name = CString::new(kernel.name).expect("names of the table have no zeros");
        let mut function: Handle = std::ptr::null_mut();
        // SAFETY: the module is loaded, the name terminated, and `function` may be written.
        let code = unsafe { raw::cuModuleGetFunction(&raw mut function, handle(module.0), name.as_ptr()) };
        answer(CALL, code, None).map_err(|mut error| {
            error.name = format!("{} for {}", error.name, kernel.name);
            error
        })?;
        Ok(Function(function as u64))
    }

    unsafe fn launch(
        &self,
        stream: Stream,
        function: Function,
        launch: &Launch<'_>,
    ) -> Result<(), DriverError> {
        self.enter()?;
        let mut params = launch.pointers();
        let [x, y, z] = launch.grid;
        // SAFETY: there is an argument of the right kind for each parameter, which the driver copies before it returns; the
        // rest is the caller's promise. No dynamic shared memory, no extra list.
        let code = unsafe {
            raw::cuLaunchKernel(
                handle(function.0),
                x,
                y,
                z,
                launch.kernel.block,
                1,
                1,
                0,
                handle(stream.0),
                params.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        answer("cuLaunchKernel", code, None).map_err(|mut error| {
            error.name = format!("{} for {}", error.name, launch.kernel.name);
            error
        })
    }

    unsafe fn begin_recording(&self, stream: Stream) -> Result<(), DriverError> {
        self.enter()?;
        // SAFETY: the stream is from this driver and alive.
        let code = unsafe { raw::cuStreamBeginCapture_v2(handle(stream.0), raw::CAPTURE_THREAD_LOCAL) };
        answer("cuStreamBeginCapture_v2", code, None)
    }

    fn end_recording(&self, stream: Stream) -> Result<Recording, DriverError> {
        self.enter()?;
        let mut graph: Handle = std::ptr::null_mut();
        // SAFETY: the stream is from this driver and alive; `graph` may be written.
        let code = unsafe { raw::cuStreamEndCapture(handle(stream.0), &raw mut graph) };
        answer("cuStreamEndCapture", code, None)?;
        let mut exec: Handle = std::ptr::null_mut();
        // SAFETY: the graph is from the call above; `exec` may be written; no flags.
        let code = unsafe { raw::cuGraphInstantiateWithFlags(&raw mut exec, graph, 0) };
        // SAFETY: from the call above, destroyed once; what was made of it does not need it.
        let destroyed = unsafe { raw::cuGraphDestroy(graph) };
        answer("cuGraphInstantiateWithFlags", code, None)?;
        answer("cuGraphDestroy", destroyed, None)?;
        Ok(Recording(exec as u64))
    }

    unsafe fn replay(&self, stream: Stream, recording: Recording) -> Result<(), DriverError> {
        self.enter()?;
        // SAFETY: both are from this driver and alive; of the work, the caller promises the rest.
        answer("cuGraphLaunch", unsafe { raw::cuGraphLaunch(handle(recording.0), handle(stream.0)) }, None)
    }

    unsafe fn destroy_recording(&self, recording: Recording) -> Result<(), DriverError> {
        self.enter()?;
        // SAFETY: as the caller promises.
        answer("cuGraphExecDestroy", unsafe { raw::cuGraphExecDestroy(handle(recording.0)) }, None)
    }
}
