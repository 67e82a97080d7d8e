//! How a caller ends a generation: from its callback, from another thread, or by the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::generate::events::StopReason;

/// Whether a callback wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Stop here.
    Stop,
}

/// Raised from any thread, it ends a generation within a token or between two pieces of a prompt.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that is not raised.
    pub fn new() -> CancelToken {
        CancelToken::default()
    }

    /// Asks the generation to end.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What can end a generation at any moment.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    cancel: Option<CancelToken>,
    deadline: Option<Instant>,
}

impl Interrupt {
    /// The clock starts now. A limit beyond what the clock can count is none.
    pub fn new(cancel: Option<CancelToken>, time_limit: Option<Duration>) -> Interrupt {
        let deadline = time_limit.and_then(|limit| Instant::now().checked_add(limit));
        Interrupt { cancel, deadline }
    }

    /// Why to end now, if there is a reason.
    pub fn reason(&self) -> Option<StopReason> {
        if self.cancel.as_ref().is_some_and(CancelToken::is_raised) {
            return Some(StopReason::Cancelled);
        }
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline).then_some(StopReason::TimeLimit)
    }

    /// Whether there can ever be a reason.
    pub fn is_possible(&self) -> bool {
        self.cancel.is_some() || self.deadline.is_some()
    }
}
