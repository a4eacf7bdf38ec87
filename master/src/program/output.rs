//! Results on standard output, everything else on standard error, always in whole lines.

use std::{
    io::{self, BufWriter, Write},
    time::Duration,
};

use super::json;
use crate::{
    error::{Error, Failure},
    program::status::ExitStatus,
};

/// How many bytes of results are written together, at the most: 64 KiB.
const BUFFER: usize = 64 << 10;

/// How long standard error may keep a complaint waiting that comes aside.
const COMPLAINT_PATIENCE: Duration = Duration::from_secs(1);

/// Standard output takes no more.
pub(super) enum Closed {
    /// Nobody reads on, which is for them to decide.
    Unread,
    /// It cannot be written, as when a disk is full: results are missing.
    Broken(io::Error),
}

impl From<io::Error> for Closed {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::Broken(error),
        }
    }
}

impl Closed {
    /// Complains if there is something to complain about, and gives the status of the program.
    pub(super) fn report(self) -> ExitStatus {
        match self {
            Self::Unread => ExitStatus::Success,
            Self::Broken(error) => {
                complain(&format!("cannot write to standard output: {error}; results are missing"));
                ExitStatus::TaskFailed
            }
        }
    }
}

/// Standard output, a JSON value a line.
pub(super) struct Results {
    writer: BufWriter<io::Stdout>,
    line: Vec<u8>,
}

/// What became of one result.
pub(super) enum Printed {
    Yes,
    /// It cannot be printed, for this reason.
    No(String),
}

impl Results {
    pub(super) fn new() -> Self {
        Self { writer: BufWriter::with_capacity(BUFFER, io::stdout()), line: Vec::new() }
    }

    /// Prints one encoded value as a line.
    pub(super) fn print(&mut self, value: &[u8]) -> Result<Printed, Closed> {
        self.line.clear();
        if let Err(error) = json::to_json(value, &mut self.line) {
            return Ok(Printed::No(format!("the result cannot be printed: {error}")));
        }
        self.line.push(b'\n');
        self.writer.write_all(&self.line)?;
        Ok(Printed::Yes)
    }

    /// Passes on what was printed so far.
    pub(super) fn flush(&mut self) -> Result<(), Closed> {
        Ok(self.writer.flush()?)
    }
}

/// Says something on standard error, as from this program, in one write.
pub(super) fn complain(message: &str) {
    let text = format!("master: {}\n", message.trim_end());
    // There is nobody to tell that standard error is closed.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// As [`complain`], for those who must go on whether standard error takes it or not: waits for a
/// moment only.
pub(super) fn complain_aside(message: String) {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let say = move || {
        complain(&message);
        let _ = sender.send(());
    };
    match std::thread::Builder::new().name("master-complaint".into()).spawn(say) {
        Ok(_) => drop(receiver.recv_timeout(COMPLAINT_PATIENCE)),
        Err(error) => log::error!("cannot start a thread: {error}"),
    }
}

/// So many of something, in words.
pub(super) fn count(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

/// A failure of a task, with its traceback indented below it.
pub(super) fn describe(error: &Error) -> String {
    match error {
        Error::Failed(failure) => with_traceback(failure),
        other => other.to_string(),
    }
}

fn with_traceback(failure: &Failure) -> String {
    let mut text = failure.to_string();
    for line in failure.traceback.lines() {
        text.push_str("\n    ");
        text.push_str(line);
    }
    text
}

/// The exit status that a task calls for by its error.
pub(super) const fn status_of(error: &Error) -> ExitStatus {
    match error {
        Error::UnknownFunction { .. }
        | Error::PoolFailed(_)
        | Error::ProcessFailed(_)
        | Error::Setup(_) => ExitStatus::PoolFailed,
        _ => ExitStatus::TaskFailed,
    }
}
