//! A CUDA device: its name, its memory, and the memory types it offers.

use std::sync::Arc;

use quipu_backend::{Backend, Buffer, BufferType, Device, DeviceKind, DeviceMemory, Error, HostBytes};

use crate::backend::CudaBackend;
use crate::buffer::{CudaBuffer, CudaBufferType};
use crate::driver::{DeviceInfo, Driver, DriverError};
use crate::ledger::{Ledger, Purpose};
use crate::shared::Shared;

/// The oldest compute capability the kernels are compiled for.
const OLDEST: (u32, u32) = (8, 0);
/// The oldest driver that reads the kernels' PTX.
const OLDEST_DRIVER: u32 = 13000;

/// A CUDA device. Answers to `ggml_backend_cuda_device`.
#[derive(Debug)]
pub struct CudaDevice {
    shared: Arc<Shared>,
}

impl CudaDevice {
    /// Device number `ordinal`, reached through `driver`.
    ///
    /// # Errors
    /// [`Error::Init`]: the device or its driver is older than the kernels, or the driver refuses pinned memory or a stream.
    pub fn new(ordinal: u32, driver: Box<dyn Driver>) -> Result<CudaDevice, Error> {
        let name = format!("CUDA{ordinal}");
        let DeviceInfo { compute_capability, driver_version, .. } = *driver.info();
        let refused = |message| Err(Error::Init { backend: name.clone(), message });
        if compute_capability < OLDEST {
            let (major, minor) = compute_capability;
            return refused(format!("compute capability {major}.{minor}, expected 8.0 or newer"));
        }
        if driver_version < OLDEST_DRIVER {
            return refused(format!(
                "a driver for CUDA {}.{}, expected 13.0 or newer (release 580)",
                driver_version / 1000,
                driver_version % 1000 / 10
            ));
        }
        Ok(CudaDevice { shared: Arc::new(Shared::new(name.clone(), driver)?) })
    }

    /// What the driver says of the device.
    pub fn info(&self) -> &DeviceInfo {
        self.shared.driver.info()
    }

    /// Bytes in use by purpose.
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// Names of the kernels that graphs were planned with since the last call: for tests that want to know what they reached.
    pub fn take_used_kernels(&self) -> Vec<&'static str> {
        self.shared.take_used()
    }

    /// Bytes per second of copies inside of the device's memory, read and written bytes counted once each: the best of
    /// `n_repeats` copies of `n_bytes`.
    ///
    /// # Errors
    /// No memory for two buffers of that size, or a refusal of the driver.
    pub fn copy_bandwidth(&self, n_bytes: usize, n_repeats: usize) -> Result<f64, Error> {
        let shared = &self.shared;
        let buffer = || CudaBuffer::new(Arc::clone(shared), n_bytes, Purpose::Scratch);
        let (to, from) = (buffer()?, buffer()?);
        let failed = |error| shared.error(&error);
        let start = shared.driver.create_event().map_err(failed)?;
        let end = shared.driver.create_event().map_err(failed)?;
        let mut best = 0f64;
        let mut measure = || -> Result<(), DriverError> {
            for _ in 0..n_repeats {
                shared.driver.record(start, shared.stream)?;
                // SAFETY: both buffers are that large, and alive until the event was waited for.
                unsafe { shared.driver.copy_within(shared.stream, to.address(), from.address(), n_bytes) }?;
                shared.driver.record(end, shared.stream)?;
                shared.driver.wait(end)?;
                let seconds = f64::from(shared.driver.elapsed_ms(start, end)?) / 1e3;
                best = best.max(2.0 * n_bytes as f64 / seconds);
            }
            Ok(())
        };
        let done = measure();
        for event in [start, end] {
            // SAFETY: made above, destroyed once.
            let _ = unsafe { shared.driver.destroy_event(event) };
        }
        done.map_err(failed)?;
        Ok(best)
    }

    fn memory_for(&self, purpose: Purpose) -> Arc<dyn BufferType> {
        Arc::new(CudaBufferType { shared: Arc::clone(&self.shared), purpose })
    }
}

impl Device for CudaDevice {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn description(&self) -> String {
        let info = self.info();
        let (major, minor) = info.compute_capability;
        format!("{} (compute capability {major}.{minor})", info.name)
    }

    fn kind(&self) -> DeviceKind {
        DeviceKind::Gpu
    }

    /// Zeros if the driver does not tell.
    fn memory(&self) -> DeviceMemory {
        self.shared.driver.memory().unwrap_or_default()
    }

    fn buffer_type(&self) -> Arc<dyn BufferType> {
        self.memory_for(Purpose::Cache)
    }

    fn weight_buffer_types(&self) -> Vec<Arc<dyn BufferType>> {
        vec![self.memory_for(Purpose::Weights)]
    }

    /// Weights are read at the device's own speed or not at all.
    fn buffer_from_host(&self, _bytes: HostBytes) -> Option<Arc<dyn Buffer>> {
        None
    }

    /// The threads are the host's business.
    fn backend(&self, _n_threads: usize) -> Result<Box<dyn Backend>, Error> {
        Ok(Box::new(CudaBackend::new(Arc::clone(&self.shared))?))
    }
}
