//! A device that does what another one does, but for what a hook does around it.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use quipu_backend::{
    Abort, Backend, Buffer, BufferTable, BufferType, Device, DeviceKind, DeviceMemory, Error, HostBytes,
    Prepared,
};
use quipu_graph::{Graph, TensorId};

/// What happens around memory, and around preparing and running graphs. A clone goes to each backend.
pub trait Hook: Clone + Debug + Send + Sync + 'static {
    /// In place of [`Device::buffer_type`] and [`Backend::buffer_type`].
    fn buffer_type(&self, inner: Arc<dyn BufferType>) -> Arc<dyn BufferType> {
        inner
    }

    /// In place of [`Backend::prepare`].
    ///
    /// # Errors
    /// As there.
    fn prepare(
        &self,
        inner: &mut dyn Backend,
        graph: &Graph,
        nodes: Range<usize>,
        buffers: &BufferTable,
    ) -> Result<Prepared, Error>;

    /// In place of [`Backend::run`], with what [`prepare`](Hook::prepare) made.
    ///
    /// # Errors
    /// As there.
    fn run(
        &self,
        inner: &mut dyn Backend,
        prepared: &mut Prepared,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error>;
}

/// The device `inner`, with a hook.
#[derive(Debug)]
pub struct HookedDevice<D, H> {
    /// Does the work.
    pub inner: D,
    /// Is asked instead.
    pub hook: H,
}

impl<D: Device, H: Hook> Device for HookedDevice<D, H> {
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
        self.hook.buffer_type(self.inner.buffer_type())
    }

    fn weight_buffer_types(&self) -> Vec<Arc<dyn BufferType>> {
        self.inner.weight_buffer_types()
    }

    fn buffer_from_host(&self, bytes: HostBytes) -> Option<Arc<dyn Buffer>> {
        self.inner.buffer_from_host(bytes)
    }

    fn backend(&self, n_threads: usize) -> Result<Box<dyn Backend>, Error> {
        Ok(Box::new(HookedBackend { inner: self.inner.backend(n_threads)?, hook: self.hook.clone() }))
    }
}

#[derive(Debug)]
struct HookedBackend<H> {
    inner: Box<dyn Backend>,
    hook: H,
}

impl<H: Hook> Backend for HookedBackend<H> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn buffer_type(&self) -> Arc<dyn BufferType> {
        self.hook.buffer_type(self.inner.buffer_type())
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
        self.hook.prepare(self.inner.as_mut(), graph, nodes, buffers)
    }

    fn run(
        &mut self,
        prepared: &mut Prepared,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        self.hook.run(self.inner.as_mut(), prepared, buffers, abort)
    }
}

/// What is looked at, or changed, behind each node.
pub trait AfterNode: Clone + Debug + Send + Sync + 'static {
    /// `node` has just been computed.
    ///
    /// # Errors
    /// What ends the run.
    fn after(&self, graph: &Graph, node: TensorId, buffers: &mut BufferTable) -> Result<(), Error>;
}

/// The hook that runs graphs node by node, each prepared by itself.
#[derive(Clone, Debug)]
pub struct EachNode<A>(pub A);

/// A graph and its nodes.
struct OneByOne {
    graph: Graph,
    parts: Vec<(TensorId, Prepared)>,
}

impl<A: AfterNode> Hook for EachNode<A> {
    fn prepare(
        &self,
        inner: &mut dyn Backend,
        graph: &Graph,
        nodes: Range<usize>,
        buffers: &BufferTable,
    ) -> Result<Prepared, Error> {
        let mut parts = Vec::new();
        for node in nodes {
            parts.push((graph.nodes()[node], inner.prepare(graph, node..node + 1, buffers)?));
        }
        Ok(Prepared::new(OneByOne { graph: graph.clone(), parts }))
    }

    fn run(
        &self,
        inner: &mut dyn Backend,
        prepared: &mut Prepared,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        let OneByOne { graph, parts } =
            prepared.get_mut().ok_or_else(|| Error::NotPrepared { backend: inner.name().to_owned() })?;
        for (node, part) in parts {
            inner.run(part, buffers, abort)?;
            self.0.after(graph, *node, buffers)?;
        }
        Ok(())
    }
}
