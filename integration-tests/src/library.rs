//! What the tests of the library `master` share.

use std::{sync::mpsc, thread, time::Duration};

use crate::executables;
use master::{
    Pool, PoolBuilder,
    command::{CommandLine, SearchPath, WorkerCommand},
};

/// How long a test may take; far more than any of them needs.
pub const WATCHDOG: Duration = Duration::from_secs(60);

/// A worker command of these words.
///
/// # Panics
/// When there is no such executable.
pub fn command(words: &[&str]) -> WorkerCommand {
    let search = SearchPath::from_environment().unwrap();
    CommandLine::from_words(words.iter().copied()).unwrap().resolve(&search).unwrap()
}

/// The reference worker.
///
/// # Panics
/// When it does not build.
pub fn worker() -> WorkerCommand {
    command(&[executables().worker.to_str().unwrap()])
}

/// A pool of so many reference workers.
pub fn pool(processes: usize) -> PoolBuilder {
    Pool::builder().worker(worker()).processes(processes)
}

/// A CPU that this process may use.
///
/// # Panics
/// When there is none.
pub fn first_cpu() -> usize {
    let ours = rustix::thread::sched_getaffinity(None).unwrap();
    (0..rustix::thread::CpuSet::MAX_CPU).find(|&cpu| ours.is_set(cpu)).unwrap()
}

/// Runs a test in a thread, and fails it if it does not end.
///
/// # Panics
/// When the test does, or takes longer than [`WATCHDOG`].
pub fn watched<R: Send + 'static>(test: impl FnOnce() -> R + Send + 'static) -> R {
    watched_for(WATCHDOG, test)
}

/// As [`watched`], with a limit of its own.
///
/// # Panics
/// When the test does, or takes longer than `limit`.
pub fn watched_for<R: Send + 'static>(
    limit: Duration,
    test: impl FnOnce() -> R + Send + 'static,
) -> R {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let result = test();
        let _ = sender.send(());
        result
    });
    match receiver.recv_timeout(limit) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the test did not end in {limit:?}"),
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        },
    }
}
