//! A resident team of threads that runs one closure together, as ggml's threadpool runs one graph.
//!
//! A whole graph is one [`ThreadPool::run`]; its ops are separated by [`Team::barrier`]. A pool belongs to a device and serves
//! all who compute there: runs of several callers take turns in the order in which they asked, each with as many threads as it
//! asks for, and the pool grows to the largest number. Waiting spins for a bounded time, then yields, then sleeps, so that an
//! oversubscribed machine slows down but never collapses. A run allocates nothing on the heap.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::sync::{
    Arc, AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Builder, Condvar, JoinHandle, Mutex, MutexGuard,
    Ordering, PoisonError, SPINS, Thread, YIELDS, park, spin_loop, thread_local, yield_now,
};

/// What can go wrong with a pool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// A run on no threads, or on more than [`ThreadPool::MAX_THREADS`].
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

/// Locks, whoever panicked before: no lock here guards data that a panic could leave half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps what different threads write out of each other's cache lines.
#[repr(align(128))]
struct Line<T>(T);

/// An event counter that threads wait on: spin, then yield, then sleep.
struct Gate {
    epoch: AtomicU32,
    sleepers: AtomicU32,
    lock: Mutex<()>,
    wake: Condvar,
}

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

    /// Publishes everything written so far and releases all who wait for the present epoch to pass.
    fn advance(&self) {
        // SeqCst pairs with the sleeper's increment and re-check below: either it sees the new epoch or
        // this load sees the sleeper.
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.notify();
    }

    fn notify(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.lock));
            self.wake.notify_all();
        }
    }

    /// Waits until the epoch differs from `seen` or `abort` is set.
    fn wait_past(&self, seen: u32, abort: &AtomicBool) {
        let passed = || self.epoch.load(Ordering::SeqCst) != seen || abort.load(Ordering::SeqCst);
        if spin_until(passed) {
            return;
        }
        let mut guard = lock(&self.lock);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !passed() {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Looks for a bounded time whether something happened.
fn spin_until(happened: impl Fn() -> bool) -> bool {
    for _ in 0..SPINS {
        if happened() {
            return true;
        }
        spin_loop();
    }
    for _ in 0..YIELDS {
        if happened() {
            return true;
        }
        yield_now();
    }
    happened()
}

/// Where the threads of a team meet.
pub(crate) struct Meeting {
    barrier: Line<Gate>,
    arrived: Line<AtomicUsize>,
    chunk: Line<AtomicUsize>,
    /// Some thread panicked in the current run: nobody may wait for it any more.
    failed: AtomicBool,
}

impl Meeting {
    pub(crate) fn new() -> Meeting {
        Meeting {
            barrier: Line(Gate::new()),
            arrived: Line(AtomicUsize::new(0)),
            chunk: Line(AtomicUsize::new(0)),
            failed: AtomicBool::new(false),
        }
    }

    /// Before a run, while nobody meets here.
    fn reset(&self) {
        self.arrived.0.store(0, Ordering::Relaxed);
        self.chunk.0.store(0, Ordering::Relaxed);
        self.failed.store(false, Ordering::Relaxed);
    }
}

/// One thread's view of the team during a run. Answers to ggml's `ggml_compute_params`.
pub struct Team<'a> {
    meeting: &'a Meeting,
    ith: usize,
    nth: usize,
}

impl<'a> Team<'a> {
    /// A team of one thread, which meets nobody.
    pub(crate) fn alone(meeting: &'a Meeting) -> Team<'a> {
        Team { meeting, ith: 0, nth: 1 }
    }
}

impl Team<'_> {
    /// Index of this thread, `0..nth()`. The caller of [`ThreadPool::run`] is 0.
    pub fn ith(&self) -> usize {
        self.ith
    }

    /// Threads in the team.
    pub fn nth(&self) -> usize {
        self.nth
    }

    /// Waits for every thread of the team and resets the chunk counter (`ggml_barrier`).
    ///
    /// # Panics
    /// Unwinds if another thread of the team panicked, so that nobody waits for it forever;
    /// [`ThreadPool::run`] turns that into an error.
    pub fn barrier(&self) {
        let Meeting { barrier: Line(barrier), arrived: Line(arrived), chunk: Line(chunk), failed } =
            self.meeting;
        if self.nth == 1 {
            chunk.store(0, Ordering::Relaxed);
            return;
        }
        let seen = barrier.epoch();
        if arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.nth {
            arrived.store(0, Ordering::Relaxed);
            chunk.store(0, Ordering::Relaxed);
            barrier.advance();
        } else {
            barrier.wait_past(seen, failed);
            if failed.load(Ordering::Relaxed) {
                resume_unwind(Box::new(TeamFailed));
            }
        }
    }

    /// The next chunk number of this phase: 0, 1, 2, ... across the team since the last barrier
    /// (`ggml_threadpool_chunk_add`).
    pub fn next_chunk(&self) -> usize {
        self.meeting.chunk.0.fetch_add(1, Ordering::Relaxed)
    }

    /// This thread's contiguous share of `0..n`, the same for every run.
    pub fn share(&self, n: usize) -> std::ops::Range<usize> {
        let per = n.div_ceil(self.nth);
        (per * self.ith).min(n)..(per * (self.ith + 1)).min(n)
    }
}

/// Marks an unwind caused by another thread's panic, not by a new one.
struct TeamFailed;

/// Runs one thread's part; a panic ends here, and so does one of dropping what was thrown.
fn contain(meeting: &Meeting, failure: &Mutex<Option<String>>, part: impl FnOnce()) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(part)) else { return };
    if !payload.is::<TeamFailed>() {
        lock(failure).get_or_insert_with(|| message(payload.as_ref()));
    }
    meeting.failed.store(true, Ordering::SeqCst);
    meeting.barrier.0.notify();
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Dropping this one might panic once more, and so on: it is left alone.
        std::mem::forget(again);
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

type Job = *const (dyn Fn(&Team<'_>) + Sync);

/// The number of a run and how many threads are in it, as one word: who sees that a run began sees whether it is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Start(u64);

impl Start {
    /// Before the first run.
    const NEVER: Start = Start(0);
    /// No run will follow.
    const END: Start = Start(u64::MAX);
    const N_ACTIVE_BITS: u32 = 10;

    fn next(self, n_active: usize) -> Start {
        let number = (self.0 >> Start::N_ACTIVE_BITS) + 1;
        Start(number << Start::N_ACTIVE_BITS | n_active as u64)
    }

    fn n_active(self) -> usize {
        (self.0 & ((1 << Start::N_ACTIVE_BITS) - 1)) as usize
    }
}

struct Shared {
    /// The closure of the current run; written only between runs, by the thread whose turn it is.
    job: UnsafeCell<Option<Job>>,
    start: Line<AtomicU64>,
    meeting: Meeting,
    finish: Gate,
    /// Workers that have not left the current run.
    working: AtomicUsize,
    failure: Mutex<Option<String>>,
}

// SAFETY: `job` is the only field that is not `Sync`. It is written by the thread whose turn it is, while no worker is inside
// a run, and published by storing `start`; workers that the run counts read it after they saw that store, and are all counted
// out through `working` before it changes. Workers that it does not count do not read it.
unsafe impl Sync for Shared {}
// SAFETY: the raw pointer in `job` is only dereferenced during the run that set it, during which its
// referent (a `Sync` closure) is kept alive by `run`'s caller.
unsafe impl Send for Shared {}

impl Shared {
    fn start(&self) -> Start {
        Start(self.start.0.load(Ordering::SeqCst))
    }

    /// # Safety
    /// The caller is thread `ith` of a run of `nth` threads that has set `job` and waits for it.
    unsafe fn work(&self, ith: usize, nth: usize) {
        // SAFETY: between the start of a run and the last decrement of `working`, `job` is not written and
        // holds the closure that `run` keeps alive.
        let job = unsafe { *self.job.get() };
        let team = Team { meeting: &self.meeting, ith, nth };
        contain(&self.meeting, &self.failure, || {
            // SAFETY: as above, the pointer is valid for the whole run.
            unsafe { (*job.expect("a run sets its job before it starts"))(&team) }
        });
    }

    fn worker_loop(&self, ith: usize, mut seen: Start, asleep: &AtomicBool) {
        IN_RUN.with(|in_run| in_run.set(true));
        // Who is not in a run does not spin: its turn may be long in coming.
        let mut patient = true;
        loop {
            let start = self.wait_for_start(seen, asleep, patient);
            if start == Start::END {
                return;
            }
            seen = start;
            patient = ith < start.n_active();
            if patient {
                // SAFETY: the run counts on this worker, and waits until it has left.
                unsafe { self.work(ith, start.n_active()) };
                if self.working.fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.finish.advance();
                }
            }
        }
    }

    /// Waits until a run begins that is not `seen`.
    fn wait_for_start(&self, seen: Start, asleep: &AtomicBool, patient: bool) -> Start {
        if patient && spin_until(|| self.start() != seen) {
            return self.start();
        }
        loop {
            // SeqCst pairs with `Worker::wake`: either it sees who sleeps or the next load sees the start.
            asleep.store(true, Ordering::SeqCst);
            let start = self.start();
            if start != seen {
                asleep.store(false, Ordering::SeqCst);
                return start;
            }
            park();
        }
    }
}

thread_local! {
    static IN_RUN: Cell<bool> = const { Cell::new(false) };
}

/// A resident thread.
struct Worker {
    handle: JoinHandle<()>,
    asleep: Arc<AtomicBool>,
}

impl Worker {
    /// Wakes the thread if it sleeps, after `start` was stored.
    fn wake(&self) {
        if self.asleep.load(Ordering::SeqCst) {
            let thread: &Thread = self.handle.thread();
            thread.unpark();
        }
    }
}

/// Who may run, in the order of asking.
struct Turns {
    tickets: Mutex<Tickets>,
    passed: Condvar,
}

#[derive(Default)]
struct Tickets {
    /// The next to be given out.
    next: u64,
    /// The one whose turn it is.
    now: u64,
}

/// One's turn, until dropped.
struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits until all who asked before have had their turn.
    fn wait(&self) -> Turn<'_> {
        let mut tickets = lock(&self.tickets);
        let own = tickets.next;
        tickets.next += 1;
        while tickets.now != own {
            tickets = self.passed.wait(tickets).unwrap_or_else(PoisonError::into_inner);
        }
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut tickets = lock(&self.0.tickets);
        tickets.now += 1;
        if tickets.next > tickets.now {
            self.0.passed.notify_all();
        }
    }
}

/// A resident team of threads. Answers to `ggml_threadpool`.
pub struct ThreadPool {
    shared: Arc<Shared>,
    turns: Turns,
    /// Locked by whose turn it is.
    workers: Mutex<Vec<Worker>>,
    n_workers: AtomicUsize,
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool").field("n_threads", &self.n_threads()).finish_non_exhaustive()
    }
}

impl Default for ThreadPool {
    /// A pool without workers yet.
    fn default() -> ThreadPool {
        let shared = Shared {
            job: UnsafeCell::new(None),
            start: Line(AtomicU64::new(Start::NEVER.0)),
            meeting: Meeting::new(),
            finish: Gate::new(),
            working: AtomicUsize::new(0),
            failure: Mutex::new(None),
        };
        let turns = Turns { tickets: Mutex::new(Tickets::default()), passed: Condvar::new() };
        let workers = Mutex::new(Vec::new());
        ThreadPool { shared: Arc::new(shared), turns, workers, n_workers: AtomicUsize::new(0) }
    }
}

impl ThreadPool {
    /// The most threads of a run (`GGML_MAX_N_THREADS`).
    pub const MAX_THREADS: usize = 512;

    /// A pool that has started `n_threads - 1` workers; the caller of [`run`](Self::run) is the remaining thread.
    pub fn new(n_threads: usize) -> Result<ThreadPool, PoolError> {
        let pool = ThreadPool::default();
        ThreadPool::check(n_threads)?;
        // Dropping the pool stops the workers that did start.
        pool.grow(&mut lock(&pool.workers), n_threads)?;
        Ok(pool)
    }

    /// Whether a run may have that many threads.
    ///
    /// # Errors
    /// [`PoolError::ThreadCount`] if not.
    pub fn check(n_threads: usize) -> Result<(), PoolError> {
        let fits = (1..=ThreadPool::MAX_THREADS).contains(&n_threads);
        if fits { Ok(()) } else { Err(PoolError::ThreadCount(n_threads)) }
    }

    /// Threads that a run has without starting more, the caller's included.
    pub fn n_threads(&self) -> usize {
        self.n_workers.load(Ordering::Relaxed) + 1
    }

    /// Starts the workers that a run of `n_threads` lacks.
    fn grow(&self, workers: &mut Vec<Worker>, n_threads: usize) -> Result<(), PoolError> {
        for index in workers.len() + 1..n_threads {
            let (shared, asleep) = (Arc::clone(&self.shared), Arc::new(AtomicBool::new(false)));
            let (seen, own) = (shared.start(), Arc::clone(&asleep));
            let spawned = Builder::new()
                .name(format!("quipu-cpu-{index}"))
                .spawn(move || shared.worker_loop(index, seen, &own));
            let handle = spawned.map_err(|source| PoolError::Spawn { index, n_threads, source })?;
            workers.push(Worker { handle, asleep });
            self.n_workers.store(workers.len(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Runs `f` on `n_active` threads, the caller's among them, and returns when all have left it. Runs of several
    /// callers take turns. Where the system has no more threads to give, there are fewer. With one thread, `f` runs on the caller, nobody is waited for, and nothing else happens.
    ///
    /// # Errors
    /// [`PoolError::Panicked`] if `f` panicked on any thread, [`PoolError::Nested`] if called from inside `f`,
    /// [`PoolError::ThreadCount`] if there cannot be so many threads.
    pub fn run<F: Fn(&Team<'_>) + Sync>(&self, n_active: usize, f: F) -> Result<(), PoolError> {
        ThreadPool::check(n_active)?;
        if IN_RUN.with(|in_run| in_run.replace(true)) {
            return Err(PoolError::Nested);
        }
        let done = if n_active == 1 { run_alone(&f) } else { self.run_together(n_active, &f) };
        IN_RUN.with(|in_run| in_run.set(false));
        done
    }

    fn run_together<F: Fn(&Team<'_>) + Sync>(&self, n_active: usize, f: &F) -> Result<(), PoolError> {
        let _turn = self.turns.wait();
        let mut workers = lock(&self.workers);
        // The result does not depend on the number of threads: where no further one is to be had, those that are there do the work.
        let n_active = match self.grow(&mut workers, n_active) {
            Ok(()) => n_active,
            Err(_) => workers.len() + 1,
        };
        if n_active == 1 {
            return run_alone(f);
        }
        let shared = &*self.shared;
        shared.meeting.reset();
        let job: *const (dyn Fn(&Team<'_>) + Sync + '_) = f;
        // SAFETY: only the lifetime bound of the trait object changes. The pointer is used by `work` alone,
        // during this run, and this function does not return (or unwind) before every worker of the run has left
        // `work`: nothing between here and the last `wait_past` can panic, because `work` contains every panic. No worker
        // is inside a run while we write `job`, because it is our turn and the last run was waited for.
        unsafe {
            #[allow(clippy::transmute_ptr_to_ptr)] // `as` does not change a trait object's lifetime
            let job = std::mem::transmute::<*const (dyn Fn(&Team<'_>) + Sync + '_), Job>(job);
            *shared.job.get() = Some(job);
        }
        let finish_epoch = shared.finish.epoch();
        shared.working.store(n_active - 1, Ordering::Relaxed);
        shared.start.0.store(shared.start().next(n_active).0, Ordering::SeqCst);
        workers[..n_active - 1].iter().for_each(Worker::wake);
        // SAFETY: thread 0 of this run.
        unsafe { shared.work(0, n_active) };
        // Workers leave in any case: nothing aborts this wait.
        shared.finish.wait_past(finish_epoch, &AtomicBool::new(false));
        // SAFETY: every worker has left the run.
        unsafe { *shared.job.get() = None };
        outcome(&shared.meeting, &shared.failure)
    }
}

fn run_alone<F: Fn(&Team<'_>) + Sync>(f: &F) -> Result<(), PoolError> {
    let (meeting, failure) = (Meeting::new(), Mutex::new(None));
    contain(&meeting, &failure, || f(&Team::alone(&meeting)));
    outcome(&meeting, &failure)
}

/// What became of a run that all have left.
fn outcome(meeting: &Meeting, failure: &Mutex<Option<String>>) -> Result<(), PoolError> {
    if !meeting.failed.load(Ordering::SeqCst) {
        return Ok(());
    }
    let message = lock(failure).take();
    Err(PoolError::Panicked(message.unwrap_or_else(|| "no message".to_owned())))
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        let workers = std::mem::take(&mut *lock(&self.workers));
        self.shared.start.0.store(Start::END.0, Ordering::SeqCst);
        workers.iter().for_each(Worker::wake);
        for worker in workers {
            // A worker catches every panic of a job, so joining cannot fail; nothing to do if it did.
            let _ = worker.handle.join();
        }
    }
}
