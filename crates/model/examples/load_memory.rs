//! Time and resident memory of loading a model: in place or into host memory on the processor, and through an upload sink that
//! throws everything away.
//!
//!     cargo run --release -p quipu-model --example load_memory -- MODEL.gguf [MODE]

use std::sync::Arc;
use std::time::Instant;

use quipu_backend::{Backend, Buffer, BufferType, Device, DeviceKind, DeviceMemory, Error, HostBytes};
use quipu_cpu_backend::CpuDevice;
use quipu_gguf::LoadMode;
use quipu_model::{LoadOptions, LoadParams, Model, SizeOnly, Upload, UploadSink};

/// The processor, pretending that its memory is elsewhere and not taking any.
#[derive(Debug, Default)]
struct Elsewhere(CpuDevice);

impl Device for Elsewhere {
    fn name(&self) -> &'static str {
        "ELSEWHERE"
    }

    fn description(&self) -> String {
        self.0.description()
    }

    fn kind(&self) -> DeviceKind {
        DeviceKind::Gpu
    }

    fn memory(&self) -> DeviceMemory {
        self.0.memory()
    }

    fn buffer_type(&self) -> Arc<dyn BufferType> {
        Arc::new(SizeOnly(self.0.buffer_type()))
    }

    fn weight_buffer_types(&self) -> Vec<Arc<dyn BufferType>> {
        vec![self.buffer_type()]
    }

    fn buffer_from_host(&self, _: HostBytes) -> Option<Arc<dyn Buffer>> {
        None
    }

    fn backend(&self, n_threads: usize) -> Result<Box<dyn Backend>, Error> {
        self.0.backend(n_threads)
    }
}

/// Reads every byte it is given, so that mapped pages are touched, and keeps their sum.
#[derive(Default)]
struct Discard {
    bytes: usize,
    sum: u64,
}

impl UploadSink for Discard {
    fn chunk(&mut self, _: &Upload<'_>, _: &mut dyn Buffer, _: usize, bytes: &[u8]) -> Result<(), Error> {
        self.bytes += bytes.len();
        self.sum = bytes.iter().fold(self.sum, |sum, byte| sum.wrapping_add(u64::from(*byte)));
        Ok(())
    }
}

/// Resident bytes of this process in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

fn measure(path: &str, mode: LoadMode, device: &dyn Device) -> Result<(), Box<dyn std::error::Error>> {
    let before = resident();
    let start = Instant::now();
    let options = LoadOptions { load_mode: mode, ..LoadOptions::default() };
    let set = options.open(path)?;
    let opened = start.elapsed();
    let mut most = 0.0f64;
    let mut progress = |_: f32| {
        most = most.max(resident());
        true
    };
    let mut sink = Discard::default();
    let mut params = LoadParams { options, progress: Some(&mut progress), upload: Some(&mut sink) };
    let model = Model::load_set(&set, device, &mut params)?;
    let stats = model.load_stats();
    println!(
        "{:<10} {:<10} header {:>6.1} ms, all {:>7.1} ms, growth at most {:>7.1} MiB, after {:>7.1} MiB; mapped {}, read {}, uploaded {}, \
         locked {} (sum {:x} of {})",
        device.name(),
        mode.name(),
        opened.as_secs_f64() * 1e3,
        start.elapsed().as_secs_f64() * 1e3,
        most - before,
        resident() - before,
        stats.bytes_mapped,
        stats.bytes_read,
        stats.bytes_uploaded,
        stats.bytes_locked,
        sink.sum,
        sink.bytes
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("expected a model file")?;
    let modes: Vec<LoadMode> = match args.next() {
        Some(mode) => vec![mode.parse()?],
        None => LoadMode::ALL.to_vec(),
    };
    for mode in modes {
        measure(&path, mode, &CpuDevice::default())?;
        measure(&path, mode, &Elsewhere::default())?;
    }
    Ok(())
}
