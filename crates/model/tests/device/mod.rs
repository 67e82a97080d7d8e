//! A device whose memory the host cannot read in place, and a sink that writes down what it is given.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quipu_backend::{
    Backend, Buffer, BufferType, Device, DeviceKind, DeviceMemory, Error, HostBytes, WeightSpec,
};
use quipu_graph::DType;
use quipu_model::{Upload, UploadSink};

#[derive(Debug, Default)]
struct Counts {
    buffers: AtomicUsize,
    bytes: AtomicUsize,
    writes: AtomicUsize,
}

/// A device that counts its live buffers and refuses one write, if told which.
#[derive(Debug)]
pub struct Gpu {
    counts: Arc<Counts>,
    fail_at: Option<usize>,
    second: bool,
}

impl Gpu {
    pub fn new(fail_at: Option<usize>) -> Gpu {
        Gpu { counts: Arc::default(), fail_at, second: false }
    }

    /// Another memory before the plain one, for matrices only.
    pub fn with_second_memory(self) -> Gpu {
        Gpu { second: true, ..self }
    }

    pub fn live_buffers(&self) -> usize {
        self.counts.buffers.load(Ordering::Relaxed)
    }

    pub fn live_bytes(&self) -> usize {
        self.counts.bytes.load(Ordering::Relaxed)
    }

    fn memory_called(&self, name: &'static str) -> Arc<dyn BufferType> {
        Arc::new(GpuMemory { name, counts: Arc::clone(&self.counts), fail_at: self.fail_at })
    }
}

impl Device for Gpu {
    fn name(&self) -> &'static str {
        "GPU"
    }

    fn description(&self) -> String {
        "a device for tests".to_owned()
    }

    fn kind(&self) -> DeviceKind {
        DeviceKind::Gpu
    }

    fn memory(&self) -> DeviceMemory {
        DeviceMemory::default()
    }

    fn buffer_type(&self) -> Arc<dyn BufferType> {
        self.memory_called("GPU")
    }

    fn weight_buffer_types(&self) -> Vec<Arc<dyn BufferType>> {
        let names: &[&'static str] = if self.second { &["GPU_FAST", "GPU"] } else { &["GPU"] };
        names.iter().map(|name| self.memory_called(name)).collect()
    }

    fn buffer_from_host(&self, _: HostBytes) -> Option<Arc<dyn Buffer>> {
        None
    }

    fn backend(&self, _: usize) -> Result<Box<dyn Backend>, Error> {
        Err(Error::Aborted)
    }
}

#[derive(Debug)]
struct GpuMemory {
    name: &'static str,
    counts: Arc<Counts>,
    fail_at: Option<usize>,
}

impl BufferType for GpuMemory {
    fn name(&self) -> &str {
        self.name
    }

    fn alignment(&self) -> usize {
        32
    }

    fn accepts_weight(&self, weight: &WeightSpec) -> bool {
        self.name == "GPU" || weight.ne[1] > 1
    }

    fn is_host(&self) -> bool {
        false
    }

    fn allocate(&self, size: usize) -> Result<Box<dyn Buffer>, Error> {
        self.counts.buffers.fetch_add(1, Ordering::Relaxed);
        self.counts.bytes.fetch_add(size, Ordering::Relaxed);
        let (counts, fail_at) = (Arc::clone(&self.counts), self.fail_at);
        Ok(Box::new(GpuBuffer { name: self.name, bytes: vec![0; size], counts, fail_at }))
    }
}

#[derive(Debug)]
struct GpuBuffer {
    name: &'static str,
    bytes: Vec<u8>,
    counts: Arc<Counts>,
    fail_at: Option<usize>,
}

impl Drop for GpuBuffer {
    fn drop(&mut self) {
        self.counts.buffers.fetch_sub(1, Ordering::Relaxed);
        self.counts.bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

impl Buffer for GpuBuffer {
    fn size(&self) -> usize {
        self.bytes.len()
    }

    fn type_name(&self) -> &str {
        self.name
    }

    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), Error> {
        out.copy_from_slice(&self.bytes[offset..offset + out.len()]);
        Ok(())
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> Result<(), Error> {
        if self.fail_at == Some(self.counts.writes.fetch_add(1, Ordering::Relaxed)) {
            return Err(refusal());
        }
        self.bytes[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn write_weight(&mut self, offset: usize, _: DType, _: [usize; 4], data: &[u8]) -> Result<(), Error> {
        self.write(offset, data)
    }

    fn clear(&mut self) {
        self.bytes.fill(0);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

fn refusal() -> Error {
    Error::OutOfMemory { buffer_type: "GPU".to_owned(), size: 1 }
}

/// One tensor as it was uploaded.
#[derive(Debug, Default)]
pub struct Uploaded {
    pub name: String,
    pub bytes: Vec<u8>,
    pub longest: usize,
    pub ended: bool,
}

/// Writes everything down, passes it on, and fails at one call, if told which.
#[derive(Debug, Default)]
pub struct Log {
    pub tensors: Vec<Uploaded>,
    pub fail_at: Option<usize>,
    pub aborted: bool,
    pub calls: usize,
}

impl Log {
    fn step(&mut self) -> Result<(), Error> {
        self.calls += 1;
        if self.fail_at == Some(self.calls - 1) { Err(refusal()) } else { Ok(()) }
    }
}

impl UploadSink for Log {
    fn begin(&mut self, upload: &Upload<'_>, _: &mut dyn Buffer) -> Result<(), Error> {
        assert!(self.tensors.last().is_none_or(|last| last.ended), "one at a time");
        self.tensors.push(Uploaded { name: upload.name.to_owned(), ..Uploaded::default() });
        self.step()
    }

    fn chunk(
        &mut self,
        upload: &Upload<'_>,
        buffer: &mut dyn Buffer,
        from: usize,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let tensor = self.tensors.last_mut().expect("begin comes first");
        assert_eq!((tensor.name.as_str(), tensor.bytes.len(), tensor.ended), (upload.name, from, false));
        tensor.bytes.extend_from_slice(bytes);
        tensor.longest = tensor.longest.max(bytes.len());
        self.step()?;
        buffer.write(upload.offset + from, bytes)
    }

    fn end(&mut self, upload: &Upload<'_>, _: &mut dyn Buffer) -> Result<(), Error> {
        let tensor = self.tensors.last_mut().expect("begin comes first");
        assert_eq!((tensor.name.as_str(), tensor.bytes.len()), (upload.name, upload.n_bytes));
        tensor.ended = true;
        self.step()
    }

    fn abort(&mut self) {
        self.aborted = true;
    }
}
