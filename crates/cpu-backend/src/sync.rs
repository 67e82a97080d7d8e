//! The primitives of [`crate::pool`], in one place: the pool's model (`tests/pool_model.rs`) puts a scheduler's own ones here,
//! which tries the orders that threads may run in.

pub(crate) use std::hint::spin_loop;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
pub(crate) use std::thread::{Builder, JoinHandle, Thread, park, yield_now};
pub(crate) use std::thread_local;

/// Looks at what is waited for, with a pause hint between them, before yielding: about 10 microseconds.
pub(crate) const SPINS: u32 = 300;
/// Yields before sleeping. On an idle machine a yield takes well under a microsecond.
pub(crate) const YIELDS: u32 = 100;
