//! The pool: every index once, whatever the number of tasks and threads, and however calls meet.
#![allow(clippy::unwrap_used)]

use core::sync::atomic::{AtomicI64, AtomicU8, Ordering::Relaxed};
use runtime_stub::Pool;
use std::thread;
use std::time::Duration;

#[test]
fn runs_every_index_once() {
    for workers in [0, 1, 2, 5] {
        let pool = Pool::new(workers).unwrap();
        for n in [-1, 0, 1, 2, 3, 64, 1000] {
            let hits: Vec<AtomicU8> = (0..n).map(|_| AtomicU8::new(0)).collect();
            pool.for_each(n, &|i, worker| {
                assert!((0..i64::from(workers.max(1))).contains(&worker));
                hits[i as usize].fetch_add(1, Relaxed);
            });
            assert!(hits.iter().all(|h| h.load(Relaxed) == 1), "{workers} workers, {n} tasks");
        }
    }
}

#[test]
fn a_worker_runs_one_task_at_a_time() {
    let pool = Pool::new(4).unwrap();
    let busy: [AtomicU8; 4] = Default::default();
    for _ in 0..2000 {
        pool.for_each(16, &|_, worker| {
            assert_eq!(busy[worker as usize].fetch_add(1, Relaxed), 0);
            busy[worker as usize].fetch_sub(1, Relaxed);
        });
    }
}

#[test]
fn other_threads_really_help() {
    let pool = Pool::new(2).unwrap();
    // Two tasks that each wait for the other to begin: one thread alone would never end.
    let begun = AtomicI64::new(0);
    pool.for_each(2, &|_, _| {
        begun.fetch_add(1, Relaxed);
        while begun.load(Relaxed) < 2 {
            thread::yield_now();
        }
    });
    assert_eq!(begun.load(Relaxed), 2);
}

#[test]
fn wakes_threads_that_fell_asleep() {
    let pool = Pool::new(3).unwrap();
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(20));
        let begun = AtomicI64::new(0);
        pool.for_each(3, &|_, _| {
            begun.fetch_add(1, Relaxed);
            while begun.load(Relaxed) < 3 {
                thread::yield_now();
            }
        });
    }
}

#[test]
fn short_rounds_one_after_another_lose_nothing() {
    let pool = Pool::new(3).unwrap();
    let sum = AtomicI64::new(0);
    for _ in 0..20_000 {
        pool.for_each(3, &|i, _| {
            sum.fetch_add(i, Relaxed);
        });
    }
    assert_eq!(sum.load(Relaxed), 3 * 20_000);
}

#[test]
fn callers_that_meet_do_not_wait_for_each_other() {
    let pool = Pool::new(2).unwrap();
    let sum = AtomicI64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    pool.for_each(8, &|i, _| {
                        sum.fetch_add(i, Relaxed);
                    });
                }
            });
        }
    });
    assert_eq!(sum.load(Relaxed), 4 * 500 * 28);
}

#[test]
fn loops_longer_than_a_round() {
    let pool = Pool::new(2).unwrap();
    let (count, last) = (AtomicI64::new(0), AtomicI64::new(0));
    let n = (1 << 24) + 10;
    pool.for_each(n, &|i, _| {
        count.fetch_add(1, Relaxed);
        last.fetch_max(i, Relaxed);
    });
    assert_eq!((count.load(Relaxed), last.load(Relaxed)), (n, n - 1));
}
