//! A model of the pool: its own source on primitives whose scheduler tries the orders that threads may run in.
//!
//! What is explored: starting, meeting at barriers, runs of other sizes than the one before, several callers, panics, growth and
//! the end. Orders of memory are taken to be the strongest; a deadlock, a lost wake-up or a run that returns too early shows.

#[allow(dead_code)] // a model needs no more than its runs
#[path = "../src/pool.rs"]
mod pool;

/// What `src/sync.rs` is to the library.
mod sync {
    pub(crate) use shuttle::hint::spin_loop;
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
    pub(crate) use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(crate) use shuttle::thread::{Builder, JoinHandle, Thread, park, yield_now};
    pub(crate) use shuttle::thread_local;
    pub(crate) use std::sync::PoisonError;

    /// Enough to see what is there at once, and what is there a moment later.
    pub(crate) const SPINS: u32 = 1;
    pub(crate) const YIELDS: u32 = 1;
}

use std::sync::atomic::{AtomicUsize, Ordering};

use pool::{PoolError, ThreadPool};
use sync::Arc;

/// One run in which each thread's part is seen by all behind a barrier, and everybody has left at the end.
fn run(pool: &ThreadPool, n: usize) {
    let (arrived, left) = (AtomicUsize::new(0), AtomicUsize::new(0));
    pool.run(n, |team| {
        assert_eq!(team.nth(), n);
        arrived.fetch_add(1, Ordering::SeqCst);
        team.barrier();
        assert_eq!(arrived.load(Ordering::SeqCst), n);
        team.barrier();
        left.fetch_add(1, Ordering::SeqCst);
    })
    .unwrap();
    assert_eq!(left.load(Ordering::SeqCst), n);
}

/// Both ways of choosing orders: any, and such that few changes of the running thread are needed for a fault to show.
fn explore(model: fn(), n: usize) {
    shuttle::check_random(model, n);
    shuttle::check_pct(model, n, 3);
}

#[test]
fn runs_of_changing_sizes_start_meet_and_end() {
    explore(
        || {
            let pool = ThreadPool::default();
            for n in [3, 2, 1, 2, 3] {
                run(&pool, n);
            }
        },
        1000,
    );
}

#[test]
fn callers_take_turns() {
    explore(
        || {
            let pool = Arc::new(ThreadPool::default());
            let other = Arc::clone(&pool);
            let caller = shuttle::thread::spawn(move || {
                run(&other, 2);
                run(&other, 3);
            });
            run(&pool, 3);
            run(&pool, 2);
            caller.join().unwrap();
        },
        1000,
    );
}

#[test]
fn chunks_are_handed_out_once_per_phase() {
    explore(
        || {
            let pool = ThreadPool::new(3).unwrap();
            let taken: Vec<AtomicUsize> = (0..4).map(|_| AtomicUsize::new(0)).collect();
            pool.run(3, |team| {
                for phase in 1..3 {
                    while let Some(chunk) = taken.get(team.next_chunk()) {
                        chunk.fetch_add(1, Ordering::SeqCst);
                    }
                    team.barrier();
                    assert!(taken.iter().all(|chunk| chunk.load(Ordering::SeqCst) >= phase));
                }
            })
            .unwrap();
            assert!(taken.iter().all(|chunk| chunk.load(Ordering::SeqCst) == 2));
        },
        1000,
    );
}

#[test]
fn a_panic_ends_a_run_and_the_next_one_starts() {
    // The panics are meant; who reads the test's output need not see thousands of them.
    for culprit in 0..3 {
        let model = move || {
            let pool = ThreadPool::default();
            let left = AtomicUsize::new(0);
            let error = pool.run(3, |team| {
                let _leaving = Leaving(&left);
                if team.ith() == culprit {
                    std::panic::resume_unwind(Box::new("boom"));
                }
                team.barrier();
                team.barrier();
            });
            assert!(matches!(error, Err(PoolError::Panicked(message)) if message == "boom"));
            assert_eq!(left.load(Ordering::SeqCst), 3);
            run(&pool, 3);
        };
        shuttle::check_random(model, 1000);
        shuttle::check_pct(model, 1000, 3);
    }
}

/// Counts who leaves, however.
struct Leaving<'a>(&'a AtomicUsize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
