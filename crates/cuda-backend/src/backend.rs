//! Runs a plan: memory first, then one launch after the other, or all of them with one call, then one wait.

use std::ops::Range;
use std::sync::Arc;

use quipu_backend::{Abort, Backend, Buffer, BufferTable, BufferType, Error, Prepared};
use quipu_graph::{Graph, Op, TensorId};

use crate::buffer::{CudaBuffer, CudaBufferType};
use crate::ledger::Purpose;
use crate::plan::{Plan, Recorder, RowNode};
use crate::shared::Shared;
use crate::support;

/// Execution on a CUDA device. Answers to `ggml_backend_cuda`.
///
/// Launches are queued on the device's stream; results are there when `run` returns. In steady state nothing is
/// allocated: prepared activations and partial results lie in a scratch that only grows.
#[derive(Debug)]
pub struct CudaBackend {
    shared: Arc<Shared>,
    scratch: CudaBuffer,
    /// One i32 for each node with row numbers: how many were out of range.
    status: CudaBuffer,
    counters: Vec<u8>,
    recorder: Recorder,
}

impl CudaBackend {
    pub(crate) fn new(shared: Arc<Shared>) -> Result<CudaBackend, Error> {
        let empty = || CudaBuffer::new(Arc::clone(&shared), 0, Purpose::Scratch);
        let (scratch, status) = (empty()?, empty()?);
        let recorder = Recorder::new(Arc::clone(&shared));
        Ok(CudaBackend { shared, scratch, status, counters: Vec::new(), recorder })
    }

    /// Makes the run's own memory large enough.
    fn reserve(&mut self, plan: &mut Plan) -> Result<(), Error> {
        let status_bytes = plan.row_nodes.len() * 4;
        for (buffer, size) in [(&mut self.scratch, plan.scratch_bytes), (&mut self.status, status_bytes)] {
            if buffer.size() < size {
                // The old one goes first: both at once might not fit.
                *buffer = CudaBuffer::new(Arc::clone(&self.shared), 0, Purpose::Scratch)?;
                *buffer = CudaBuffer::new(Arc::clone(&self.shared), size, Purpose::Scratch)?;
            }
        }
        plan.close(self.scratch.address(), self.status.address());
        self.counters.clear();
        self.counters.resize(status_bytes, 0);
        Ok(())
    }

    /// Queues a plan that was verified and closed for this run.
    fn launch_all(&mut self, plan: &mut Plan, abort: Option<Abort<'_>>) -> Result<(), Error> {
        // Who may stop a run is asked between its launches.
        if abort.is_none() && self.replayed(plan)? {
            return Ok(());
        }
        if !self.counters.is_empty() {
            // SAFETY: `reserve` made the buffer at least as large as the counters.
            unsafe { self.shared.clear(self.status.address(), self.counters.len()) }?;
        }
        for step in &plan.steps {
            if abort.is_some_and(|abort| abort()) {
                return Err(Error::Aborted);
            }
            // SAFETY: the plan checked types, shapes and layouts of what it made the launches of, that arguments are of the
            // kernel's kinds, and how much scratch they need; `run` saw to it just now that every address leads into a buffer
            // of this table, into an owned one where it is written, or into this backend's own memory. All of these stay
            // exclusively borrowed until the stream was waited for.
            unsafe { self.shared.launch(step.function, &plan.launch(step)) }?;
        }
        plan.replay.count();
        Ok(())
    }

    /// Queues a plan that ran before as one recording.
    fn replayed(&mut self, plan: &mut Plan) -> Result<bool, Error> {
        if plan.replay.recording().is_none() && plan.replay.is_repeated() {
            let cleared = (self.status.address(), self.counters.len());
            // SAFETY: `close` forgets the recording if the addresses change, and it is replayed only after `run` saw to what
            // the launches need.
            if let Some(recording) = unsafe { self.recorder.record(plan, cleared) } {
                plan.replay.keep(recording);
            }
        }
        let Some(recording) = plan.replay.recording() else { return Ok(false) };
        // SAFETY: launches and arguments are those of the plan, for which the same holds as where they are launched.
        let done = unsafe { self.shared.driver.replay(self.shared.stream, recording) };
        done.map_err(|error| self.shared.error(&error))?;
        Ok(true)
    }

    /// Waits for the results; row numbers out of range are an error.
    fn finish(&mut self, plan: &Plan, buffers: &BufferTable) -> Result<(), Error> {
        if self.counters.is_empty() {
            return self.shared.synchronize();
        }
        // Reading waits for everything before.
        // SAFETY: `reserve` made the buffer at least as large as the counters.
        unsafe { self.shared.read(self.status.address(), &mut self.counters) }?;
        let counts = self.counters.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes));
        match counts.zip(&plan.row_nodes).find(|(count, _)| *count != 0) {
            Some((_, node)) => Err(bad_row(node, buffers)),
            None => Ok(()),
        }
    }
}

/// The error for a node that was given row numbers out of range. Which, the counter does not say: they are looked up.
fn bad_row(node: &RowNode, buffers: &BufferTable) -> Error {
    let mut row = -1;
    if let Some(ids) = &node.ids {
        let mut bytes = vec![0; ids.n_bytes()];
        if buffers.read_tensor(ids, 0, &mut bytes).is_ok() {
            let wide = bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b));
            let narrow = bytes.as_chunks::<4>().0.iter().map(|b| i64::from(i32::from_le_bytes(*b)));
            let outside = |row: &i64| usize::try_from(*row).map_or(true, |row| row >= node.n_rows);
            let set = node.op == Op::SetRows;
            let found = if set { wide.into_iter().find(outside) } else { narrow.into_iter().find(outside) };
            row = found.unwrap_or(row);
        }
    }
    Error::RowOutOfRange { op: node.op.name(), name: node.name.clone(), row, n_rows: node.n_rows }
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

    fn prepare(
        &mut self,
        graph: &Graph,
        nodes: Range<usize>,
        buffers: &BufferTable,
    ) -> Result<Prepared, Error> {
        Ok(Prepared::new(Plan::build(&self.shared, graph, nodes, buffers)?))
    }

    fn run(
        &mut self,
        prepared: &mut Prepared,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        let plan = prepared.get_mut::<Plan>().filter(|plan| plan.is_of(&self.shared));
        let plan = plan.ok_or_else(|| Error::NotPrepared { backend: self.shared.name.clone() })?;
        plan.verify(buffers)?;
        if plan.steps.is_empty() {
            return Ok(());
        }
        self.reserve(plan)?;
        let launched = self.launch_all(plan, abort);
        if launched.is_err() {
            // What was queued still uses the buffers; the first error is the one to tell.
            let _ = self.shared.synchronize();
            return launched;
        }
        self.finish(plan, buffers)
    }
}
