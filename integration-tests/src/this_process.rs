//! What the process of a test itself has: what may leak is counted, before and after.

use std::{fs, time::Duration};

use crate::running::Deadline;

/// How long to wait before a look at something that announces nothing.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How long what has ended may take to be gone.
const GRACE: Duration = Duration::from_secs(20);

/// How often in a row the same things have to be seen until they count as settled.
const SETTLED: u32 = 20;

/// What may leak, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Things {
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Children, those among them that have ended and were not reaped.
    pub children: usize,
    /// Children that have ended and were not reaped.
    pub zombies: usize,
}

impl Things {
    /// What there is now.
    ///
    /// # Panics
    /// When `/proc` cannot be read.
    pub fn now() -> Self {
        let children = children();
        let zombies = children.iter().filter(|(_, state)| *state == 'Z').count();
        Self {
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: fs::read_dir("/proc/self/task").unwrap().count(),
            children: children.len(),
            zombies,
        }
    }

    /// What there is, as soon as it has been the same for a while.
    ///
    /// # Panics
    /// When it does not settle.
    #[track_caller]
    pub fn settled() -> Self {
        let deadline = Deadline::after(GRACE);
        let mut last = Self::now();
        let mut same = 0;
        while same < SETTLED {
            assert!(!deadline.left().is_zero(), "the process does not settle: {last:?}");
            deadline.pause(LOOK_AGAIN);
            let now = Self::now();
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
        last
    }

    /// Waits until there is as much as this again: what has ended may take a moment to be gone,
    /// and what has leaked stays.
    ///
    /// # Panics
    /// When it stays different; `after` says what happened in between.
    #[track_caller]
    pub fn expect_again(self, after: &str) {
        let deadline = Deadline::after(GRACE);
        // One look in the middle of a replacement may find the same number by chance.
        let mut now = Self::settled();
        while now != self && !deadline.left().is_zero() {
            now = Self::settled();
        }
        assert_eq!(now, self, "after {after}, and before");
    }
}

/// The pids of the children of this process, each with the letter of its state.
///
/// # Panics
/// When `/proc` cannot be read.
pub fn children() -> Vec<(u32, char)> {
    let own = std::process::id();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let (state, parent) = fields(&format!("/proc/{pid}/stat"), |fields| {
            (fields[0].chars().next().unwrap_or('?'), fields[1].parse::<u32>().ok())
        })?;
        (parent == Some(own)).then_some((pid, state))
    })
    .collect()
}

/// The fields of a file `stat` from the state on. `None` if the process is gone.
pub fn fields<T>(stat: &str, read: impl FnOnce(&[&str]) -> T) -> Option<T> {
    let stat = fs::read_to_string(stat).ok()?;
    // The name of the program before them may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(read(&fields.split(' ').collect::<Vec<_>>()))
}

/// How much memory this process uses now, in KiB.
///
/// # Panics
/// When `/proc` cannot be read.
pub fn memory() -> u64 {
    status_number("VmRSS:")
}

/// The most that this process has ever used, in KiB.
///
/// # Panics
/// When `/proc` cannot be read.
pub fn peak_memory() -> u64 {
    status_number("VmHWM:")
}

fn status_number(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
