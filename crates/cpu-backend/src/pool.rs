//! A resident team of threads that runs one closure together, as ggml's threadpool runs one graph.
//!
//! A whole graph is one [`ThreadPool::run`]; its ops are separated by [`Team::barrier`]. Waiting spins for
//! a bounded time, then yields, then sleeps, so that an oversubscribed machine slows down but never
//! collapses. A run allocates nothing on the heap.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What can go wrong with a pool.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// A pool of no threads, or of more than [`ThreadPool::MAX_THREADS`].
    #[error("n_threads is {0}, expected 1 to {max}", max = ThreadPool::MAX_THREADS)]
    ThreadCount(usize),
    /// The system refused a thread.
    #[error("cannot start worker thread {index} of {n_threads}: {source}")]
    Spawn {
        /// Index of the refused worker.
        index: usize,
        /// Threads asked for.
        n_threads: usize,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The closure panicked on some thread; all threads left it.
    #[error("a thread of the pool panicked: {0}")]
    Panicked(String),
    /// `run` was called from inside a closure that a pool is running.
    #[error("ThreadPool::run was called from inside a running pool closure")]
    Nested,
}

/// An event counter that threads wait on: spin, then yield, then sleep.
struct Gate {
    epoch: AtomicU32,
    sleepers: AtomicU32,
    lock: Mutex<()>,
    wake: Condvar,
}

/// Spins with a pause hint before yielding: about 10 microseconds.
const SPINS: u32 = 300;
/// Yields before sleeping. On an idle machine a yield takes well under a microsecond.
const YIELDS: u32 = 100;

impl Gate {
    fn new() -> Gate {
        Gate {
            epoch: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        }
    }

    fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    fn locked(&self) -> MutexGuard<'_, ()> {
        // The lock guards no data, so poisoning means nothing here.
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes everything written so far and releases all who wait for the present epoch to pass.
    fn advance(&self) {
        // SeqCst pairs with the sleeper's increment and re-check below: either it sees the new epoch or
        // this load sees the sleeper.
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.notify();
    }

    fn notify(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.locked());
            self.wake.notify_all();
        }
    }

    /// Waits until the epoch differs from `seen` or `abort` is set.
    fn wait_past(&self, seen: u32, abort: &AtomicBool) {
        let passed = || self.epoch.load(Ordering::SeqCst) != seen || abort.load(Ordering::SeqCst);
        for _ in 0..SPINS {
            if self.epoch.load(Ordering::Acquire) != seen || abort.load(Ordering::Relaxed) {
                return;
            }
            std::hint::spin_loop();
        }
        for _ in 0..YIELDS {
            if passed() {
                return;
            }
            std::thread::yield_now();
        }
        let mut guard = self.locked();
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !passed() {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

type Job = *const (dyn Fn(&Team<'_>) + Sync);

struct Shared {
    n_threads: usize,
    /// The closure of the current run; written only between runs, by the thread that holds `ThreadPool::turn`.
    job: UnsafeCell<Option<Job>>,
    start: Gate,
    barrier: Gate,
    finish: Gate,
    arrived: AtomicUsize,
    working: AtomicUsize,
    chunk: AtomicUsize,
    /// Some thread panicked in the current run: nobody may wait for it any more.
    failed: AtomicBool,
    failure: Mutex<Option<String>>,
    shutdown: AtomicBool,
}

// SAFETY: `job` is the only field that is not `Sync`. It is written by the thread that holds the pool's
// turn, while no worker is inside a run, and published by `start.advance`; workers read it after
// `start.wait_past` observed that advance, and are all counted out through `working` before it changes.
unsafe impl Sync for Shared {}
// SAFETY: the raw pointer in `job` is only dereferenced during the run that set it, during which its
// referent (a `Sync` closure) is kept alive by `run`'s caller.
unsafe impl Send for Shared {}

/// Marks an unwind caused by another thread's panic, not by a new one.
struct TeamFailed;

impl Shared {
    fn record_panic(&self, payload: &(dyn Any + Send)) {
        if !payload.is::<TeamFailed>() {
            let text = payload
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
        }
        self.failed.store(true, Ordering::SeqCst);
        self.barrier.notify();
    }

    fn work(&self, ith: usize) {
        // SAFETY: between `start.advance` and the last decrement of `working`, `job` is not written and
        // holds the closure that `run` keeps alive.
        let job = unsafe { (*self.job.get()).expect("a run sets its job before it starts") };
        let team = Team { shared: self, ith };
        // SAFETY: as above, the pointer is valid for the whole run.
        let outcome = catch_unwind(AssertUnwindSafe(|| unsafe { (*job)(&team) }));
        if let Err(payload) = outcome {
            self.record_panic(payload.as_ref());
        }
    }

    fn worker_loop(&self, ith: usize) {
        IN_RUN.set(true);
        let mut seen = 0;
        loop {
            self.start.wait_past(seen, &self.shutdown);
            if self.shutdown.load(Ordering::SeqCst) {
                return;
            }
            seen = seen.wrapping_add(1);
            self.work(ith);
            if self.working.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.finish.advance();
            }
        }
    }
}

thread_local! {
    static IN_RUN: Cell<bool> = const { Cell::new(false) };
}

/// One thread's view of the team during a run. Answers to ggml's `ggml_compute_params`.
pub struct Team<'a> {
    shared: &'a Shared,
    ith: usize,
}

impl Team<'_> {
    /// Index of this thread, `0..nth()`. The caller of [`ThreadPool::run`] is 0.
    pub fn ith(&self) -> usize {
        self.ith
    }

    /// Threads in the team.
    pub fn nth(&self) -> usize {
        self.shared.n_threads
    }

    /// Waits for every thread of the team and resets the chunk counter (`ggml_barrier`).
    ///
    /// # Panics
    /// Unwinds if another thread of the team panicked, so that nobody waits for it forever;
    /// [`ThreadPool::run`] turns that into an error.
    pub fn barrier(&self) {
        let shared = self.shared;
        if shared.n_threads == 1 {
            shared.chunk.store(0, Ordering::Relaxed);
            return;
        }
        let seen = shared.barrier.epoch();
        if shared.arrived.fetch_add(1, Ordering::AcqRel) + 1 == shared.n_threads {
            shared.arrived.store(0, Ordering::Relaxed);
            shared.chunk.store(0, Ordering::Relaxed);
            shared.barrier.advance();
        } else {
            shared.barrier.wait_past(seen, &shared.failed);
            if shared.failed.load(Ordering::Relaxed) {
                resume_unwind(Box::new(TeamFailed));
            }
        }
    }

    /// The next chunk number of this phase: 0, 1, 2, ... across the team since the last barrier
    /// (`ggml_threadpool_chunk_add`).
    pub fn next_chunk(&self) -> usize {
        self.shared.chunk.fetch_add(1, Ordering::Relaxed)
    }

    /// This thread's contiguous share of `0..n`, the same for every run.
    pub fn share(&self, n: usize) -> std::ops::Range<usize> {
        let per = n.div_ceil(self.nth());
        (per * self.ith).min(n)..(per * (self.ith + 1)).min(n)
    }
}

/// A resident team of threads. Answers to `ggml_threadpool`.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    turn: Mutex<()>,
}

impl ThreadPool {
    /// The most threads a pool takes (`GGML_MAX_N_THREADS`).
    pub const MAX_THREADS: usize = 512;

    /// Starts `n_threads - 1` workers; the caller of [`run`](Self::run) is the remaining thread.
    pub fn new(n_threads: usize) -> Result<ThreadPool, PoolError> {
        if !(1..=Self::MAX_THREADS).contains(&n_threads) {
            return Err(PoolError::ThreadCount(n_threads));
        }
        let shared = Arc::new(Shared {
            n_threads,
            job: UnsafeCell::new(None),
            start: Gate::new(),
            barrier: Gate::new(),
            finish: Gate::new(),
            arrived: AtomicUsize::new(0),
            working: AtomicUsize::new(0),
            chunk: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            shutdown: AtomicBool::new(false),
        });
        let mut pool =
            ThreadPool { shared, workers: Vec::with_capacity(n_threads - 1), turn: Mutex::new(()) };
        for index in 1..n_threads {
            let shared = Arc::clone(&pool.shared);
            let spawned = std::thread::Builder::new()
                .name(format!("quipu-cpu-{index}"))
                .spawn(move || shared.worker_loop(index));
            match spawned {
                Ok(handle) => pool.workers.push(handle),
                // Dropping the pool stops the workers that did start.
                Err(source) => return Err(PoolError::Spawn { index, n_threads, source }),
            }
        }
        Ok(pool)
    }

    /// Threads that take part in a run.
    pub fn n_threads(&self) -> usize {
        self.shared.n_threads
    }

    /// Runs `f` on every thread of the team and returns when all have left it. Runs of several callers
    /// take turns. With one thread, `f` runs on the caller and nothing else happens.
    ///
    /// # Errors
    /// [`PoolError::Panicked`] if `f` panicked on any thread, [`PoolError::Nested`] if called from inside `f`.
    pub fn run<F: Fn(&Team<'_>) + Sync>(&self, f: F) -> Result<(), PoolError> {
        if IN_RUN.replace(true) {
            return Err(PoolError::Nested);
        }
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        shared.chunk.store(0, Ordering::Relaxed);
        shared.arrived.store(0, Ordering::Relaxed);
        shared.failed.store(false, Ordering::Relaxed);
        let job: *const (dyn Fn(&Team<'_>) + Sync + '_) = &raw const f;
        // SAFETY: only the lifetime bound of the trait object changes. The pointer is used by `work` alone,
        // during this run, and this function does not return (or unwind) before every worker has left
        // `work`: nothing between here and the last `wait_past` can panic. No worker is inside a run
        // while we write `job`, because we hold the turn and the last run was waited for.
        unsafe {
            #[allow(clippy::transmute_ptr_to_ptr)] // `as` does not change a trait object's lifetime
            let job = std::mem::transmute::<*const (dyn Fn(&Team<'_>) + Sync + '_), Job>(job);
            *shared.job.get() = Some(job);
        }
        let n_workers = self.workers.len();
        let finish_epoch = shared.finish.epoch();
        if n_workers > 0 {
            shared.working.store(n_workers, Ordering::Relaxed);
            shared.start.advance();
        }
        shared.work(0);
        if n_workers > 0 {
            static NEVER: AtomicBool = AtomicBool::new(false);
            shared.finish.wait_past(finish_epoch, &NEVER);
        }
        // SAFETY: every worker has left the run.
        unsafe { *shared.job.get() = None };
        IN_RUN.set(false);
        let failed = shared.failed.load(Ordering::SeqCst);
        let failure =
            if failed { shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take() } else { None };
        drop(turn);
        if failed {
            Err(PoolError::Panicked(failure.unwrap_or_else(|| "no message".to_owned())))
        } else {
            Ok(())
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.shutdown.store(true, Ordering::SeqCst);
        self.shared.start.notify();
        for worker in self.workers.drain(..) {
            // A worker catches every panic of a job, so joining cannot fail; nothing to do if it did.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn every_thread_runs_and_chunks_are_handed_out_once_per_phase() {
        for n in [1, 2, 3, 8] {
            let pool = ThreadPool::new(n).unwrap();
            let seen: Vec<AtomicU32> = (0..100).map(|_| AtomicU32::new(0)).collect();
            for _ in 0..20 {
                pool.run(|team| {
                    for _ in 0..5 {
                        loop {
                            let c = team.next_chunk();
                            if c >= seen.len() {
                                break;
                            }
                            seen[c].fetch_add(1, Ordering::Relaxed);
                        }
                        team.barrier();
                    }
                })
                .unwrap();
            }
            assert!(seen.iter().all(|s| s.load(Ordering::Relaxed) == 100), "n_threads {n}");
        }
    }

    #[test]
    fn barriers_order_writes_under_oversubscription() {
        let pool = ThreadPool::new(16).unwrap();
        let cells: Vec<AtomicU64> = (0..16).map(|_| AtomicU64::new(0)).collect();
        pool.run(|team| {
            for round in 1..200 {
                cells[team.ith()].store(round, Ordering::Relaxed);
                team.barrier();
                assert!(cells.iter().all(|c| c.load(Ordering::Relaxed) == round));
                team.barrier();
            }
        })
        .unwrap();
    }

    #[test]
    fn sleeping_workers_wake_up() {
        let pool = ThreadPool::new(4).unwrap();
        let count = AtomicU32::new(0);
        for _ in 0..5 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            pool.run(|team| {
                if team.ith() == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                team.barrier();
                count.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
        }
        assert_eq!(count.load(Ordering::Relaxed), 20);
    }

    #[test]
    fn a_panic_is_an_error_and_the_pool_lives_on() {
        for n in [1, 2, 4] {
            let pool = ThreadPool::new(n).unwrap();
            for culprit in 0..n {
                let err = pool
                    .run(|team| {
                        assert!(team.ith() != culprit, "boom");
                        team.barrier();
                        team.barrier();
                    })
                    .unwrap_err();
                assert!(err.to_string().contains("boom"), "{err}");
                pool.run(|team| {
                    team.barrier();
                })
                .unwrap();
            }
        }
    }

    #[test]
    fn nesting_and_bad_thread_counts_are_errors() {
        assert!(matches!(ThreadPool::new(0), Err(PoolError::ThreadCount(0))));
        assert!(matches!(ThreadPool::new(513), Err(PoolError::ThreadCount(513))));
        let pool = ThreadPool::new(2).unwrap();
        let nested = AtomicU32::new(0);
        pool.run(|_| {
            if matches!(pool.run(|_| ()), Err(PoolError::Nested)) {
                nested.fetch_add(1, Ordering::Relaxed);
            }
        })
        .unwrap();
        assert_eq!(nested.load(Ordering::Relaxed), 2);
        pool.run(|_| ()).unwrap();
    }

    #[test]
    fn callers_on_several_threads_take_turns() {
        let pool = ThreadPool::new(3).unwrap();
        let count = AtomicU32::new(0);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..50 {
                        pool.run(|team| {
                            team.barrier();
                            count.fetch_add(1, Ordering::Relaxed);
                        })
                        .unwrap();
                    }
                });
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), 4 * 50 * 3);
    }

    #[test]
    fn shares_cover_the_range() {
        let pool = ThreadPool::new(3).unwrap();
        let hits: Vec<AtomicU32> = (0..10).map(|_| AtomicU32::new(0)).collect();
        pool.run(|team| {
            for i in team.share(10) {
                hits[i].fetch_add(1, Ordering::Relaxed);
            }
        })
        .unwrap();
        assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 1));
    }
}
