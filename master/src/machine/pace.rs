//! How long items take, by recent measure, and how many of them make a fair chunk.

use std::time::Duration;

use super::{FunctionId, queue::Waiting, worker::sharing};

/// Chunks whose size is left to the pool are to take about so long: 2 ms, some twenty times what it
/// takes to send a chunk and to wake its worker for it, and little to wait for at the end.
pub(super) const CHUNK_TIME: Duration = Duration::from_millis(2);

/// What items are taken to be alike by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) function: FunctionId,
    /// Other arguments may take another time: what was measured in one job says nothing of the next.
    pub(super) job: Option<u64>,
}

/// What an item takes, by recent measure.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    nanoseconds: u64,
    items: u64,
}

impl Pace {
    /// Takes in how long some items took. A longer time counts at once, a shorter one by and by, so
    /// that windows and chunks shrink faster than they grow.
    fn note(&mut self, time: Duration, items: u64) {
        if items == 0 {
            return;
        }
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let slower = u128::from(nanoseconds) * u128::from(self.items)
            > u128::from(self.nanoseconds) * u128::from(items);
        if slower {
            *self = Self { nanoseconds, items };
        } else {
            self.nanoseconds = (self.nanoseconds / 2).saturating_add(nanoseconds);
            self.items = (self.items / 2).saturating_add(items);
        }
    }

    /// `None` before the first measure.
    fn item_time(&self) -> Option<Duration> {
        self.nanoseconds.checked_div(self.items).map(Duration::from_nanos)
    }
}

/// The pace at the kind of items that was measured last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KnownPace {
    pace: Pace,
    job: Option<u64>,
}

impl KnownPace {
    /// Takes in how long some items took, in this job if it was one.
    pub(super) fn note(&mut self, job: Option<u64>, time: Duration, items: u64) {
        if job.is_some() && self.job != job {
            *self = Self { pace: Pace::default(), job };
        }
        self.pace.note(time, items);
    }

    /// What an item of this job takes; `None` before the first measure in it.
    pub(super) fn item_time(&self, job: Option<u64>) -> Option<Duration> {
        (job.is_none() || self.job == job).then(|| self.pace.item_time()).flatten()
    }
}

/// The pace of each function, over all workers.
#[derive(Debug, Default)]
pub(super) struct Paces(Vec<KnownPace>);

impl Paces {
    pub(super) fn note(&mut self, kind: Kind, time: Duration, items: u64) {
        let index = kind.function.0 as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, KnownPace::default());
        }
        if let Some(pace) = self.0.get_mut(index) {
            pace.note(kind.job, time, items);
        }
    }

    /// How many items to send together where that is left to the pool: what takes about
    /// [`CHUNK_TIME`], and towards the end ever fewer, so that all workers finish at about the same
    /// time. One as long as nothing is known.
    pub(super) fn chunk(&self, kind: Kind, waiting: Waiting, workers: usize, cpus: usize) -> u64 {
        let pace = self.0.get(kind.function.0 as usize).copied().unwrap_or_default();
        let Some(item_time) = pace.item_time(kind.job) else { return 1 };
        let chunk_time = CHUNK_TIME.saturating_mul(sharing(workers, cpus));
        let quick = chunk_time.as_nanos() / item_time.as_nanos().max(1);
        let quick = u64::try_from(quick).unwrap_or(u64::MAX);
        let fair = match waiting {
            Waiting::Last(items) => items / (2 * workers.max(1)) as u64,
            Waiting::WithMoreBehind => u64::MAX,
        };
        quick.min(fair).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    #[test]
    fn a_slower_pace_counts_at_once_and_a_quicker_one_soon() {
        let mut pace = Pace::default();
        assert_eq!(pace.item_time(), None);
        pace.note(60 * MICROSECOND, 1);
        assert_eq!(pace.item_time(), Some(60 * MICROSECOND));
        for items in [30, 900, 9_000] {
            pace.note(50 * MICROSECOND, items);
        }
        assert!(pace.item_time() < Some(MICROSECOND / 50), "{pace:?}");
        pace.note(500 * MICROSECOND, 1);
        assert_eq!(pace.item_time(), Some(500 * MICROSECOND));
        pace.note(Duration::MAX, 1);
        pace.note(Duration::MAX, u64::MAX);
    }

    #[test]
    fn chunks_follow_the_pace_and_shrink_towards_the_end() {
        let of = |function| Kind { function: FunctionId(function), job: Some(5) };
        let function = of(1);
        let mut paces = Paces::default();
        assert_eq!(paces.chunk(function, Waiting::WithMoreBehind, 2, 2), 1);
        paces.note(function, 10_000 * MICROSECOND, 1_000);
        let chunk = |waiting| paces.chunk(function, waiting, 2, 2);
        let quick = u64::try_from(CHUNK_TIME.as_micros() / 10).unwrap();
        assert_eq!(chunk(Waiting::WithMoreBehind), quick);
        assert_eq!(chunk(Waiting::Last(1_000_000)), quick);
        assert_eq!([100, 9, 3, 1].map(|items| chunk(Waiting::Last(items))), [25, 2, 1, 1]);
        let shared = paces.chunk(function, Waiting::WithMoreBehind, 64, 2);
        assert_eq!(shared, 32 * quick, "each of them has a 32nd of a CPU");
        paces.note(function, 10 * CHUNK_TIME, 1);
        assert_eq!(paces.chunk(function, Waiting::Last(100), 2, 2), 1);
        paces.note(of(7), Duration::ZERO, 1);
        let other = Kind { job: Some(6), ..of(7) };
        assert_eq!(paces.chunk(other, Waiting::WithMoreBehind, 2, 2), 1, "it may take longer");
        let any = Kind { job: None, ..of(7) };
        assert!(paces.chunk(any, Waiting::WithMoreBehind, 2, 2) > 1);
        assert_eq!(paces.chunk(of(7), Waiting::Last(100), 2, 2), 25);
    }
}
