//! The traits of a place to compute: what it is, and execution on it.

use std::any::Any;
use std::fmt::{self, Debug};
use std::ops::Range;
use std::sync::Arc;

use quipu_graph::{Graph, TensorId};

use crate::buffer::{Buffer, BufferType, HostBytes};
use crate::error::Error;
use crate::table::BufferTable;

/// Asked between nodes; `true` stops the computation with [`Error::Aborted`].
pub type Abort<'a> = &'a (dyn Fn() -> bool + Sync);

/// Kinds of devices (`ggml_backend_dev_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceKind {
    /// The host's processor.
    Cpu,
    /// A device with memory of its own.
    Gpu,
}

/// Memory of a device in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Free now.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// A place to compute. Answers to `ggml_backend_device_i`.
pub trait Device: Send + Sync + Debug {
    /// Short name (`CPU`, `CUDA0`).
    fn name(&self) -> &str;

    /// What a person would call it.
    fn description(&self) -> String;

    /// Kind.
    fn kind(&self) -> DeviceKind;

    /// Memory.
    fn memory(&self) -> DeviceMemory;

    /// Memory for computing, and for weights no other type takes.
    fn buffer_type(&self) -> Arc<dyn BufferType>;

    /// Memory types for weights, best first; the last is [`Device::buffer_type`].
    fn weight_buffer_types(&self) -> Vec<Arc<dyn BufferType>>;

    /// A buffer that uses `bytes` in place; `None` if the device cannot read host memory.
    fn buffer_from_host(&self, bytes: HostBytes) -> Option<Arc<dyn Buffer>>;

    /// Starts executing: `n_threads` host threads where that means something.
    fn backend(&self, n_threads: usize) -> Result<Box<dyn Backend>, Error>;
}

/// Nodes of a graph, ready to run on the backend that prepared them (`ggml_backend_graph_plan_t`).
pub struct Prepared(Box<dyn Any + Send>);

impl Prepared {
    /// For backends: keeps what they run.
    pub fn new(plan: impl Any + Send) -> Prepared {
        Prepared(Box::new(plan))
    }

    /// For backends: what they kept, if it is theirs.
    pub fn get_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.0.downcast_mut()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

/// Execution on a device. Answers to `ggml_backend_i`.
pub trait Backend: Send + Debug {
    /// Name for logs and errors.
    fn name(&self) -> &str;

    /// Memory its results are placed in.
    fn buffer_type(&self) -> Arc<dyn BufferType>;

    /// Whether it computes this node, given its op, types and layouts.
    fn supports_op(&self, graph: &Graph, node: TensorId) -> bool;

    /// Whether it can read operands from that kind of memory.
    fn supports_buffer(&self, buffer: &dyn Buffer) -> bool;

    /// Host threads used from the next run on; backends without host threads ignore it.
    fn set_n_threads(&mut self, n_threads: usize) -> Result<(), Error>;

    /// Checks `graph.nodes()[nodes]`, finds their operands in `buffers`, and decides how to compute them. The result does
    /// not follow later changes of the graph: [`Graph::generation`] says when there were such.
    ///
    /// Errors if a node is unsupported or unbound, or the graph has no such nodes. Nothing was computed.
    fn prepare(
        &mut self,
        graph: &Graph,
        nodes: Range<usize>,
        buffers: &BufferTable,
    ) -> Result<Prepared, Error>;

    /// Computes what [`Backend::prepare`] made ready, in order, and returns when the results are in memory. A second run
    /// allocates nothing on the heap.
    ///
    /// Errors with [`Error::Stale`] if the buffers are not those that it was prepared for, and [`Error::NotPrepared`] if
    /// another kind of backend prepared it; nothing was computed then. Errors if an index is out of range, or `abort` says
    /// so; memory of nodes after the failing one is then undefined, everything else intact.
    fn run(
        &mut self,
        prepared: &mut Prepared,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error>;

    /// Prepares and runs nodes of a graph that is computed once. Errors as both.
    fn compute(
        &mut self,
        graph: &Graph,
        nodes: Range<usize>,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        let mut prepared = self.prepare(graph, nodes, buffers)?;
        self.run(&mut prepared, buffers, abort)
    }
}

/// Looks at results while a graph runs. Answers to `ggml_backend_sched_eval_callback`.
pub trait Observer: Send + Debug {
    /// Whether to be shown this node once it is computed.
    fn wants(&self, graph: &Graph, node: TensorId) -> bool;

    /// A wanted node was computed; its operands still hold what it was computed from, unless it took the place
    /// of one. An error stops the graph.
    fn computed(&mut self, graph: &Graph, node: TensorId, buffers: &BufferTable) -> Result<(), Error>;
}
