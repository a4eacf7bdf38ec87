//! What became of all tasks.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use master::{Cancelled, Error};

use crate::{TASK_TIMEOUT, killer::Strikes, tasks::Task};

/// Counts, shared by all callers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    completed: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    timed_out: AtomicU64,
    cancelled: AtomicU64,
    /// Of a map that gives results or an error, those with an error tell nothing about the rest.
    untold: AtomicU64,
    /// Tasks that end their worker.
    deadly: AtomicU64,
    /// How often something was cancelled.
    cancellations: AtomicU64,
    /// Workers that have served, and may live.
    served: Mutex<BTreeSet<u32>>,
}

impl Tally {
    /// Judges and counts the outcome of a task.
    #[track_caller]
    pub(crate) fn count<T: Task>(
        &self,
        task: &T,
        outcome: Result<T::Output, Error>,
        may_be_cancelled: bool,
    ) {
        match outcome {
            Ok(output) => {
                let right = task.is_result(&output);
                assert!(right, "{} gave {} for {}", T::FUNCTION, short(&output), short(task));
                self.completed.fetch_add(1, Relaxed);
                self.served.lock().unwrap().extend(T::pid(&output));
            }
            Err(error) => {
                if let Error::Failed(failure) = &error {
                    assert_eq!(task.failure(), Some(failure.kind.as_str()), "{failure}");
                }
                self.explain(&error, may_be_cancelled);
            }
        }
    }

    /// Judges and counts an error, of whichever task it is.
    #[track_caller]
    pub(crate) fn explain(&self, error: &Error, may_be_cancelled: bool) {
        let count = match error {
            Error::Failed(_) => &self.failed,
            Error::Lost(report) => {
                // Whoever is killed while it writes breaks off inside a frame.
                let broke_off = |reason: &String| reason.contains("inside a frame");
                let explained =
                    report.exit.is_some() && report.reason.as_ref().is_none_or(broke_off);
                assert!(report.pid.is_some() && explained, "{report:?}");
                &self.lost
            }
            Error::TimedOut(report) => {
                let ran = report.running.as_ref().map(|(_, time)| *time);
                assert!(ran >= Some(TASK_TIMEOUT), "{report:?}");
                &self.timed_out
            }
            Error::Cancelled(Cancelled::ByCaller) if may_be_cancelled => &self.cancelled,
            other => panic!("the chaos does not explain: {other}"),
        };
        count.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_untold(&self, tasks: usize) {
        self.untold.fetch_add(tasks as u64, Relaxed);
    }

    pub(crate) fn count_deadly(&self, tasks: usize) {
        self.deadly.fetch_add(tasks as u64, Relaxed);
    }

    pub(crate) fn count_cancellation(&self) {
        self.cancellations.fetch_add(1, Relaxed);
    }

    /// The workers that have served; those for which `lives` is false are forgotten.
    pub(crate) fn served(&self, mut lives: impl FnMut(u32) -> bool) -> Vec<u32> {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.retain(|&pid| lives(pid));
        served.iter().copied().collect()
    }

    /// Checks what can be told from the counts alone.
    pub(crate) fn check(&self, strikes: &Strikes) {
        let get = |count: &AtomicU64| count.load(Relaxed);
        let good = get(&self.completed);
        let bad = get(&self.lost) + get(&self.timed_out) + get(&self.cancelled);
        assert!(good > 0 && good > bad, "most tasks succeed: {self}");
        // A death costs one task at the most. A worker that is stopped because its task timed out
        // or was cancelled may have come to the next one by then.
        let deaths = strikes.kills() + get(&self.deadly);
        let stops = get(&self.timed_out) + get(&self.cancellations);
        assert!(get(&self.lost) <= deaths + stops, "{self}; {strikes}");
    }
}

/// A value for a message; it may have millions of bytes.
pub(crate) fn short(value: &impl fmt::Debug) -> String {
    format!("{value:?}").chars().take(500).collect()
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("completed", &self.completed),
            ("failed", &self.failed),
            ("lost", &self.lost),
            ("timed out", &self.timed_out),
            ("cancelled", &self.cancelled),
            ("behind the error of a map", &self.untold),
        ];
        f.write_str("tasks: ")?;
        for (index, (name, count)) in counts.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} {name}", count.load(Relaxed))?;
        }
        write!(f, "; {} of them deadly", self.deadly.load(Relaxed))
    }
}
