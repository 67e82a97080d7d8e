//! Runs a plan on the pool: one team for the whole graph, a barrier where threads must meet.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use quipu_backend::{Abort, Backend, Buffer, BufferTable, BufferType, Error};
use quipu_graph::{Graph, Op, TensorId};

use crate::buffer::{AlignedBytes, CpuBuffer, CpuBufferType, HostBuffer};
use crate::check;
use crate::isa::Isa;
use crate::ops::{self, BadRow, Context, Part, Step};
use crate::plan::Plan;
use crate::pool::{PoolError, Team, ThreadPool};

/// Execution on host threads. Answers to `ggml_backend_cpu`.
///
/// The result of a graph does not depend on the number of threads.
pub struct CpuBackend {
    isa: Isa,
    pool: ThreadPool,
    plan: Plan,
    scratch: AlignedBytes,
    buffer_type: Arc<CpuBufferType>,
}

impl fmt::Debug for CpuBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuBackend")
            .field("isa", &self.isa)
            .field("n_threads", &self.pool.n_threads())
            .finish_non_exhaustive()
    }
}

fn pool(n_threads: usize) -> Result<ThreadPool, Error> {
    ThreadPool::new(n_threads)
        .map_err(|source| Error::Init { backend: "CPU".to_owned(), message: source.to_string() })
}

impl CpuBackend {
    /// A backend of `n_threads` threads, the caller of `compute` included.
    ///
    /// # Errors
    /// [`Error::Init`] if `n_threads` is 0 or above 512, or the system refuses a thread.
    pub fn new(isa: Isa, n_threads: usize) -> Result<CpuBackend, Error> {
        let scratch = AlignedBytes::zeroed(0)
            .ok_or_else(|| Error::OutOfMemory { buffer_type: "CPU".to_owned(), size: 0 })?;
        Ok(CpuBackend {
            isa,
            pool: pool(n_threads)?,
            plan: Plan::default(),
            scratch,
            buffer_type: Arc::new(CpuBufferType),
        })
    }

    fn reserve_scratch(&mut self) -> Result<(), Error> {
        let size = self.plan.scratch_bytes;
        if self.scratch.len() < size {
            self.scratch = AlignedBytes::zeroed(size)
                .ok_or_else(|| Error::OutOfMemory { buffer_type: "CPU (scratch)".to_owned(), size })?;
        }
        Ok(())
    }
}

impl Backend for CpuBackend {
    fn name(&self) -> &'static str {
        "CPU"
    }

    fn buffer_type(&self) -> Arc<dyn BufferType> {
        self.buffer_type.clone()
    }

    fn supports_op(&self, graph: &Graph, node: TensorId) -> bool {
        check::node(graph, node).is_ok()
    }

    fn supports_buffer(&self, buffer: &dyn Buffer) -> bool {
        let any = buffer.as_any();
        any.is::<CpuBuffer>() || any.is::<HostBuffer>()
    }

    fn set_n_threads(&mut self, n_threads: usize) -> Result<(), Error> {
        if n_threads != self.pool.n_threads() {
            self.pool = pool(n_threads)?;
        }
        Ok(())
    }

    fn compute(
        &mut self,
        graph: &Graph,
        nodes: Range<usize>,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        self.plan.build(graph, nodes, buffers, self.pool.n_threads())?;
        self.reserve_scratch()?;
        let run = Run {
            steps: &self.plan.steps,
            context: Context { isa: self.isa, scratch: self.scratch.as_ptr() },
            abort,
            stop_at: AtomicUsize::new(usize::MAX),
            failure: Mutex::new(None),
        };
        // SAFETY: the plan was built from this graph and table just now, the table stays exclusively
        // borrowed until `compute` returns, and the scratch belongs to `self` and is large enough.
        let outcome = self.pool.run(|team| unsafe { run.work(team) });
        match outcome {
            Ok(()) => {}
            Err(PoolError::Panicked(message)) => {
                return Err(Error::Worker { backend: "CPU".to_owned(), message });
            }
            Err(other) => {
                return Err(Error::Worker { backend: "CPU".to_owned(), message: other.to_string() });
            }
        }
        let failure = run.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        match failure {
            None => Ok(()),
            Some(Failure::Aborted) => Err(Error::Aborted),
            Some(Failure::Row { tensor, bad }) => Err(row_error(graph, tensor, bad)),
        }
    }
}

fn row_error(graph: &Graph, tensor: usize, bad: BadRow) -> Error {
    let node = &graph.tensors()[tensor];
    let table = if node.op == Op::SetRows { node.src.get(2) } else { node.src.first() };
    let name = table.map(|id| graph[*id].name.clone()).unwrap_or_default();
    Error::RowOutOfRange { op: node.op.name(), name, row: bad.row, n_rows: bad.n_rows }
}

enum Failure {
    Aborted,
    Row { tensor: usize, bad: BadRow },
}

/// What the team shares during one run.
struct Run<'a> {
    steps: &'a [Step],
    context: Context,
    abort: Option<Abort<'a>>,
    /// Number of the step after which everybody stops. It is a number rather than a flag because a slow
    /// thread may look at it after a quick one failed in the next step: it must then still come to that
    /// step's barrier.
    stop_at: AtomicUsize,
    failure: Mutex<Option<Failure>>,
}

impl Run<'_> {
    fn fail(&self, step: usize, failure: Failure) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        self.stop_at.fetch_min(step, Ordering::SeqCst);
    }

    fn stopped(&self, step: usize) -> bool {
        self.stop_at.load(Ordering::SeqCst) <= step
    }

    /// One thread's part of all steps.
    ///
    /// # Safety
    /// As for [`ops::run`], for every step.
    unsafe fn work(&self, team: &Team<'_>) {
        let solo = Part { ith: 0, nth: 1 };
        let part = Part { ith: team.ith(), nth: team.nth() };
        for (number, step) in self.steps.iter().enumerate() {
            let leader = team.ith() == 0;
            if leader && !self.stopped(number) && self.abort.is_some_and(|abort| abort()) {
                self.fail(number, Failure::Aborted);
            }
            if !step.solo || (leader && !self.stopped(number)) {
                let part = if step.solo { solo } else { part };
                // SAFETY: promised by the caller; what steps before this one wrote is visible, because a
                // barrier lies between all steps but those that one thread does alone.
                let outcome = unsafe { ops::run(step, self.context, part, team) };
                if let Err(bad) = outcome
                    && leader
                {
                    self.fail(number, Failure::Row { tensor: step.tensor, bad });
                }
            }
            let next_is_solo = self.steps.get(number + 1).is_some_and(|next| next.solo);
            if !(step.solo && next_is_solo) {
                team.barrier();
                if self.stopped(number) {
                    return;
                }
            }
        }
    }
}
