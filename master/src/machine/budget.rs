//! How often starts may fail before the pool gives up, and how long to wait between them.

use std::{collections::VecDeque, time::Duration};

use super::{GroupId, Settings, Time, jitter::Jitter};

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
    /// The starts that failed within the period, and were not made good since.
    failures: VecDeque<FailedStart>,
    /// When the last one of the row failed.
    last: Option<Time>,
    in_a_row: u32,
    /// Of those in a row, the ones without an excuse.
    inexcusable_in_a_row: u32,
    /// Failures at about the same time are one wave, for which there is one wait: when it began,
    /// how long it lasts at the least, and how many there were in a row.
    wave: Option<(Time, Duration)>,
    waves: u32,
    not_before: Time,
}

/// A start that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct FailedStart {
    pub(super) time: Time,
    pub(super) group: GroupId,
    /// Its worker had been ready, or somebody else killed it: that may have befallen all of them at
    /// once, and says little about the next start.
    pub(super) excusable: bool,
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
            last: None,
            in_a_row: 0,
            inexcusable_in_a_row: 0,
            wave: None,
            waves: 0,
            not_before: Duration::ZERO,
        }
    }

    /// Counts a failed start, and tells whether the budget is spent: so many have failed within
    /// the period, or one after another, however long each of them took. Those that are
    /// excusable may be as many more as there are `seats`.
    pub(super) fn spend(&mut self, failed: FailedStart, seats: usize, jitter: &mut Jitter) -> bool {
        let now = failed.time;
        if self.last.is_some_and(|last| now.saturating_sub(last) > self.next_try) {
            self.forget_row();
        }
        let is_old = |then: &FailedStart| now.saturating_sub(then.time) > self.period;
        while self.failures.front().is_some_and(is_old) {
            self.failures.pop_front();
        }
        self.failures.push_back(failed);
        self.last = Some(now);
        self.in_a_row += 1;
        self.inexcusable_in_a_row += u32::from(!failed.excusable);
        self.delay(now, jitter);
        let inexcusable = self.failures.iter().filter(|failed| !failed.excusable).count();
        let most = self.intensity.saturating_add(seats);
        inexcusable.max(self.inexcusable_in_a_row as usize) > self.intensity
            || self.failures.len().max(self.in_a_row as usize) > most
    }

    /// Has the next start wait, without counting a failure.
    pub(super) fn delay(&mut self, now: Time, jitter: &mut Jitter) {
        if self.wave.is_none_or(|(began, least)| now >= began + least) {
            let backoff = MAX_BACKOFF.min(FIRST_BACKOFF * 2_u32.pow(self.waves.min(10)));
            self.wave = Some((now, backoff));
            self.waves += 1;
            self.not_before = now + jitter.stretch(backoff);
        }
    }

    /// A worker has served: the next failure is the first in its row.
    pub(super) const fn succeed(&mut self) {
        self.forget_row();
        self.not_before = Duration::ZERO;
    }

    const fn forget_row(&mut self) {
        self.last = None;
        self.in_a_row = 0;
        self.inexcusable_in_a_row = 0;
        self.wave = None;
        self.waves = 0;
    }

    /// A worker that was started at that time has answered an item: so its group can be started,
    /// and what failed before was an accident, as when somebody kills workers at random.
    pub(super) fn make_good(&mut self, group: GroupId, started: Time) {
        let count = self.failures.len();
        self.failures.retain(|failed| failed.group != group || failed.time >= started);
        let delayed = self.wave.is_some_and(|(began, _)| began < started);
        if self.failures.is_empty() && (count > 0 || delayed) {
            self.succeed();
        } else if self.failures.len() < count {
            let left = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
            self.in_a_row = self.in_a_row.min(left);
            self.inexcusable_in_a_row = self.inexcusable_in_a_row.min(left);
            self.last = self.failures.back().map(|failed| failed.time);
        }
    }

    /// When the next start may be tried.
    pub(super) const fn not_before(&self) -> Time {
        self.not_before
    }
}
