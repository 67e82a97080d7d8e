//! A driver that is not there: host memory as device memory, and a record of every call.
//!
//! For tests. What is queued is done as late as a driver may do it, when somebody waits: a staging slot that is
//! written again too early, or a result that is read without waiting, shows. New memory holds a pattern, so that what nobody
//! cleared shows too. Launches are recorded; with [`RecordingDriver::with_kernels`] somebody runs them.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quipu_backend::DeviceMemory;

use crate::driver::{
    DeviceInfo, Driver, DriverError, Event, Function, Launch, Module, OUT_OF_MEMORY, Recording, Stream, Value,
};
use crate::kernels::{KERNELS, Kernel};

/// What new memory holds.
const FRESH: u8 = 0xcd;

/// A call, as far as tests look at it.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Device memory was allocated.
    Alloc {
        /// Bytes.
        size: usize,
        /// Where.
        address: u64,
    },
    /// Device memory was freed.
    Free {
        /// Bytes.
        size: usize,
    },
    /// Pinned memory was allocated.
    AllocPinned {
        /// Bytes.
        size: usize,
    },
    /// A copy from the host was queued.
    CopyIn {
        /// First byte.
        to: u64,
        /// Bytes.
        len: usize,
    },
    /// A copy to the host was queued.
    CopyOut {
        /// First byte.
        from: u64,
        /// Bytes.
        len: usize,
    },
    /// Filling was queued.
    Fill {
        /// First byte.
        to: u64,
        /// Bytes.
        len: usize,
    },
    /// An event was waited for, or a stream.
    Wait,
    /// Code was loaded.
    LoadModule,
    /// Recorded work was queued.
    Replay {
        /// How many launches and fills.
        n_works: usize,
    },
    /// A launch was queued, or recorded.
    Launch {
        /// The kernel.
        kernel: &'static str,
        /// Blocks.
        grid: [u32; 3],
        /// Arguments.
        args: Vec<Value>,
    },
}

/// Who runs launches: the kernel, its grid and its arguments.
type RunKernel = Arc<dyn Fn(&Launch<'_>) -> Result<(), String> + Send + Sync>;

/// A block of host memory, aligned to 256.
struct Block {
    memory: NonNull<u8>,
    layout: Layout,
}

impl Block {
    fn new(size: usize, byte: u8) -> Option<Block> {
        let layout = Layout::from_size_align(size.max(1), 256).ok()?;
        // SAFETY: the layout's size is not 0.
        let memory = NonNull::new(unsafe { alloc(layout) })?;
        // SAFETY: the block has that many bytes.
        unsafe { memory.write_bytes(byte, layout.size()) };
        Some(Block { memory, layout })
    }

    fn address(&self) -> u64 {
        self.memory.as_ptr() as u64
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: from `alloc` with this layout, freed once.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}

// SAFETY: a block is plain memory that its owner alone frees; who reads and writes it is said by the trait's promises.
unsafe impl Send for Block {}

#[derive(Clone)]
enum Work {
    Copy { to: usize, from: usize, len: usize },
    Fill { to: usize, byte: u8, len: usize },
    Mark(Event),
    Launch { kernel: &'static Kernel, grid: [u32; 3], args: Vec<Value> },
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    device: HashMap<u64, Block>,
    pinned: HashMap<u64, Block>,
    device_bytes: usize,
    queue: VecDeque<Work>,
    n_handles: u64,
    /// The streams that are recorded, and what each got: several threads may record at once, each a stream of its own.
    recorded: HashMap<Stream, Vec<Work>>,
    recordings: HashMap<u64, Vec<Work>>,
    failed: Option<DriverError>,
    /// Calls of this name answer with this code from now on.
    refusal: Option<(&'static str, u32)>,
}

/// See the module's description.
#[derive(Clone)]
pub struct RecordingDriver {
    info: DeviceInfo,
    total: usize,
    run: Option<RunKernel>,
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for RecordingDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingDriver").field("total", &self.total).finish_non_exhaustive()
    }
}

impl RecordingDriver {
    /// A device of `total` bytes. Clones share the device, so that a test keeps one to look at the record.
    pub fn new(total: usize) -> RecordingDriver {
        RecordingDriver {
            info: DeviceInfo {
                name: "recording device".to_owned(),
                compute_capability: (8, 0),
                n_multiprocessors: 4,
                driver_version: 13000,
            },
            total,
            run: None,
            state: Arc::default(),
        }
    }

    /// A device that describes itself so.
    #[must_use]
    pub fn with_info(self, info: DeviceInfo) -> RecordingDriver {
        RecordingDriver { info, ..self }
    }

    /// Lets `run` do the launches; it gets addresses of host memory.
    #[must_use]
    pub fn with_kernels(
        mut self,
        run: impl Fn(&Launch<'_>) -> Result<(), String> + Send + Sync + 'static,
    ) -> RecordingDriver {
        self.run = Some(Arc::new(run));
        self
    }

    /// What was called so far, and forgets it.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state().calls)
    }

    /// Bytes of device memory that are allocated now.
    pub fn device_bytes(&self) -> usize {
        self.state().device_bytes
    }

    /// Blocks of pinned memory that are allocated now.
    pub fn pinned_blocks(&self) -> usize {
        self.state().pinned.len()
    }

    /// Recordings that were not destroyed.
    pub fn recordings(&self) -> usize {
        self.state().recordings.len()
    }

    /// Makes all calls of that name fail from now on; `None` ends it.
    pub fn refuse(&self, refusal: Option<(&'static str, u32)>) {
        self.state().refusal = refusal;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, call: &'static str, bytes: Option<usize>) -> Result<MutexGuard<'_, State>, DriverError> {
        let state = self.state();
        match state.refusal {
            Some((name, code)) if name == call => Err(error(call, code, bytes)),
            _ => Ok(state),
        }
    }

    /// Does what is queued, up to a mark or all of it.
    fn flush(&self, state: &mut State, until: Option<Event>) -> Result<(), DriverError> {
        while let Some(work) = state.queue.pop_front() {
            match work {
                // SAFETY: `copy_in` and `copy_out` were promised that both ends are there until the copy is done.
                Work::Copy { to, from, len } => unsafe {
                    std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, len);
                },
                // SAFETY: `fill` was promised that the bytes are there.
                Work::Fill { to, byte, len } => unsafe { std::ptr::write_bytes(to as *mut u8, byte, len) },
                Work::Mark(event) if Some(event) == until => break,
                Work::Mark(_) => {}
                Work::Launch { kernel, grid, args } => {
                    if let Some(run) = &self.run
                        && let Err(message) = run(&Launch { kernel, grid, args: &args })
                    {
                        // CUDA_ERROR_LAUNCH_FAILED, and like it, for good.
                        state.failed = Some(DriverError {
                            call: "cuLaunchKernel",
                            code: 719,
                            name: message,
                            bytes: None,
                        });
                    }
                }
            }
        }
        state.failed.clone().map_or(Ok(()), Err)
    }

    /// Queues work, or records it.
    fn push(state: &mut State, stream: Stream, work: Work) {
        match state.recorded.get_mut(&stream) {
            Some(works) => works.push(work),
            None => state.queue.push_back(work),
        }
    }

    fn handle(state: &mut State) -> u64 {
        state.n_handles += 1;
        state.n_handles
    }
}

fn error(call: &'static str, code: u32, bytes: Option<usize>) -> DriverError {
    let name = if code == OUT_OF_MEMORY { "CUDA_ERROR_OUT_OF_MEMORY" } else { "CUDA_ERROR_UNKNOWN" };
    DriverError { call, code, name: name.to_owned(), bytes }
}

// SAFETY: memory is the allocator's, freed as asked; work waits in one queue and is done in its order, within what it was asked
// for. Kernels are run by whoever gave them to `with_kernels`, on the same terms as a device's.
unsafe impl Driver for RecordingDriver {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn memory(&self) -> Result<DeviceMemory, DriverError> {
        let used = self.enter("cuMemGetInfo_v2", None)?.device_bytes;
        Ok(DeviceMemory { free: (self.total - used) as u64, total: self.total as u64 })
    }

    fn alloc(&self, size: usize) -> Result<u64, DriverError> {
        const CALL: &str = "cuMemAlloc_v2";
        let mut state = self.enter(CALL, Some(size))?;
        if size > self.total - state.device_bytes {
            return Err(error(CALL, OUT_OF_MEMORY, Some(size)));
        }
        let block = Block::new(size, FRESH).ok_or_else(|| error(CALL, OUT_OF_MEMORY, Some(size)))?;
        let address = block.address();
        state.device_bytes += size;
        state.device.insert(address, block);
        state.calls.push(Call::Alloc { size, address });
        Ok(address)
    }

    unsafe fn free(&self, address: u64) -> Result<(), DriverError> {
        let mut state = self.enter("cuMemFree_v2", None)?;
        let done = self.flush(&mut state, None);
        let block = state.device.remove(&address).ok_or_else(|| error("cuMemFree_v2", 1, None))?;
        state.device_bytes -= block.layout.size();
        state.calls.push(Call::Free { size: block.layout.size() });
        done
    }

    fn alloc_pinned(&self, size: usize) -> Result<NonNull<u8>, DriverError> {
        const CALL: &str = "cuMemHostAlloc";
        let mut state = self.enter(CALL, Some(size))?;
        let block = Block::new(size, 0).ok_or_else(|| error(CALL, OUT_OF_MEMORY, Some(size)))?;
        let memory = block.memory;
        state.pinned.insert(block.address(), block);
        state.calls.push(Call::AllocPinned { size });
        Ok(memory)
    }

    unsafe fn free_pinned(&self, memory: NonNull<u8>) -> Result<(), DriverError> {
        let mut state = self.enter("cuMemFreeHost", None)?;
        let done = self.flush(&mut state, None);
        let block = state.pinned.remove(&(memory.as_ptr() as u64));
        block.map(drop).ok_or_else(|| error("cuMemFreeHost", 1, None))?;
        done
    }

    fn create_stream(&self) -> Result<Stream, DriverError> {
        Ok(Stream(RecordingDriver::handle(&mut *self.enter("cuStreamCreate", None)?)))
    }

    unsafe fn destroy_stream(&self, _stream: Stream) -> Result<(), DriverError> {
        self.enter("cuStreamDestroy_v2", None).map(drop)
    }

    fn synchronize(&self, _stream: Stream) -> Result<(), DriverError> {
        let mut state = self.enter("cuStreamSynchronize", None)?;
        state.calls.push(Call::Wait);
        self.flush(&mut state, None)
    }

    fn create_event(&self) -> Result<Event, DriverError> {
        Ok(Event(RecordingDriver::handle(&mut *self.enter("cuEventCreate", None)?)))
    }

    unsafe fn destroy_event(&self, _event: Event) -> Result<(), DriverError> {
        self.enter("cuEventDestroy_v2", None).map(drop)
    }

    fn record(&self, event: Event, _stream: Stream) -> Result<(), DriverError> {
        self.enter("cuEventRecord", None)?.queue.push_back(Work::Mark(event));
        Ok(())
    }

    fn wait(&self, event: Event) -> Result<(), DriverError> {
        let mut state = self.enter("cuEventSynchronize", None)?;
        state.calls.push(Call::Wait);
        // The last mark counts; one that was reached is not in the queue any more.
        let marks = state.queue.iter().filter(|work| matches!(work, Work::Mark(e) if *e == event)).count();
        for _ in 0..marks {
            self.flush(&mut state, Some(event))?;
        }
        state.failed.clone().map_or(Ok(()), Err)
    }

    fn elapsed_ms(&self, _start: Event, _end: Event) -> Result<f32, DriverError> {
        Ok(0.0)
    }

    unsafe fn copy_in(&self, _: Stream, to: u64, from: *const u8, len: usize) -> Result<(), DriverError> {
        let mut state = self.enter("cuMemcpyHtoDAsync_v2", Some(len))?;
        state.calls.push(Call::CopyIn { to, len });
        state.queue.push_back(Work::Copy { to: to as usize, from: from as usize, len });
        Ok(())
    }

    unsafe fn copy_out(&self, _: Stream, to: *mut u8, from: u64, len: usize) -> Result<(), DriverError> {
        let mut state = self.enter("cuMemcpyDtoHAsync_v2", Some(len))?;
        state.calls.push(Call::CopyOut { from, len });
        state.queue.push_back(Work::Copy { to: to as usize, from: from as usize, len });
        Ok(())
    }

    unsafe fn copy_within(&self, _: Stream, to: u64, from: u64, len: usize) -> Result<(), DriverError> {
        let mut state = self.enter("cuMemcpyDtoDAsync_v2", Some(len))?;
        state.queue.push_back(Work::Copy { to: to as usize, from: from as usize, len });
        Ok(())
    }

    unsafe fn fill(&self, stream: Stream, to: u64, byte: u8, len: usize) -> Result<(), DriverError> {
        let mut state = self.enter("cuMemsetD8Async", Some(len))?;
        state.calls.push(Call::Fill { to, len });
        RecordingDriver::push(&mut state, stream, Work::Fill { to: to as usize, byte, len });
        Ok(())
    }

    fn load_module(&self, _ptx: &str) -> Result<Module, DriverError> {
        let mut state = self.enter("cuModuleLoadDataEx", None)?;
        state.calls.push(Call::LoadModule);
        Ok(Module(RecordingDriver::handle(&mut state)))
    }

    unsafe fn unload_module(&self, _module: Module) -> Result<(), DriverError> {
        self.enter("cuModuleUnload", None).map(drop)
    }

    fn function(&self, _module: Module, kernel: &'static Kernel) -> Result<Function, DriverError> {
        let index = KERNELS.iter().position(|k| k.name == kernel.name);
        index.map(|i| Function(i as u64)).ok_or_else(|| error("cuModuleGetFunction", 500, None))
    }

    unsafe fn launch(
        &self,
        stream: Stream,
        _function: Function,
        launch: &Launch<'_>,
    ) -> Result<(), DriverError> {
        let mut state = self.enter("cuLaunchKernel", None)?;
        let (kernel, grid, args) = (launch.kernel, launch.grid, launch.args.to_vec());
        state.calls.push(Call::Launch { kernel: kernel.name, grid, args: args.clone() });
        RecordingDriver::push(&mut state, stream, Work::Launch { kernel, grid, args });
        Ok(())
    }

    unsafe fn begin_recording(&self, stream: Stream) -> Result<(), DriverError> {
        self.enter("cuStreamBeginCapture_v2", None)?.recorded.insert(stream, Vec::new());
        Ok(())
    }

    fn end_recording(&self, stream: Stream) -> Result<Recording, DriverError> {
        let works = self.state().recorded.remove(&stream).unwrap_or_default();
        let mut state = self.enter("cuStreamEndCapture", None)?;
        let handle = RecordingDriver::handle(&mut state);
        state.recordings.insert(handle, works);
        Ok(Recording(handle))
    }

    unsafe fn replay(&self, _stream: Stream, recording: Recording) -> Result<(), DriverError> {
        let mut state = self.enter("cuGraphLaunch", None)?;
        let works = state.recordings.get(&recording.0).cloned();
        let works = works.ok_or_else(|| error("cuGraphLaunch", 400, None))?;
        state.calls.push(Call::Replay { n_works: works.len() });
        state.queue.extend(works);
        Ok(())
    }

    unsafe fn destroy_recording(&self, recording: Recording) -> Result<(), DriverError> {
        let mut state = self.enter("cuGraphExecDestroy", None)?;
        let known = state.recordings.remove(&recording.0);
        known.map(drop).ok_or_else(|| error("cuGraphExecDestroy", 400, None))
    }
}
