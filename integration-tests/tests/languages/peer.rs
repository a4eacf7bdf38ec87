//! A master in the hands of a test: it starts a worker and says exactly the bytes that it is told.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::{
        net::{UnixListener, UnixStream},
        process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use protocol::{
    envelope,
    frame::Decoder,
    launch::{ADDRESS_VARIABLE, TOKEN_VARIABLE},
    limits::MAX_FRAME,
    message::{Call, FromMaster, FromWorker, Hello, Welcome},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use serde::Serialize;
use tempfile::TempDir;

use crate::workers::Worker;

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const TOKEN: &str = "a token of the test";

/// Encodes a value, such as a tuple of arguments.
pub(crate) fn pack(value: &(impl Serialize + ?Sized)) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

/// The bytes of a frame with this body.
pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

/// The bytes of a frame with this message.
pub(crate) fn message(message: &FromMaster<'_>, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    envelope::append_frame(&mut frame, message, payload).unwrap();
    frame
}

pub(crate) fn welcome() -> Vec<u8> {
    message(&FromMaster::Welcome(Welcome { version: 1, ..Welcome::default() }), &[])
}

/// A call of items without keywords.
pub(crate) fn call(id: u64, function: &str, items: &[Vec<u8>], last: bool) -> Vec<u8> {
    let (function, items_there) = (function.into(), items.len().try_into().unwrap());
    let call = Call { id, function, items: items_there, keywords: false, last, shared: None };
    message(&FromMaster::Call(call), &items.concat())
}

/// The answer to an item: its value, or the kind and the message of its failure.
pub(crate) type Answer = Result<Vec<u8>, (String, String)>;

/// A worker that has introduced itself, and the master's end of its connection.
pub(crate) struct Peer {
    pub(crate) hello: Hello,
    stream: UnixStream,
    decoder: Decoder,
    child: Child,
    exited: mpsc::Receiver<()>,
    stdout: mpsc::Receiver<String>,
    stderr: mpsc::Receiver<String>,
    /// Holds the socket.
    _directory: TempDir,
}

/// How a worker ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Peer {
    /// Starts a worker and takes its hello.
    pub(crate) fn start(worker: &Worker) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = directory.path().join("socket");
        let listener = UnixListener::bind(&address).unwrap();
        let (program, arguments) = worker.words.split_first().unwrap();
        #[expect(clippy::disallowed_methods, reason = "the worker under test")]
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env(ADDRESS_VARIABLE, &address)
            .env(TOKEN_VARIABLE, TOKEN)
            // The reference worker then answers one by one, as the others do.
            .env("WORKER_SHARED_OUTPUT", "off")
            .env("GREETING", "hello")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().unwrap();
        let (stdout, stderr) = (read_all(child.stdout.take()), read_all(child.stderr.take()));
        let exited = wait_for_exit(&child);
        let timeout = Timespec::try_from(PATIENCE).unwrap();
        let ready = poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&timeout));
        assert_eq!(ready, Ok(1), "{} connects", worker.name);
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let (hello, decoder) = (Hello::default(), Decoder::new());
        let mut peer =
            Self { hello, stream, decoder, child, exited, stdout, stderr, _directory: directory };
        let FromWorker::Hello(hello) = peer.receive().0 else { panic!("expected a hello") };
        assert_eq!((hello.token.as_str(), hello.oldest, hello.newest), (TOKEN, 1, 1));
        peer.hello = hello;
        peer.decoder.set_limit(MAX_FRAME);
        peer
    }

    /// As [`Peer::start`], and on up to ready.
    pub(crate) fn ready(worker: &Worker) -> Self {
        let mut peer = Self::start(worker);
        peer.send(&welcome());
        peer.expect_ready();
        peer
    }

    pub(crate) fn expect_ready(&mut self) {
        assert_eq!(self.receive().0, FromWorker::Ready { shared_arguments: false });
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Says bytes to which the worker need not listen to the end.
    pub(crate) fn send_in_vain(&mut self, bytes: &[u8]) {
        // It may have closed its end by then.
        let _ = self.stream.write_all(bytes);
    }

    /// Calls a function on one item, and waits for the answer.
    pub(crate) fn call(&mut self, function: &str, arguments: &impl Serialize) -> Answer {
        self.call_packed(function, pack(arguments))
    }

    /// As [`Peer::call`], with an item that is encoded.
    pub(crate) fn call_packed(&mut self, function: &str, item: Vec<u8>) -> Answer {
        self.send(&call(9, function, &[item], false));
        self.answer(9, 0)
    }

    /// The next message, which has to be the answer to that item.
    pub(crate) fn answer(&mut self, id: u64, item: u32) -> Answer {
        let (found, answer) = loop {
            match self.receive() {
                (FromWorker::Result { id, item }, payload) => break ((id, item), Ok(payload)),
                (FromWorker::Error { id, item, failure }, _) => {
                    break ((id, item), Err((failure.kind, failure.message)));
                }
                (FromWorker::Progress { .. }, _) => {}
                (other, _) => panic!("expected an answer, found {other:?}"),
            }
        };
        assert_eq!(found, (id, item));
        answer
    }

    /// The next message and its payload, both judged as the master judges them.
    pub(crate) fn receive(&mut self) -> (FromWorker, Vec<u8>) {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                let (message, payload) = envelope::open::<FromWorker>(frame).unwrap();
                envelope::check_worker_payload(&message, payload).unwrap();
                return (message, payload.to_vec());
            }
            let count = self.stream.read(self.decoder.spare()).unwrap();
            assert_ne!(count, 0, "the worker closed its end");
            self.decoder.commit(count);
        }
    }

    /// Says nothing more, and goes on listening.
    pub(crate) fn end_stream(&mut self) {
        // The worker may have closed its end.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Waits for the worker to leave, and sees that it said nothing more.
    pub(crate) fn finish(mut self) -> Ended {
        let ended = self.ended();
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            // The worker left what the master had sent unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("cannot read what is left: {error}"),
        }
        assert_eq!((rest, self.decoder.buffered()), (Vec::new(), 0), "nothing is left");
        ended
    }

    /// Closes the master's end, as its death would, and waits for the worker to leave.
    pub(crate) fn close(mut self) -> Ended {
        self.stream.shutdown(Shutdown::Both).unwrap();
        self.ended()
    }

    fn ended(&mut self) -> Ended {
        self.exited.recv_timeout(PATIENCE).expect("the worker exits");
        let status = self.child.wait().unwrap();
        let output = |from: &mpsc::Receiver<String>| from.recv_timeout(PATIENCE).unwrap();
        let (stdout, stderr) = (output(&self.stdout), output(&self.stderr));
        Ended { code: status.code(), signal: status.signal(), stdout, stderr }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Of one that was waited for there is no group any more.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
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

fn read_all(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        // The test may be over.
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}
