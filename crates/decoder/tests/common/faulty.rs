//! A device whose backend fails when it is told to.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quipu_backend::{Abort, Backend, BufferTable, Error, Prepared};
use quipu_cpu_backend::CpuDevice;
use quipu_graph::Graph;
use quipu_testing::{Hook, HookedDevice};

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
pub type FaultyDevice = HookedDevice<CpuDevice, Trigger>;

impl Hook for Trigger {
    /// All of the nodes, and the first half of them.
    fn prepare(
        &self,
        inner: &mut dyn Backend,
        graph: &Graph,
        nodes: Range<usize>,
        buffers: &BufferTable,
    ) -> Result<Prepared, Error> {
        let half = nodes.start..nodes.start + nodes.len() / 2;
        let whole = inner.prepare(graph, nodes, buffers)?;
        Ok(Prepared::new((whole, inner.prepare(graph, half, buffers)?)))
    }

    fn run(
        &self,
        inner: &mut dyn Backend,
        prepared: &mut Prepared,
        buffers: &mut BufferTable,
        abort: Option<Abort<'_>>,
    ) -> Result<(), Error> {
        let (whole, half) = prepared.get_mut::<(Prepared, Prepared)>().expect("its own");
        if !self.fires() {
            return inner.run(whole, buffers, abort);
        }
        inner.run(half, buffers, abort)?;
        Err(Error::Device { device: "FAULTY".to_owned(), message: "told to fail".to_owned() })
    }
}
