//! Runs a plan: memory first, then one launch after the other, then one wait.

use std::ops::Range;
use std::sync::Arc;

use quipu_backend::{Abort, Backend, Buffer, BufferTable, BufferType, Error};
use quipu_graph::{Graph, Op, TensorId};

use crate::buffer::{CudaBuffer, CudaBufferType};
use crate::ledger::Purpose;
use crate::plan::{Plan, Source};
use crate::replay::{Replay, Turn};
use crate::shared::Shared;
use crate::support;

/// Execution on a CUDA device. Answers to `ggml_backend_cuda`.
///
/// Launches are queued on the device's stream; results are there when `compute` returns. In steady state nothing is
/// allocated: prepared activations and partial results lie in a scratch that only grows.
#[derive(Debug)]
pub struct CudaBackend {
    shared: Arc<Shared>,
    plan: Plan,
    scratch: CudaBuffer,
    /// One i32 for each node with row numbers: how many were out of range.
    status: CudaBuffer,
    counters: Vec<u8>,
    replay: Replay,
}

impl CudaBackend {
    pub(crate) fn new(shared: Arc<Shared>) -> Result<CudaBackend, Error> {
        let empty = || CudaBuffer::new(Arc::clone(&shared), 0, Purpose::Scratch);
        let (scratch, status) = (empty()?, empty()?);
        let replay = Replay::new(Arc::clone(&shared));
        Ok(CudaBackend { shared, plan: Plan::default(), scratch, status, counters: Vec::new(), replay })
    }

    /// Makes the run's own memory large enough.
    fn reserve(&mut self) -> Result<(), Error> {
        let status_bytes = self.plan.row_nodes.len() * 4;
        for (buffer, size) in [(&mut self.scratch, self.plan.scratch_bytes), (&mut self.status, status_bytes)]
        {
            if buffer.size() < size {
                // The old one goes first: both at once might not fit.
                *buffer = CudaBuffer::new(Arc::clone(&self.shared), 0, Purpose::Scratch)?;
                *buffer = CudaBuffer::new(Arc::clone(&self.shared), size, Purpose::Scratch)?;
            }
        }
        self.plan.close(self.scratch.address(), self.status.address());
        self.counters.clear();
        self.counters.resize(status_bytes, 0);
        Ok(())
    }

    fn launch_all(&mut self, abort: Option<Abort<'_>>) -> Result<(), Error> {
        // Who may stop a run is asked between its launches.
        if abort.is_none() {
            let cleared = (self.status.address(), self.counters.len());
            // SAFETY: as for the launches below.
            if unsafe { self.replay.turn(&self.plan, cleared) }? == Turn::Done {
                return Ok(());
            }
        }
        if !self.counters.is_empty() {
            // SAFETY: `reserve` made the buffer at least as large as the counters.
            unsafe { self.shared.clear(self.status.address(), self.counters.len()) }?;
        }
        for step in &self.plan.steps {
            if abort.is_some_and(|abort| abort()) {
                return Err(Error::Aborted);
            }
            // SAFETY: the plan was built from this run's graph and buffers, which stay exclusively borrowed until the
            // stream was waited for: `support` checked types, shapes and layouts, the plan that every tensor lies aligned
            // inside a buffer of this device, that arguments are of the kernel's kinds, and how much scratch they need.
            unsafe { self.shared.launch(step.function, &self.plan.launch(step)) }?;
        }
        Ok(())
    }

    /// Waits for the results; row numbers out of range are an error.
    fn finish(&mut self, graph: &Graph, buffers: &BufferTable) -> Result<(), Error> {
        if self.counters.is_empty() {
            return self.shared.synchronize();
        }
        // Reading waits for everything before.
        // SAFETY: as in `launch_all`.
        unsafe { self.shared.read(self.status.address(), &mut self.counters) }?;
        let counts = self.counters.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes));
        match counts.zip(&self.plan.row_nodes).find(|(count, _)| *count != 0) {
            Some((_, node)) => Err(bad_row(graph, *node, buffers)),
            None => Ok(()),
        }
    }
}

/// The error for a node that was given row numbers out of range. Which, the counter does not say: they are looked up.
fn bad_row(graph: &Graph, id: TensorId, buffers: &BufferTable) -> Error {
    let node = &graph[id];
    let set = node.op == Op::SetRows;
    let table = node.src.get(if set { 2 } else { 0 }).map(|id| &graph[*id]);
    let n_rows = if set { node.ne[1] } else { table.map_or(0, |table| table.ne[1]) };
    let mut row = -1;
    if let Some(ids) = node.src.get(1).map(|id| &graph[*id]) {
        let mut bytes = vec![0; ids.n_bytes()];
        if buffers.read_tensor(ids, 0, &mut bytes).is_ok() {
            let wide = bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b));
            let narrow = bytes.as_chunks::<4>().0.iter().map(|b| i64::from(i32::from_le_bytes(*b)));
            let outside = |row: &i64| usize::try_from(*row).map_or(true, |row| row >= n_rows);
            let found = if set { wide.into_iter().find(outside) } else { narrow.into_iter().find(outside) };
            row = found.unwrap_or(row);
        }
    }
    let name = table.map_or_else(|| node.label(), |table| &table.name);
    Error::RowOutOfRange { op: node.op.name(), name: name.to_owned(), row, n_rows }
}

impl Backend for CudaBackend {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn buffer_type(&self) -> Arc<dyn BufferType> {
        Arc::new(CudaBufferType { shared: Arc::clone(&self.shared), purpose: Purpose::Compute })
    }

    fn supports_op(&self, graph: &Graph, node: TensorId) -> bool {
        support::node(graph, node).is_ok()
    }

    fn supports_buffer(&self, buffer: &dyn Buffer) -> bool {
        buffer.as_any().downcast_ref::<CudaBuffer>().is_some_and(|buffer| buffer.is_of(&self.shared))
    }

    /// There are none.
    fn set_n_threads(&mut self, _n_threads: usize) -> Result<(), Error> {
        Ok(())
    }

    fn compute(
        &mut self,
        graph: &Graph,
        nodes: Range<usize>,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        self.plan.build(Source { shared: &self.shared, graph }, nodes, buffers)?;
        if self.plan.steps.is_empty() {
            return Ok(());
        }
        self.reserve()?;
        let launched = self.launch_all(abort);
        if launched.is_err() {
            // What was queued still uses the buffers; the first error is the one to tell.
            let _ = self.shared.synchronize();
            return launched;
        }
        self.finish(graph, buffers)
    }
}
