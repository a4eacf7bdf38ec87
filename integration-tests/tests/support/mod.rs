//! What tests of pools share beside [`integration_tests::library`]: workers of another kind, and a
//! look at the processes of one pool.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use integration_tests::{Deadline, executables, leftovers, library::command};
use master::{Arguments, Pool, PoolBuilder, PoolStatus, WorkerState, command::WorkerCommand};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tempfile::TempDir;

/// How long to wait before a look at something that announces nothing.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The misbehaving worker; the words are its mode and the argument of the mode.
pub(crate) fn misbehaving(mode: &[&str]) -> WorkerCommand {
    let mut words = vec![executables().misbehaving_worker.to_str().unwrap()];
    words.extend(mode);
    command(&words)
}

/// The arguments of `exec` for a script of the shell, with `$1` and so on after it.
pub(crate) fn shell(script: &str, parameters: &[&str]) -> Arguments {
    let mut words = vec!["-c", script, "sh"];
    words.extend(parameters);
    Arguments::new(("sh", words)).unwrap()
}

/// What `exec` gives.
#[derive(Debug, Deserialize)]
pub(crate) struct Executed {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Executed {
    /// What the command printed, without white space at its end; it has to have succeeded.
    #[track_caller]
    pub(crate) fn printed(self) -> String {
        assert!(self.status == Some(0) && self.stderr.is_empty(), "{self:?}");
        self.stdout.trim_end().to_owned()
    }
}

/// The pids of the workers of a pool that are there just now, in whatever state.
pub(crate) fn pids(pool: &Pool) -> Vec<u32> {
    pool.status().unwrap().workers.iter().map(|worker| worker.pid).collect()
}

/// How many workers serve, or have still something to finish.
pub(crate) fn serving(status: &PoolStatus) -> usize {
    let serves =
        |state| matches!(state, WorkerState::Idle | WorkerState::Busy | WorkerState::Retiring);
    status.workers.iter().filter(|worker| serves(worker.state)).count()
}

/// Kills a worker.
pub(crate) fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may have ended by itself in the meantime.
    let _ = kill_process(pid, Signal::KILL);
}

/// Waits until so many workers are idle, and there are no others. Returns their pids.
#[track_caller]
pub(crate) fn wait_until_idle(pool: &Pool, workers: usize) -> Vec<u32> {
    wait_until(&format!("{workers} workers are idle"), || {
        let status = pool.status().unwrap();
        let idle = |worker: &master::WorkerStatus| worker.state == WorkerState::Idle;
        status.workers.len() == workers && status.workers.iter().all(idle)
    });
    pids(pool)
}

/// Does something to a pool while two threads make calls and another looks at it all the time.
/// Every call has to succeed, and to be counted once.
pub(crate) fn under_load(pool: &Pool, look: impl Fn(&PoolStatus) + Sync, work: impl FnOnce()) {
    let before = pool.status().unwrap().counters;
    let done = Until::default();
    let calls: u64 = thread::scope(|scope| {
        let submit = |first: u64| {
            let done = &done;
            move || {
                let mut calls = 0;
                while !done.is_set() {
                    let n = first + calls;
                    assert_eq!(pool.apply::<u64>("square", (n, 0.001)).unwrap(), n * n);
                    calls += 1;
                }
                calls
            }
        };
        let threads = [scope.spawn(submit(0)), scope.spawn(submit(1_000_000))];
        let looker = scope.spawn(|| {
            while !done.is_set() {
                look(&pool.status().unwrap());
            }
        });
        // Also when the work panics.
        let guard = done.set_at_end();
        work();
        drop(guard);
        looker.join().unwrap();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let after = pool.status().unwrap().counters;
    assert_eq!(after.submitted - before.submitted, calls, "{before:?}, {after:?}");
    assert_eq!(after.completed - before.completed, calls, "{before:?}, {after:?}");
}

/// Something that ends for several threads at a time.
#[derive(Default)]
pub(crate) struct Until(AtomicBool);

impl Until {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it when the guard goes.
    pub(crate) fn set_at_end(&self) -> impl Drop + '_ {
        struct Guard<'a>(&'a Until);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                self.0.0.store(true, Ordering::Relaxed);
            }
        }
        Guard(self)
    }
}

/// Waits until `reached` says so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Deadline::after(Duration::from_secs(20));
    while !reached() {
        assert!(!deadline.left().is_zero(), "waited in vain until {what}");
        deadline.pause(LOOK_AGAIN);
    }
}

/// A private directory whose path marks the processes of one pool, so that they can be found
/// among those of other tests.
pub(crate) struct Mark {
    directory: TempDir,
}

impl Mark {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::Builder::new().prefix("pool-").tempdir().unwrap() }
    }

    /// The same pool, with marked workers that note their starts if they are misbehaving ones.
    pub(crate) fn on(&self, builder: PoolBuilder) -> PoolBuilder {
        builder
            .environment(leftovers::MARK, self.path())
            .environment(integration_tests::misbehaving::STARTS_VARIABLE, self.file("starts"))
    }

    /// The mark, which is the path of the directory.
    pub(crate) fn path(&self) -> &str {
        self.directory.path().to_str().unwrap()
    }

    /// The path of a file in the directory.
    pub(crate) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.path())
    }

    /// The lines of a file in the directory; none if there is no file.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.file(name)).unwrap_or_default();
        text.lines().map(String::from).collect()
    }

    /// How many misbehaving workers were started.
    pub(crate) fn starts(&self) -> usize {
        self.lines("starts").len()
    }

    /// The processes that live.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        leftovers::marked(self.path())
    }

    /// The processes that still live after a while in which they could have ended.
    pub(crate) fn remaining(&self) -> Vec<String> {
        leftovers::remaining_processes(self.path())
    }

    /// How many processes live.
    pub(crate) fn alive(&self) -> usize {
        leftovers::count_processes(self.path())
    }
}

/// How often each of these occurs.
pub(crate) fn counts<T: Ord>(values: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_insert(0) += 1;
    }
    counts
}
