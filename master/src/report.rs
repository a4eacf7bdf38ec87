//! What is known about a worker that died, or could not be used.

use std::{fmt, os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

/// How the process of a worker ended.
///
/// ```
/// use master::Exit;
///
/// assert_eq!(Exit::Signal(9).code(), -9);
/// assert_eq!(Exit::Signal(9).to_string(), "was ended by SIGKILL (signal 9)");
/// assert_eq!(Exit::Code(3).to_string(), "exited with status 3");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    pub(crate) fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }

    /// As Python's `multiprocessing` counts: the status, or minus the number of the signal.
    ///
    /// ```
    /// # use master::Exit;
    /// assert_eq!(Exit::Code(3).code(), 3);
    /// assert_eq!(Exit::Signal(15).code(), -15);
    /// ```
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => -signal,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exited with status {code}"),
            Self::Signal(signal) => match signal_hook::low_level::signal_name(signal) {
                Some(name) => write!(f, "was ended by {name} (signal {signal})"),
                None => write!(f, "was ended by signal {signal}"),
            },
        }
    }
}

/// How far a worker had come.
///
/// ```
/// use master::Stage;
///
/// assert_eq!(Stage::Hello.to_string(), "before its hello");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Its process was being started.
    Start,
    /// It had started, and its hello was awaited.
    Hello,
    /// It had been welcomed, and was getting ready.
    Initializer,
    /// It was ready, or running a function.
    Service,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "while it was being started",
            Self::Hello => "before its hello",
            Self::Initializer => "before it was ready",
            Self::Service => "while it served",
        })
    }
}

/// The evidence about one worker: who it was, how far it came, how it ended and what it last
/// said. Every error that a worker causes carries one.
///
/// ```
/// # use master::{Encoded, Error, Exit, Stage};
/// # let pool = integration_tests::library::pool(1).build()?;
/// // The command ends its parent, the worker.
/// let result = pool.apply::<Encoded>("exec", ("sh", ["-c", "kill -9 $PPID"]));
/// let Err(Error::Lost(report)) = result else { panic!("the worker lives on") };
/// assert_eq!(report.stage, Stage::Service);
/// assert_eq!(report.exit, Some(Exit::Signal(9)));
/// assert!(report.to_string().contains("was ended by SIGKILL (signal 9) while it ran `exec`"));
/// # Ok::<(), master::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkerReport {
    /// Its seat in the pool, counted from 0.
    pub slot: u32,
    /// Its process id, unless it could not be started.
    pub pid: Option<u32>,
    /// The command that started it.
    pub command: String,
    /// How far it had come.
    pub stage: Stage,
    /// How its process ended, if it had ended by the time of the report, and the reason below did
    /// not bring that about: the master did not kill it for the reason, and it did not leave as its
    /// initializer had failed.
    pub exit: Option<Exit>,
    /// What else is known: a breach of the protocol, a deadline that passed, an error of the
    /// operating system, the error of an initializer.
    pub reason: Option<String>,
    /// The function that it may have been running, and for how long.
    pub running: Option<(String, Duration)>,
    /// The task is not tried again, as it has killed so many workers.
    pub poison: bool,
    /// What came of the task when it was tried before, the last 10 times at the most.
    pub attempts: Vec<Attempt>,
    /// The last lines that it wrote to its standard error, the oldest first; at most 10.
    pub stderr: Vec<String>,
    /// The last lines that it wrote to its standard output, if it had not said hello: a program
    /// that is no worker speaks there.
    pub stdout: Vec<String>,
}

impl WorkerReport {
    /// Nothing is known yet.
    pub(crate) const fn unknown() -> Self {
        Self {
            slot: 0,
            pid: None,
            command: String::new(),
            stage: Stage::Start,
            exit: None,
            reason: None,
            running: None,
            poison: false,
            attempts: Vec::new(),
            stderr: Vec::new(),
            stdout: Vec::new(),
        }
    }
}

/// What came of a task when it was tried, and was to be tried again.
///
/// ```
/// # use master::{Encoded, Error};
/// # let pool = integration_tests::library::pool(1).retries(2).build()?;
/// // The command ends its parent, the worker.
/// let result = pool.apply::<Encoded>("exec", ("sh", ["-c", "kill -9 $PPID"]));
/// let Err(Error::Lost(report)) = result else { panic!("the worker lives on") };
/// assert_eq!(report.attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2]);
/// assert!(report.attempts[0].error.contains("SIGKILL"));
/// # Ok::<(), master::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// Which attempt it was, counted from 1.
    pub number: u32,
    /// The seat of the worker that ran it.
    pub slot: u32,
    /// The process id of that worker.
    pub pid: Option<u32>,
    /// What came of it, at most 1000 characters.
    pub error: String,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first line says it; what follows is evidence.
        write!(f, "attempt {}: {}", self.number, self.error.lines().next().unwrap_or_default())
    }
}

/// What was tried before, below an error.
pub(crate) fn write_attempts(f: &mut fmt::Formatter<'_>, attempts: &[Attempt]) -> fmt::Result {
    attempts.iter().try_for_each(|attempt| write!(f, "\n    {attempt}"))
}

impl fmt::Display for WorkerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}", self.slot)?;
        if let Some(pid) = self.pid {
            write!(f, ", pid {pid}")?;
        }
        write!(f, " (`{}`) ", self.command)?;
        // A reason may bring a traceback, which goes below.
        let mut reason = self.reason.iter().flat_map(|reason| reason.lines());
        match (self.exit, reason.next()) {
            (Some(exit), Some(reason)) => write!(f, "{reason}, and {exit}")?,
            (Some(exit), None) => write!(f, "{exit}")?,
            (None, Some(reason)) => write!(f, "{reason}")?,
            (None, None) => f.write_str("was lost")?,
        }
        match (&self.running, self.exit, &self.reason) {
            (Some((function, time)), _, _) => {
                write!(f, " while it ran `{function}`, after {}", Seconds(*time))?;
            }
            // A reason that stands alone says by itself how far the worker had come.
            (None, None, Some(_)) => {}
            (None, _, _) => write!(f, " {}", self.stage)?,
        }
        if self.poison {
            f.write_str("; the task is poison: it has killed too many workers to be tried again")?;
        }
        reason.try_for_each(|line| write!(f, "\n    {line}"))?;
        write_attempts(f, &self.attempts)?;
        write_lines(f, "standard error", &self.stderr)?;
        write_lines(f, "standard output", &self.stdout)
    }
}

fn write_lines(f: &mut fmt::Formatter<'_>, stream: &str, lines: &[String]) -> fmt::Result {
    if !lines.is_empty() {
        write!(f, "; its last words on {stream}:")?;
    }
    lines.iter().try_for_each(|line| write!(f, "\n    {line}"))
}

/// So many of something, in words.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

/// A duration as people read it.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0;
        if time < Duration::from_millis(1) {
            write!(f, "{} us", time.as_micros())
        } else if time < Duration::from_secs(1) {
            write!(f, "{} ms", time.as_millis())
        } else {
            write!(f, "{:.1} s", time.as_secs_f64())
        }
    }
}
