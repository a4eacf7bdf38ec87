//! A run that is under way, and one that has finished.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Child, ChildStderr, ChildStdin, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tempfile::TempDir;

use crate::{
    leftovers::{kill_processes, remaining_files, remaining_processes},
    program::{Input, Program, STARTS_FILE},
};

/// A point in time that a test does not wait beyond.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

#[expect(clippy::disallowed_methods, reason = "the one place of the harness that knows the time")]
impl Deadline {
    /// The point that lies so far ahead.
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// How long it is until then; zero when it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Waits before a look at something that announces nothing.
    pub fn pause(self, time: Duration) {
        thread::sleep(time.min(self.left()));
    }
}

/// What comes from a program that runs.
enum Event {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    StdoutEnded,
    StderrEnded,
    Exited,
}

/// A program that runs. When it is dropped, all that belongs to it is killed.
#[must_use]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    events: Receiver<Event>,
    seen: Seen,
    /// Set as long as nobody reads standard error.
    unread_stderr: Option<(ChildStderr, Sender<Event>)>,
    deadline: Deadline,
    may_leave_processes: bool,
    mark: String,
    directory: TempDir,
}

/// What has come so far.
#[derive(Default)]
struct Seen {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// Bytes of `stdout` that were handed out as lines.
    read: usize,
    stdout_ended: bool,
    stderr_ended: bool,
    exited: bool,
}

impl Running {
    #[track_caller]
    pub(crate) fn start(program: Program) -> Self {
        let Program { mut command, directory, input, .. } = program;
        let mut child = command.stdin(Stdio::piped()).spawn().expect("the program starts");
        let (sender, events) = channel();
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let limit = program.stdout_lines.unwrap_or(usize::MAX);
        read_lines(stdout, limit, sender.clone(), Event::Stdout, Event::StdoutEnded);
        let mut unread_stderr = Some((stderr, sender.clone()));
        if !program.stderr_unread {
            read_stderr(&mut unread_stderr);
        }
        announce_exit(pid_of(&child), sender);
        let mut stdin = child.stdin.take();
        if let Input::Bytes(bytes) = input {
            write_all(stdin.take(), bytes);
        }
        Self {
            child,
            stdin,
            events,
            seen: Seen::default(),
            unread_stderr,
            deadline: Deadline::after(program.watchdog),
            may_leave_processes: program.may_leave_processes,
            mark: directory.path().display().to_string(),
            directory,
        }
    }

    /// The pid of the program.
    pub fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    /// The mark of its processes, for [`crate::leftovers`].
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Writes a line on the standard input of the program.
    ///
    /// # Panics
    /// When the program has closed it.
    #[track_caller]
    pub fn write_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input was kept open");
        writeln!(stdin, "{line}").expect("the program reads its standard input");
    }

    /// Ends the standard input of the program.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Takes the standard input, to write it from elsewhere.
    pub const fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// The next line of standard output, without its end.
    ///
    /// # Panics
    /// When the output ends instead, and when the watchdog's time is over.
    #[track_caller]
    pub fn next_line(&mut self) -> String {
        loop {
            let unread = &self.seen.stdout[self.seen.read..];
            if let Some(length) = unread.iter().position(|&byte| byte == b'\n') {
                let line = String::from_utf8_lossy(&unread[..length]).into_owned();
                self.seen.read += length + 1;
                return line;
            }
            assert!(!self.seen.stdout_ended, "no further line came{}", self.seen.describe());
            self.step("a line on standard output");
        }
    }

    /// Waits until standard error holds `text`.
    ///
    /// # Panics
    /// When standard error ends without it, and when the watchdog's time is over.
    #[track_caller]
    pub fn wait_for_stderr(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.seen.stderr).contains(text) {
            assert!(!self.seen.stderr_ended, "no {text:?} came{}", self.seen.describe());
            self.step("a text on standard error");
        }
    }

    /// Whether standard error holds `text` by now.
    pub fn has_said(&mut self, text: &str) -> bool {
        while let Ok(event) = self.events.try_recv() {
            self.take(event);
        }
        String::from_utf8_lossy(&self.seen.stderr).contains(text)
    }

    /// Waits until there is a file of this name in the directory of the run.
    ///
    /// # Panics
    /// When the watchdog's time is over.
    #[track_caller]
    pub fn wait_for_file(&self, name: &str) {
        while !self.directory.path().join(name).exists() {
            assert!(!self.deadline.left().is_zero(), "the file {name} did not appear");
            self.deadline.pause(Duration::from_millis(10));
        }
    }

    /// Sends a signal to the program; to the program alone, not to its workers.
    ///
    /// # Panics
    /// When the program has ended already.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        // It is not reaped before `finish`, so this pid is still its own.
        kill_process(self.pid(), signal).expect("the program runs");
    }

    /// The largest size of the program in memory so far, in KiB.
    ///
    /// # Panics
    /// When the program has ended already.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let digits = peak.and_then(|peak| peak.split_whitespace().next());
        digits.and_then(|digits| digits.parse().ok()).expect("the program runs")
    }

    /// Waits for the end of the program, and checks that nothing is left of it.
    ///
    /// # Panics
    /// When the watchdog's time is over, and when something is left.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        self.close_stdin();
        read_stderr(&mut self.unread_stderr);
        while !(self.seen.exited && self.seen.stdout_ended && self.seen.stderr_ended) {
            if self.seen.exited && self.may_leave_processes {
                // They may well hold the pipes.
                kill_processes(&self.mark);
            }
            self.step("the end of the program and of its output");
        }
        let status = self.child.wait().expect("the program can be reaped");
        let processes = remaining_processes(&self.mark);
        let mut files = remaining_files(&self.directory.path().join("temporary"));
        files.extend(remaining_files(&self.directory.path().join("runtime")));
        let processes_fine = processes.is_empty() || self.may_leave_processes;
        assert!(processes_fine, "processes are left: {processes:#?}{}", self.seen.describe());
        assert!(files.is_empty(), "files are left: {files:#?}{}", self.seen.describe());
        Finished {
            status: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
            stdout: String::from_utf8_lossy(&self.seen.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&self.seen.stderr).into_owned(),
            starts: self.starts(),
        }
    }

    /// The pids of the misbehaving workers that were started so far, if they are counted.
    pub fn starts(&self) -> Vec<String> {
        // The first of them makes the file.
        let pids = fs::read_to_string(self.directory.path().join(STARTS_FILE)).unwrap_or_default();
        pids.lines().map(String::from).collect()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Stdout(bytes) => self.seen.stdout.extend(bytes),
            Event::Stderr(bytes) => self.seen.stderr.extend(bytes),
            Event::StdoutEnded => self.seen.stdout_ended = true,
            Event::StderrEnded => self.seen.stderr_ended = true,
            Event::Exited => self.seen.exited = true,
        }
    }

    /// Takes the next event, if one comes within the watchdog's time.
    #[track_caller]
    fn step(&mut self, awaited: &str) {
        match self.events.recv_timeout(self.deadline.left()) {
            Ok(event) => self.take(event),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                panic!("the watchdog waited in vain for {awaited}{}", self.seen.describe())
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        kill_processes(&self.mark);
        // Killed by now, if it still ran.
        let _ = self.child.wait();
    }
}

impl Seen {
    fn describe(&self) -> String {
        let exited = if self.exited { "exited" } else { "runs" };
        format!(
            "\n--- the program {exited}; stdout\n{}\n--- stderr\n{}\n---",
            shortened(&String::from_utf8_lossy(&self.stdout)),
            shortened(&String::from_utf8_lossy(&self.stderr))
        )
    }
}

/// A program that has ended, with nothing of it left.
#[derive(Debug)]
pub struct Finished {
    /// Its status as a shell counts it: 128 and the number of the signal that ended it.
    pub status: i32,
    /// All that it wrote on standard output.
    pub stdout: String,
    /// All that it wrote on standard error.
    pub stderr: String,
    /// The pids of the misbehaving workers that were started, if they were counted.
    pub starts: Vec<String>,
}

impl Finished {
    /// Checks the exit status.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn ended(&self, status: i32) -> &Self {
        assert_eq!(self.status, status, "exit status{}", self.describe());
        self
    }

    /// Checks the whole of standard output.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn printed(&self, expected: &str) -> &Self {
        assert!(self.stdout == expected, "expected on stdout:\n{expected}{}", self.describe());
        self
    }

    /// Checks that standard output holds a text.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn shows(&self, text: &str) -> &Self {
        assert!(self.stdout.contains(text), "expected {text:?} on stdout{}", self.describe());
        self
    }

    /// Checks that standard error holds a text, in whatever case.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn said(&self, text: &str) -> &Self {
        let said = self.stderr.to_lowercase().contains(&text.to_lowercase());
        assert!(said, "expected {text:?} on stderr{}", self.describe());
        self
    }

    /// Checks that standard error is empty.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn was_quiet(&self) -> &Self {
        assert!(self.stderr.is_empty(), "expected nothing on stderr{}", self.describe());
        self
    }

    /// What it wrote, for a message.
    pub fn describe(&self) -> String {
        let Self { status, stdout, stderr, .. } = self;
        let (stdout, stderr) = (shortened(stdout), shortened(stderr));
        format!("\n--- status {status}; stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}

/// A text that a person can still read: its beginning and its end.
fn shortened(text: &str) -> String {
    const KEPT: usize = 4000;
    if text.len() <= 2 * KEPT {
        return text.into();
    }
    let head: String = text.chars().take(KEPT).collect();
    let tail: String =
        text.chars().rev().take(KEPT).collect::<Vec<_>>().into_iter().rev().collect();
    format!(
        "{head}\n[... {} bytes ...]\n{tail}",
        text.len().saturating_sub(head.len() + tail.len())
    )
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn read_stderr(unread: &mut Option<(ChildStderr, Sender<Event>)>) {
    if let Some((stderr, sender)) = unread.take() {
        read_lines(stderr, usize::MAX, sender, Event::Stderr, Event::StderrEnded);
    }
}

fn read_lines(
    stream: impl Read + Send + 'static,
    limit: usize,
    events: Sender<Event>,
    line: fn(Vec<u8>) -> Event,
    ended: Event,
) {
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        for _ in 0..limit {
            let mut bytes = Vec::new();
            match stream.read_until(b'\n', &mut bytes) {
                Ok(0) | Err(_) => break,
                // A test that has failed no longer listens.
                Ok(_) => drop(events.send(line(bytes))),
            }
        }
        drop(stream);
        drop(events.send(ended));
    });
}

/// Says when the process has ended, and leaves it to be reaped, so that its pid stays its own.
fn announce_exit(pid: Pid, events: Sender<Event>) {
    thread::spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(pid), options), Err(rustix::io::Errno::INTR)) {}
        drop(events.send(Event::Exited));
    });
}

fn write_all(stdin: Option<ChildStdin>, bytes: Vec<u8>) {
    thread::spawn(move || {
        // A program need not read all of its input.
        let _ = stdin.map(|mut stdin| stdin.write_all(&bytes));
    });
}
