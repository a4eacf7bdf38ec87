//! A look at the processes of a master, among them its guardian.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::{fs, time::Duration};

use integration_tests::{Deadline, Running};
use rustix::process::Pid;

/// How long a condition may take that nothing resists.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `reached` gives something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut reached: impl FnMut() -> Option<T>) -> T {
    let deadline = Deadline::after(PATIENCE);
    loop {
        if let Some(reached) = reached() {
            return reached;
        }
        assert!(!deadline.left().is_zero(), "waited in vain for {what}");
        deadline.pause(Duration::from_millis(5));
    }
}

/// The guardian of a process.
pub(crate) fn guardian_of(master: Pid) -> Option<Pid> {
    children_of(master).into_iter().find(|&child| {
        let command = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        command.ends_with(b"\0master-guardian\0")
    })
}

/// Waits until a run has its guardian: until then nobody does what a killed master leaves undone.
#[track_caller]
pub(crate) fn wait_for_guardian(running: &Running) -> Pid {
    wait_for("a guardian", || guardian_of(running.pid()))
}

/// All children of a process, those that were not reaped yet too.
pub(crate) fn children_of(parent: Pid) -> Vec<Pid> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else { continue };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name of the program, in parentheses, may hold anything.
        let rest = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
        if rest.split(' ').nth(1).and_then(|parent| parent.parse().ok())
            == Some(parent.as_raw_pid())
        {
            children.push(pid);
        }
    }
    children
}
