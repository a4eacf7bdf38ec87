//! What a run leaves behind: processes that carry its mark, and files in its private directories.
//!
//! Each run has the variable [`MARK`] in its environment, and every process that descends from it
//! inherits it, also those whose parent is gone.

use std::{fs, path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use crate::running::Deadline;

/// Environment variable that marks the processes of a run.
pub const MARK: &str = "INTEGRATION_RUN";

/// How long a process that is about to end may take to do so.
const GRACE: Duration = Duration::from_secs(5);

/// How long to wait before looking again. Nobody tells a stranger about the end of a process.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits until no process carries the mark; what is left when the grace is over is told.
pub fn remaining_processes(mark: &str) -> Vec<String> {
    let deadline = Deadline::after(GRACE);
    loop {
        let left = marked(mark);
        if left.is_empty() || deadline.left().is_zero() {
            return left.into_iter().map(describe).collect();
        }
        deadline.pause(LOOK_AGAIN);
    }
}

/// How many live processes carry the mark right now.
pub fn count_processes(mark: &str) -> usize {
    marked(mark).len()
}

/// Kills every process that carries the mark, until there is none.
pub fn kill_processes(mark: &str) {
    let deadline = Deadline::after(GRACE);
    loop {
        let left = marked(mark);
        if left.is_empty() || deadline.left().is_zero() {
            return;
        }
        for pid in left {
            // It may have ended by itself in the meantime.
            let _ = kill_process(pid, Signal::KILL);
        }
        deadline.pause(LOOK_AGAIN);
    }
}

/// Everything below `directory`, one entry a line.
///
/// # Panics
/// When the directory cannot be read.
pub fn remaining_files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("the directory of a run is readable") {
        let path = entry.expect("an entry is readable").path();
        found.push(path.display().to_string());
        if path.is_dir() {
            found.extend(remaining_files(&path));
        }
    }
    found
}

/// The live processes with the mark. A zombie has no environment and does not count.
///
/// # Panics
/// When `/proc` cannot be read.
pub fn marked(mark: &str) -> Vec<Pid> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc is readable").flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { continue };
        if started_with(pid, MARK).is_some_and(|found| found == mark) {
            pids.push(pid);
        }
    }
    pids
}

/// What this environment variable was when the process started; it may have removed it since.
/// `None` if there was none, or the process is gone.
pub fn started_with(pid: Pid, variable: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut entries = environment.split(|&byte| byte == 0);
    let value =
        entries.find_map(|entry| entry.strip_prefix(variable.as_bytes())?.strip_prefix(b"="));
    value.map(|value| String::from_utf8_lossy(value).into_owned())
}

fn describe(pid: Pid) -> String {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    format!("{pid}: {}", String::from_utf8_lossy(&command).replace('\0', " "))
}
