//! A device that runs graphs node by node on another one, to look at results in between, or to spoil them.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use quipu_backend::{
    Abort, Backend, Buffer, BufferTable, BufferType, Device, DeviceKind, DeviceMemory, Error, HostBytes,
    Prepared,
};
use quipu_graph::{DType, Graph, Op, TensorId};

/// A copied tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tapped {
    /// Its name in the graph.
    pub name: String,
    /// Its values.
    pub values: Vec<f32>,
}

/// What to do between nodes.
#[derive(Clone, Debug, Default)]
pub struct TapOptions {
    /// Copy f32 results whose name starts with one of these.
    pub prefixes: Vec<String>,
    /// Spoil matrix products whose weights have this type: every eighth row comes out half as large again.
    pub sabotage: Option<DType>,
}

/// Wraps a device.
#[derive(Debug)]
pub struct TapDevice<D> {
    inner: D,
    options: TapOptions,
    tapped: Arc<Mutex<Vec<Tapped>>>,
}

impl<D: Device> TapDevice<D> {
    /// Wraps `inner`.
    pub fn new(inner: D, options: TapOptions) -> TapDevice<D> {
        TapDevice { inner, options, tapped: Arc::default() }
    }

    /// What was copied since the last call.
    pub fn take(&self) -> Vec<Tapped> {
        self.tapped.lock().map(|mut tapped| std::mem::take(&mut *tapped)).unwrap_or_default()
    }
}

impl<D: Device> Device for TapDevice<D> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn description(&self) -> String {
        self.inner.description()
    }

    fn kind(&self) -> DeviceKind {
        self.inner.kind()
    }

    fn memory(&self) -> DeviceMemory {
        self.inner.memory()
    }

    fn buffer_type(&self) -> Arc<dyn BufferType> {
        self.inner.buffer_type()
    }

    fn weight_buffer_types(&self) -> Vec<Arc<dyn BufferType>> {
        self.inner.weight_buffer_types()
    }

    fn buffer_from_host(&self, bytes: HostBytes) -> Option<Arc<dyn Buffer>> {
        self.inner.buffer_from_host(bytes)
    }

    fn backend(&self, n_threads: usize) -> Result<Box<dyn Backend>, Error> {
        Ok(Box::new(TapBackend {
            inner: self.inner.backend(n_threads)?,
            options: self.options.clone(),
            tapped: Arc::clone(&self.tapped),
        }))
    }
}

#[derive(Debug)]
struct TapBackend {
    inner: Box<dyn Backend>,
    options: TapOptions,
    tapped: Arc<Mutex<Vec<Tapped>>>,
}

impl TapBackend {
    fn after(&self, graph: &Graph, id: TensorId, buffers: &mut BufferTable) -> Result<(), Error> {
        let tensor = &graph[id];
        let spoiled = tensor.op == Op::MulMat && self.options.sabotage == Some(graph[tensor.src[0]].dtype);
        let wanted = self.options.prefixes.iter().any(|prefix| tensor.name.starts_with(prefix));
        if tensor.dtype != DType::F32 || !tensor.is_contiguous() || !(spoiled || wanted) {
            return Ok(());
        }
        let mut bytes = vec![0; tensor.n_bytes()];
        buffers.read_tensor(tensor, 0, &mut bytes)?;
        let mut values: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        if spoiled {
            values.iter_mut().step_by(8).for_each(|value| *value *= 1.5);
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            buffers.write_tensor(tensor, &bytes)?;
        }
        if wanted && let Ok(mut tapped) = self.tapped.lock() {
            tapped.push(Tapped { name: tensor.name.clone(), values });
        }
        Ok(())
    }
}

impl Backend for TapBackend {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn buffer_type(&self) -> Arc<dyn BufferType> {
        self.inner.buffer_type()
    }

    fn supports_op(&self, graph: &Graph, node: TensorId) -> bool {
        self.inner.supports_op(graph, node)
    }

    fn supports_buffer(&self, buffer: &dyn Buffer) -> bool {
        self.inner.supports_buffer(buffer)
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
        let parts =
            nodes.map(|node| self.inner.prepare(graph, node..node + 1, buffers).map(|part| (node, part)));
        let parts = parts.collect::<Result<_, _>>()?;
        Ok(Prepared::new(OneByOne { graph: graph.clone(), parts }))
    }

    fn run(
        &mut self,
        prepared: &mut Prepared,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        let OneByOne { graph, parts } =
            prepared.get_mut().ok_or_else(|| Error::NotPrepared { backend: self.name().to_owned() })?;
        for (node, part) in parts {
            self.inner.run(part, buffers, abort)?;
            if let Some(id) = graph.nodes().get(*node) {
                self.after(graph, *id, buffers)?;
            }
        }
        Ok(())
    }
}

/// Nodes of a graph, each prepared by itself.
struct OneByOne {
    graph: Graph,
    parts: Vec<(usize, Prepared)>,
}
