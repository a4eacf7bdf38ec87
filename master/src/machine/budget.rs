//! How often starts may fail before the pool gives up, and how long to wait between them.

use std::{collections::VecDeque, time::Duration};

use super::{Settings, Time, jitter::Jitter};

/// The least wait after the first failed start in a row; each further one doubles it, and chance
/// adds up to a fourth.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// The longest wait between two starts, before chance adds to it.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// Counts failed starts in a moving period, and in a row.
#[derive(Debug)]
pub(super) struct StartBudget {
    intensity: usize,
    period: Duration,
    /// The longest time between a failed start and the next that still is of the same row: a
    /// start that takes as long as it may, and the wait before it.
    next_try: Duration,
    failures: VecDeque<Time>,
    in_a_row: u32,
    not_before: Time,
}

impl StartBudget {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            intensity: settings.failed_start_intensity,
            period: settings.failed_start_period,
            next_try: settings
                .hello_timeout
                .max(settings.ready_timeout)
                .saturating_add(MAX_BACKOFF * 5 / 4),
            failures: VecDeque::new(),
            in_a_row: 0,
            not_before: Duration::ZERO,
        }
    }

    /// Counts a failed start, and tells whether the budget is spent: so many have failed within
    /// the period, or one after another, however long each of them took.
    pub(super) fn spend(&mut self, now: Time, jitter: &mut Jitter) -> bool {
        let last = self.failures.back().copied();
        if last.is_some_and(|last| now.saturating_sub(last) > self.next_try) {
            self.in_a_row = 0;
        }
        while self.failures.front().is_some_and(|&then| now.saturating_sub(then) > self.period) {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        let doubling = self.in_a_row.min(10);
        self.in_a_row += 1;
        let backoff = MAX_BACKOFF.min(FIRST_BACKOFF * 2_u32.pow(doubling));
        self.not_before = now + jitter.stretch(backoff);
        self.failures.len() > self.intensity || self.in_a_row as usize > self.intensity
    }

    /// A worker has served: the next failure is the first in its row.
    pub(super) const fn succeed(&mut self) {
        self.in_a_row = 0;
        self.not_before = Duration::ZERO;
    }

    /// When the next start may be tried.
    pub(super) const fn not_before(&self) -> Time {
        self.not_before
    }
}
