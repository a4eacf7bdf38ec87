//! The process groups of all workers that are being tried, so that they can be ended together.

use std::{
    collections::BTreeSet,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};

/// Handle to what runs; a clone is the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    groups: Mutex<Groups>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Groups {
    /// By the process ids of their leaders.
    leaders: BTreeSet<u32>,
    stopped: bool,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.0.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a group. False if everything is to end: then it has to be killed at once.
    pub(super) fn add(&self, leader: u32) -> bool {
        let mut groups = self.lock();
        groups.leaders.insert(leader);
        !groups.stopped
    }

    /// The group is gone, and its number may be somebody else's.
    pub(super) fn remove(&self, leader: u32) {
        self.lock().leaders.remove(&leader);
        self.0.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Kills all groups, and lets no other begin.
    pub(crate) fn stop(&self) {
        let mut groups = self.lock();
        groups.stopped = true;
        groups.leaders.iter().copied().for_each(kill_group);
    }

    /// Waits until none is left.
    pub(crate) fn wait_for_end(&self, timeout: Duration) {
        let left = |groups: &mut Groups| !groups.leaders.is_empty();
        let waited = self.0.changed.wait_timeout_while(self.lock(), timeout, left);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Kills a process group, whose leader has not been waited for.
pub(super) fn kill_group(leader: u32) {
    if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        // There may be nobody left in it.
        let _ = kill_process_group(group, Signal::KILL);
    }
}
