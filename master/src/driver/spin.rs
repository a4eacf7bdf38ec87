//! Looking for an answer without going to sleep.
//!
//! To wake a process that sleeps takes longer than a short call. So where a caller makes one short
//! call after another, he looks for the answer for a moment before he sleeps, and tells the worker,
//! in its shared output, that it pays to do the same. That is done only while it pays, and while
//! nobody else wants the CPUs.

use std::{fs::File, num::NonZeroUsize, os::unix::fs::FileExt as _, time::Duration};

use crate::machine::Time;

/// How long to look: 50 us, about as long as it takes to be woken.
pub(super) const SPIN: Duration = Duration::from_micros(50);

/// A call that follows another after no more than this is one of a series: 100 us.
const SERIES: Duration = Duration::from_micros(100);

/// So many calls in a row make it worthwhile.
const WORTHWHILE: u32 = 4;

/// After so many it has paid, and earlier failures are forgotten.
const LONG_SERIES: u32 = 1_000;

/// What an answer costs that does not come while it is looked for, in answers that do: a little more
/// than is saved by each of them.
const PRICE: u32 = 4;

/// So much is saved up for that at most, so that it ends soon where calls become longer.
const MAX_CREDIT: u32 = 32;

/// How often to look whether others want the CPUs.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How long not to try again once it did not pay: 20 ms, doubled each time up to 64 times as long.
const PAUSE: Duration = Duration::from_millis(20);

/// Whether it pays to look for answers.
#[derive(Debug)]
pub(super) struct Spinning {
    load: Load,
    /// When the last call of this caller was answered.
    answered_at: Time,
    /// How many calls followed one another quickly.
    series: u32,
    /// The answer to the last call was looked for, and not in vain so far.
    looks: bool,
    /// How many answers were found, less what it cost to look for others in vain.
    credit: u32,
    /// Not before this time.
    not_before: Time,
    pauses: u32,
}

impl Spinning {
    pub(super) const fn new() -> Self {
        Self {
            load: Load::new(),
            answered_at: Duration::ZERO,
            series: 0,
            looks: false,
            credit: 0,
            not_before: Duration::ZERO,
            pauses: 0,
        }
    }

    /// A call begins, as the only one. Tells whether to look for its answer.
    pub(super) fn begin(&mut self, now: Time) -> bool {
        let follows = now.saturating_sub(self.answered_at) <= SERIES;
        self.series = if follows { self.series.saturating_add(1) } else { 0 };
        self.looks = self.series >= WORTHWHILE && self.not_before <= now && self.load.has_room(now);
        self.looks
    }

    /// The answer did not come while it was looked for.
    pub(super) fn looked_in_vain(&mut self, now: Time) {
        self.looks = false;
        if let Some(rest) = self.credit.checked_sub(PRICE) {
            self.credit = rest;
            return;
        }
        self.credit = 0;
        self.not_before = now.saturating_add(PAUSE.saturating_mul(1 << self.pauses.min(6)));
        self.pauses += 1;
        self.series = 0;
    }

    /// The call was answered.
    pub(super) const fn end(&mut self, now: Time) {
        self.answered_at = now;
        if self.looks && self.credit < MAX_CREDIT {
            self.credit += 1;
        }
        self.looks = false;
        if self.series >= LONG_SERIES {
            self.pauses = 0;
        }
    }
}

/// How many want to run, of all processes of the system.
#[derive(Debug)]
struct Load {
    file: Option<File>,
    /// Counted when that is asked for the first time.
    cpus: Option<u64>,
    looked_at: Option<Time>,
    has_room: bool,
}

impl Load {
    const fn new() -> Self {
        Self { file: None, cpus: None, looked_at: None, has_room: false }
    }

    /// Whether nobody waits for a CPU while two spin. Without a way to know, somebody does.
    fn has_room(&mut self, now: Time) -> bool {
        let count = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get) as u64;
        let cpus = *self.cpus.get_or_insert_with(count);
        if cpus < 2 {
            return false;
        }
        if self.looked_at.is_none_or(|looked_at| now >= looked_at + LOOK_AGAIN) {
            self.looked_at = Some(now);
            self.has_room = self.running().is_some_and(|running| running <= cpus);
        }
        self.has_room
    }

    /// How many run or wait for a CPU, this thread among them.
    fn running(&mut self) -> Option<u64> {
        if self.file.is_none() {
            self.file = File::open("/proc/loadavg").ok();
        }
        let mut text = [0; 128];
        let length = self.file.as_ref()?.read_at(&mut text, 0).ok()?;
        running(std::str::from_utf8(text.get(..length)?).ok()?)
    }
}

/// What the system tells: three averages, then how many of how many processes run.
fn running(text: &str) -> Option<u64> {
    text.split(' ').nth(3)?.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    fn spinning(has_room: bool) -> Spinning {
        let load = Load {
            file: None,
            cpus: Some(2),
            looked_at: Some(Duration::from_secs(3_600)),
            has_room,
        };
        Spinning { load, ..Spinning::new() }
    }

    /// Makes calls that take 10 us each, with a break before each, and tells of each whether its
    /// answer was looked for.
    fn calls(spinning: &mut Spinning, now: &mut Time, break_: Duration, found: bool) -> Vec<bool> {
        let call = |_| {
            *now += break_;
            let looks = spinning.begin(*now);
            *now += 10 * MICROSECOND;
            if looks && !found {
                spinning.looked_in_vain(*now);
            }
            spinning.end(*now);
            looks
        };
        (0..6).map(call).collect()
    }

    #[test]
    fn only_a_series_of_calls_is_looked_for() {
        let (mut spinning, mut now) = (spinning(true), Duration::from_secs(1));
        let quickly = calls(&mut spinning, &mut now, MICROSECOND, true);
        assert_eq!(quickly, [false, false, false, false, true, true]);
        let slowly = calls(&mut spinning, &mut now, 2 * SERIES, true);
        assert_eq!(slowly, [false; 6]);
    }

    #[test]
    fn it_pauses_where_it_does_not_pay() {
        let (mut spinning, mut now) = (spinning(true), Duration::from_secs(1));
        let in_vain = calls(&mut spinning, &mut now, MICROSECOND, false);
        assert_eq!(in_vain, [false, false, false, false, true, false]);
        assert_eq!(calls(&mut spinning, &mut now, MICROSECOND, true), [false; 6]);
        now += PAUSE;
        calls(&mut spinning, &mut now, MICROSECOND, true);
        assert_eq!(calls(&mut spinning, &mut now, MICROSECOND, true), [true; 6]);
    }

    #[test]
    fn a_failure_now_and_then_is_no_reason_to_stop() {
        let (mut spinning, mut now) = (spinning(true), Duration::from_secs(1));
        for _ in 0..20 {
            calls(&mut spinning, &mut now, MICROSECOND, true);
        }
        for _ in 0..100 {
            // One of seven.
            assert!(spinning.begin(now));
            spinning.looked_in_vain(now);
            spinning.end(now);
            assert_eq!(calls(&mut spinning, &mut now, MICROSECOND, true), [true; 6]);
        }
        let in_vain: Vec<bool> =
            (0..2).flat_map(|_| calls(&mut spinning, &mut now, MICROSECOND, false)).collect();
        let tries = (MAX_CREDIT / PRICE) as usize + 1;
        assert_eq!(in_vain, [vec![true; tries], vec![false; 12 - tries]].concat());
    }

    #[test]
    fn it_leaves_the_cpus_to_others() {
        let (mut spinning, mut now) = (spinning(false), Duration::from_secs(1));
        calls(&mut spinning, &mut now, MICROSECOND, true);
        assert_eq!(calls(&mut spinning, &mut now, MICROSECOND, true), [false; 6]);
    }

    #[test]
    fn the_load_is_read() {
        assert_eq!(running("0.20 0.18 0.12 3/80 11206\n"), Some(3));
        assert_eq!(running("0.20 0.18"), None);
        assert!(Load::new().running().is_some_and(|running| running > 0));
    }
}
