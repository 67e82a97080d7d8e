//! Runs a plan on the pool: one team for the whole graph, a barrier where threads must meet.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use quipu_backend::{Abort, Backend, Buffer, BufferTable, BufferType, Error, Prepared};
use quipu_graph::{Graph, TensorId};

use crate::buffer::{AlignedBytes, CpuBuffer, CpuBufferType, HostBuffer};
use crate::check;
use crate::isa::Isa;
use crate::ops::{self, BadRow, Context, Part, Step};
use crate::plan::Plan;
use crate::pool::{Meeting, PoolError, Team, ThreadPool};

/// Execution on host threads. Answers to `ggml_backend_cpu`.
///
/// The result of a graph does not depend on the number of threads.
pub struct CpuBackend {
    isa: Isa,
    pool: Arc<ThreadPool>,
    n_threads: usize,
    scratch: AlignedBytes,
    buffer_type: Arc<CpuBufferType>,
}

impl fmt::Debug for CpuBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuBackend")
            .field("isa", &self.isa)
            .field("n_threads", &self.n_threads)
            .finish_non_exhaustive()
    }
}

/// What a pool's error is to whoever asked for threads.
fn refused(source: &PoolError) -> Error {
    Error::Init { backend: "CPU".to_owned(), message: source.to_string() }
}

impl CpuBackend {
    /// A backend of `n_threads` threads, the caller of `run` included, from a pool of its own.
    ///
    /// # Errors
    /// [`Error::Init`] if `n_threads` is 0 or above 512.
    pub fn new(isa: Isa, n_threads: usize) -> Result<CpuBackend, Error> {
        CpuBackend::on(Arc::default(), isa, n_threads)
    }

    /// A backend of `n_threads` threads of a pool that others use too. They are started when they are needed first.
    ///
    /// # Errors
    /// As [`CpuBackend::new`].
    pub fn on(pool: Arc<ThreadPool>, isa: Isa, n_threads: usize) -> Result<CpuBackend, Error> {
        ThreadPool::check(n_threads).map_err(|source| refused(&source))?;
        let scratch = AlignedBytes::zeroed(0)
            .ok_or_else(|| Error::OutOfMemory { buffer_type: "CPU".to_owned(), size: 0 })?;
        Ok(CpuBackend { isa, pool, n_threads, scratch, buffer_type: Arc::new(CpuBufferType) })
    }

    fn reserve_scratch(&mut self, size: usize) -> Result<(), Error> {
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
        ThreadPool::check(n_threads).map_err(|source| refused(&source))?;
        self.n_threads = n_threads;
        Ok(())
    }

    fn prepare(
        &mut self,
        graph: &Graph,
        nodes: Range<usize>,
        buffers: &BufferTable,
    ) -> Result<Prepared, Error> {
        Ok(Prepared::new(Plan::build(graph, nodes, buffers, self.n_threads)?))
    }

    fn run(
        &mut self,
        prepared: &mut Prepared,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        let foreign = || Error::NotPrepared { backend: "CPU".to_owned() };
        let plan = prepared.get_mut::<Plan>().ok_or_else(foreign)?;
        plan.verify(buffers)?;
        self.reserve_scratch(plan.scratch_for(self.n_threads)?)?;
        let run = Run {
            steps: &plan.steps,
            context: Context { isa: self.isa, scratch: self.scratch.as_ptr() },
            abort,
            stop_at: AtomicUsize::new(usize::MAX),
            failure: Mutex::new(None),
        };
        let start = Instant::now();
        // SAFETY: the plan checked shapes, types, layouts and overlaps of what it made the steps of, and just now that every
        // pointer leads into a buffer of this table, and into an owned one where it is written. The table stays exclusively
        // borrowed until `run` returns, and the scratch belongs to `self` and is large enough for this many threads.
        let outcome = self.pool.run(plan.n_active(self.n_threads), |team| unsafe { run.work(team) });
        match outcome {
            Ok(()) => {}
            Err(PoolError::Panicked(message)) => {
                return Err(Error::Worker { backend: "CPU".to_owned(), message });
            }
            Err(source @ PoolError::Spawn { .. }) => return Err(refused(&source)),
            Err(other) => {
                return Err(Error::Worker { backend: "CPU".to_owned(), message: other.to_string() });
            }
        }
        let failure = run.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        match failure {
            None => {
                if let Some(pace) = plan.pace.as_mut().filter(|_| self.n_threads > 1) {
                    pace.took(start.elapsed().as_secs_f64());
                }
                Ok(())
            }
            Some(Failure::Aborted) => Err(Error::Aborted),
            Some(Failure::Row { step, bad }) => Err(plan.row_error(step, bad)),
        }
    }
}

enum Failure {
    Aborted,
    Row { step: usize, bad: BadRow },
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
        let leader = team.ith() == 0;
        let meeting = Meeting::new();
        let alone = Team::alone(&meeting);
        for (number, step) in self.steps.iter().enumerate() {
            if leader && !self.stopped(number) && self.abort.is_some_and(|abort| abort()) {
                self.fail(number, Failure::Aborted);
            }
            if !step.solo || (leader && !self.stopped(number)) {
                let team = if step.solo { &alone } else { team };
                let part = Part { ith: team.ith(), nth: team.nth() };
                // SAFETY: promised by the caller; what steps before this one wrote is visible, because a
                // barrier lies between all steps but those that one thread does alone.
                let outcome = unsafe { ops::run(step, self.context, part, team) };
                if let Err(bad) = outcome
                    && leader
                {
                    self.fail(number, Failure::Row { step: number, bad });
                }
            }
            if step.meet {
                team.barrier();
                if self.stopped(number) {
                    return;
                }
            }
            // Chunks are counted anew for the next step.
            alone.barrier();
        }
    }
}
