//! Results on standard output, everything else on standard error, always in whole lines.

use std::{
    borrow::Cow,
    io::{self, Write},
    time::Duration,
};

use super::json;
pub(super) use crate::report::count;
use crate::{
    error::{Error, Failure},
    program::status::ExitStatus,
};

/// So many bytes of results, 64 KiB, are written even if more are to come.
const FULL: usize = 64 << 10;

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
pub(super) struct Results<W = io::Stdout> {
    output: W,
    /// Whole lines that were not yet written.
    lines: Vec<u8>,
}

/// What became of one result.
pub(super) enum Printed {
    Yes,
    /// It cannot be printed, for this reason.
    No(String),
}

impl Results {
    pub(super) fn new() -> Self {
        Self::to(io::stdout())
    }
}

impl<W: Write> Results<W> {
    const fn to(output: W) -> Self {
        Self { output, lines: Vec::new() }
    }

    /// Prints one encoded value as a line.
    pub(super) fn print(&mut self, value: &[u8]) -> Result<Printed, Closed> {
        if let Err(error) = json::to_json(value, &mut self.lines) {
            return Ok(Printed::No(format!("the result cannot be printed: {error}")));
        }
        self.lines.push(b'\n');
        if self.lines.len() >= FULL {
            self.flush()?;
        }
        Ok(Printed::Yes)
    }

    /// Passes on what was printed so far.
    pub(super) fn flush(&mut self) -> Result<(), Closed> {
        if !self.lines.is_empty() {
            let written = self.output.write_all(&self.lines).and_then(|()| self.output.flush());
            self.lines.clear();
            written?;
        }
        Ok(())
    }
}

/// Says something on standard error, as from this program, in one write.
pub(super) fn complain(message: &str) {
    let text = format!("master: {}\n", without_controls(message.trim_end()));
    // There is nobody to tell that standard error is closed.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The text with what a terminal would heed made visible: what a worker says is not to drive it.
fn without_controls(text: &str) -> Cow<'_, str> {
    let is_heeded = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(is_heeded) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| match is_heeded(c) {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    Cow::Owned(text.chars().map(shown).collect())
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

/// A failure of a task, with its traceback indented below it.
pub(super) fn describe(error: &Error) -> String {
    match error {
        Error::Failed(failure) => with_traceback(failure),
        other => other.to_string(),
    }
}

fn with_traceback(failure: &Failure) -> String {
    // Only the first line stands at the left: the others are the task's own, and could look like ours.
    let message = failure.to_string();
    let mut lines = message.lines();
    let mut text = lines.next().unwrap_or_default().to_owned();
    for line in lines.chain(failure.traceback.lines()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What each write was given.
    #[derive(Default)]
    struct Writes(Vec<String>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(str::from_utf8(bytes).unwrap().to_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn results() -> Results<Writes> {
        Results::to(Writes::default())
    }

    fn print(results: &mut Results<Writes>, value: &[u8]) -> bool {
        matches!(results.print(value), Ok(Printed::Yes))
    }

    #[test]
    fn lines_go_out_together_and_only_when_asked() {
        let mut results = results();
        assert!(print(&mut results, b"\x01"));
        assert!(print(&mut results, b"\xa1a"));
        assert!(results.output.0.is_empty());
        assert!(results.flush().is_ok() && results.flush().is_ok());
        assert!(print(&mut results, b"\xc0"));
        assert!(results.flush().is_ok());
        assert_eq!(results.output.0, ["1\n\"a\"\n", "null\n"]);
    }

    #[test]
    fn what_cannot_be_printed_leaves_nothing_between_the_lines() {
        let mut results = results();
        assert!(print(&mut results, b"\x01"));
        assert!(!print(&mut results, b"\x92\x05"));
        assert!(print(&mut results, b"\x02"));
        assert!(results.flush().is_ok());
        assert_eq!(results.output.0, ["1\n2\n"]);
    }

    #[test]
    fn many_lines_go_out_in_writes_of_whole_lines() {
        let mut results = results();
        let lines = 3 * FULL / 2;
        for _ in 0..lines {
            assert!(print(&mut results, b"\x07"));
        }
        assert!(results.lines.len() < FULL);
        assert!(results.flush().is_ok());
        assert_eq!(results.output.0.concat(), "7\n".repeat(lines));
        assert_eq!(results.output.0.len(), 3);
        assert!(results.output.0.iter().all(|write| write.ends_with('\n')));
    }
}
