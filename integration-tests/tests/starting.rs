//! Workers are started without a copy of the program that starts them, which would take the longer
//! the larger it is, and hold up everybody in it.

#![cfg(target_env = "gnu")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test reports by panicking")]
#![allow(unsafe_code, reason = "only the C library knows of forks")]

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use integration_tests::library::{watched, worker};
use master::{Pool, Resource};

static FORKS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count() {
    FORKS.fetch_add(1, Relaxed);
}

/// Forks of this program while twenty workers are started, one after another.
fn forks(limited: bool) -> usize {
    let before = FORKS.load(Relaxed);
    let builder = Pool::builder().worker(worker()).processes(2).max_tasks_per_child(1);
    let builder = if limited { builder.resource_limit(Resource::Core, 0) } else { builder };
    let pool = builder.build().unwrap();
    assert_eq!(pool.map::<_, i64>("square", 0..20).unwrap().len(), 20);
    pool.close();
    pool.join().unwrap();
    FORKS.load(Relaxed) - before
}

#[test]
fn nothing_is_forked_for_a_worker_without_limits() {
    watched(|| {
        // What this needs is built before.
        let _ = worker();
        // SAFETY: the handler only counts.
        assert_eq!(unsafe { libc::pthread_atfork(Some(count), None, None) }, 0);
        // One is that of the guardian.
        let forks_without = forks(false);
        assert!(forks_without <= 1, "{forks_without} forks");
        // Limits are set in a fork, and that it is counted shows that forks are.
        assert!(forks(true) >= 20);
    });
}
