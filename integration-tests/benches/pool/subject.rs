//! One run of one subject: a process with a time limit that prints its figures.

use std::{
    ffi::OsString,
    fs::File,
    io::{Read, Seek},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};

use crate::{context::directory, figures::Figures};

/// How long one run may take, unless it says otherwise.
const TIME_LIMIT: Duration = Duration::from_secs(90);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What the machine allows.
    Limit,
    /// What others have built.
    Peer,
    /// What this project has built.
    Ours,
}

/// Something that is measured.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its name in the report.
    pub(crate) name: String,
    /// The program and its arguments, or why there is none.
    pub(crate) words: Result<Vec<OsString>, String>,
    /// How long a run may take.
    pub(crate) time_limit: Duration,
}

impl Subject {
    /// A subject of these words.
    pub(crate) fn new(kind: Kind, name: &str, words: Result<Vec<OsString>, String>) -> Self {
        Self { kind, name: name.to_owned(), words, time_limit: TIME_LIMIT }
    }

    /// With another time limit.
    pub(crate) const fn within(mut self, seconds: u64) -> Self {
        self.time_limit = Duration::from_secs(seconds);
        self
    }

    /// Runs it once.
    pub(crate) fn run(&self) -> Result<Figures, String> {
        let words = self.words.as_ref().map_err(Clone::clone)?;
        let (program, arguments) = words.split_first().ok_or("no program")?;
        let mut output = tempfile::tempfile().map_err(|error| error.to_string())?;
        let mut errors = tempfile::tempfile().map_err(|error| error.to_string())?;
        let copy = |file: &File| file.try_clone().map_err(|error| error.to_string());
        let child = Command::new(program)
            .args(arguments)
            // Where a program of Rust panics, what it says last is why.
            .env("RUST_BACKTRACE", "0")
            // Scripts are compiled once, but not beside the sources.
            .env("PYTHONPYCACHEPREFIX", directory().join("python"))
            .env_remove("PYTHONDONTWRITEBYTECODE")
            // A group of its own, so that what it started ends with it.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(copy(&output)?)
            .stderr(copy(&errors)?)
            .spawn()
            .map_err(|error| format!("it cannot be started: {}", error.kind()))?;
        let status = wait(child, self.time_limit)?;
        if !status.success() {
            return Err(format!("{status}: {}", without_places(&last_line(&mut errors))));
        }
        let line = last_line(&mut output);
        let figures = serde_json::from_str(&line);
        figures.map_err(|_| format!("no figures, but `{}`", without_places(&line)))
    }
}

/// Waits for a process that leads a group, at most so long, and ends the group in any case.
pub(crate) fn wait(mut child: Child, limit: Duration) -> Result<ExitStatus, String> {
    let pid = Pid::from_child(&child);
    let ended = exits_within(pid, limit);
    // As long as the child is not reaped, its number is that of no other group. What is left of a
    // group whose leader ended well was to end anyway.
    let _ = kill_process_group(pid, Signal::KILL);
    let status = child.wait().map_err(|error| error.to_string())?;
    match ended {
        Ok(true) => Ok(status),
        Ok(false) => Err(format!("not done after {} s", limit.as_secs())),
        Err(error) => Err(error.to_string()),
    }
}

fn exits_within(pid: Pid, limit: Duration) -> rustix::io::Result<bool> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| rustix::io::Errno::INVAL)?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            outcome => return outcome.map(|ready| ready > 0),
        }
    }
}

fn last_line(file: &mut File) -> String {
    let mut bytes = Vec::new();
    if file.rewind().and_then(|()| file.read_to_end(&mut bytes)).is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let idle = |line: &&str| line.trim().is_empty() || line.starts_with("note: run with `RUST_");
    text.lines().rfind(|line| !idle(line)).unwrap_or_default().to_owned()
}

/// Not too long, and without the places of a machine: it goes into the report.
fn without_places(line: &str) -> String {
    let words = line.split_whitespace();
    let words = words.map(|word| if word.contains('/') { "..." } else { word });
    words.collect::<Vec<_>>().join(" ").chars().take(200).collect()
}
