//! Callers who wait drive their pool themselves: nobody notices, whatever happens meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test reports by panicking"
)]

#[path = "support/processes.rs"]
mod processes;
mod support;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use integration_tests::{
    Deadline,
    library::{first_cpu, pool, watched},
};
use master::{Callbacks, Cancelled, Encoded, Error, Pool, WorkerState};
use processes::{guardian_of, wait_for};
use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use support::{Executed, Mark, Until, kill, misbehaving, pids, shell, wait_until, wait_until_idle};

/// Longer than any test may take.
const ENDLESS: f64 = 600.0;

/// Soon, on a machine that is busy.
const SOON: Duration = Duration::from_secs(5);

fn pause(time: Duration) {
    Deadline::after(time).pause(time);
}

/// Waits until a caller is at his call, and drives.
fn wait_until_driven(pool: &Pool) {
    wait_until("a call runs", || pool.status().unwrap().running == 1);
}

/// Whoever comes finds the pool at rest, driven by somebody else, handed over, or just put down.
#[test]
fn callers_come_at_all_times() {
    watched(|| {
        for callers in [1, 2, 5] {
            let pool = pool(2).build().unwrap();
            thread::scope(|scope| {
                for caller in 0..callers {
                    let pool = &pool;
                    scope.spawn(move || {
                        for call in 0..150_u64 {
                            let n = caller * 1_000 + call;
                            assert_eq!(pool.apply::<u64>("square", (n,)).unwrap(), n * n);
                            // Around the time after which the pool is taken back from the callers.
                            pause(Duration::from_micros(call * 37 % 61 * 100));
                        }
                    });
                }
            });
            let counters = pool.status().unwrap().counters;
            assert_eq!((counters.completed, counters.refused), (callers * 150, 0));
        }
    });
}

/// There is always somebody who wants to drive, and something that only the pool's own thread does.
#[test]
fn callers_do_not_keep_the_pool_from_what_is_its_own_to_do() {
    watched(|| {
        let pool = pool(2).max_age(Duration::from_millis(30)).build().unwrap();
        let done = Until::default();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.is_set() {
                        assert_eq!(pool.apply::<u64>("square", (3,)).unwrap(), 9);
                    }
                });
            }
            let guard = done.set_at_end();
            for size in [4, 2, 3, 1, 2] {
                pool.resize(size).unwrap();
                wait_until("it has its new size", || {
                    pool.status().unwrap().workers.len() <= size + 1
                });
            }
            wait_until("many are renewed", || pool.status().unwrap().counters.started >= 20);
            drop(guard);
        });
        assert_eq!(pool.status().unwrap().counters.lost, 0);
    });
}

#[test]
fn calls_between_a_lazy_map() {
    watched(|| {
        let pool = pool(2).build().unwrap();
        let done = Until::default();
        thread::scope(|scope| {
            let caller = scope.spawn(|| {
                let mut calls = 0_u64;
                while !done.is_set() {
                    assert_eq!(pool.apply::<u64>("square", (calls,)).unwrap(), calls * calls);
                    calls += 1;
                }
                calls
            });
            let guard = done.set_at_end();
            for _ in 0..5 {
                let squares = pool.imap::<_, u64>("square", 0..2_000_u64).unwrap();
                let mut expected = 0_u64;
                for square in squares {
                    assert_eq!(square.unwrap(), expected * expected);
                    expected += 1;
                }
                assert_eq!(expected, 2_000);
                pause(Duration::from_millis(10));
            }
            drop(guard);
            assert!(caller.join().unwrap() > 0);
        });
    });
}

#[test]
fn a_callback_makes_calls() {
    watched(|| {
        let pool = Arc::new(pool(1).build().unwrap());
        let (sender, receiver) = mpsc::channel();
        for n in 0..50_u64 {
            let (inner, sender) = (Arc::clone(&pool), sender.clone());
            let callbacks = Callbacks::new().on_result(move |square: u64| {
                sender.send(inner.apply::<u64>("square", (square,)).unwrap()).unwrap();
            });
            let result = pool.apply_async_with("square", (n,), callbacks).unwrap();
            // Meanwhile somebody else wants to drive as well.
            assert_eq!(pool.apply::<u64>("square", (2,)).unwrap(), 4);
            result.wait();
            assert_eq!(receiver.try_recv().unwrap(), n * n * n * n);
        }
    });
}

/// What is woken on the thread of a caller may own a pool: this one, or another as its last owner.
#[test]
fn a_waker_on_the_thread_of_a_caller_drops_pools() {
    struct Owner(Mutex<Vec<Arc<Pool>>>, Mutex<mpsc::Sender<()>>);
    impl Wake for Owner {
        fn wake(self: Arc<Self>) {
            self.0.lock().unwrap().clear();
            self.1.lock().unwrap().send(()).unwrap();
        }
    }
    watched(|| {
        for _ in 0..10 {
            let mark = Mark::new();
            let driven = Arc::new(pool(1).build().unwrap());
            let other = Arc::new(mark.on(pool(1)).build().unwrap());
            assert_eq!(other.apply::<u64>("square", (2,)).unwrap(), 4);
            wait_until_idle(&driven, 1);
            let (sender, receiver) = mpsc::channel();
            let owned = vec![Arc::clone(&driven), other];
            let waker = Waker::from(Arc::new(Owner(Mutex::new(owned), Mutex::new(sender))));
            let mut first = pin!(driven.apply_async::<u64>("square", (3, 0.02)).unwrap());
            assert!(first.as_mut().poll_once(&waker));
            // He drives, and brings the first result too.
            assert_eq!(driven.apply::<u64>("square", (4,)).unwrap(), 16);
            receiver.recv().unwrap();
            assert!(mark.remaining().is_empty());
            assert_eq!(first.get().unwrap(), 9);
            assert_eq!(driven.apply::<u64>("square", (5,)).unwrap(), 25);
        }
    });
}

trait PollOnce {
    /// Whether it is pending.
    fn poll_once(self, waker: &Waker) -> bool;
}

impl<F: Future> PollOnce for std::pin::Pin<&mut F> {
    fn poll_once(self, waker: &Waker) -> bool {
        self.poll(&mut Context::from_waker(waker)).is_pending()
    }
}

#[test]
fn a_pool_is_ended_while_a_caller_drives() {
    type End = fn(&Pool);
    let ends: [(End, Option<Cancelled>); 4] = [
        (Pool::close, None),
        (Pool::terminate, Some(Cancelled::Terminated)),
        (Pool::kill, Some(Cancelled::Terminated)),
        (Pool::interrupt, None),
    ];
    watched(move || {
        for (end, cancelled) in ends {
            let mark = Mark::new();
            let pool = mark.on(pool(2)).build().unwrap();
            wait_until_idle(&pool, 2);
            let seconds = if cancelled.is_some() { ENDLESS } else { 0.3 };
            thread::scope(|scope| {
                let caller = scope.spawn(|| pool.apply::<u64>("sleep", (seconds, 7)));
                wait_until_driven(&pool);
                end(&pool);
                assert!(pool.join_timeout(SOON).unwrap());
                match (caller.join().unwrap(), cancelled) {
                    (Ok(value), None) => assert_eq!(value, 7),
                    (Err(Error::Cancelled(reason)), Some(cancelled)) => {
                        assert_eq!(reason, cancelled);
                    }
                    (outcome, _) => panic!("{outcome:?}"),
                }
            });
            drop(pool);
            assert!(mark.remaining().is_empty());
        }
    });
}

/// The CPUs that a process may use.
fn cpus_of(pid: impl std::fmt::Display) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:"))?;
    Some(line.trim().to_owned())
}

/// What the thread of a caller has of its own: one CPU.
fn become_odd() {
    let mut one = CpuSet::new();
    one.set(first_cpu());
    sched_setaffinity(None, &one).unwrap();
}

/// A worker that dies while a caller drives is replaced by the pool's own thread, since a process
/// inherits from the thread that starts it. So is the guardian.
#[test]
fn processes_inherit_nothing_from_a_caller() {
    let ours = sched_getaffinity(None).unwrap();
    if ours.count() < 2 {
        return;
    }
    watched(|| {
        let pool = pool(2).build().unwrap();
        let before = wait_until_idle(&pool, 2);
        let cpus = cpus_of(before[0]).unwrap();
        thread::scope(|scope| {
            let odd = scope.spawn(|| {
                become_odd();
                let dies = shell("kill -9 $PPID; sleep 60", &[]);
                assert!(matches!(pool.apply::<Encoded>("exec", dies), Err(Error::Lost(_))));
                assert_eq!(pool.apply::<u64>("square", (5,)).unwrap(), 25);
                pool.apply::<Executed>("exec", shell("sleep 1; echo", &[])).unwrap().printed()
            });
            wait_until("the long call runs beside another worker", || {
                let status = pool.status().unwrap();
                let idle = status.workers.iter().any(|worker| worker.state == WorkerState::Idle);
                status.running == 1 && status.counters.completed == 1 && idle
            });
            let master = rustix::process::getpid();
            let guardian = wait_for("a guardian", || guardian_of(master));
            kill_process(guardian, Signal::KILL).unwrap();
            let next = wait_for("another guardian", || {
                guardian_of(master).filter(|&next| next != guardian)
            });
            assert_eq!(cpus_of(next), Some(cpus.clone()));
            odd.join().unwrap();
        });
        let after = wait_until_idle(&pool, 2);
        assert!(after.iter().any(|pid| !before.contains(pid)), "{before:?}, {after:?}");
        for pid in after {
            assert_eq!(cpus_of(pid), Some(cpus.clone()));
        }
    });
}

/// Nobody asks for anything, so that nobody but the pool's own thread can notice.
#[test]
fn an_idle_worker_that_is_killed_behind_a_call_is_replaced_soon() {
    watched(|| {
        let mark = Mark::new();
        let builder = Pool::builder().worker(misbehaving(&["well-behaved"])).processes(2);
        let pool = mark.on(builder).build().unwrap();
        wait_until_idle(&pool, 2);
        for round in 1..=10 {
            let pid: u32 = pool.apply("pid", ()).unwrap();
            kill(pid);
            let deadline = Deadline::after(SOON);
            while mark.starts() < 2 + round {
                assert!(!deadline.left().is_zero(), "{} starts", mark.starts());
                deadline.pause(support::LOOK_AGAIN);
            }
        }
        assert_eq!(wait_until_idle(&pool, 2).len(), 2);
    });
}

#[test]
fn a_call_behind_a_long_rest() {
    watched(|| {
        let pool = pool(1).build().unwrap();
        for rest in [0, 4, 5, 6, 50, 500, 1_500] {
            pause(Duration::from_millis(rest));
            assert_eq!(pool.apply::<u64>("square", (rest,)).unwrap(), rest * rest);
        }
    });
}

#[test]
fn a_pool_is_dropped_right_behind_a_call() {
    watched(|| {
        for n in 0..20_u64 {
            let mark = Mark::new();
            let pool = mark.on(pool(2)).build().unwrap();
            assert_eq!(pool.apply::<u64>("square", (n,)).unwrap(), n * n);
            pause(Duration::from_millis(n / 2));
            drop(pool);
            assert_eq!(mark.alive(), 0);
        }
    });
}

/// The second pool is used by a destructor while its thread unwinds.
#[test]
fn a_call_in_a_destructor_leaves_the_pool_as_it_is() {
    struct Caller<'a>(&'a Pool);
    impl Drop for Caller<'_> {
        fn drop(&mut self) {
            assert_eq!(self.0.apply::<u64>("square", (6,)).unwrap(), 36);
        }
    }
    watched(|| {
        let pool = pool(1).build().unwrap();
        wait_until_idle(&pool, 1);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _caller = Caller(&pool);
            panic!("on purpose");
        }));
        panicked.unwrap_err();
        assert_eq!(pool.apply::<u64>("square", (7,)).unwrap(), 49);
        assert_eq!(pids(&pool).len(), 1);
    });
}

/// The last failure comes while a caller drives: he is told of it, with the reason.
#[test]
fn a_pool_that_fails_while_a_caller_drives_tells_him_why() {
    watched(|| {
        let builder = Pool::builder().worker(misbehaving(&["well-behaved"])).processes(2);
        let pool = builder.restart_intensity(0).build().unwrap();
        let strike = |pid: u32| {
            let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            kill_process(pid, Signal::ABORT).unwrap();
        };
        // They were ready, so that as many as there are seats are forgiven.
        for died in 1..=2 {
            strike(wait_until_idle(&pool, 2)[0]);
            wait_until("it has died", || pool.status().unwrap().counters.died == died);
        }
        wait_until_idle(&pool, 2);
        thread::scope(|scope| {
            let caller = scope.spawn(|| pool.apply::<Encoded>("sleep", (ENDLESS,)));
            wait_until_driven(&pool);
            let workers = pool.status().unwrap().workers;
            strike(workers.iter().find(|worker| worker.task.is_none()).unwrap().pid);
            let Err(Error::PoolFailed(report)) = caller.join().unwrap() else {
                panic!("it has not failed")
            };
            assert!(report.to_string().contains("SIGABRT"), "{report}");
        });
    });
}
