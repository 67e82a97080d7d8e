//! The caller's code that runs in the middle of a graph: the abort callback and the observer.
//!
//! Neither may leave the scheduler or the memory half way. A panic in one of them is caught where it happens, ends the computation as an
//! error does, and goes on when everything is in order again.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quipu_backend::{BufferTable, Error, Observer};
use quipu_graph::{Graph, TensorId};

/// Asked between nodes of a graph; `true` stops the call with [`crate::Error::Aborted`].
pub(crate) type AbortCallback = Box<dyn Fn() -> bool + Send + Sync>;

/// What a callback did other than return.
#[derive(Debug)]
enum Fault {
    Panic(Box<dyn Any + Send>),
    Error(Error),
}

#[derive(Debug, Default)]
struct State {
    /// The first fault is kept back until the graph has run.
    deferring: bool,
    fault: Option<Fault>,
}

/// The callbacks of a context.
#[derive(Default)]
pub(crate) struct Callbacks {
    abort: Option<AbortCallback>,
    state: Arc<Mutex<State>>,
}

impl Callbacks {
    /// What is asked between nodes.
    pub fn set_abort(&mut self, abort: Option<AbortCallback>) {
        self.abort = abort;
    }

    /// Whether there is anything to ask.
    pub fn can_abort(&self) -> bool {
        self.abort.is_some()
    }

    /// Asks whether to stop; a panic stops too.
    pub fn wants_abort(&self) -> bool {
        let Some(abort) = &self.abort else { return false };
        catch_unwind(AssertUnwindSafe(abort)).unwrap_or_else(|payload| {
            lock(&self.state).fault.get_or_insert(Fault::Panic(payload));
            true
        })
    }

    /// An observer for the scheduler that stands for the caller's.
    pub fn guard(&self, observer: Box<dyn Observer>) -> Box<dyn Observer> {
        Box::new(Guarded { observer, state: Arc::clone(&self.state) })
    }

    /// Goes on with a panic that was caught, if there was one.
    pub fn resume_panic(&self) {
        let fault = lock(&self.state).fault.take();
        if let Some(Fault::Panic(payload)) = fault {
            resume_unwind(payload);
        }
    }

    /// From here on the observer cannot stop a graph: for one that must not end half way.
    pub fn defer(&self) {
        *lock(&self.state) = State { deferring: true, fault: None };
    }

    /// Ends [`Callbacks::defer`]: what the observer would have stopped the graph with, now.
    pub fn settle(&self) -> Result<(), Error> {
        let State { fault, .. } = std::mem::take(&mut *lock(&self.state));
        match fault {
            None => Ok(()),
            Some(Fault::Error(error)) => Err(error),
            Some(Fault::Panic(payload)) => resume_unwind(payload),
        }
    }
}

/// The caller's observer, contained.
#[derive(Debug)]
struct Guarded {
    observer: Box<dyn Observer>,
    state: Arc<Mutex<State>>,
}

impl Observer for Guarded {
    fn wants(&self, graph: &Graph, node: TensorId) -> bool {
        if lock(&self.state).fault.is_some() {
            return false;
        }
        catch_unwind(AssertUnwindSafe(|| self.observer.wants(graph, node))).unwrap_or_else(|payload| {
            lock(&self.state).fault = Some(Fault::Panic(payload));
            // So that the scheduler comes by and is told.
            true
        })
    }

    fn computed(&mut self, graph: &Graph, node: TensorId, buffers: &BufferTable) -> Result<(), Error> {
        let mut fault = lock(&self.state).fault.take();
        if fault.is_none() {
            let observer = self.observer.as_mut();
            fault = match catch_unwind(AssertUnwindSafe(|| observer.computed(graph, node, buffers))) {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(Fault::Error(error)),
                Err(payload) => Some(Fault::Panic(payload)),
            };
        }
        let mut state = lock(&self.state);
        match fault {
            None => Ok(()),
            Some(Fault::Error(error)) if !state.deferring => Err(error),
            Some(fault) => {
                let stops = !state.deferring;
                state.fault = Some(fault);
                if stops { Err(Error::Aborted) } else { Ok(()) }
            }
        }
    }
}

/// Nothing panics while it holds the lock, and if it did, the state would still be whole.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
