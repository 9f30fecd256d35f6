//! A small thread pool for `parallel_for`: the calling thread and N-1 threads that spin a little and then sleep. It knows
//! nothing of models; a task is an index.
//!
//! A round is one atomic word: its generation in the high bits, the next free index in the low ones. The generation is
//! odd while the caller changes the round's fields. A thread takes an index by exchanging the word it has seen *before*
//! it read the fields, so a straggler of an old round can never take a task of the new one, and nobody waits for
//! threads that came too late to help.
#![allow(unsafe_code)]

use crate::Workers;
use crate::layout::TaskFn;
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU64, Ordering::SeqCst};
use core::{fmt, hint, mem};
use std::boxed::Box;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::vec::Vec;
use std::{format, io};

/// Indices of one round; longer loops become several rounds.
const INDEX_BITS: u32 = 24;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
/// About as long as it takes to put a thread to sleep and wake it again.
const SPINS: u32 = 4_000;

struct Round {
    word: AtomicU64,
    /// A `TaskFn`; null before the first round.
    task: AtomicPtr<()>,
    context: AtomicPtr<c_void>,
    /// Where the round's index 0 stands in the whole loop.
    first: AtomicI64,
    count: AtomicU64,
    /// Tasks that have not ended.
    left: AtomicU64,
    stop: AtomicBool,
    /// How many threads sleep; held while the generation becomes even, so that nobody misses it.
    sleepers: Mutex<u32>,
    go: Condvar,
}

fn generation(word: u64) -> u64 {
    word >> INDEX_BITS
}

impl Round {
    /// Takes and runs tasks of the current round until there are none.
    fn work(&self, worker: i64) {
        loop {
            let word = self.word.load(SeqCst);
            if generation(word) % 2 == 1 {
                return;
            }
            let task = self.task.load(SeqCst);
            let (context, first) = (self.context.load(SeqCst), self.first.load(SeqCst));
            let i = word & INDEX_MASK;
            if i >= self.count.load(SeqCst) {
                return;
            }
            if self.word.compare_exchange_weak(word, word + 1, SeqCst, SeqCst).is_err() {
                continue;
            }
            // SAFETY: the word had not changed, so the fields are of one round, which cannot end before this task has:
            // a `TaskFn` and its context, which `parallel_for`'s caller keeps until it returns.
            unsafe { mem::transmute::<*mut (), TaskFn>(task)(context, first + i as i64, worker) };
            self.left.fetch_sub(1, SeqCst);
        }
    }

    fn serve(&self, worker: i64) {
        let mut seen = 0;
        loop {
            let fresh = || generation(self.word.load(SeqCst)) != seen || self.stop.load(SeqCst);
            for _ in 0..SPINS {
                if fresh() {
                    break;
                }
                hint::spin_loop();
            }
            let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
            while !fresh() {
                *sleepers += 1;
                sleepers = self.go.wait(sleepers).unwrap_or_else(PoisonError::into_inner);
                *sleepers -= 1;
            }
            drop(sleepers);
            if self.stop.load(SeqCst) {
                return;
            }
            seen = generation(self.word.load(SeqCst));
            self.work(worker);
        }
    }

    /// One round of at most `INDEX_MASK` tasks, from the thread that is worker 0.
    ///
    /// # Safety
    /// `task` may be called with `context` and every index from any thread until this returns; nobody else starts a round.
    unsafe fn run(&self, first: i64, count: u64, task: TaskFn, context: *mut c_void) {
        let closed = generation(self.word.load(SeqCst)) + 1;
        self.word.store(closed << INDEX_BITS, SeqCst);
        self.task.store(task as *mut (), SeqCst);
        self.context.store(context, SeqCst);
        self.first.store(first, SeqCst);
        self.count.store(count, SeqCst);
        self.left.store(count, SeqCst);
        let sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        // Wraps after 2^39 rounds; no straggler sleeps through that.
        self.word.store((closed + 1) << INDEX_BITS, SeqCst);
        if *sleepers > 0 {
            self.go.notify_all();
        }
        drop(sleepers);
        self.work(0);
        let mut spins = 0;
        while self.left.load(SeqCst) > 0 {
            match spins < SPINS {
                true => hint::spin_loop(),
                false => thread::yield_now(),
            }
            spins += 1;
        }
    }
}

/// Threads for [`Workers`]. Sessions may share one: while it works for one, another that comes runs its tasks itself.
pub struct Pool {
    shared: Box<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the C side points to: it stays in one place while the pool moves.
struct Shared {
    round: Arc<Round>,
    turn: Mutex<()>,
    workers: u32,
}

impl Pool {
    /// `workers` counts the calling thread, so that 1 starts no thread; 0 means 1. Fault: the system gives no thread.
    pub fn new(workers: u32) -> io::Result<Pool> {
        let round = Arc::new(Round {
            word: AtomicU64::new(0),
            task: AtomicPtr::new(ptr::null_mut()),
            context: AtomicPtr::new(ptr::null_mut()),
            first: AtomicI64::new(0),
            count: AtomicU64::new(0),
            left: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            sleepers: Mutex::new(0),
            go: Condvar::new(),
        });
        let shared = Box::new(Shared { round: Arc::clone(&round), turn: Mutex::new(()), workers: workers.max(1) });
        let mut pool = Pool { shared, threads: Vec::new() };
        for worker in 1..i64::from(workers) {
            let round = Arc::clone(&round);
            let thread = thread::Builder::new().name(format!("worker {worker}"));
            pool.threads.push(thread.spawn(move || round.serve(worker))?);
        }
        Ok(pool)
    }

    /// For a [`crate::Session`].
    pub fn workers(&self) -> Workers<'_> {
        let pool = ptr::from_ref(&*self.shared).cast_mut().cast();
        // SAFETY: `parallel_for` keeps its promises, from any thread, for as long as the pool, which is borrowed, is there.
        unsafe { Workers::new(parallel_for, pool, self.shared.workers) }
    }

    /// Runs `task(i, worker)` once for every `i` in `0..n`, and returns when all are done. A panic in a task ends the
    /// process. A task must not wait for another task of the same loop.
    pub fn for_each(&self, n: i64, task: &(dyn Fn(i64, i64) + Sync)) {
        unsafe extern "C" fn call(context: *mut c_void, i: i64, worker: i64) {
            // SAFETY: `context` is the reference to `task` below, which lives until all tasks are done.
            let task = unsafe { *context.cast::<&(dyn Fn(i64, i64) + Sync)>() };
            task(i, worker);
        }
        let pool = ptr::from_ref(&*self.shared).cast_mut().cast();
        // SAFETY: the pool is there, and `call` may be called from any thread as `task` is Sync.
        unsafe { parallel_for(pool, n, call, ptr::from_ref(&task).cast_mut().cast()) }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("workers", &self.shared.workers).finish()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let round = &self.shared.round;
        let sleepers = round.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        round.stop.store(true, SeqCst);
        round.go.notify_all();
        drop(sleepers);
        for thread in self.threads.drain(..) {
            // A thread can only end by `stop`: a panic in a task ends the process.
            let _ = thread.join();
        }
    }
}

/// # Safety
/// `pool` is a `Shared` that stays until this returns; `task` may be called with `context` from any thread until then.
unsafe extern "C" fn parallel_for(pool: *mut c_void, n: i64, task: TaskFn, context: *mut c_void) {
    // SAFETY: the caller's promise.
    let pool = unsafe { &*pool.cast::<Shared>() };
    let turn = if n > 1 && pool.workers > 1 { pool.turn.try_lock().ok() } else { None };
    if turn.is_none() {
        for i in 0..n {
            // SAFETY: the caller's promise. Its own thread is worker 0 of its call, whoever has the pool.
            unsafe { task(context, i, 0) }
        }
        return;
    }
    let mut first = 0;
    while first < n {
        let count = (n - first).min(INDEX_MASK as i64);
        // SAFETY: the caller's promise; `turn` is held, so no other round is started.
        unsafe { pool.round.run(first, count as u64, task, context) };
        first += count;
    }
}
