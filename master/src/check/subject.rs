//! A worker process that is tried: its start, its streams, its end, and the socket to it.

use std::{
    io::{self, Read, Write as _},
    os::{
        fd::AsFd,
        unix::{
            net::{UnixListener, UnixStream},
            process::CommandExt as _,
        },
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use protocol::{
    launch::{ADDRESS_VARIABLE, TOKEN_VARIABLE},
    limits::LENGTH_BYTES,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, WaitId, WaitIdOptions, test_kill_process, waitid},
};

use super::{
    finding::Stop,
    running::{Running, kill_group},
    trial::Trial,
};
use crate::{
    command::WorkerCommand,
    deadline::Deadline,
    driver::{Guardian, PrivateDirectory, Ward},
};

/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 16;

/// How long the last of what a process wrote is waited for after its end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// One process, with a socket for it alone. It is killed, with its group, when this is dropped.
pub(super) struct Subject {
    listener: UnixListener,
    pub(super) token: String,
    child: Child,
    status: Option<ExitStatus>,
    output: [Output; 2],
    running: Running,
    /// Removed at the end, or by the guardian.
    _directory: PrivateDirectory,
    /// The guardian knows of its process group, until the process id may be another's.
    ward: Option<Ward>,
}

/// What is written to one of its standard streams.
struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: mpsc::Receiver<()>,
}

impl Subject {
    /// Starts a worker as a master does.
    pub(super) fn start(trial: &Trial<'_>) -> Result<Self, Stop> {
        Self::try_start(trial, true).map_err(|error| impossible(trial.command, &error))
    }

    /// Starts it as somebody does at a terminal, without the two variables.
    pub(super) fn start_by_hand(trial: &Trial<'_>) -> Result<Self, Stop> {
        Self::try_start(trial, false).map_err(|error| impossible(trial.command, &error))
    }

    fn try_start(trial: &Trial<'_>, by_master: bool) -> io::Result<Self> {
        let Trial { command, running, .. } = *trial;
        if running.is_stopped() {
            return Err(io::Error::other("the check was interrupted"));
        }
        let guardian = Guardian::shared();
        let directory = PrivateDirectory::make(&guardian)?;
        let address = directory.socket();
        let listener = UnixListener::bind(&address)?;
        listener.set_nonblocking(true)?;
        let mut random = [0; TOKEN_BYTES];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        #[expect(clippy::disallowed_methods, reason = "to start a worker is what is to be tried")]
        let mut process = Command::new(command.program());
        process
            .args(command.arguments())
            .env_remove(ADDRESS_VARIABLE)
            .env_remove(TOKEN_VARIABLE)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if by_master {
            process.env(ADDRESS_VARIABLE, &address).env(TOKEN_VARIABLE, &token);
        }
        let mut child = process.spawn()?;
        let ward = Some(guardian.guard_group(Pid::from_child(&child)));
        guardian.appoint();
        if !running.add(child.id()) {
            kill_group(child.id());
        }
        let stdout = Output::of(child.stdout.take());
        let stderr = Output::of(child.stderr.take());
        let (output, running) = ([stdout, stderr], running.clone());
        let (status, _directory) = (None, directory);
        Ok(Self { listener, token, child, status, output, running, ward, _directory })
    }

    /// The connection of the worker. `None` if there is none in time, or if it ends before.
    pub(super) fn accept(&mut self, patience: Duration) -> io::Result<Option<UnixStream>> {
        let deadline = Deadline::after(patience);
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return Ok(Some(stream)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if deadline.is_over() || self.has_ended() && !self.is_somebody_waiting() {
                return Ok(None);
            }
            wait_for(&self.listener, PollFlags::IN, SHORT)?;
        }
    }

    /// Whether somebody has connected who was not let in.
    pub(super) fn is_somebody_waiting(&self) -> bool {
        matches!(wait_for(&self.listener, PollFlags::IN, Duration::ZERO), Ok(true))
    }

    fn has_ended(&mut self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let id = WaitId::Pid(Pid::from_child(&self.child));
        if self.status.is_none() && matches!(waitid(id, options), Ok(Some(_))) {
            self.ward = None;
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status.is_some()
    }

    /// Waits for the end of the process.
    pub(super) fn exit(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Deadline::after(patience);
        while !self.has_ended() && !deadline.is_over() {
            pause();
        }
        self.status
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its standard output, and to its standard error, so far; all of it
    /// once it has ended.
    pub(super) fn output(&self) -> [String; 2] {
        [0, 1]
            .map(|stream| self.output.get(stream).map(|o| o.text(self.status.is_some())))
            .map(Option::unwrap_or_default)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "there is no portable event for the end of a process"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(2));
}

impl Drop for Subject {
    fn drop(&mut self) {
        kill_group(self.child.id());
        self.ward = None;
        if self.status.is_none() {
            self.status = self.child.wait().ok();
        }
        self.running.remove(self.child.id());
    }
}

impl Output {
    fn of(source: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (sender, ended) = mpsc::channel();
        if let Some(mut source) = source {
            let sink = Arc::clone(&bytes);
            // It ends when nobody can write any more.
            std::thread::spawn(move || {
                let mut room = [0; 16 << 10];
                while let Ok(count @ 1..) = source.read(&mut room) {
                    let read = room.get(..count).unwrap_or_default();
                    sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(read);
                }
                drop(sender);
            });
        }
        Self { bytes, ended }
    }

    fn text(&self, all: bool) -> String {
        if all {
            // A grandchild may hold it open.
            let _ = self.ended.recv_timeout(LAST_WORDS);
        }
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn impossible(command: &WorkerCommand, error: &io::Error) -> Stop {
    Stop::Impossible(format!("`{command}` cannot be started: {error}"))
}

/// A process that a worker has started.
pub(super) struct OtherProcess(Pid);

impl OtherProcess {
    /// The process of this id, if it runs.
    pub(super) fn of(id: i128) -> Option<Self> {
        let process = Self(Pid::from_raw(i32::try_from(id).ok().filter(|&id| id > 0)?)?);
        process.is_running().then_some(process)
    }

    /// Where nobody waits for an orphan, what is left of it when it has ended does not count.
    fn is_running(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.as_raw_nonzero()));
        let state = stat.ok().and_then(|stat| Some(stat.rsplit_once(") ")?.1.starts_with('Z')));
        test_kill_process(self.0).is_ok() && state != Some(true)
    }

    /// Waits for its end.
    pub(super) fn ends(&self, patience: Duration) -> bool {
        let deadline = Deadline::after(patience);
        while self.is_running() && !deadline.is_over() {
            pause();
        }
        !self.is_running()
    }
}

/// How long a wait for one of several things is at most.
const SHORT: Duration = Duration::from_millis(20);

fn wait_for(source: &impl AsFd, flags: PollFlags, patience: Duration) -> io::Result<bool> {
    // So that a rest of less than a nanosecond is not waited for over and over.
    let timeout = Timespec::try_from(patience).ok();
    let mut sources = [PollFd::new(source, flags)];
    match poll(&mut sources, timeout.as_ref()) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The master's end of a connection.
pub(super) struct Wire {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were handed out.
    taken: usize,
    /// All that has come, if it is to be looked at later.
    pub(super) record: Option<Vec<u8>>,
    /// All bytes that have come.
    pub(super) received: u64,
    ended: bool,
}

/// What came.
#[derive(Debug)]
pub(super) enum Came {
    /// A frame, its length left out.
    Frame(Vec<u8>),
    /// A length that no frame may have.
    BadLength(u32),
    Nothing,
    /// The end of the stream, with the bytes of a frame that is not complete.
    End(Vec<u8>),
}

impl Wire {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, buffer: Vec::new(), taken: 0, record: None, received: 0, ended: false })
    }

    /// The next frame, of at most so many bytes.
    pub(super) fn receive(&mut self, limit: usize, patience: Duration) -> io::Result<Came> {
        let deadline = Deadline::after(patience);
        loop {
            let rest = self.buffer.get(self.taken..).unwrap_or_default();
            if let Some((length, body)) = rest.split_first_chunk::<LENGTH_BYTES>() {
                let length = u32::from_be_bytes(*length);
                let size = usize::try_from(length).unwrap_or(usize::MAX);
                if size == 0 || size > limit {
                    return Ok(Came::BadLength(length));
                }
                if let Some(body) = body.get(..size) {
                    let body = body.to_vec();
                    self.taken += LENGTH_BYTES + size;
                    return Ok(Came::Frame(body));
                }
            }
            if self.ended {
                return Ok(Came::End(rest.to_vec()));
            }
            if self.taken > 0 {
                self.buffer.drain(..self.taken);
                self.taken = 0;
            }
            let left = deadline.left().unwrap_or(Duration::MAX);
            if !wait_for(&self.stream, PollFlags::IN, left)? && left.is_zero() {
                return Ok(Came::Nothing);
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut room = vec![0; 256 << 10];
        loop {
            match self.stream.read(&mut room) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(());
                }
                Ok(count) => {
                    self.received += count as u64;
                    let read = room.get(..count).unwrap_or_default();
                    self.buffer.extend_from_slice(read);
                    if let Some(record) = &mut self.record {
                        record.extend_from_slice(read);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    self.ended = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes, and reads meanwhile, so that neither side waits for the other. False if the worker
    /// does not take it all.
    pub(super) fn send(&mut self, mut bytes: &[u8], patience: Duration) -> io::Result<bool> {
        let deadline = Deadline::after(patience);
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if deadline.is_over() {
                        return Ok(false);
                    }
                    wait_for(&self.stream, PollFlags::IN | PollFlags::OUT, SHORT)?;
                    if !self.ended {
                        self.read()?;
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                    ) =>
                {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Says that nothing more comes; what the worker still writes can be read.
    pub(super) fn say_end(&self) {
        // It may have been closed by the other side.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Closes both directions.
    pub(super) fn close(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}
