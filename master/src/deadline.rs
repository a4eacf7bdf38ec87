//! Waiting for so long at most.

use std::{
    sync::{Condvar, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::driver::now;

/// A point in time, or never.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// So long from now. It never comes without a time, or if that is too far away to be told.
    pub(crate) fn after(timeout: impl Into<Option<Duration>>) -> Self {
        Self(timeout.into().and_then(|timeout| now().checked_add(timeout)))
    }

    /// How long it is until then. `None` if it never comes.
    pub(crate) fn left(self) -> Option<Duration> {
        self.0.map(|time| time.saturating_duration_since(now()))
    }

    pub(crate) fn is_over(self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// Waits once: until something has changed, or until then, or for no reason at all.
    pub(crate) fn wait<'a, T>(
        self,
        changed: &Condvar,
        guard: MutexGuard<'a, T>,
    ) -> MutexGuard<'a, T> {
        match self.left() {
            None => changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(left) => {
                changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}
