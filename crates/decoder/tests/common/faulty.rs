//! A device whose backend fails when it is told to.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quipu_backend::{
    Abort, Backend, Buffer, BufferTable, BufferType, Device, DeviceKind, DeviceMemory, Error, HostBytes,
};
use quipu_cpu_backend::CpuDevice;
use quipu_graph::{Graph, TensorId};

/// Runs left until one fails, and how: [`Trigger::NEVER`] for none.
#[derive(Clone, Debug)]
pub struct Trigger(Arc<AtomicUsize>);

impl Trigger {
    const NEVER: usize = usize::MAX;

    pub fn new() -> Trigger {
        Trigger(Arc::new(AtomicUsize::new(Trigger::NEVER)))
    }

    /// Lets `n` runs pass and the next one compute half of its nodes and fail.
    pub fn after(&self, n: usize) {
        self.0.store(n, Ordering::Relaxed);
    }

    fn fires(&self) -> bool {
        match self.0.load(Ordering::Relaxed) {
            Trigger::NEVER => false,
            0 => {
                self.0.store(Trigger::NEVER, Ordering::Relaxed);
                true
            }
            n => {
                self.0.store(n - 1, Ordering::Relaxed);
                false
            }
        }
    }
}

/// The CPU, but for the runs that the trigger spoils.
#[derive(Debug)]
pub struct FaultyDevice {
    pub cpu: CpuDevice,
    pub trigger: Trigger,
}

#[derive(Debug)]
struct FaultyBackend {
    cpu: Box<dyn Backend>,
    trigger: Trigger,
}

impl Device for FaultyDevice {
    fn name(&self) -> &str {
        self.cpu.name()
    }

    fn description(&self) -> String {
        self.cpu.description()
    }

    fn kind(&self) -> DeviceKind {
        self.cpu.kind()
    }

    fn memory(&self) -> DeviceMemory {
        self.cpu.memory()
    }

    fn buffer_type(&self) -> Arc<dyn BufferType> {
        self.cpu.buffer_type()
    }

    fn weight_buffer_types(&self) -> Vec<Arc<dyn BufferType>> {
        self.cpu.weight_buffer_types()
    }

    fn buffer_from_host(&self, bytes: HostBytes) -> Option<Arc<dyn Buffer>> {
        self.cpu.buffer_from_host(bytes)
    }

    fn backend(&self, n_threads: usize) -> Result<Box<dyn Backend>, Error> {
        let cpu = self.cpu.backend(n_threads)?;
        Ok(Box::new(FaultyBackend { cpu, trigger: self.trigger.clone() }))
    }
}

impl Backend for FaultyBackend {
    fn name(&self) -> &str {
        self.cpu.name()
    }

    fn buffer_type(&self) -> Arc<dyn BufferType> {
        self.cpu.buffer_type()
    }

    fn supports_op(&self, graph: &Graph, node: TensorId) -> bool {
        self.cpu.supports_op(graph, node)
    }

    fn supports_buffer(&self, buffer: &dyn Buffer) -> bool {
        self.cpu.supports_buffer(buffer)
    }

    fn set_n_threads(&mut self, n_threads: usize) -> Result<(), Error> {
        self.cpu.set_n_threads(n_threads)
    }

    fn compute(
        &mut self,
        graph: &Graph,
        nodes: Range<usize>,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        if !self.trigger.fires() {
            return self.cpu.compute(graph, nodes, buffers, abort);
        }
        let half = nodes.start + nodes.len() / 2;
        self.cpu.compute(graph, nodes.start..half, buffers, abort)?;
        Err(Error::Device { device: "FAULTY".to_owned(), message: "told to fail".to_owned() })
    }
}
