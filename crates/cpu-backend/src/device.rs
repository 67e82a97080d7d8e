//! The processor as a device: its name, its memory, and the kinds of memory it computes in.

use std::sync::Arc;

use quipu_backend::{Backend, Buffer, BufferType, Device, DeviceKind, DeviceMemory, Error, HostBytes};

use crate::backend::CpuBackend;
use crate::buffer::{CpuBufferType, HostBuffer};
use crate::isa::Isa;
use crate::pool::ThreadPool;

/// How to use the processor.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuOptions {
    /// Instruction set; `None` takes the best one this processor has.
    pub isa: Option<Isa>,
}

/// The host's processor. Answers to `ggml_backend_cpu_device`. All its backends share one pool of threads, and take turns.
#[derive(Debug)]
pub struct CpuDevice {
    options: CpuOptions,
    buffer_type: Arc<CpuBufferType>,
    /// Of all who compute here.
    pool: Arc<ThreadPool>,
}

impl CpuDevice {
    /// The processor, used as `options` say.
    pub fn new(options: CpuOptions) -> CpuDevice {
        CpuDevice { options, buffer_type: Arc::new(CpuBufferType), pool: Arc::default() }
    }

    /// The instruction set its kernels use.
    pub fn isa(&self) -> Isa {
        self.options.isa.unwrap_or_else(Isa::detect)
    }
}

impl Default for CpuDevice {
    fn default() -> CpuDevice {
        CpuDevice::new(CpuOptions::default())
    }
}

impl Device for CpuDevice {
    fn name(&self) -> &'static str {
        "CPU"
    }

    /// The processor's own name where the system tells it, and the instruction set in use.
    fn description(&self) -> String {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = field(&cpuinfo, "model name").unwrap_or(std::env::consts::ARCH);
        format!("{model} ({})", self.isa())
    }

    fn kind(&self) -> DeviceKind {
        DeviceKind::Cpu
    }

    /// Physical memory, zeros where the system does not tell.
    fn memory(&self) -> DeviceMemory {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let bytes = |name| {
            let kib = field(&meminfo, name).and_then(|v| v.strip_suffix("kB")?.trim().parse::<u64>().ok());
            kib.unwrap_or(0).saturating_mul(1024)
        };
        DeviceMemory { free: bytes("MemAvailable"), total: bytes("MemTotal") }
    }

    fn buffer_type(&self) -> Arc<dyn BufferType> {
        self.buffer_type.clone()
    }

    fn weight_buffer_types(&self) -> Vec<Arc<dyn BufferType>> {
        vec![self.buffer_type()]
    }

    fn buffer_from_host(&self, bytes: HostBytes) -> Option<Arc<dyn Buffer>> {
        Some(Arc::new(HostBuffer::new(bytes)))
    }

    fn backend(&self, n_threads: usize) -> Result<Box<dyn Backend>, Error> {
        Ok(Box::new(CpuBackend::on(Arc::clone(&self.pool), self.isa(), n_threads)?))
    }
}

/// The value of the first `name : value` line of a `/proc` file.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_files_are_found_by_name() {
        let text = "processor\t: 0\nmodel name\t: Fast: very\nMemTotal:   12 kB\n";
        assert_eq!(field(text, "model name"), Some("Fast: very"));
        assert_eq!(field(text, "MemTotal"), Some("12 kB"));
        assert_eq!(field(text, "bogus"), None);
    }
}
