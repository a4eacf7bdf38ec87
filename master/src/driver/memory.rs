//! How much memory workers have. Linux-only in where it is read.

use std::time::Duration;

use super::supervisor::Supervisor;
use crate::{
    machine::{Event, Settings, Time, WorkerId},
    report::Stage,
};

/// How often memory is looked at while something runs and there is a limit: 50 ms. What a worker
/// can take in that time is what a limit may be exceeded by.
const INTERVAL: Duration = Duration::from_millis(50);

/// How often it is looked at after items, at the most: a look takes some 10 us.
const AFTER_ITEMS: Duration = Duration::from_millis(1);

/// When memory is to be looked at.
pub(super) struct Measuring {
    soft: Option<u64>,
    hard: Option<u64>,
    last: Time,
    last_after_item: Time,
}

impl Measuring {
    pub(super) const fn new(settings: &Settings) -> Self {
        let (soft, hard) = (settings.soft_memory, settings.hard_memory);
        Self { soft, hard, last: Duration::ZERO, last_after_item: Duration::ZERO }
    }

    const fn has_limit(&self) -> bool {
        self.soft.is_some() || self.hard.is_some()
    }

    pub(super) const fn has_hard_limit(&self) -> bool {
        self.hard.is_some()
    }

    /// When to look at all workers, if some of them are busy.
    pub(super) fn deadline(&self, busy: impl FnOnce() -> bool) -> Option<Time> {
        (self.has_limit() && busy()).then(|| self.last + INTERVAL)
    }

    /// Whether a worker is to be looked at after it has ended an item.
    pub(super) fn is_due_after_item(&mut self, now: Time) -> bool {
        let due = self.has_limit() && now >= self.last_after_item + AFTER_ITEMS;
        if due {
            self.last_after_item = now;
        }
        due
    }
}

impl Supervisor {
    /// Looks at the memory of all workers, if it is time to.
    pub(super) fn measure(&mut self, time: Time) {
        let due = self.measuring.deadline(|| self.machine.items_in_flight() > 0);
        if due.is_none_or(|due| due > time) {
            return;
        }
        self.measuring.last = time;
        let ids: Vec<_> = self.processes.keys().copied().collect();
        for id in ids {
            self.measure_worker(time, id);
        }
    }

    /// Looks at the memory of a worker; tells whether it is killed for it.
    pub(super) fn measure_worker(&mut self, time: Time, worker: WorkerId) -> bool {
        let Some(process) = self.processes.get_mut(&worker) else { return false };
        let Some(memory) = resident(process.child.id()) else { return false };
        process.memory = Some(memory);
        // Before it is welcomed it is the program that is large, and not what it was asked for.
        if matches!(process.session.stage(), Stage::Start | Stage::Hello) {
            return false;
        }
        let beyond = self.measuring.hard.filter(|&limit| memory > limit);
        if let Some(limit) = beyond {
            process.blame(|| {
                format!("was over its memory limit of {} (it had {})", Size(limit), Size(memory))
            });
        }
        self.machine.handle(time, Event::Measured { worker, memory });
        beyond.is_some()
    }
}

/// The resident memory of a process in bytes, if the system tells.
pub(super) fn resident(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

/// A number of bytes as people read it.
struct Size(u64);

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(bytes) = *self;
        let (unit, divisor) = match bytes {
            0..=1023 => return write!(f, "{bytes} bytes"),
            1024..=1_048_575 => ("KiB", 1_u64 << 10),
            1_048_576..=1_073_741_823 => ("MiB", 1 << 20),
            _ => ("GiB", 1 << 30),
        };
        let tenths = bytes.saturating_mul(10) / divisor;
        write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory() {
        let resident = resident(std::process::id()).unwrap();
        assert!((100 << 10..4 << 30).contains(&resident), "{resident}");
        assert_eq!(super::resident(u32::MAX), None);
    }

    #[test]
    fn sizes_are_readable() {
        let texts = [12, 2048, 300 << 20, 3 << 30].map(|bytes| Size(bytes).to_string());
        assert_eq!(texts, ["12 bytes", "2.0 KiB", "300.0 MiB", "3.0 GiB"]);
    }
}
