//! The processor with memory of its own that no other device reads, and that counts its bytes.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quipu_backend::{
    Abort, Backend, Buffer, BufferTable, BufferType, Device, DeviceKind, DeviceMemory, Error, HostBytes,
    Prepared, WeightSpec,
};
use quipu_cpu_backend::CpuDevice;
use quipu_graph::{DType, Graph, TensorId};

#[derive(Clone, Debug)]
struct Memory {
    name: &'static str,
    inner: Arc<dyn BufferType>,
    n_bytes: Arc<AtomicUsize>,
}

/// The device.
#[derive(Debug)]
pub struct Apart {
    cpu: CpuDevice,
    memory: Memory,
}

impl Apart {
    pub fn new(name: &'static str) -> Apart {
        let cpu = CpuDevice::default();
        let memory = Memory { name, inner: cpu.buffer_type(), n_bytes: Arc::default() };
        Apart { cpu, memory }
    }

    /// Bytes in use now.
    pub fn n_bytes(&self) -> usize {
        self.memory.n_bytes.load(Ordering::SeqCst)
    }
}

impl Device for Apart {
    fn name(&self) -> &str {
        self.memory.name
    }

    fn description(&self) -> String {
        "the processor, apart".to_owned()
    }

    fn kind(&self) -> DeviceKind {
        DeviceKind::Gpu
    }

    fn memory(&self) -> DeviceMemory {
        self.cpu.memory()
    }

    fn buffer_type(&self) -> Arc<dyn BufferType> {
        Arc::new(self.memory.clone())
    }

    fn weight_buffer_types(&self) -> Vec<Arc<dyn BufferType>> {
        vec![self.buffer_type()]
    }

    fn buffer_from_host(&self, _: HostBytes) -> Option<Arc<dyn Buffer>> {
        None
    }

    fn backend(&self, n_threads: usize) -> Result<Box<dyn Backend>, Error> {
        Ok(Box::new(ApartBackend { inner: self.cpu.backend(n_threads)?, memory: self.memory.clone() }))
    }
}

impl BufferType for Memory {
    fn name(&self) -> &str {
        self.name
    }

    fn alignment(&self) -> usize {
        self.inner.alignment()
    }

    fn accepts_weight(&self, _: &WeightSpec) -> bool {
        true
    }

    fn is_host(&self) -> bool {
        // As an override to plain host memory wants it of the model's own device.
        self.name == "HOST"
    }

    fn allocate(&self, size: usize) -> Result<Box<dyn Buffer>, Error> {
        let inner = self.inner.allocate(size)?;
        self.n_bytes.fetch_add(size, Ordering::SeqCst);
        Ok(Box::new(ApartBuffer { inner, memory: self.clone() }))
    }
}

#[derive(Debug)]
struct ApartBuffer {
    inner: Box<dyn Buffer>,
    memory: Memory,
}

impl Drop for ApartBuffer {
    fn drop(&mut self) {
        self.memory.n_bytes.fetch_sub(self.inner.size(), Ordering::SeqCst);
    }
}

impl Buffer for ApartBuffer {
    fn size(&self) -> usize {
        self.inner.size()
    }

    fn type_name(&self) -> &str {
        self.memory.name
    }

    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), Error> {
        self.inner.read(offset, out)
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> Result<(), Error> {
        self.inner.write(offset, data)
    }

    fn write_weight(
        &mut self,
        offset: usize,
        dtype: DType,
        ne: [usize; 4],
        data: &[u8],
    ) -> Result<(), Error> {
        self.inner.write_weight(offset, dtype, ne, data)
    }

    fn clear(&mut self) {
        self.inner.clear();
    }

    /// What the processor computes on is the memory inside.
    fn as_any(&self) -> &dyn Any {
        self.inner.as_any()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self.inner.as_any_mut()
    }
}

#[derive(Debug)]
struct ApartBackend {
    inner: Box<dyn Backend>,
    memory: Memory,
}

impl ApartBackend {
    /// Nothing else may reach a kernel, though this one could read it.
    fn check(&self, graph: &Graph, nodes: Range<usize>, buffers: &BufferTable) {
        for id in &graph.nodes()[nodes] {
            for used in graph[*id].src.iter().chain([id]).filter(|_| !graph[*id].op.is_metadata()) {
                let (buffer, _) = graph[*used].storage.location().expect("bound");
                let name = buffers.get(buffer).expect("registered").type_name();
                assert_eq!(name, self.memory.name, "{} of {}", graph[*used].name, graph[*id].name);
            }
        }
    }
}

impl Backend for ApartBackend {
    fn name(&self) -> &str {
        self.memory.name
    }

    fn buffer_type(&self) -> Arc<dyn BufferType> {
        Arc::new(self.memory.clone())
    }

    fn supports_op(&self, graph: &Graph, node: TensorId) -> bool {
        self.inner.supports_op(graph, node)
    }

    fn supports_buffer(&self, buffer: &dyn Buffer) -> bool {
        buffer.type_name() == self.memory.name
    }

    fn set_n_threads(&mut self, n_threads: usize) -> Result<(), Error> {
        self.inner.set_n_threads(n_threads)
    }

    fn prepare(
        &mut self,
        graph: &Graph,
        nodes: Range<usize>,
        buffers: &BufferTable,
    ) -> Result<Prepared, Error> {
        self.check(graph, nodes.clone(), buffers);
        self.inner.prepare(graph, nodes, buffers)
    }

    fn run(
        &mut self,
        prepared: &mut Prepared,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        self.inner.run(prepared, buffers, abort)
    }
}
