//! A master in the hands of a test: it starts a worker, says what the script says, and sees what
//! comes. Nothing in it waits longer than [`PATIENCE`], and no process outlives its test.

#![allow(dead_code, reason = "no test file uses all of it")]

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::{
            fs::OpenOptionsExt,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use interprocess::local_socket::{
    GenericFilePath, Listener, ListenerOptions, Stream, prelude::*, traits::StreamCommon,
};
use protocol::{
    envelope,
    frame::Decoder,
    launch::{ADDRESS_VARIABLE, TOKEN_VARIABLE},
    limits::MAX_FRAME,
    message::{Call, FromMaster, FromWorker, Welcome},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, recv},
    process::{Pid, WaitId, WaitIdOptions, waitid},
};
use serde::Serialize;
use tempfile::TempDir;

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// The token of every worker that a test starts.
pub const TOKEN: &str = "a token of the test";

/// The reference worker.
pub fn reference() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_worker"))
}

/// Encodes a value, such as a tuple of arguments.
pub fn pack(value: &(impl Serialize + ?Sized)) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

/// A worker and the master's end of its connection.
pub struct Connection {
    stream: Stream,
    decoder: Decoder,
    /// Bytes that have come so far.
    received: u64,
    next_id: u64,
    process: Process,
    /// Holds the socket, until the connection is over.
    directory: TempDir,
}

/// The answer to one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Value(Vec<u8>),
    Error { kind: String, message: String, traceback: String, opaque: Vec<u8> },
}

impl Answer {
    /// What a function gave.
    pub fn value<T: serde::de::DeserializeOwned>(&self) -> T {
        match self {
            Self::Value(encoded) => rmp_serde::from_slice(encoded).unwrap(),
            Self::Error { .. } => panic!("expected a value, found {self:?}"),
        }
    }

    /// An error as `kind: message`.
    pub fn error(&self) -> String {
        match self {
            Self::Error { kind, message, .. } => format!("{kind}: {message}"),
            Self::Value(_) => panic!("expected an error, found {self:?}"),
        }
    }
}

impl Connection {
    /// Starts a worker, as the leader of a process group, and accepts its connection.
    pub fn open(program: &Path) -> Self {
        Self::open_with(program, |command| {
            command.process_group(0);
        })
    }

    /// As [`Connection::open`], with a command that the test prepares.
    pub fn open_with(program: &Path, prepare: impl FnOnce(&mut Command)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = directory.path().join("socket");
        let listener = ListenerOptions::new()
            .name(address.as_path().to_fs_name::<GenericFilePath>().unwrap())
            .create_sync()
            .unwrap();
        let process = Process::start(program, |command| {
            command.env(ADDRESS_VARIABLE, &address).env(TOKEN_VARIABLE, TOKEN);
            prepare(command);
        });
        let Listener::UdSocket(socket) = &listener;
        wait_readable(socket, "a worker to connect");
        let stream = listener.accept().unwrap();
        stream.set_recv_timeout(Some(PATIENCE)).unwrap();
        stream.set_send_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(stream.peer_creds().unwrap().pid(), Some(process.child.id().cast_signed()));
        let decoder = Decoder::new();
        Self { stream, decoder, received: 0, next_id: 1, process, directory }
    }

    /// As [`Connection::open`], and on up to ready.
    pub fn ready(program: &Path) -> Self {
        Self::open(program).welcomed()
    }

    /// Says welcome and waits for ready.
    pub fn welcomed(self) -> Self {
        self.welcomed_with(&[])
    }

    /// As [`Connection::welcomed`], with a choice of features.
    pub fn welcomed_with(self, features: &[&str]) -> Self {
        let (slot, pool) = (3, "tests".into());
        let features = features.iter().map(ToString::to_string).collect();
        self.welcomed_as(Welcome { version: 1, features, slot, pool, ..Welcome::default() })
    }

    /// As [`Connection::welcomed`], in words of the test's own.
    pub fn welcomed_as(mut self, welcome: Welcome) -> Self {
        assert!(matches!(self.receive(), (FromWorker::Hello(_), _)));
        self.send(&FromMaster::Welcome(welcome), &[]);
        assert_eq!(self.receive().0, FromWorker::Ready { shared_arguments: false });
        self
    }

    pub fn process_id(&self) -> u32 {
        self.process.child.id()
    }

    pub fn send(&mut self, message: &FromMaster<'_>, payload: &[u8]) {
        let mut frame = Vec::new();
        envelope::append_frame(&mut frame, message, payload).unwrap();
        self.send_bytes(&frame);
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        (&self.stream).write_all(bytes).unwrap();
    }

    /// Sends a call of some items, without waiting.
    pub fn send_items(&mut self, function: &str, items: &[Vec<u8>], last: bool) {
        let call = Call {
            id: self.next_id,
            function: function.into(),
            items: items.len().try_into().unwrap(),
            keywords: false,
            last,
            shared: None,
        };
        self.next_id += 1;
        self.send(&FromMaster::Call(call), &items.concat());
    }

    /// Calls a function on one item, and waits for the answer.
    pub fn call(&mut self, function: &str, arguments: &impl Serialize) -> Answer {
        let id = self.next_id;
        self.send_items(function, &[pack(arguments)], false);
        self.answer(id, 0)
    }

    /// Calls a function on one item with keyword arguments, and waits for the answer.
    pub fn call_with_keywords(
        &mut self,
        function: &str,
        arguments: &impl Serialize,
        keywords: &impl Serialize,
    ) -> Answer {
        let id = self.next_id;
        self.next_id += 1;
        let function = function.into();
        let call = Call { id, function, items: 1, keywords: true, last: false, shared: None };
        self.send(&FromMaster::Call(call), &[pack(arguments), pack(keywords)].concat());
        self.answer(id, 0)
    }

    /// The next message, which has to be the answer to that item.
    pub fn answer(&mut self, expected_id: u64, expected_item: u32) -> Answer {
        let (message, payload) = self.receive();
        let (found, answer) = match message {
            FromWorker::Result { id, item } => ((id, item), Answer::Value(payload)),
            FromWorker::Error { id, item, failure } => {
                let (kind, message) = (failure.kind, failure.message);
                let traceback = failure.traceback;
                let answer = Answer::Error { kind, message, traceback, opaque: payload };
                ((id, item), answer)
            }
            other => panic!("expected an answer, found {other:?}"),
        };
        assert_eq!(found, (expected_id, expected_item));
        answer
    }

    /// The next message and its payload.
    pub fn receive(&mut self) -> (FromWorker, Vec<u8>) {
        loop {
            if let Some(said) = self.next_message() {
                return said;
            }
            assert_ne!(self.read(), 0, "the worker closed its end");
        }
    }

    /// The next message that has come already.
    pub fn next_message(&mut self) -> Option<(FromWorker, Vec<u8>)> {
        let frame = self.decoder.next_frame().unwrap()?;
        let (message, payload) = envelope::open::<FromWorker>(frame).unwrap();
        envelope::check_worker_payload(&message, payload).unwrap();
        let payload = payload.to_vec();
        self.decoder.set_limit(MAX_FRAME);
        Some((message, payload))
    }

    /// Reads once, and gives how many bytes came; 0 at the end.
    pub fn read(&mut self) -> usize {
        let count = match (&self.stream).read(self.decoder.spare()) {
            Ok(count) => count,
            // The worker left what the master had sent unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("cannot read: {error}"),
        };
        self.decoder.commit(count);
        self.received += count as u64;
        count
    }

    /// Reads what is there, without waiting.
    pub fn read_at_once(&mut self) {
        let Stream::UdSocket(socket) = &self.stream;
        match recv(socket, self.decoder.spare(), RecvFlags::DONTWAIT) {
            Ok((_, count)) => {
                self.decoder.commit(count);
                self.received += count as u64;
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }

    /// How many bytes have come so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The bytes that have come and are no whole message yet.
    pub fn unread(&self) -> &[u8] {
        self.decoder.rest()
    }

    /// Kills the worker, and reads what it has left in the socket.
    pub fn kill(&mut self) {
        self.process.child.kill().unwrap();
        self.process.finish();
        while self.read() > 0 {}
    }

    /// Takes bytes as if they had come over the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
        self.received += bytes.len() as u64;
    }

    /// Waits for the worker to leave, and sees that it said nothing more.
    pub fn finish(mut self) -> Finished {
        let finished = self.process.finish();
        let mut rest = Vec::new();
        match (&self.stream).read_to_end(&mut rest) {
            Ok(_) => {}
            // The worker left what the master had sent unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("cannot read what is left: {error}"),
        }
        assert_eq!((rest, self.decoder.buffered()), (Vec::new(), 0), "nothing is left");
        finished
    }

    /// Closes the master's end, as its death would, and waits for the worker to leave.
    pub fn close(mut self) -> Finished {
        drop(self.stream);
        self.process.finish()
    }
}

/// A process that is killed at the end of the test, if it still runs.
pub struct Process {
    child: Child,
    exited: mpsc::Receiver<()>,
    stdout: mpsc::Receiver<Vec<u8>>,
    stderr: mpsc::Receiver<Vec<u8>>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    #[expect(clippy::disallowed_methods, reason = "the worker under test")]
    pub fn start(program: &Path, prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env_remove(ADDRESS_VARIABLE)
            .env_remove(TOKEN_VARIABLE)
            .env_remove("RUST_LOG")
            .env_remove("RUST_BACKTRACE");
        prepare(&mut command);
        let mut child = command.spawn().unwrap();
        let stdout = read_all(child.stdout.take());
        let stderr = read_all(child.stderr.take());
        let exited = wait_for_exit(&child);
        Self { child, exited, stdout, stderr }
    }

    pub fn finish(&mut self) -> Finished {
        self.exited.recv_timeout(PATIENCE).expect("the worker exits");
        let status = self.child.wait().unwrap();
        let output = |receiver: &mpsc::Receiver<Vec<u8>>| {
            let bytes = receiver.recv_timeout(PATIENCE).expect("no process holds the output open");
            String::from_utf8(bytes).unwrap()
        };
        let (stdout, stderr) = (output(&self.stdout), output(&self.stderr));
        Finished { code: status.code(), signal: status.signal(), stdout, stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both do nothing once the child has been reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds that nobody tells of.
#[expect(clippy::disallowed_methods, reason = "a test that waits in vain has to end")]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited for {what}");
        std::thread::yield_now();
    }
}

/// Whether the main thread of a process sleeps.
pub fn sleeps(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, behind_name) = status.rsplit_once(") ").unwrap();
    behind_name.starts_with('S')
}

/// Runs a worker by hand, without a master.
pub fn by_hand<A: AsRef<OsStr>>(arguments: &[A]) -> Finished {
    Process::start(reference(), |command| {
        command.args(arguments);
    })
    .finish()
}

/// A named pipe through which a process that a worker has started shows that it is alive.
pub struct Sign {
    pub path: PathBuf,
    file: File,
    directory: TempDir,
}

impl Sign {
    pub fn new() -> Self {
        let (directory, path) = named_pipe();
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(&path).unwrap();
        Self { path, file, directory }
    }

    /// Waits for a byte.
    pub fn wait(&mut self) {
        wait_readable(&self.file, "a sign of life");
        assert_eq!(self.file.read(&mut [0]).unwrap(), 1);
    }

    /// Waits until no process has the pipe open for writing.
    pub fn wait_for_end(&mut self) {
        loop {
            wait_readable(&self.file, "the end of every process that writes");
            if self.file.read(&mut [0; 64]).unwrap() == 0 {
                return;
            }
        }
    }
}

/// A named pipe that holds a process that reads a line from it, until the test lets it go on.
pub struct Gate {
    pub path: PathBuf,
    file: File,
    directory: TempDir,
}

impl Gate {
    pub fn new() -> Self {
        let (directory, path) = named_pipe();
        // Open for both, so that neither this nor the reader waits for the other to open it.
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        Self { path, file, directory }
    }

    pub fn open(&mut self) {
        self.file.write_all(b"\n").unwrap();
    }
}

fn named_pipe() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    (directory, path)
}

fn wait_readable(descriptor: &impl AsFd, what: &str) {
    let timeout = Timespec::try_from(PATIENCE).unwrap();
    let mut watched = [PollFd::new(descriptor, PollFlags::IN)];
    assert_eq!(poll(&mut watched, Some(&timeout)), Ok(1), "waited for {what}");
}

/// Tells when a child has exited, without reaping it, so that its process id stays its own.
fn wait_for_exit(child: &Child) -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel();
    let id = Pid::from_child(child);
    std::thread::spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(id), options), Err(rustix::io::Errno::INTR)) {}
        // The test may be over.
        let _ = sender.send(());
    });
    receiver
}

/// Reads to the end, from a thread of its own; nothing where the test has put another file.
fn read_all(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        // The test may be over.
        let _ = sender.send(bytes);
    });
    receiver
}
