//! The rules on starting workers: how often it may fail, and how long is waited in between.

use std::{collections::VecDeque, time::Duration};

use super::super::*;

/// A start that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed {
    pub(super) time: Time,
    pub(super) group: GroupId,
    /// It had been ready, or was struck.
    pub(super) excusable: bool,
}

/// What is known of the starts that failed.
#[derive(Debug)]
pub(super) struct Starts {
    settings: Settings,
    /// When starts failed, within the period.
    failures: VecDeque<Failed>,
    /// When the last one failed.
    last: Option<Time>,
    in_a_row: u32,
    inexcusable_in_a_row: u32,
    /// When the last wave of failures began, its least wait, and how many waves there were.
    wave: Option<(Time, Duration)>,
    waves: u32,
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
            inexcusable_in_a_row: 0,
            wave: None,
            waves: 0,
            not_before: Duration::ZERO,
            at_the_latest: Duration::ZERO,
            must_fail: false,
        }
    }

    pub(super) fn failed(&mut self, failed: Failed, seats: usize, hopeless: bool) {
        let Settings { failed_start_period, failed_start_intensity: intensity, .. } = self.settings;
        let now = failed.time;
        self.failures.push_back(failed);
        self.failures.retain(|then| now - then.time <= failed_start_period);
        let slowest = self.settings.ready_timeout.max(self.settings.hello_timeout);
        let next_try = slowest + Duration::from_secs(5) * 5 / 4;
        if self.last.is_some_and(|last| now - last > next_try) {
            self.forget_row();
        }
        self.in_a_row += 1;
        self.inexcusable_in_a_row += u32::from(!failed.excusable);
        self.last = Some(now);
        self.delayed(now);
        let inexcusable = self.failures.iter().filter(|failed| !failed.excusable).count();
        self.must_fail |= inexcusable > intensity
            || self.inexcusable_in_a_row as usize > intensity
            || self.failures.len() > intensity + seats
            || self.in_a_row as usize > intensity + seats
            || hopeless
            || self.settings.one_call;
    }

    /// The next start has to wait.
    pub(super) fn delayed(&mut self, now: Time) {
        if self.wave.is_none_or(|(began, least)| now >= began + least) {
            let backoff = Duration::from_millis(100) * 2_u32.pow(self.waves.min(10));
            let backoff = backoff.min(Duration::from_secs(5));
            self.wave = Some((now, backoff));
            self.waves += 1;
            self.not_before = now + backoff;
            self.at_the_latest = now + backoff * 5 / 4;
        }
    }

    /// The next start may have to wait.
    pub(super) fn perhaps_delayed(&mut self, now: Time) {
        self.at_the_latest = self.at_the_latest.max(now + Duration::from_secs(5) * 5 / 4);
    }

    /// A worker that had served has ended.
    pub(super) const fn served(&mut self) {
        self.last = None;
        self.forget_row();
        self.not_before = Duration::ZERO;
        self.at_the_latest = Duration::ZERO;
    }

    const fn forget_row(&mut self) {
        self.in_a_row = 0;
        self.inexcusable_in_a_row = 0;
        self.wave = None;
        self.waves = 0;
    }

    /// A worker of this group, started then, has answered for the first time.
    pub(super) fn proved(&mut self, group: GroupId, started: Time) {
        let before = self.failures.len();
        self.failures.retain(|failed| failed.group != group || failed.time >= started);
        let delayed = self.wave.is_some_and(|(began, _)| began < started);
        if self.failures.is_empty() && (before > 0 || delayed) {
            return self.served();
        }
        if self.failures.len() < before {
            let left = u32::try_from(self.failures.len()).unwrap();
            self.in_a_row = self.in_a_row.min(left);
            self.inexcusable_in_a_row = self.inexcusable_in_a_row.min(left);
            self.last = self.failures.back().map(|failed| failed.time);
        }
    }

    /// Whether nothing keeps a start from being tried now.
    pub(super) fn may_start(&self, now: Time) -> bool {
        now >= self.at_the_latest
    }

    pub(super) fn check_start(&self, now: Time) {
        assert!(now >= self.not_before, "started {:?} too early", self.not_before - now);
    }
}
