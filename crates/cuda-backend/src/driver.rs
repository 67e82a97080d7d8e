//! What the backend asks of a CUDA driver, small enough to be written twice.
//!
//! `cust_driver.rs` (feature `driver`) answers with the real one, [`crate::RecordingDriver`] with host memory. Everything else in
//! this crate knows the trait only. Addresses and handles are plain numbers: who frees what, and that copies stay inside
//! of what was allocated, is the business of the few types that hold them (`shared.rs`, `buffer.rs`, `staging.rs`).

use std::ffi::c_void;
use std::fmt::Debug;
use std::ptr::NonNull;

use quipu_backend::DeviceMemory;
use smallvec::SmallVec;

use crate::kernels::{Kernel, Kind, TensorArg};

/// A call that the driver refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call} answered {code} ({name}){}", self.bytes.map(|n| format!(" for {n} bytes")).unwrap_or_default())]
pub struct DriverError {
    /// The driver's function.
    pub call: &'static str,
    /// Its answer, a `CUresult`.
    pub code: u32,
    /// The code's name, and what the compiler of kernels said if it was asked.
    pub name: String,
    /// Bytes that were asked for or to be copied, where there are such.
    pub bytes: Option<usize>,
}

/// `CUDA_ERROR_OUT_OF_MEMORY`.
pub const OUT_OF_MEMORY: u32 = 2;

/// A device as its driver describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceInfo {
    /// What people call it.
    pub name: String,
    /// Compute capability, major and minor.
    pub compute_capability: (u32, u32),
    /// Multiprocessors.
    pub n_multiprocessors: u32,
    /// The driver's version as CUDA counts: 13000 for 13.0.
    pub driver_version: u32,
}

/// A queue of work, done in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream(pub u64);

/// A place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event(pub u64);

/// Loaded code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module(pub u64);

/// A kernel in loaded code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function(pub u64);

/// Work that was recorded once and is queued as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recording(pub u64);

/// An argument of a launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A tensor by value.
    Tensor(TensorArg),
    /// A device address; 0 = none.
    Ptr(u64),
    /// A 32-bit number.
    I32(i32),
    /// A 64-bit number.
    I64(i64),
    /// A float.
    F32(f32),
}

impl Value {
    /// Its kind, to be compared with the kernel's parameter.
    pub const fn kind(&self) -> Kind {
        match self {
            Value::Tensor(_) => Kind::Tensor,
            Value::Ptr(_) => Kind::Ptr,
            Value::I32(_) => Kind::I32,
            Value::I64(_) => Kind::I64,
            Value::F32(_) => Kind::F32,
        }
    }

    /// Where its bytes lie, as `kernelParams` of `cuLaunchKernel` wants it.
    pub fn address(&self) -> *const c_void {
        match self {
            Value::Tensor(v) => std::ptr::from_ref(v).cast(),
            Value::Ptr(v) => std::ptr::from_ref(v).cast(),
            Value::I32(v) => std::ptr::from_ref(v).cast(),
            Value::I64(v) => std::ptr::from_ref(v).cast(),
            Value::F32(v) => std::ptr::from_ref(v).cast(),
        }
    }
}

/// Pointers to the arguments of a launch; no kernel of today has more than fit without the heap.
pub type Pointers = SmallVec<[*mut c_void; 16]>;

/// A launch: one kernel, its blocks, its arguments.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The kernel; its block size is the launch's.
    pub kernel: &'static Kernel,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Arguments in the order of the kernel's parameters, and of their kinds.
    pub args: &'a [Value],
}

impl Launch<'_> {
    /// Whether there is an argument of the right kind for each parameter.
    pub fn fits(&self) -> bool {
        self.kernel.params.len() == self.args.len()
            && self.kernel.params.iter().zip(self.args).all(|(param, value)| param.kind == value.kind())
    }

    /// Where the bytes of each argument lie, as `kernelParams` of `cuLaunchKernel` wants it: one for every argument.
    pub fn pointers(&self) -> Pointers {
        self.args.iter().map(|value| value.address().cast_mut()).collect()
    }
}

/// One device's driver. Calls are good from any thread.
///
/// Work goes to streams: copies, fills and launches return when they are queued, and may fail later, in any call.
///
/// # Safety
/// Buffers, staging and plans rest on what a driver answers. An implementation promises:
/// - [`Driver::alloc`] gives an address, other than 0 and aligned to 256, of `size` bytes that nobody else uses until they are
///   freed; [`Driver::alloc_pinned`] the same of host memory, aligned to 16 at least, that this process may read and write.
/// - The work of a stream is done in the order in which it was queued, and touches nothing but what it was asked to: a copy or
///   a fill its `len` bytes, a launch what the kernel's table entry and source say.
/// - When [`Driver::synchronize`] or [`Driver::wait`] returns `Ok`, everything queued before has been done, and host memory
///   that took part in it is no longer touched.
/// - Handles are not given out twice as long as they are alive, and a recording queues what it was recorded with.
pub unsafe trait Driver: Send + Sync + Debug {
    /// The device.
    fn info(&self) -> &DeviceInfo;

    /// Memory, free and in all.
    fn memory(&self) -> Result<DeviceMemory, DriverError>;

    /// Allocates device memory of `size` > 0 bytes, aligned to 256 at least; its contents are anything.
    fn alloc(&self, size: usize) -> Result<u64, DriverError>;

    /// Frees device memory, after everything that was queued.
    ///
    /// # Safety
    /// `address` is from [`Driver::alloc`] and was not freed; nothing queued later uses it.
    unsafe fn free(&self, address: u64) -> Result<(), DriverError>;

    /// Allocates `size` > 0 bytes of host memory that the device reads and writes directly.
    fn alloc_pinned(&self, size: usize) -> Result<NonNull<u8>, DriverError>;

    /// Frees such memory.
    ///
    /// # Safety
    /// `memory` is from [`Driver::alloc_pinned`] and was not freed; nothing queued uses it.
    unsafe fn free_pinned(&self, memory: NonNull<u8>) -> Result<(), DriverError>;

    /// Makes a stream.
    fn create_stream(&self) -> Result<Stream, DriverError>;

    /// Destroys a stream.
    ///
    /// # Safety
    /// `stream` is from [`Driver::create_stream`], was not destroyed and has nothing queued.
    unsafe fn destroy_stream(&self, stream: Stream) -> Result<(), DriverError>;

    /// Waits for everything queued.
    fn synchronize(&self, stream: Stream) -> Result<(), DriverError>;

    /// Makes an event.
    fn create_event(&self) -> Result<Event, DriverError>;

    /// Destroys an event.
    ///
    /// # Safety
    /// `event` is from [`Driver::create_event`] and was not destroyed.
    unsafe fn destroy_event(&self, event: Event) -> Result<(), DriverError>;

    /// Marks the end of what is queued so far.
    fn record(&self, event: Event, stream: Stream) -> Result<(), DriverError>;

    /// Waits until the last mark is reached.
    fn wait(&self, event: Event) -> Result<(), DriverError>;

    /// Milliseconds between two marks that were reached.
    fn elapsed_ms(&self, start: Event, end: Event) -> Result<f32, DriverError>;

    /// Queues a copy from the host.
    ///
    /// # Safety
    /// `to` has `len` bytes inside one allocation. `from` is pinned memory of `len` bytes that nobody writes until the copy
    /// is done.
    unsafe fn copy_in(&self, stream: Stream, to: u64, from: *const u8, len: usize)
    -> Result<(), DriverError>;

    /// Queues a copy to the host.
    ///
    /// # Safety
    /// As [`Driver::copy_in`], with the roles changed: nobody reads or writes `to` until the copy is done.
    unsafe fn copy_out(&self, stream: Stream, to: *mut u8, from: u64, len: usize) -> Result<(), DriverError>;

    /// Queues a copy inside of device memory.
    ///
    /// # Safety
    /// `to` and `from` have `len` bytes inside one allocation each, and are apart.
    unsafe fn copy_within(&self, stream: Stream, to: u64, from: u64, len: usize) -> Result<(), DriverError>;

    /// Queues filling with a byte.
    ///
    /// # Safety
    /// `to` has `len` bytes inside one allocation.
    unsafe fn fill(&self, stream: Stream, to: u64, byte: u8, len: usize) -> Result<(), DriverError>;

    /// Compiles and loads PTX.
    fn load_module(&self, ptx: &str) -> Result<Module, DriverError>;

    /// Unloads code.
    ///
    /// # Safety
    /// `module` is from [`Driver::load_module`] and was not unloaded; no queued launch uses it.
    unsafe fn unload_module(&self, module: Module) -> Result<(), DriverError>;

    /// Finds a kernel.
    fn function(&self, module: Module, kernel: &'static Kernel) -> Result<Function, DriverError>;

    /// Queues a launch.
    ///
    /// # Safety
    /// [`Launch::fits`] holds, `function` is the kernel's, and the addresses among the arguments are of device memory, with
    /// the room and the alignment that the kernel's table entry and source ask for.
    unsafe fn launch(
        &self,
        stream: Stream,
        function: Function,
        launch: &Launch<'_>,
    ) -> Result<(), DriverError>;

    /// From now on, work for `stream` is recorded instead of done.
    ///
    /// # Safety
    /// Until [`Driver::end_recording`] the stream gets launches and fills only, and from this thread alone.
    unsafe fn begin_recording(&self, stream: Stream) -> Result<(), DriverError>;

    /// Ends recording, whatever became of it.
    fn end_recording(&self, stream: Stream) -> Result<Recording, DriverError>;

    /// Queues what was recorded, as if it were asked for now.
    ///
    /// # Safety
    /// What was promised of the recorded work holds now.
    unsafe fn replay(&self, stream: Stream, recording: Recording) -> Result<(), DriverError>;

    /// Forgets a recording.
    ///
    /// # Safety
    /// `recording` is from [`Driver::end_recording`], was not destroyed, and is not queued any more.
    unsafe fn destroy_recording(&self, recording: Recording) -> Result<(), DriverError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::KERNELS;

    #[test]
    fn every_argument_has_its_pointer_however_many_there_are() {
        for n in [0, 1, 16, 17, 40] {
            let args: Vec<Value> = (0..n).map(Value::I32).collect();
            let launch = Launch { kernel: &KERNELS[0], grid: [1; 3], args: &args };
            let pointers = launch.pointers();
            assert_eq!(pointers.len(), args.len());
            for (pointer, value) in pointers.iter().zip(&args) {
                assert_eq!(pointer.cast_const(), value.address());
            }
        }
    }
}
