//! What a device's buffers and backends share: the driver, one stream, staging, loaded code, the ledger.
//!
//! One stream for everything: writes, launches and reads happen in the order in which they were asked for, without a wait in
//! between. That is what makes writing a graph's inputs cheap.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use quipu_backend::Error;

use crate::driver::{Driver, DriverError, Function, Launch, Module, OUT_OF_MEMORY, Stream};
use crate::kernels::{self, Kernel};
use crate::ledger::{Ledger, Purpose};
use crate::staging::{N_SLOTS, SLOT_BYTES, Staging};

/// Alignment in bytes of every tensor, and of the end of every buffer.
pub(crate) const ALIGNMENT: usize = 256;

#[derive(Debug, Default)]
struct Code {
    modules: HashMap<&'static str, Module>,
    functions: HashMap<&'static str, (&'static Kernel, Function)>,
    /// Names asked for since somebody last wanted to know.
    used: BTreeSet<&'static str>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    /// `CUDA0`.
    pub name: String,
    pub driver: Box<dyn Driver>,
    pub stream: Stream,
    pub ledger: Ledger,
    staging: Mutex<Staging>,
    code: Mutex<Code>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn new(name: String, driver: Box<dyn Driver>) -> Result<Shared, Error> {
        let init = |error: DriverError| Error::Init { backend: name.clone(), message: error.to_string() };
        let stream = driver.create_stream().map_err(init)?;
        let staging = Staging::new(driver.as_ref()).map_err(init)?;
        let ledger = Ledger::default();
        ledger.add(Purpose::Staging, N_SLOTS * SLOT_BYTES);
        Ok(Shared { name, driver, stream, ledger, staging: Mutex::new(staging), code: Mutex::default() })
    }

    /// The error to tell of a refused call.
    pub fn error(&self, error: &DriverError) -> Error {
        Error::Device { device: self.name.clone(), message: error.to_string() }
    }

    /// Allocates `size` bytes, rounded up to whole 256; address and rounded size. `size` is not 0.
    pub fn alloc(&self, size: usize, purpose: Purpose) -> Result<(u64, usize), Error> {
        let out_of_memory = |what: String| Error::OutOfMemory { buffer_type: what, size };
        let rounded = size
            .checked_next_multiple_of(ALIGNMENT)
            .ok_or_else(|| out_of_memory(format!("{} ({purpose})", self.name)))?;
        let address = self.driver.alloc(rounded).map_err(|error| {
            if error.code == OUT_OF_MEMORY {
                out_of_memory(format!("{} ({purpose}): {error}", self.name))
            } else {
                self.error(&error)
            }
        })?;
        self.ledger.add(purpose, rounded);
        Ok((address, rounded))
    }

    /// Frees what [`Shared::alloc`] gave.
    ///
    /// # Safety
    /// The values are of one call of `alloc`, and the memory is not used any more.
    pub unsafe fn free(&self, (address, rounded): (u64, usize), purpose: Purpose) {
        // An error of either is one of earlier work; whoever waits for that work hears of it.
        let _ = self.driver.synchronize(self.stream);
        // SAFETY: as the caller promises; nothing is queued that could use it.
        let _ = unsafe { self.driver.free(address) };
        self.ledger.remove(purpose, rounded);
    }

    /// Queues a write.
    ///
    /// # Safety
    /// `to` has as many bytes inside one allocation.
    pub unsafe fn write(&self, to: u64, bytes: &[u8]) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        let done = unsafe { lock(&self.staging).write(self.driver.as_ref(), self.stream, to, bytes) };
        done.map_err(|error| self.error(&error))
    }

    /// Reads after everything queued before.
    ///
    /// # Safety
    /// `from` has as many bytes inside one allocation.
    pub unsafe fn read(&self, from: u64, out: &mut [u8]) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        let done = unsafe { lock(&self.staging).read(self.driver.as_ref(), self.stream, from, out) };
        done.map_err(|error| self.error(&error))
    }

    /// Queues clearing.
    ///
    /// # Safety
    /// `to` has as many bytes inside one allocation.
    pub unsafe fn clear(&self, to: u64, len: usize) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        let done = unsafe { self.driver.fill(self.stream, to, 0, len) };
        done.map_err(|error| self.error(&error))
    }

    /// Waits for everything queued.
    pub fn synchronize(&self) -> Result<(), Error> {
        self.driver.synchronize(self.stream).map_err(|error| self.error(&error))
    }

    /// A kernel of the table, ready to be launched; its file is compiled by the driver at first use.
    pub fn kernel(&self, name: &str) -> Result<(&'static Kernel, Function), Error> {
        let mut code = lock(&self.code);
        if let Some(found) = code.functions.get(name).copied() {
            code.used.insert(found.0.name);
            return Ok(found);
        }
        let absent = || Error::Init { backend: self.name.clone(), message: format!("no kernel {name}") };
        let kernel = kernels::find(name).ok_or_else(absent)?;
        let module = if let Some(module) = code.modules.get(kernel.file) {
            *module
        } else {
            let ptx = kernels::ptx(kernel.file).ok_or_else(absent)?;
            let module = self.driver.load_module(ptx).map_err(|error| self.error(&error))?;
            code.modules.insert(kernel.file, module);
            module
        };
        let function = self.driver.function(module, kernel).map_err(|error| self.error(&error))?;
        code.functions.insert(kernel.name, (kernel, function));
        code.used.insert(kernel.name);
        Ok((kernel, function))
    }

    /// Kernels that were planned since the last call.
    pub fn take_used(&self) -> Vec<&'static str> {
        std::mem::take(&mut lock(&self.code).used).into_iter().collect()
    }

    /// Queues a launch.
    ///
    /// # Safety
    /// As [`Driver::launch`].
    pub unsafe fn launch(&self, function: Function, launch: &Launch<'_>) -> Result<(), Error> {
        // SAFETY: the caller's promises.
        let done = unsafe { self.driver.launch(self.stream, function, launch) };
        done.map_err(|error| self.error(&error))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Whatever failed was told to whoever waited for it; what is left is to give everything back.
        let _ = self.driver.synchronize(self.stream);
        lock(&self.staging).release(self.driver.as_ref());
        for module in std::mem::take(&mut lock(&self.code).modules).into_values() {
            // SAFETY: loaded by this driver, unloaded once; nothing is queued.
            let _ = unsafe { self.driver.unload_module(module) };
        }
        // SAFETY: made by this driver, destroyed once; nothing is queued.
        let _ = unsafe { self.driver.destroy_stream(self.stream) };
    }
}
