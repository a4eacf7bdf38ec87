//! The rules on starting workers: how often it may fail, and how long is waited in between.

use std::{collections::VecDeque, time::Duration};

use super::super::*;

/// What is known of the starts that failed.
#[derive(Debug)]
pub(super) struct Starts {
    settings: Settings,
    /// When starts failed, within the period.
    failures: VecDeque<Time>,
    /// When the last one failed.
    last: Option<Time>,
    in_a_row: u32,
    /// Chance may add to it.
    not_before: Time,
    /// So much at most.
    at_the_latest: Time,
    /// The pool has to fail, and may.
    pub(super) must_fail: bool,
}

impl Starts {
    pub(super) const fn new(settings: Settings) -> Self {
        Self {
            settings,
            failures: VecDeque::new(),
            last: None,
            in_a_row: 0,
            not_before: Duration::ZERO,
            at_the_latest: Duration::ZERO,
            must_fail: false,
        }
    }

    pub(super) fn failed(&mut self, now: Time, hopeless: bool) {
        let Settings { failed_start_period, failed_start_intensity, .. } = self.settings;
        self.failures.push_back(now);
        self.failures.retain(|&then| now - then <= failed_start_period);
        let slowest = self.settings.ready_timeout.max(self.settings.hello_timeout);
        let next_try = slowest + Duration::from_secs(5) * 5 / 4;
        let follows = self.last.is_some_and(|last| now - last <= next_try);
        self.in_a_row = if follows { self.in_a_row + 1 } else { 1 };
        self.last = Some(now);
        let backoff = Duration::from_millis(100) * 2_u32.pow((self.in_a_row - 1).min(10));
        let backoff = backoff.min(Duration::from_secs(5));
        self.not_before = now + backoff;
        self.at_the_latest = now + backoff * 5 / 4;
        self.must_fail |= self.failures.len() > failed_start_intensity
            || self.in_a_row as usize > failed_start_intensity
            || hopeless
            || self.settings.one_call;
    }

    /// A worker that had served has ended.
    pub(super) const fn served(&mut self) {
        self.last = None;
        self.in_a_row = 0;
        self.not_before = Duration::ZERO;
        self.at_the_latest = Duration::ZERO;
    }

    /// Whether nothing keeps a start from being tried now.
    pub(super) fn may_start(&self, now: Time) -> bool {
        now >= self.at_the_latest
    }

    pub(super) fn check_start(&self, now: Time) {
        assert!(now >= self.not_before, "started {:?} too early", self.not_before - now);
    }
}
