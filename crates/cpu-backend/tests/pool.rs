//! The pool through its public API: teams, barriers, turns, panics, growth.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use quipu_cpu_backend::pool::{PoolError, Team, ThreadPool};

#[test]
fn every_thread_runs_and_chunks_are_handed_out_once_per_phase() {
    for n in [1, 2, 3, 8] {
        let pool = ThreadPool::new(n).unwrap();
        let seen: Vec<AtomicU32> = (0..100).map(|_| AtomicU32::new(0)).collect();
        for _ in 0..20 {
            pool.run(n, |team| {
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
    let (n, pool) = (16, ThreadPool::new(16).unwrap());
    let cells: Vec<AtomicU64> = (0..16).map(|_| AtomicU64::new(0)).collect();
    pool.run(n, |team| {
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
    let (n, pool) = (4, ThreadPool::new(4).unwrap());
    let count = AtomicU32::new(0);
    for _ in 0..5 {
        std::thread::sleep(std::time::Duration::from_millis(20));
        pool.run(n, |team| {
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
                .run(n, |team| {
                    assert!(team.ith() != culprit, "boom");
                    team.barrier();
                    team.barrier();
                })
                .unwrap_err();
            assert!(err.to_string().contains("boom"), "{err}");
            pool.run(n, |team| {
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
    let (n, pool) = (2, ThreadPool::new(2).unwrap());
    let nested = AtomicU32::new(0);
    pool.run(n, |_| {
        if matches!(pool.run(n, |_| ()), Err(PoolError::Nested)) {
            nested.fetch_add(1, Ordering::Relaxed);
        }
    })
    .unwrap();
    assert_eq!(nested.load(Ordering::Relaxed), 2);
    pool.run(n, |_| ()).unwrap();
}

#[test]
fn callers_on_several_threads_take_turns() {
    let (n, pool) = (3, ThreadPool::new(3).unwrap());
    let count = AtomicU32::new(0);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for _ in 0..50 {
                    pool.run(n, |team| {
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
    let (n, pool) = (3, ThreadPool::new(3).unwrap());
    let hits: Vec<AtomicU32> = (0..10).map(|_| AtomicU32::new(0)).collect();
    pool.run(n, |team| {
        for i in team.share(10) {
            hits[i].fetch_add(1, Ordering::Relaxed);
        }
    })
    .unwrap();
    assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 1));
}

/// A panic's payload whose own end panics, with another such payload inside.
struct Nasty(Option<Box<Nasty>>);

impl Drop for Nasty {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take() {
            std::panic::panic_any(*inner);
        }
    }
}

#[test]
fn a_payload_whose_drop_panics_leaves_no_worker_with_the_closure() {
    for n in [1, 2, 4] {
        let pool = ThreadPool::new(n).unwrap();
        for culprit in 0..n {
            let left = AtomicU32::new(0);
            let error = pool
                .run(n, |team| {
                    if team.ith() == culprit {
                        left.fetch_add(1, Ordering::SeqCst);
                        std::panic::panic_any(Nasty(Some(Box::new(Nasty(Some(Box::new(Nasty(None))))))));
                    }
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    left.fetch_add(1, Ordering::SeqCst);
                })
                .unwrap_err();
            // Everybody has left before `run` returns, and the panic is an error.
            assert_eq!(left.load(Ordering::SeqCst) as usize, n);
            assert!(matches!(error, PoolError::Panicked(_)), "{error}");
            pool.run(n, |team: &Team<'_>| {
                team.barrier();
            })
            .unwrap();
        }
    }
}

#[test]
fn a_pool_grows_to_the_largest_run_and_smaller_ones_use_a_part_of_it() {
    let pool = ThreadPool::default();
    assert_eq!(pool.n_threads(), 1);
    for n in [1, 3, 2, 8, 1, 5, 8, 2] {
        let before = pool.n_threads();
        let seen: Vec<AtomicU32> = (0..n).map(|_| AtomicU32::new(0)).collect();
        for _ in 0..20 {
            pool.run(n, |team| {
                assert_eq!(team.nth(), n);
                seen[team.ith()].fetch_add(1, Ordering::Relaxed);
                team.barrier();
                assert!(seen.iter().all(|s| s.load(Ordering::Relaxed) > 0));
            })
            .unwrap();
        }
        assert!(seen.iter().all(|s| s.load(Ordering::Relaxed) == 20));
        assert_eq!(pool.n_threads(), before.max(n), "none are started anew");
    }
}

#[test]
fn callers_with_different_numbers_of_threads_take_turns() {
    let pool = ThreadPool::default();
    let (go, count) = (Barrier::new(4), AtomicU32::new(0));
    std::thread::scope(|s| {
        for n in [8, 2, 5, 1] {
            let (pool, go, count) = (&pool, &go, &count);
            s.spawn(move || {
                go.wait();
                for _ in 0..50 {
                    pool.run(n, |team| {
                        team.barrier();
                        count.fetch_add(1, Ordering::Relaxed);
                        team.barrier();
                    })
                    .unwrap();
                }
            });
        }
    });
    assert_eq!(count.load(Ordering::Relaxed), 50 * (8 + 2 + 5 + 1));
}
