//! One worker without a pool: started, spoken to frame by frame, and ended. For those who play the
//! side of a master and decide themselves what to say.

use std::{
    collections::VecDeque,
    io::{self, BufRead as _, BufReader, Read, Write as _},
    os::fd::RawFd,
    sync::mpsc,
    time::Duration,
};

use mio::{Interest, Token, unix::SourceFd};
use protocol::{
    envelope,
    limits::MAX_FRAME,
    message::{FromWorker, Hello},
};

use super::{
    child::{Child, Launch},
    connection::{Connection, Reading},
    gate::Gate,
    guardian::Guardian,
    surroundings::Surroundings,
};
use crate::{
    command::WorkerCommand,
    deadline::Deadline,
    machine::{SlotId, WorkerId},
    report::Exit,
};

/// How long a worker may take to leave once it was asked to, or its connection is closed.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// Bytes of a line that a worker prints; longer ones are cut into several.
const MAX_LINE: u64 = 8 << 10;

/// How long to wait for what a worker printed last, which others may keep open.
const LAST_LINES: Duration = Duration::from_millis(500);

/// A worker that has introduced itself. Dropping it kills it.
pub(crate) struct LoneWorker {
    // Fields are dropped in order: nothing of the socket is left when the guardian lets go.
    connection: Option<(Token, Connection)>,
    waiting: Waiting,
    child: Child,
    gate: Gate,
    printers: Vec<mpsc::Receiver<()>>,
    exit: Option<Exit>,
}

/// What comes of waiting for a worker.
pub(crate) enum Heard {
    /// The body of a frame.
    Frame(Vec<u8>),
    /// Nothing, for as long as was to be waited.
    Silence,
    /// Its connection has ended, within a frame or not, or the process has.
    End,
    /// What is no frame.
    Nonsense(String),
}

impl LoneWorker {
    /// Starts a worker, and waits for its hello.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) fn start(
        command: &WorkerCommand,
        surroundings: &Surroundings,
        timeout: Duration,
    ) -> Result<(Self, Hello), String> {
        let setup = |error: io::Error| format!("a socket for it cannot be made: {error}");
        let guardian = Guardian::shared();
        let mut gate = Gate::open(&guardian).map_err(setup)?;
        let token = gate.expect(WorkerId(0)).map_err(setup)?;
        let launch = Launch {
            command,
            surroundings,
            address: gate.address(),
            token: &token,
            slot: SlotId(0),
            guardian: &guardian,
        };
        let mut child = Child::start(launch)
            .map_err(|not_started| format!("it could not be started: {}", not_started.error))?;
        guardian.appoint();
        let mark = format!("[worker, pid {}] ", child.id());
        let printers = [
            child.stdout.take().map(|pipe| pass_on(pipe, mark.clone())),
            child.stderr.take().map(|pipe| pass_on(pipe, mark)),
        ];
        let printers = printers.into_iter().flatten().collect();
        let waiting = Waiting::new().map_err(setup)?;
        let mut worker = Self { connection: None, waiting, child, gate, printers, exit: None };
        match worker.introduction(timeout) {
            Ok(hello) => {
                // Nobody else is awaited.
                worker.gate.hide();
                Ok((worker, hello))
            }
            Err(problem) => {
                worker.kill();
                Err(problem)
            }
        }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn introduction(&mut self, timeout: Duration) -> Result<Hello, String> {
        let deadline = Deadline::after(timeout);
        let unseen = |error: io::Error| format!("it cannot be waited for: {error}");
        self.waiting.add(self.gate.listener_fd(), Interest::READABLE).map_err(unseen)?;
        self.waiting.add(self.child.exit_watch(), Interest::READABLE).map_err(unseen)?;
        let mut strangers: VecDeque<(Token, Connection)> = VecDeque::new();
        loop {
            // What it said before it ended is heard all the same.
            let has_ended = self.child.has_exited();
            while let Ok(Some(stranger)) = self.gate.accept() {
                let connection = Connection::new(stranger.stream);
                let both = Interest::READABLE | Interest::WRITABLE;
                let token = self.waiting.add(connection.raw_fd(), both).map_err(unseen)?;
                strangers.push_back((token, connection));
            }
            for _ in 0..strangers.len() {
                let Some((token, mut connection)) = strangers.pop_front() else { break };
                if has_ended || self.waiting.has_closed(token) {
                    connection.expect_end();
                }
                let reading = connection.read();
                let hello = match connection.decoder.next_frame() {
                    Ok(Some(frame)) => hello_of(frame).map(Some),
                    Ok(None) => Ok(None),
                    Err(error) => Err(format!("its first words are no frame: {error}")),
                };
                match hello? {
                    Some(hello) if self.gate.redeem(&hello.token).is_some() => {
                        connection.decoder.set_limit(MAX_FRAME);
                        self.connection = Some((token, connection));
                        return Ok(hello);
                    }
                    Some(_) => return Err("it came with another token than its own".into()),
                    None if matches!(reading, Reading::Ended { .. }) => {
                        return Err("it closed its connection without a hello".into());
                    }
                    None => strangers.push_back((token, connection)),
                }
            }
            if has_ended {
                let how = self.reap().map_or("ended".into(), |exit| exit.to_string());
                return Err(format!("it {how} before it introduced itself"));
            }
            if deadline.is_over() || !self.waiting.wait(deadline).map_err(unseen)? {
                return Err(format!("it did not introduce itself within {timeout:?}"));
            }
        }
    }

    /// Queues the body of a frame. It is written when something is waited for.
    pub(crate) fn send(&mut self, body: &[u8]) {
        if let Some((_, connection)) = &mut self.connection {
            connection.send_body(body);
        }
    }

    /// Waits for the next frame, and writes meanwhile what is to be written.
    pub(crate) fn hear(&mut self, deadline: Deadline) -> Heard {
        loop {
            let Some((token, connection)) = &mut self.connection else { return Heard::End };
            let has_ended = self.child.has_exited();
            if has_ended || self.waiting.has_closed(*token) {
                connection.expect_end();
            }
            let _all_or_not = connection.flush();
            let reading = connection.read();
            match connection.decoder.next_frame() {
                Ok(Some(frame)) => return Heard::Frame(frame.to_vec()),
                Ok(None) => {}
                Err(error) => return Heard::Nonsense(error.to_string()),
            }
            match reading {
                Reading::Ended { .. } => return Heard::End,
                // A grandchild may hold the connection open.
                Reading::Drained if has_ended => return Heard::End,
                // Something comes all the time, and is no frame yet.
                _ if deadline.is_over() => return Heard::Silence,
                Reading::Unfinished => continue,
                Reading::Drained => {}
            }
            match self.waiting.wait(deadline) {
                Ok(true) => {}
                Ok(false) => return Heard::Silence,
                Err(error) => return Heard::Nonsense(error.to_string()),
            }
        }
    }

    /// Closes the connection, and waits for the end of the process, which is killed if that takes
    /// too long. Tells how it ended; `None` if it had to be killed.
    pub(crate) fn end(&mut self) -> Option<Exit> {
        if let Some((_, connection)) = &mut self.connection {
            // What is queued last may be what asks it to leave.
            let _all_or_not = connection.flush();
        }
        self.connection = None;
        self.wait_for_exit(LEAVE_WITHIN)
    }

    /// Ends the process at once, as one from which nothing good is to be expected.
    pub(crate) fn kill(&mut self) {
        if self.exit.is_none() {
            self.child.kill();
        }
        self.connection = None;
        self.wait_for_exit(LEAVE_WITHIN);
    }

    /// Waits for the end of a process that was asked to leave.
    pub(crate) fn wait_for_exit(&mut self, timeout: Duration) -> Option<Exit> {
        if self.exit.is_some() {
            return self.exit;
        }
        let deadline = Deadline::after(timeout);
        let left = loop {
            if self.child.has_exited() {
                break true;
            }
            if !matches!(self.waiting.wait(deadline), Ok(true)) {
                break false;
            }
        };
        if !left {
            self.child.kill();
        }
        let exit = self.reap();
        for printer in &self.printers {
            let _ = printer.recv_timeout(LAST_LINES);
        }
        exit.filter(|_| left)
    }

    fn reap(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            self.exit = self.child.reap().ok();
        }
        self.exit
    }
}

fn hello_of(frame: &[u8]) -> Result<Hello, String> {
    match envelope::open::<FromWorker>(frame) {
        Ok((FromWorker::Hello(hello), _)) => Ok(hello),
        Ok(_) => Err("its first message is no hello".into()),
        Err(error) => Err(format!("its first message makes no sense: {error}")),
    }
}

/// Passes on what a worker prints, in whole lines on standard error. Tells when it has ended.
fn pass_on(pipe: impl Read + Send + 'static, mark: String) -> mpsc::Receiver<()> {
    let (ended, wait) = mpsc::sync_channel(1);
    let pass = move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = mark.clone().into_bytes();
        while matches!(pipe.by_ref().take(MAX_LINE).read_until(b'\n', &mut line), Ok(1..)) {
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
            }
            // There is nobody to tell that standard error is closed.
            let _ = io::stderr().lock().write_all(&line);
            line.truncate(mark.len());
        }
        let _ = ended.send(());
    };
    if let Err(error) = std::thread::Builder::new().name("master-lines".into()).spawn(pass) {
        log::error!("cannot start a thread: {error}");
    }
    wait
}

/// The descriptors that are waited for. Each is looked at before a wait, as only what happens
/// afterwards ends one.
struct Waiting {
    poll: mio::Poll,
    happened: mio::Events,
    next: usize,
}

/// Events that one wait brings at most.
const EVENTS: usize = 16;

impl Waiting {
    fn new() -> io::Result<Self> {
        let happened = mio::Events::with_capacity(EVENTS);
        Ok(Self { poll: mio::Poll::new()?, happened, next: 0 })
    }

    /// Adds a descriptor, and tells the token under which something happens to it.
    fn add(&mut self, descriptor: RawFd, interest: Interest) -> io::Result<Token> {
        let token = Token(self.next);
        self.next += 1;
        self.poll.registry().register(&mut SourceFd(&descriptor), token, interest)?;
        Ok(token)
    }

    /// Waits until something happens. False if nothing does in time.
    fn wait(&mut self, deadline: Deadline) -> io::Result<bool> {
        match self.poll.poll(&mut self.happened, deadline.left()) {
            Ok(()) => Ok(!self.happened.is_empty()),
            // It is looked what there is, and waited again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whether the other side of this connection is known to have closed.
    fn has_closed(&self, token: Token) -> bool {
        self.happened.iter().any(|event| event.token() == token && event.is_read_closed())
    }
}
